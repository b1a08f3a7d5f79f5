"""Writing by index along one axis, and slices written into a tensor.

A bool tensor is written as int32: MIL's scatters take numbers only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from executorch_coreml.ops.call import Call
from executorch_coreml.ops.checks import constant, constant_or_size, fits_int32, one_of
from executorch_coreml.ops.emit import Var, mil_type
from executorch_coreml.ops.index import from_front, value_of
from executorch_coreml.ops.moves import (
    atleast_1d,
    broadcast,
    clamped,
    concat,
    corner,
    fill,
    numeric,
    of_rank,
    piece,
    take,
    transpose,
)
from executorch_coreml.ops.rule import FLOAT, INT, Family
from executorch_coreml.ops.sizes import (
    Extent,
    dynamic,
    expression,
    fixed_extent,
    same,
    slice_start,
)

if TYPE_CHECKING:
    from executorch_coreml.ops.emit import Emit

aten = torch.ops.aten
rules = Family(dynamic=True, empty=True)

# -- along one axis ------------------------------------------------------------------------------

_MODES = {"sum": "add", "prod": "mul", "amax": "max", "amin": "min", "mean": "add"}
_UFUNCS: dict[str, Any] = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


def _covers(call: Call) -> str | None:
    """Beside ``dim``, the index is as long as self, or both are fixed"""
    pairs = enumerate(zip(call.shape("self"), call.shape("index"), strict=False))
    others = [pair for axis, pair in pairs if axis != call.dim()]
    if all(same([one], [other]) or not dynamic([one, other]) for one, other in others):
        return None
    return "the index may be shorter than self along a dynamic axis, which may leave nothing over"


def _along(mb: Emit, call: Call, data: Var, index: Var, updates: Var, mode: str) -> Var:
    """MIL's scatter_along_axis, for an index that may be shorter than ``data`` elsewhere."""
    axis, shape, wanted = call.dim(), call.shape("self"), _index_shape(call)
    part = corner(mb, data, shape, wanted, but=axis)
    written = _write(mb, part, index, updates, axis, mode)
    for other, extent in enumerate(wanted):
        if other == axis or same([extent], [shape[other]]):
            continue
        rest = piece(mb, data, other, extent, shape[other])
        for later in range(other + 1, len(wanted)):
            if later != axis and not same([wanted[later]], [shape[later]]):
                rest = piece(mb, rest, later, 0, wanted[later])
        written = concat(mb, [written, rest], other)
    return written


def _index_shape(call: Call) -> Sequence[Extent]:
    """How far the index reaches, of an index_reduce in all of ``source``."""
    return call.shape("source" if "source" in call.args else "index")


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
    return atleast_1d(mb, x), atleast_1d(mb, index)


def _source(mb: Emit, call: Call, like: Var) -> Var:
    """The part of ``src`` that the index covers."""
    source = mb.cast(mb.var(call["src"]), mil_type(like))
    return atleast_1d(mb, corner(mb, source, call.shape("src"), call.shape("index")))


def _constants(mb: Emit, call: Call, value: Any, like: Var) -> Var:
    """One number for each place of the index."""
    return fill(mb, _index_shape(call) or [1], value, mil_type(like))


def _result(mb: Emit, call: Call, x: Var) -> Var:
    return of_rank(mb, mb.cast(x, mb.type_of(call.out.dtype)), call.out.dim())


@rules(aten.scatter.src, checks=[_covers], moves_data=True)
def scatter_src(mb: Emit, call: Call) -> Var:
    x, index = _operands(mb, call)
    updates = _source(mb, call, x)
    return _result(mb, call, _along(mb, call, x, index, updates, "update"))


@rules(
    aten.scatter.value,
    checks=[constant("value"), fits_int32("value"), _covers],
    moves_data=True,
)
def scatter_value(mb: Emit, call: Call) -> Var:
    x, index = _operands(mb, call)
    number = torch.full((), call["value"], dtype=call.out.dtype).numpy()
    updates = _constants(mb, call, number, x)
    return _result(mb, call, _along(mb, call, x, index, updates, "update"))


@rules(aten.scatter_add.default, types=FLOAT | INT, checks=[_covers])
def scatter_add(mb: Emit, call: Call) -> Var:
    x, index = _operands(mb, call)
    updates = _source(mb, call, x)
    return _result(mb, call, _along(mb, call, x, index, updates, "add"))


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


@rules(
    aten.scatter_reduce.two,
    types=FLOAT | INT,
    checks=[one_of("reduce", *_MODES), _float_mean, _covers],
)
def scatter_reduce(mb: Emit, call: Call) -> Var:
    x, index = _operands(mb, call)
    return _reduced(mb, call, x, index, _source(mb, call, x))


def _reduced(mb: Emit, call: Call, x: Var, index: Var, updates: Var) -> Var:
    reduce = call["reduce"]
    start = x
    if not call["include_self"]:
        neutral = _constants(mb, call, _neutral(reduce, call.out.dtype), x)
        start = _along(mb, call, x, index, neutral, "update")
    result = _along(mb, call, start, index, updates, _MODES[reduce])
    if reduce == "mean":
        none, ones = fill(mb, call.shape("self") or [1], 0, mil_type(x)), _constants(mb, call, 1, x)
        count = _along(mb, call, none, index, ones, "add")
        count = mb.add(x=count, y=1.0) if call["include_self"] else mb.maximum(x=count, y=1.0)
        result = mb.real_div(x=result, y=count)
    return _result(mb, call, result)


@rules(aten.index_reduce.default, types=FLOAT | INT, checks=[_float_mean])
def index_reduce(mb: Emit, call: Call) -> Var:
    """scatter_reduce of whole slices: all of one slice go to the same place along the axis."""
    x = atleast_1d(mb, numeric(mb, mb.var(call["self"])))
    source = atleast_1d(mb, mb.cast(mb.var(call["source"]), mil_type(x)))
    axis, shape = call.dim(), call.shape("source") or (1,)
    extent = (call.shape("self") or (1,))[axis]
    index = atleast_1d(mb, value_of(mb, from_front(mb, call["index"], extent)))
    others = [other for other in range(len(shape)) if other != axis]
    index = mb.expand_dims(x=index, axes=others) if others else index
    return _reduced(mb, call, x, broadcast(mb, index, shape), source)


# -- slices --------------------------------------------------------------------------------------


def _overwrite(mb: Emit, call: Call, source: Var, count: Extent, start: Extent, step: int) -> Var:
    """``self`` with the ``count`` elements of ``source`` at ``start`` and on along ``dim``."""
    x, axis = mb.var(call["self"]), call.dim()
    extent = expression(call.shape("self")[axis])
    stop = expression(start) + (expression(count) - 1) * step + 1
    head, tail = fixed_extent(start), fixed_extent(extent - stop)
    if step == 1 and head is not None and tail is not None:
        parts = [source]
        if head:
            parts.insert(0, piece(mb, x, axis, 0, head))
        if tail:
            parts.append(piece(mb, x, axis, stop, extent))
        return concat(mb, parts, axis)
    if not dynamic([extent]):
        order = np.arange(int(extent))
        places = range(int(start), int(stop), step)
        order[list(places)] = int(extent) + np.arange(len(places))
        return take(mb, concat(mb, [x, source], axis), order, axis)
    return _laid_over(mb, call, source, count, start, step)


def _laid_over(mb: Emit, call: Call, source: Var, count: Extent, start: Extent, step: int) -> Var:
    """The same where a part of ``self`` may turn out empty, which MIL has no tensors for.

    Every element of ``self`` asks for its place in the source, and keeps its value if it has none.
    """
    x, axis, shape = mb.var(call["self"]), call.dim(), call.shape("self")
    numbers = mb.range_1d(start=0, end=mb.sizes.scalar(shape[axis]), step=1)
    ahead = mb.sub(x=numbers, y=mb.sizes.scalar(start))
    place = ahead if step == 1 else mb.floor_div(x=mb.maximum(x=ahead, y=0), y=step)
    inside = clamped(mb, place, count)
    back = inside if step == 1 else mb.mul(x=inside, y=step)
    others = [other for other in range(len(shape)) if other != axis]
    chosen = mb.equal(x=back, y=ahead)
    chosen = mb.expand_dims(x=chosen, axes=others) if others else chosen
    values = take(mb, source, inside, axis)
    return mb.select(cond=broadcast(mb, chosen, shape), a=values, b=x)


@rules(
    aten.slice_scatter.default,
    checks=[constant_or_size("start"), constant_or_size("end"), constant("step")],
    moves_data=True,
)
def slice_scatter(mb: Emit, call: Call) -> Var:
    axis = call.dim()
    start = slice_start(call["start"], call.shape("self")[axis])
    source = mb.var(call["src"], call.out.dtype)
    return _overwrite(mb, call, source, call.shape("src")[axis], start, call["step"])


@rules(aten.select_scatter.default, checks=[constant("index")], moves_data=True)
def select_scatter(mb: Emit, call: Call) -> Var:
    axis = call.dim()
    start = slice_start(call["index"], call.shape("self")[axis])
    source = mb.expand_dims(x=mb.var(call["src"], call.out.dtype), axes=[axis])
    return _overwrite(mb, call, source, 1, start, 1)


@rules(aten.diagonal_scatter.default, moves_data=True, dynamic=False)
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
