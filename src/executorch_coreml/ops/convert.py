"""Conversions between dtypes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from executorch.exir.passes import dim_order_ops_registry  # noqa: F401  (defines dim_order_ops)

from executorch_coreml.ops.call import Call
from executorch_coreml.ops.compressed import Affine, affine
from executorch_coreml.ops.emit import Emit, Var, mil_type
from executorch_coreml.ops.ranks import pointwise
from executorch_coreml.ops.rule import BYTES, Family
from executorch_coreml.options import Target

aten = torch.ops.aten
dim_order_ops = torch.ops.dim_order_ops
rules = Family(dynamic=True, empty=True)


def truth(mb: Emit, value: Any) -> Var:
    """A node or number as bool: whether it is not zero.

    MIL's cast to bool is not used for it: it is defined for 0 and 1 only.
    """
    if not isinstance(value, torch.fx.Node):
        return mb.var(bool(value), torch.bool)
    return not_zero(mb, mb.var(value, value.meta["val"].dtype))


def not_zero(mb: Emit, x: Var) -> Var:
    kind = mil_type(x)
    return x if kind == "bool" else mb.not_equal(x=x, y=mb.const(0, kind))


def contiguous(call: Call) -> str | None:
    """The copy has the default order of dimensions: Core ML knows no other."""
    order = call.args.get("dim_order")
    if order is not None and list(order) != sorted(order):
        return f"dim_order is {list(order)}; Core ML tensors are contiguous"
    layout = call.args.get("memory_format")
    if layout in (None, torch.preserve_format, torch.contiguous_format):
        return None
    return f"memory_format is {layout}; Core ML tensors are contiguous"


def _is_stored(call: Call) -> bool:
    """Whether it makes floats of a weight of 8-bit integers, which then stays one."""
    stored = call.dtype("self") in BYTES and call.known("self") and call.rank("self") > 0
    return stored and call.out.dtype.is_floating_point


def _oldest(call: Call) -> Target:
    return Target.iOS16 if _is_stored(call) else Target.iOS15


@rules(
    aten._to_copy.default,
    dim_order_ops._to_dim_order_copy.default,
    checks=[contiguous],
    moves_data=True,
    fewer=pointwise,
    since_of=_oldest,
)
def to_copy(mb: Emit, call: Call) -> Var:
    """The value itself where the dtype stays: MIL values do not change."""
    if _is_stored(call):
        data = mb.array(call["self"])
        assert data is not None
        info = np.iinfo(data.dtype)
        weight = Affine(data, np.ones([1] * data.ndim), None, info.min, info.max)
        mil = mb.type_of(call.out.dtype)
        return mb.cast(affine(mb, weight, data.astype(np.float64), mil), mil)
    if call.out.dtype is torch.bool:
        return truth(mb, call["self"])
    return mb.var(call["self"], call.out.dtype)
