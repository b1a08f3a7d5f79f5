"""Tensors made from numbers alone: filled, counted, scalar."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from executorch.exir.passes import dim_order_ops_registry  # noqa: F401  (defines dim_order_ops)
from torch.fx import Node

from executorch_coreml.ops.call import Call
from executorch_coreml.ops.checks import constant, constant_or_size, fits_int32
from executorch_coreml.ops.emit import Var
from executorch_coreml.ops.half import fits_fp16
from executorch_coreml.ops.moves import fill
from executorch_coreml.ops.rule import INT, Family
from executorch_coreml.ops.sizes import fixed_extent

if TYPE_CHECKING:
    from executorch_coreml.ops.emit import Emit

aten = torch.ops.aten
dim_order_ops = torch.ops.dim_order_ops
rules = Family(dynamic=True, empty=True)


def _filled(mb: Emit, call: Call, value: Any) -> Var:
    number = torch.full((), value, dtype=call.out.dtype).numpy()
    dtype = mb.type_of(call.out.dtype)
    _note_range(mb, number, dtype)
    return fill(mb, call.out.shape, number, dtype)


def _note_range(mb: Emit, values: np.ndarray[Any, Any], dtype: str) -> None:
    if dtype == "fp16" and not fits_fp16(values):
        mb.note("holds constants beyond 65504, which fp16 turns into infinity")


@rules(
    aten.full.default,
    aten.full_like.default,
    aten.new_full.default,
    checks=[constant("fill_value"), fits_int32("fill_value")],
    moves_data=True,
)
def full(mb: Emit, call: Call) -> Var:
    return _filled(mb, call, call["fill_value"])


@rules(aten.fill.Scalar, checks=[constant("value"), fits_int32("value")], moves_data=True)
def fill_scalar(mb: Emit, call: Call) -> Var:
    return _filled(mb, call, call["value"])


@rules(
    aten.zeros.default,
    aten.zeros_like.default,
    aten.new_zeros.default,
    aten.empty.memory_format,
    aten.empty_like.default,
    aten.empty_strided.default,
    aten.new_empty.default,
    aten.new_empty_strided.default,
    aten.empty_permuted.default,
    dim_order_ops._empty_dim_order.default,
    moves_data=True,
)
def zeros(mb: Emit, call: Call) -> Var:
    """Zeros also where any content would do, so that each run gives the same."""
    return _filled(mb, call, 0)


@rules(aten.ones.default, aten.ones_like.default, aten.new_ones.default, moves_data=True)
def ones(mb: Emit, call: Call) -> Var:
    return _filled(mb, call, 1)


def _numbers_but_end(call: Call) -> str | None:
    """Only the end may be dynamic; of the others all is known when compiling."""
    others = {name: value for name, value in call.args.items() if name != "end"}
    computed = [name for name, value in others.items() if isinstance(value, (Node, torch.SymInt))]
    return f"{computed[0]} is computed at run time; it must be a constant" if computed else None


@rules(
    aten.arange.default,
    aten.arange.start,
    aten.arange.start_step,
    checks=[_numbers_but_end],
    moves_data=True,
)
def arange(mb: Emit, call: Call) -> Var:
    """start + step * (0, 1, 2, ...), counted in integers."""
    count = call.out.shape[0]
    if fixed_extent(count) is not None:
        return known(mb, call)
    first, step = call.args.get("start", 0), call.args.get("step", 1)
    numbers = mb.range_1d(start=0, end=mb.sizes.scalar(count), step=1)
    kind = "int32" if call.out.dtype in INT else "fp32"
    numbers = mb.mul(x=mb.cast(numbers, kind), y=mb.const(step, kind)) if step != 1 else numbers
    numbers = mb.add(x=mb.cast(numbers, kind), y=mb.const(first, kind)) if first else numbers
    return mb.cast(numbers, mb.type_of(call.out.dtype))


@rules(aten.scalar_tensor.default, checks=[constant_or_size("s")], moves_data=True)
def scalar_tensor(mb: Emit, call: Call) -> Var:
    if isinstance(call["s"], Node):
        return mb.cast(mb.sizes.scalar(call["s"]), mb.type_of(call.out.dtype))
    return known(mb, call)


@rules(aten.eye.default, checks=[constant("n")], moves_data=True, dynamic=False)
@rules(aten.eye.m, checks=[constant("n"), constant("m")], moves_data=True, dynamic=False)
@rules(
    aten.linspace.default,
    checks=[constant("start"), constant("end"), constant("steps")],
    moves_data=True,
    dynamic=False,
)
@rules(
    aten.tril_indices.default,
    aten.triu_indices.default,
    aten.kaiser_window.default,
    aten.kaiser_window.periodic,
    aten.kaiser_window.beta,
    moves_data=True,
    dynamic=False,
)
def known(mb: Emit, call: Call) -> Var:
    """PyTorch itself computes the value, so that every rounding is its own."""
    values = call.op(*call.node.args, **call.node.kwargs).numpy()
    dtype = mb.type_of(call.out.dtype)
    _note_range(mb, values, dtype)
    return mb.const(values, dtype)
