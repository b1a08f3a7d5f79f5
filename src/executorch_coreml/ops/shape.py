"""Views, joins and repetition: ops that rearrange elements and compute nothing."""

from __future__ import annotations

from itertools import accumulate
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from executorch.exir.passes import dim_order_ops_registry  # noqa: F401  (defines dim_order_ops)
from torch.utils._sympy.functions import Mod

from executorch_coreml.ops.call import Call
from executorch_coreml.ops.checks import constant, constant_or_size
from executorch_coreml.ops.emit import Var
from executorch_coreml.ops.moves import (
    broadcast,
    concat,
    fill,
    pick,
    piece,
    reshape,
    transpose,
)
from executorch_coreml.ops.ranks import along, expanded, permuted, reshaped
from executorch_coreml.ops.rule import Family
from executorch_coreml.ops.sizes import Extent, expression, fixed_extent, product, slice_start

if TYPE_CHECKING:
    from executorch_coreml.ops.emit import Emit

aten = torch.ops.aten
dim_order = torch.ops.dim_order_ops
rules = Family(dynamic=True, empty=True)


def _default_layout(call: Call) -> str | None:
    """The result is laid out row by row, the only layout Core ML has."""
    order = call.args.get("dim_order")
    if order is not None and list(order) != sorted(order):
        return f"dim_order is {list(order)}; only the contiguous order can be delegated"
    given = call.args.get("memory_format")
    if given in (None, torch.contiguous_format, torch.preserve_format):
        return None
    return f"memory_format is {given}; only contiguous tensors can be delegated"


@rules(aten.alias.default, aten.alias_copy.default, moves_data=True, fewer=reshaped)
@rules(aten.detach.default, aten.detach_copy.default, moves_data=True, fewer=reshaped)
@rules(
    aten.clone.default,
    dim_order._clone_dim_order.default,
    checks=[_default_layout],
    moves_data=True,
    fewer=reshaped,
)
def identity(mb: Emit, call: Call) -> Var:
    return mb.var(call["self"])


@rules(
    aten.view.default,
    aten.view_copy.default,
    aten._unsafe_view.default,
    aten.squeeze.default,
    aten.squeeze_copy.default,
    aten.squeeze.dim,
    aten.squeeze_copy.dim,
    aten.squeeze.dims,
    aten.squeeze_copy.dims,
    moves_data=True,
    fewer=reshaped,
)
def view(mb: Emit, call: Call) -> Var:
    return reshape(mb, mb.var(call["self"]), call.out.shape)


@rules(aten.unsqueeze.default, aten.unsqueeze_copy.default, moves_data=True, fewer=reshaped)
def unsqueeze(mb: Emit, call: Call) -> Var:
    return mb.expand_dims(x=mb.var(call["self"]), axes=[call["dim"] % call.out.dim()])


@rules(aten.permute.default, aten.permute_copy.default, moves_data=True, fewer=permuted)
def permute(mb: Emit, call: Call) -> Var:
    rank = call.rank("self")
    return transpose(mb, mb.var(call["self"]), [dim % rank for dim in call["dims"]])


@rules(aten.transpose.int, aten.transpose_copy.int, moves_data=True, fewer=permuted)
def transpose_int(mb: Emit, call: Call) -> Var:
    perm = list(range(call.rank("self")))
    if perm:
        first, second = call.dim("dim0"), call.dim("dim1")
        perm[first], perm[second] = perm[second], perm[first]
    return transpose(mb, mb.var(call["self"]), perm)


@rules(aten.t.default, aten.t_copy.default, moves_data=True, fewer=permuted)
def t(mb: Emit, call: Call) -> Var:
    return transpose(mb, mb.var(call["self"]), range(call.rank("self"))[::-1])


@rules(aten.expand.default, aten.expand_copy.default, moves_data=True, fewer=expanded)
def expand(mb: Emit, call: Call) -> Var:
    return broadcast(mb, mb.var(call["self"]), call.out.shape)


@rules(
    aten.slice.Tensor,
    aten.slice_copy.Tensor,
    checks=[constant_or_size("start"), constant_or_size("end"), constant("step")],
    moves_data=True,
    fewer=along,
)
def slice_tensor(mb: Emit, call: Call) -> Var:
    axis, step = call.dim(), call["step"]
    start = slice_start(call["start"], call.shape("self")[axis])
    stop = start + (expression(call.out.shape[axis]) - 1) * step + 1
    return piece(mb, mb.var(call["self"]), axis, start, stop, step)


@rules(aten.narrow_copy.default, checks=[constant("start"), constant("length")], moves_data=True)
def narrow(mb: Emit, call: Call) -> Var:
    axis = call.dim()
    start = slice_start(call["start"], call.shape("self")[axis])
    return piece(mb, mb.var(call["self"]), axis, start, start + call["length"])


@rules(
    aten.select.int,
    aten.select_copy.int,
    checks=[constant_or_size("index")],
    moves_data=True,
    fewer=along,
)
def select(mb: Emit, call: Call) -> Var:
    axis = call.dim()
    place = slice_start(call["index"], call.shape("self")[axis])
    return pick(mb, mb.var(call["self"]), axis, place)


@rules(
    aten.split.Tensor,
    aten.split_copy.Tensor,
    aten.unsafe_split.Tensor,
    aten.split_with_sizes.default,
    aten.split_with_sizes_copy.default,
    aten.unsafe_split_with_sizes.default,
    moves_data=True,
    fewer=along,
)
def split(mb: Emit, call: Call) -> tuple[Var, ...]:
    x, axis = mb.var(call["self"]), call.dim()
    extents = [out.shape[axis] for out in call.outs]
    if len(extents) == 1:
        return (x,)
    sizes = [fixed_extent(extent) for extent in extents]
    if None not in sizes:
        return tuple(mb.split(x=x, split_sizes=sizes, axis=axis))
    ends = list(accumulate(expression(extent) for extent in extents))
    return tuple(
        piece(mb, x, axis, start, end) for start, end in zip([0, *ends], ends, strict=False)
    )


@rules(aten.unbind.int, aten.unbind_copy.int, moves_data=True, fewer=along)
def unbind(mb: Emit, call: Call) -> tuple[Var, ...]:
    x, axis = mb.var(call["self"]), call.dim()
    return tuple(pick(mb, x, axis, index) for index in range(len(call.outs)))


@rules(aten.cat.default, moves_data=True, fewer=along)
def cat(mb: Emit, call: Call) -> Var:
    values = [mb.var(tensor, call.out.dtype) for tensor in call["tensors"]]
    return concat(mb, values, call["dim"] % call.out.dim())


@rules(aten.stack.default, moves_data=True)
def stack(mb: Emit, call: Call) -> Var:
    values = [mb.var(tensor, call.out.dtype) for tensor in call["tensors"]]
    axis = call["dim"] % call.out.dim()
    if call.out.dim() == 1:
        return concat(mb, [reshape(mb, value, [1]) for value in values], 0)
    return mb.stack(values=values, axis=axis)


@rules(aten.copy.default, moves_data=True)
def copy(mb: Emit, call: Call) -> Var:
    return broadcast(mb, mb.var(call["src"], call.out.dtype), call.out.shape)


@rules(aten.repeat.default, checks=[constant_or_size("repeats")], moves_data=True)
def repeat(mb: Emit, call: Call) -> Var:
    x, reps = mb.var(call["self"]), call["repeats"]
    if missing := len(reps) - len(x.shape):
        x = mb.expand_dims(x=x, axes=list(range(missing)))
    once = all(fixed_extent(rep) == 1 for rep in reps)
    return x if once else mb.tile(x=x, reps=mb.sizes.vector(reps))


@rules(aten.repeat_interleave.self_int, moves_data=True)
def repeat_interleave(mb: Emit, call: Call) -> Var:
    shape = call.shape("self")
    if call["dim"] is None:
        before, after = prod(shape), 1
    else:
        axis = call.dim()
        before, after = prod(shape[: axis + 1]), prod(shape[axis + 1 :])
    x = reshape(mb, mb.var(call["self"]), [before, 1, after])
    return reshape(mb, mb.tile(x=x, reps=[1, call["repeats"], 1]), call.out.shape)


@rules(aten.flip.default, moves_data=True, fewer=along)
def flip(mb: Emit, call: Call) -> Var:
    x = mb.var(call["self"])
    axes = sorted(dim % len(x.shape) for dim in call["dims"] if x.shape)
    return mb.reverse(x=x, axes=axes) if axes else x


@rules(aten.roll.default, checks=[constant("shifts")], moves_data=True, fewer=along, empty=False)
def roll(mb: Emit, call: Call) -> Var:
    x, shifts, dims = mb.var(call["self"]), call["shifts"], call["dims"]
    shape = call.shape("self")
    if not dims:
        shape, dims = (product(shape),), [0]
        x = reshape(mb, x, shape)
    for shift, dim in zip(shifts, dims, strict=True):
        axis = dim % len(shape)
        x = _rolled(mb, x, axis, shift, shape[axis])
    return x if len(shape) == call.out.dim() else reshape(mb, x, call.out.shape)


def _rolled(mb: Emit, x: Var, axis: int, shift: int, extent: Extent) -> Var:
    if (fixed := fixed_extent(extent)) is not None:
        cut = -shift % fixed
        if not cut:
            return x
        return concat(mb, [piece(mb, x, axis, cut, fixed), piece(mb, x, axis, 0, cut)], axis)
    if not shift:
        return x
    # Cut out of two copies in a row: a part in front of the cut might be empty.
    size = expression(extent)
    left = Mod(abs(shift), size)
    cut = left if shift < 0 else size - left
    return piece(mb, concat(mb, [x, x], axis), axis, cut, cut + size)


@rules(aten.tril.default, checks=[constant("diagonal")], moves_data=True)
def tril(mb: Emit, call: Call) -> Var:
    diagonal = call["diagonal"]
    if diagonal >= 0:
        return mb.band_part(x=mb.var(call["self"]), lower=-1, upper=diagonal)
    return _masked(mb, call, _triangle(mb, call, below=True, diagonal=diagonal))


@rules(aten.triu.default, checks=[constant("diagonal")], moves_data=True)
def triu(mb: Emit, call: Call) -> Var:
    diagonal = call["diagonal"]
    if diagonal <= 0:
        return mb.band_part(x=mb.var(call["self"]), lower=-diagonal, upper=-1)
    return _masked(mb, call, _triangle(mb, call, below=False, diagonal=diagonal))


def _triangle(mb: Emit, call: Call, below: bool, diagonal: int) -> Any:
    """A mask of the part below (or above) a diagonal that ``band_part`` cannot leave out."""
    rows, columns = call.out.shape[-2:]
    if fixed_extent(rows) is not None and fixed_extent(columns) is not None:
        lower = np.tri(rows, columns, diagonal - (not below)).astype(np.bool_)
        return lower if below else ~lower
    ones = fill(mb, (rows, columns), 1.0, "fp32")
    below_it, above_it = (-1 - diagonal, -1) if below else (-1, diagonal - 1)
    return mb.equal(x=mb.band_part(x=ones, lower=below_it, upper=above_it), y=0.0)


def _masked(mb: Emit, call: Call, keep: Any) -> Var:
    """Zero where ``keep`` does not hold."""
    x = mb.var(call["self"])
    return mb.select(cond=keep, a=x, b=mb.const(0, x))
