"""Matrix products: linear, mm, addmm and relatives, pairwise distances."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import torch

from executorch_coreml.ops.call import Call
from executorch_coreml.ops.emit import Emit, Var, mil_type
from executorch_coreml.ops.moves import reshape
from executorch_coreml.ops.ranks import MAX_RANK, last
from executorch_coreml.ops.rule import FLOAT, INT, Family, Lower
from executorch_coreml.ops.sizes import Extent, largest
from executorch_coreml.ops.weights import fixed, layer_type

aten = torch.ops.aten
rules = Family(dynamic=True, empty=True)


def product(mb: Emit, x: Var, y: Var) -> Var:
    """torch.matmul of values of one type and any rank from 1."""
    squeezed = []
    if len(y.shape) == 1:
        y = mb.expand_dims(x=y, axes=[1])
        squeezed.append(-1)
    if len(x.shape) == 1:
        x = mb.expand_dims(x=x, axes=[0])
        squeezed.append(-2)
    out = mb.matmul(x=x, y=y) if mil_type(x) != "int32" else _whole_product(mb, x, y)
    if len(squeezed) == 2:
        return reshape(mb, out, [])  # of constants coremltools 9.0 squeezes one axis of the two
    return mb.squeeze(x=out, axes=squeezed) if squeezed else out


def _whole_product(mb: Emit, x: Var, y: Var) -> Var:
    """Integers, multiplied and summed as such.

    Not by ``matmul``: on devices, models with an int32 one did not load (ExecuTorch issue 11691,
    coremltools 8), and nothing says that it does not go through floats.
    """
    x, y = mb.expand_dims(x=x, axes=[-1]), mb.expand_dims(x=y, axes=[-3])
    return mb.reduce_sum(x=mb.mul(x=x, y=y), axes=[-2], keep_dims=False)


MOST_WHOLE_PRODUCTS = 2**22  # 16 MB before they are summed


def few_whole_products(call: Call) -> str | None:
    """Of integers, the product takes at most 2**22 multiplications and operands of rank 4."""
    if call.out.dtype.is_floating_point:
        return None
    count = prod(map(largest, (*call.out.shape, call.shape("self")[-1])))
    if count > MOST_WHOLE_PRODUCTS:
        return f"an integer product of {count} multiplications; at most {MOST_WHOLE_PRODUCTS}"
    if call.out.dim() >= MAX_RANK:
        return f"an integer product of rank {call.out.dim()} would take rank {MAX_RANK + 1}"
    return None


def _product(other: str) -> Lower:
    """The rule of a plain product of ``self`` and the argument ``other``."""

    def matmul(mb: Emit, call: Call) -> Var:
        mil = layer_type(mb, call, "self", other)
        out = product(mb, mb.var(call["self"], mil), mb.var(call[other], mil))
        return mb.cast(out, mb.type_of(call.out.dtype))

    return matmul


for _op, _other in (
    (aten.matmul.default, "other"),
    (aten.mm.default, "mat2"),
    (aten.bmm.default, "mat2"),
    (aten.mv.default, "vec"),
    (aten.dot.default, "tensor"),
):
    rules(_op, types=FLOAT | INT, checks=[few_whole_products])(_product(_other))


@rules(aten.linear.default, types=FLOAT, fewer=last)
def linear(mb: Emit, call: Call) -> Var:
    mil = layer_type(mb, call, "weight", "bias")
    x = mb.var(call["input"], mil)
    weight, bias = fixed(mb, call["weight"], mil), fixed(mb, call["bias"], mil)
    if call.rank("weight") == 1:
        out = product(mb, x, mb.var(call["weight"], mil))
    elif weight is not None and (bias is not None or call["bias"] is None):
        out = _linear(mb, x, weight, bias, call.shape("input"))
        return mb.cast(out, mb.type_of(call.out.dtype))
    else:
        y = mb.transpose(x=mb.var(call["weight"], mil), perm=[1, 0])
        out = product(mb, x, y)
    if call["bias"] is not None:
        out = mb.add(x=out, y=mb.var(call["bias"], mil))
    return mb.cast(out, mb.type_of(call.out.dtype))


def _linear(mb: Emit, x: Var, weight: Var, bias: Var | None, shape: Sequence[Extent]) -> Var:
    """MIL ``linear`` takes rank 1 to 3: leading axes beyond that are folded into one."""
    if len(shape) <= 3:
        return mb.linear(x=x, weight=weight, bias=bias)
    folded = reshape(mb, x, [prod(shape[:-2]), *shape[-2:]])
    out = mb.linear(x=folded, weight=weight, bias=bias)
    return reshape(mb, out, [*shape[:-1], int(weight.shape[0])])


@rules(aten.addmm.default, types=FLOAT)
def addmm(mb: Emit, call: Call) -> Var:
    mil = layer_type(mb, call, "self", "mat1", "mat2")
    weight, bias = mb.array(call["mat2"]), _vector(mb, call)
    if weight is None or bias is None:
        return mb.cast(_add_product(mb, call, "mat1", "mat2", mil), mb.type_of(call.out.dtype))
    out = mb.linear(
        x=mb.var(call["mat1"], mil),
        weight=mb.const(_scaled(weight.T, call["alpha"]), mil),
        bias=mb.const(_scaled(bias, call["beta"]), mil),
    )
    return mb.cast(out, mb.type_of(call.out.dtype))


def _vector(mb: Emit, call: Call) -> np.ndarray[Any, Any] | None:
    """The constant ``self`` as one value per column, if it is that."""
    array = mb.array(call["self"])
    if array is None or (array.ndim == 2 and array.shape[0] != 1):
        return None
    return np.broadcast_to(array.reshape(-1), call.out.shape[-1:])


def _scaled(array: np.ndarray[Any, Any], factor: float) -> np.ndarray[Any, Any]:
    # A factor of 0 means "ignore": torch does not let NaN through there.
    return np.zeros_like(array) if factor == 0 else array * array.dtype.type(factor)


@rules(aten.baddbmm.default, types=FLOAT)
def baddbmm(mb: Emit, call: Call) -> Var:
    mil = layer_type(mb, call, "self", "batch1", "batch2")
    return mb.cast(_add_product(mb, call, "batch1", "batch2", mil), mb.type_of(call.out.dtype))


def _add_product(mb: Emit, call: Call, left: str, right: str, mil: str) -> Var:
    """beta * self + alpha * left @ right; alpha goes to ``left`` first, so that less overflows."""
    x = _times(mb, mb.var(call[left], mil), call["alpha"])
    out = product(mb, x, mb.var(call[right], mil))
    if call["beta"] == 0:
        return out
    return mb.add(x=out, y=_times(mb, mb.var(call["self"], mil), call["beta"]))


def _times(mb: Emit, x: Var, factor: float) -> Var:
    return x if factor == 1 else mb.mul(x=x, y=mb.const(float(factor), mil_type(x)))


@rules(aten.addbmm.default, types=FLOAT)
def addbmm(mb: Emit, call: Call) -> Var:
    """The sum of all products is one product of matrices that stand side by side."""
    mil = layer_type(mb, call, "self", "batch1", "batch2")
    batch, rows, inner = call.shape("batch1")
    left = mb.transpose(x=mb.var(call["batch1"], mil), perm=[1, 0, 2])
    left = _times(mb, mb.reshape(x=left, shape=[rows, batch * inner]), call["alpha"])
    right = mb.reshape(x=mb.var(call["batch2"], mil), shape=[batch * inner, call.out.shape[-1]])
    out = product(mb, left, right)
    if call["beta"] != 0:
        out = mb.add(x=out, y=_times(mb, mb.var(call["self"], mil), call["beta"]))
    return mb.cast(out, mb.type_of(call.out.dtype))


@rules(aten.addmv.default, types=FLOAT)
def addmv(mb: Emit, call: Call) -> Var:
    mil = layer_type(mb, call, "self", "mat", "vec")
    return mb.cast(_add_product(mb, call, "mat", "vec", mil), mb.type_of(call.out.dtype))


@rules(aten._trilinear.default, types=FLOAT)
def trilinear(mb: Emit, call: Call) -> Var:
    """The product of three tensors that broadcast, summed over some axes: ``nn.Bilinear``."""
    mil = layer_type(mb, call, "i1", "i2", "i3")
    factors = [
        mb.expand_dims(x=mb.var(call[name], mil), axes=call[expand])
        if call[expand]
        else mb.var(call[name], mil)
        for name, expand in (("i1", "expand1"), ("i2", "expand2"), ("i3", "expand3"))
    ]
    value = mb.mul(x=mb.mul(x=factors[0], y=factors[1]), y=factors[2])
    if call["sumdim"]:
        value = mb.reduce_sum(x=value, axes=sorted(call["sumdim"]), keep_dims=False)
    return mb.cast(value, mb.type_of(call.out.dtype))
