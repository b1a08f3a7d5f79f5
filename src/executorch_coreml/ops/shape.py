"""Views, joins and repetition: ops that rearrange elements and compute nothing."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from executorch.exir.passes import dim_order_ops_registry  # noqa: F401  (defines dim_order_ops)

from executorch_coreml.ops.call import Call
from executorch_coreml.ops.checks import constant
from executorch_coreml.ops.emit import Var
from executorch_coreml.ops.moves import (
    broadcast,
    concat,
    pick,
    piece,
    reshape,
    transpose,
)
from executorch_coreml.ops.rule import Family

if TYPE_CHECKING:
    from executorch_coreml.ops.emit import Emit

aten = torch.ops.aten
dim_order = torch.ops.dim_order_ops
rules = Family()

Mask: TypeAlias = "np.ndarray[Any, np.dtype[np.bool_]]"


def _default_layout(call: Call) -> str | None:
    """The result is laid out row by row, the only layout Core ML has."""
    order = call.args.get("dim_order")
    if order is not None and list(order) != sorted(order):
        return f"dim_order is {list(order)}; only the contiguous order can be delegated"
    given = call.args.get("memory_format")
    if given in (None, torch.contiguous_format, torch.preserve_format):
        return None
    return f"memory_format is {given}; only contiguous tensors can be delegated"


@rules(aten.alias.default, aten.alias_copy.default, moves_data=True)
@rules(aten.detach.default, aten.detach_copy.default, moves_data=True)
@rules(
    aten.clone.default,
    dim_order._clone_dim_order.default,
    checks=[_default_layout],
    moves_data=True,
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
)
def view(mb: Emit, call: Call) -> Var:
    return reshape(mb, mb.var(call["self"]), call.out.shape)


@rules(aten.unsqueeze.default, aten.unsqueeze_copy.default, moves_data=True)
def unsqueeze(mb: Emit, call: Call) -> Var:
    return mb.expand_dims(x=mb.var(call["self"]), axes=[call["dim"] % call.out.dim()])


@rules(aten.permute.default, aten.permute_copy.default, moves_data=True)
def permute(mb: Emit, call: Call) -> Var:
    rank = call.rank("self")
    return transpose(mb, mb.var(call["self"]), [dim % rank for dim in call["dims"]])


@rules(aten.transpose.int, aten.transpose_copy.int, moves_data=True)
def transpose_int(mb: Emit, call: Call) -> Var:
    perm = list(range(call.rank("self")))
    if perm:
        first, second = call.dim("dim0"), call.dim("dim1")
        perm[first], perm[second] = perm[second], perm[first]
    return transpose(mb, mb.var(call["self"]), perm)


@rules(aten.t.default, aten.t_copy.default, moves_data=True)
def t(mb: Emit, call: Call) -> Var:
    return transpose(mb, mb.var(call["self"]), range(call.rank("self"))[::-1])


@rules(aten.expand.default, aten.expand_copy.default, moves_data=True)
def expand(mb: Emit, call: Call) -> Var:
    return broadcast(mb, mb.var(call["self"]), call.out.shape)


@rules(
    aten.slice.Tensor,
    aten.slice_copy.Tensor,
    checks=[constant("start"), constant("end"), constant("step")],
    moves_data=True,
)
def slice_tensor(mb: Emit, call: Call) -> Var:
    axis = call.dim()
    wanted = slice(call["start"], call["end"], call["step"])
    start, stop, step = wanted.indices(call.shape("self")[axis])
    return piece(mb, mb.var(call["self"]), axis, start, stop, step)


@rules(aten.select.int, aten.select_copy.int, checks=[constant("index")], moves_data=True)
def select(mb: Emit, call: Call) -> Var:
    axis = call.dim()
    return pick(mb, mb.var(call["self"]), axis, call["index"] % call.shape("self")[axis])


@rules(
    aten.split.Tensor,
    aten.split_copy.Tensor,
    aten.unsafe_split.Tensor,
    aten.split_with_sizes.default,
    aten.split_with_sizes_copy.default,
    aten.unsafe_split_with_sizes.default,
    moves_data=True,
)
def split(mb: Emit, call: Call) -> tuple[Var, ...]:
    x, axis = mb.var(call["self"]), call.dim()
    sizes = [out.shape[axis] for out in call.outs]
    return (x,) if len(sizes) == 1 else mb.split(x=x, split_sizes=sizes, axis=axis)


@rules(aten.unbind.int, aten.unbind_copy.int, moves_data=True)
def unbind(mb: Emit, call: Call) -> tuple[Var, ...]:
    x, axis = mb.var(call["self"]), call.dim()
    return tuple(pick(mb, x, axis, index) for index in range(len(call.outs)))


@rules(aten.cat.default, moves_data=True)
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


@rules(aten.repeat.default, moves_data=True)
def repeat(mb: Emit, call: Call) -> Var:
    x, reps = mb.var(call["self"]), call["repeats"]
    x = reshape(mb, x, [1] * (len(reps) - len(x.shape)) + list(x.shape))
    return x if all(rep == 1 for rep in reps) else mb.tile(x=x, reps=list(reps))


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


@rules(aten.flip.default, moves_data=True)
def flip(mb: Emit, call: Call) -> Var:
    x = mb.var(call["self"])
    axes = sorted(dim % len(x.shape) for dim in call["dims"] if x.shape)
    return mb.reverse(x=x, axes=axes) if axes else x


@rules(aten.roll.default, checks=[constant("shifts")], moves_data=True)
def roll(mb: Emit, call: Call) -> Var:
    x, shifts, dims = mb.var(call["self"]), call["shifts"], call["dims"]
    if not dims:
        x, dims = reshape(mb, x, [prod(x.shape)]), [0]
    for shift, dim in zip(shifts, dims, strict=True):
        axis = dim % len(x.shape)
        extent = x.shape[axis]
        cut = -shift % extent
        if cut:
            x = concat(mb, [piece(mb, x, axis, cut, extent), piece(mb, x, axis, 0, cut)], axis)
    return reshape(mb, x, call.out.shape)


@rules(aten.tril.default, checks=[constant("diagonal")], moves_data=True)
def tril(mb: Emit, call: Call) -> Var:
    diagonal = call["diagonal"]
    if diagonal >= 0:
        return mb.band_part(x=mb.var(call["self"]), lower=-1, upper=diagonal)
    return _masked(mb, call, _lower(call, diagonal))


@rules(aten.triu.default, checks=[constant("diagonal")], moves_data=True)
def triu(mb: Emit, call: Call) -> Var:
    diagonal = call["diagonal"]
    if diagonal <= 0:
        return mb.band_part(x=mb.var(call["self"]), lower=-diagonal, upper=-1)
    return _masked(mb, call, ~_lower(call, diagonal - 1))


def _lower(call: Call, diagonal: int) -> Mask:
    rows, columns = call.out.shape[-2:]
    return np.tri(rows, columns, diagonal).astype(np.bool_)


def _masked(mb: Emit, call: Call, keep: Mask) -> Var:
    """Zero where ``keep`` does not hold: ``band_part`` cannot leave the main diagonal out."""
    x = mb.var(call["self"])
    return mb.select(cond=keep, a=x, b=mb.const(0, x))
