"""Writing by index: scatter, index_put, and slices written into a tensor.

A bool tensor is written as int32: MIL's scatters take numbers only.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from executorch_coreml.ops.call import Call
from executorch_coreml.ops.checks import constant, fits_int32, one_of
from executorch_coreml.ops.emit import Var, mil_type
from executorch_coreml.ops.index import Indexed, from_front, no_uint8_mask
from executorch_coreml.ops.moves import (
    broadcast,
    concat,
    fill,
    numeric,
    piece,
    reshape,
    take,
    transpose,
)
from executorch_coreml.ops.ranks import MAX_RANK
from executorch_coreml.ops.rule import FLOAT, INT, Family

if TYPE_CHECKING:
    from executorch_coreml.ops.emit import Emit

aten = torch.ops.aten
rules = Family()

# -- along one axis ------------------------------------------------------------------------------

_MODES = {"sum": "add", "prod": "mul", "amax": "max", "amin": "min", "mean": "add"}
_UFUNCS: dict[str, Any] = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


def _along(mb: Emit, data: Var, index: Var, updates: Var, axis: int, mode: str) -> Var:
    """MIL's scatter_along_axis, for an index that may be shorter than ``data`` elsewhere."""
    corner = data
    for other, extent in enumerate(index.shape):
        if other != axis:
            corner = piece(mb, corner, other, 0, extent)
    written = _write(mb, corner, index, updates, axis, mode)
    for other, extent in enumerate(index.shape):
        if other == axis or extent == data.shape[other]:
            continue
        rest = piece(mb, data, other, extent, data.shape[other])
        for later in range(other + 1, len(index.shape)):
            if later != axis:
                rest = piece(mb, rest, later, 0, index.shape[later])
        written = concat(mb, [written, rest], other)
    return written


def _write(mb: Emit, data: Var, index: Var, updates: Var, axis: int, mode: str) -> Var:
    known = [value.val for value in (data, index, updates)]
    if mode != "update" and all(value is not None for value in known):
        # coremltools 9.0 infers the value of this op as if every mode were "update".
        result = np.array(known[0])
        places = list(np.indices(known[1].shape))
        places[axis] = known[1]
        _UFUNCS[mode].at(result, tuple(places), known[2])
        return mb.const(result, data)
    return mb.scatter_along_axis(data=data, indices=index, updates=updates, axis=axis, mode=mode)


def _operands(mb: Emit, call: Call) -> tuple[Var, Var]:
    """(self as numbers, index), of rank 1 at least."""
    x, index = numeric(mb, mb.var(call["self"])), mb.var(call["index"])
    return reshape(mb, x, x.shape or [1]), reshape(mb, index, index.shape or [1])


def _source(mb: Emit, call: Call, like: Var, index: Var) -> Var:
    """The part of ``src`` that the index covers."""
    source = mb.cast(mb.var(call["src"]), mil_type(like))
    source = reshape(mb, source, source.shape or [1])
    for axis, extent in enumerate(index.shape):
        source = piece(mb, source, axis, 0, extent)
    return source


def _result(mb: Emit, call: Call, x: Var) -> Var:
    return reshape(mb, mb.cast(x, mb.type_of(call.out.dtype)), call.out.shape)


@rules(aten.scatter.src, moves_data=True)
def scatter_src(mb: Emit, call: Call) -> Var:
    x, index = _operands(mb, call)
    updates = _source(mb, call, x, index)
    return _result(mb, call, _along(mb, x, index, updates, call.dim(), "update"))


@rules(aten.scatter.value, checks=[constant("value"), fits_int32("value")], moves_data=True)
def scatter_value(mb: Emit, call: Call) -> Var:
    x, index = _operands(mb, call)
    number = torch.full((), call["value"], dtype=call.out.dtype).numpy()
    updates = fill(mb, index.shape, number, mil_type(x))
    return _result(mb, call, _along(mb, x, index, updates, call.dim(), "update"))


@rules(aten.scatter_add.default, types=FLOAT | INT)
def scatter_add(mb: Emit, call: Call) -> Var:
    x, index = _operands(mb, call)
    updates = _source(mb, call, x, index)
    return _result(mb, call, _along(mb, x, index, updates, call.dim(), "add"))


def _neutral(reduce: str, dtype: torch.dtype) -> float:
    """The value that a reduction leaves alone."""
    if reduce in ("sum", "mean"):
        return 0
    if reduce == "prod":
        return 1
    lowest, highest = (-np.inf, np.inf) if dtype.is_floating_point else (-(2**31), 2**31 - 1)
    return lowest if reduce == "amax" else highest


def _float_mean(call: Call) -> str | None:
    """A mean is one of floats."""
    if call["reduce"] != "mean" or call.out.dtype.is_floating_point:
        return None
    return "reduce is 'mean' of integers, which Core ML does not round as PyTorch does"


@rules(aten.scatter_reduce.two, types=FLOAT | INT, checks=[one_of("reduce", *_MODES), _float_mean])
def scatter_reduce(mb: Emit, call: Call) -> Var:
    x, index = _operands(mb, call)
    return _reduced(mb, call, x, index, _source(mb, call, x, index))


def _reduced(mb: Emit, call: Call, x: Var, index: Var, updates: Var) -> Var:
    axis, reduce, dtype = call.dim(), call["reduce"], mil_type(x)
    start = x
    if not call["include_self"]:
        neutral = fill(mb, index.shape, _neutral(reduce, call.out.dtype), dtype)
        start = _along(mb, x, index, neutral, axis, "update")
    result = _along(mb, start, index, updates, axis, _MODES[reduce])
    if reduce == "mean":
        ones = fill(mb, index.shape, 1, dtype)
        count = _along(mb, fill(mb, x.shape, 0, dtype), index, ones, axis, "add")
        count = mb.add(x=count, y=1.0) if call["include_self"] else mb.maximum(x=count, y=1.0)
        result = mb.real_div(x=result, y=count)
    return _result(mb, call, result)


@rules(aten.index_reduce.default, types=FLOAT | INT, checks=[_float_mean])
def index_reduce(mb: Emit, call: Call) -> Var:
    """scatter_reduce of whole slices: all of one slice go to the same place along the axis."""
    x, index = _operands(mb, call)
    source = mb.cast(mb.var(call["source"]), mil_type(x))
    source, axis = reshape(mb, source, source.shape or [1]), call.dim()
    along = [-1 if other == axis else 1 for other in range(len(x.shape))]
    index = broadcast(mb, mb.reshape(x=index, shape=along), source.shape)
    return _reduced(mb, call, x, from_front(mb, index, x.shape[axis]), source)


@rules(aten.put.default, types=FLOAT | INT)
def put(mb: Emit, call: Call) -> Var:
    """Written into the flattened tensor."""
    x, count = mb.var(call["self"]), call.meta("self").numel()
    places = call.meta("index").numel()
    index = from_front(mb, reshape(mb, mb.var(call["index"]), [places]), count)
    updates = reshape(mb, mb.var(call["source"], call.out.dtype), [places])
    mode = "add" if call["accumulate"] else "update"
    x = reshape(mb, x, [count])
    x = mb.scatter(data=x, indices=index, updates=updates, axis=0, mode=mode)
    return reshape(mb, x, call.out.shape)


# -- by several index tensors --------------------------------------------------------------------


def _mask(call: Call) -> int | None:
    """The position of the boolean mask among the indices, if there is one."""
    for position, node in enumerate(call["indices"]):
        if node is not None and node.meta["val"].dtype is torch.bool:
            return position
    return None


def _after_mask(call: Call, position: int) -> int:
    """How many axes of self follow those that the mask covers."""
    covered: int = call["indices"][position].meta["val"].dim()
    return call.rank("self") - position - covered


def _selects(call: Call) -> str | None:
    """A boolean mask is used only to choose between old and new values."""
    position = _mask(call)
    if position is None:
        return None
    if sum(node is not None for node in call["indices"]) > 1:
        return "a boolean mask is combined with other indices"
    values = call.meta("values")
    if values.numel() == 1 or values.dim() <= _after_mask(call, position):
        return None
    return "one value for each element that a boolean mask selects: their number is unknown"


def _values_rank(call: Call) -> str | None:
    """The written values fit Core ML's rank limit in the shape that the indices ask for."""
    if _mask(call) is not None:
        return None
    indexed = Indexed.of(call)
    rank = call.rank("self") - len(indexed.positions) + len(indexed.shape)
    if rank <= MAX_RANK:
        return None
    return f"the written values have rank {rank}; Core ML allows at most {MAX_RANK}"


@rules(
    aten.index_put.default,
    aten._unsafe_index_put.default,
    checks=[no_uint8_mask, _selects, _values_rank],
)
def index_put(mb: Emit, call: Call) -> Var:
    position = _mask(call)
    return _put_masked(mb, call, position) if position is not None else _put(mb, call)


def _put_masked(mb: Emit, call: Call, position: int) -> Var:
    x, mask = mb.var(call["self"]), mb.var(call["indices"][position])
    values = mb.var(call["values"])
    mask = reshape(mb, mask, [1] * position + list(mask.shape) + [1] * _after_mask(call, position))
    if call.meta("values").numel() == 1:
        values = reshape(mb, values, [])
    if call["accumulate"]:
        total = mb.add(x=numeric(mb, x), y=numeric(mb, values))
        values = mb.cast(total, mil_type(x))
    mask, values = broadcast(mb, mask, x.shape), broadcast(mb, values, x.shape)
    return mb.select(cond=mask, a=values, b=x)


def _put(mb: Emit, call: Call) -> Var:
    indexed, shape = Indexed.of(call), call.shape("self")
    x = indexed.merge(mb, numeric(mb, mb.var(call["self"])))
    front, count = indexed.front, prod(indexed.shape)
    before, after = x.shape[:front], x.shape[front + 1 :]
    values = mb.cast(mb.var(call["values"]), mil_type(x))
    values = broadcast(mb, values, [*before, *indexed.shape, *after])
    values = reshape(mb, values, [*before, count, *after])
    linear = indexed.linear(mb, shape)
    if isinstance(linear, np.ndarray):
        indices = np.broadcast_to(linear, indexed.shape).reshape(-1).astype(np.int32)
    else:
        indices = reshape(mb, broadcast(mb, linear, indexed.shape), [count])
    mode = "add" if call["accumulate"] else "update"
    x = mb.scatter(data=x, indices=indices, updates=values, axis=front, mode=mode)
    return mb.cast(indexed.split(mb, x, shape), mb.type_of(call.out.dtype))


@rules(aten.masked_scatter.default, moves_data=True)
def masked_scatter(mb: Emit, call: Call) -> Var:
    """The nth place that the mask selects takes the nth value of ``source``."""
    shape, count = call.out.shape, call.meta("source").numel()
    mask = broadcast(mb, mb.var(call["mask"]), shape)
    x, source = broadcast(mb, mb.var(call["self"]), shape), mb.var(call["source"], call.out.dtype)
    chosen = mb.cast(reshape(mb, mask, [prod(shape)]), "int32")
    number = mb.sub(x=mb.cumsum(x=chosen, axis=0), y=1)
    number = mb.minimum(x=mb.maximum(x=number, y=0), y=count - 1)  # where nothing is selected
    values = reshape(mb, take(mb, reshape(mb, source, [count]), number, 0), shape)
    return mb.select(cond=mask, a=values, b=x)


# -- slices --------------------------------------------------------------------------------------


def _overwrite(mb: Emit, x: Var, source: Var, axis: int, places: range) -> Var:
    """``x`` with ``source`` at ``places`` along ``axis``."""
    extent = x.shape[axis]
    if places.step == 1:
        parts = [source]
        if places.start:
            parts.insert(0, piece(mb, x, axis, 0, places.start))
        if places.stop < extent:
            parts.append(piece(mb, x, axis, places.stop, extent))
        return concat(mb, parts, axis)
    order = np.arange(extent)
    order[list(places)] = extent + np.arange(len(places))
    return take(mb, concat(mb, [x, source], axis), order, axis)


@rules(
    aten.slice_scatter.default,
    checks=[constant("start"), constant("end"), constant("step")],
    moves_data=True,
)
def slice_scatter(mb: Emit, call: Call) -> Var:
    x, source, axis = mb.var(call["self"]), mb.var(call["src"], call.out.dtype), call.dim()
    wanted = slice(call["start"], call["end"], call["step"])
    return _overwrite(mb, x, source, axis, range(*wanted.indices(x.shape[axis])))


@rules(aten.select_scatter.default, checks=[constant("index")], moves_data=True)
def select_scatter(mb: Emit, call: Call) -> Var:
    x, source, axis = mb.var(call["self"]), mb.var(call["src"], call.out.dtype), call.dim()
    source = mb.expand_dims(x=source, axes=[axis])
    index = call["index"] % x.shape[axis]
    return _overwrite(mb, x, source, axis, range(index, index + 1))


@rules(aten.diagonal_scatter.default, moves_data=True)
def diagonal_scatter(mb: Emit, call: Call) -> Var:
    """A mask of the diagonal chooses between old and new values, which are laid over it."""
    x, source = mb.var(call["self"]), mb.var(call["src"], call.out.dtype)
    first, second = call.dim("dim1"), call.dim("dim2")
    shape, rank = x.shape, len(x.shape)
    mask = np.eye(shape[first], shape[second], call["offset"], dtype=np.bool_)
    mask = mask if first < second else mask.T
    lower = max(0, -call["offset"])  # the row where the diagonal starts
    place = np.clip(np.arange(shape[first]) - lower, 0, source.shape[-1] - 1)
    order = [axis for axis in range(rank) if axis not in (first, second)] + [first, second]
    spread = take(mb, source, place, rank - 2)
    spread = broadcast(
        mb, mb.expand_dims(x=spread, axes=[rank - 1]), [shape[axis] for axis in order]
    )
    spread = transpose(mb, spread, [order.index(axis) for axis in range(rank)])
    fits = [shape[axis] if axis in (first, second) else 1 for axis in range(rank)]
    return mb.select(cond=broadcast(mb, mb.const(mask.reshape(fits), "bool"), shape), a=spread, b=x)
