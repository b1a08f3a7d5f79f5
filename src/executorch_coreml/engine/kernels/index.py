"""Slices, sorting and selection by position.

Semantics: coremltools ``mil/ops/defs/iOS15/tensor_transformation.py``, with iOS18
(``slice_update``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import openvino as ov
from openvino import opset15 as ops

from executorch_coreml.engine.kernels.in_range import from_front
from executorch_coreml.engine.kernels.operand import (
    Array,
    Operand,
    axis_of,
    cast,
    constant,
    i64,
    is_known,
    like,
    node,
    output_type,
    rank,
    scalar,
    shape,
    shape_node,
)
from executorch_coreml.engine.kernels.shape import extent_of
from executorch_coreml.engine.kernels.table import Family
from executorch_coreml.mil.types import TensorType

kernels = Family()

# Beyond every extent, and exact in float32, in which the CPU plugin selects integers.
_FAR = 1 << 30


@dataclass(frozen=True)
class _Slice:
    """numpy's ``x[start:stop:step]`` per dimension; ``squeezed`` dimensions are dropped."""

    start: Operand
    stop: Operand
    step: Array
    full: Array
    squeezed: list[int]


def _mask(mask: Operand | None, count: int, what: str) -> Array:
    return np.zeros(count, bool) if mask is None else constant(mask, what).astype(bool)


def _where(mask: Array, a: Operand, b: Operand) -> Operand:
    """``np.where`` that stays an array while it can."""
    if is_known(a) and is_known(b):
        return np.where(mask, a, b)
    if not mask.any():
        return b
    return ops.select(node(mask), cast(a, ov.Type.i64), cast(b, ov.Type.i64)).output(0)


def _resolve_slice(
    x: Operand,
    begin: Operand,
    end: Operand,
    stride: Operand | None,
    begin_mask: Operand | None,
    end_mask: Operand | None,
    squeeze_mask: Operand | None,
) -> _Slice:
    count = rank(x)
    step = np.ones(count, np.int64) if stride is None else constant(stride, "stride")
    from_start = _mask(begin_mask, count, "begin_mask")
    to_end = _mask(end_mask, count, "end_mask")
    picked = _mask(squeeze_mask, count, "squeeze_mask")
    step = np.where(picked, 1, step)
    forward = step > 0

    start = _where(from_start, np.where(forward, 0, _FAR), begin)
    stop = _where(to_end, np.where(forward, _FAR, -_FAR), end)
    if picked.any():
        stop = _where(picked, _one_behind(start), stop)
    full = from_start & to_end & (np.abs(step) == 1) & forward & ~picked
    if is_known(start) and is_known(stop):
        extents = np.array([_FAR if extent is None else extent for extent in shape(x)])
        full |= (np.asarray(start) == 0) & (np.asarray(stop) >= extents) & (step == 1) & ~picked
    return _Slice(start, stop, step, full, [int(axis) for axis in np.flatnonzero(picked)])


def _one_behind(start: Operand) -> Operand:
    """The stop of a slice of one element: nothing lies behind the last one, -1."""
    if is_known(start):
        return np.where(np.asarray(start) == -1, _FAR, np.asarray(start) + 1)
    begin = cast(start, ov.Type.i64)
    last = ops.equal(begin, i64(-1))
    return ops.select(last, i64(_FAR), ops.add(begin, i64(1))).output(0)


@kernels("slice_by_index", exact=True)
def slice_by_index(
    x: Operand,
    begin: Operand,
    end: Operand,
    stride: Operand | None = None,
    begin_mask: Operand | None = None,
    end_mask: Operand | None = None,
    squeeze_mask: Operand | None = None,
) -> ov.Output:
    at = _resolve_slice(x, begin, end, stride, begin_mask, end_mask, squeeze_mask)
    axes = [int(axis) for axis in np.flatnonzero(~at.full)]
    value = node(x)
    if axes:
        start, stop = (_take(bound, axes) for bound in (at.start, at.stop))
        value = ops.slice(value, start, stop, i64(at.step[axes].tolist()), i64(axes)).output(0)
    return ops.squeeze(value, i64(at.squeezed)).output(0) if at.squeezed else value


def _take(vector: Operand, places: list[int]) -> ov.Output:
    if is_known(vector):
        return i64([int(value) for value in np.asarray(vector)[places]])
    return ops.gather(cast(vector, ov.Type.i64), i64(places), i64(0)).output(0)


@kernels("slice_by_size", exact=True)
def slice_by_size(x: Operand, begin: Operand, size: Operand) -> ov.Node:
    """A size of -1 takes everything behind ``begin``."""
    start = from_front(cast(begin, ov.Type.i64), shape_node(x))
    length = cast(size, ov.Type.i64)
    rest = ops.less(length, i64(0))
    stop = ops.select(rest, i64(_FAR), ops.add(start, length))
    return ops.slice(node(x), start, stop, i64([1] * rank(x)))


@kernels("slice_update", since=8, exact=True)
def slice_update(
    x: Operand,
    update: Operand,
    begin: Operand,
    end: Operand,
    stride: Operand | None = None,
    begin_mask: Operand | None = None,
    end_mask: Operand | None = None,
    squeeze_mask: Operand | None = None,
) -> ov.Output:
    """Made of scatters: OpenVINO's SliceScatter returns unwritten memory (CPU plugin, 2026.4)."""
    at = _resolve_slice(x, begin, end, stride, begin_mask, end_mask, squeeze_mask)
    axes = [int(axis) for axis in np.flatnonzero(~at.full)]
    new = ops.unsqueeze(node(update), i64(at.squeezed)).output(0) if at.squeezed else node(update)
    if not axes:
        return new
    places = {axis: _places(x, at, axis, extent_of(new, axis)) for axis in axes}
    if len(axes) == 1:
        return ops.scatter_update(node(x), places[axes[0]], new, i64(axes[0])).output(0)
    return _grid_update(node(x), new, places)


def _places(x: Operand, at: _Slice, axis: int, count: ov.Output) -> ov.Output:
    """The positions along ``axis`` that the slice covers: rank 1, ``count`` of them."""
    start = ops.squeeze(_take(at.start, [axis]), i64([0])).output(0)
    extent = extent_of(x, axis)
    last = ops.subtract(extent, i64(1))
    first = ops.minimum(ops.maximum(from_front(start, extent), i64(0)), last)
    places = ops.add(first, ops.multiply(_count(count), i64(int(at.step[axis]))))
    # An update that is longer than the slice, which only a run can tell, stays inside.
    return ops.minimum(ops.maximum(places, i64(0)), last).output(0)


def _count(stop: ov.Output) -> ov.Node:
    return ops.range(i64(0), stop, i64(1), "i64")


def _grid_update(x: ov.Output, new: ov.Output, places: dict[int, ov.Output]) -> ov.Output:
    """Writes ``new`` at the cross product of ``places``; one write per last-sliced-axis row."""
    depth = max(places) + 1
    grid = ops.gather(shape_node(new), i64(list(range(depth))), i64(0))
    columns = []
    for axis in range(depth):
        along = places[axis] if axis in places else _count(extent_of(new, axis)).output(0)
        others = [other for other in range(depth) if other != axis]
        wide = ops.unsqueeze(along, i64(others)) if others else along
        columns.append(ops.unsqueeze(ops.broadcast(wide, grid), i64([-1])))
    return ops.scatter_nd_update(x, ops.concat(columns, -1), new).output(0)


@kernels("topk", exact=True)
def topk(
    x: Operand,
    out: tuple[TensorType, ...],
    k: Operand | int = 1,
    axis: Operand | int = -1,
    ascending: Operand | bool = False,
    sort: Operand | bool = True,
    return_indices: Operand | bool = True,
    output_indices_dtype: str = "int32",
) -> tuple[ov.Output, ...]:
    """k = -1 takes all. Unsorted results are allowed any order, so all are sorted; the first of
    equal elements comes first. ``out`` declares what ``output_indices_dtype`` says."""
    at, count = axis_of(axis, rank(x)), int(scalar(k, "k"))
    mode = "min" if scalar(ascending, "ascending") else "max"
    size = extent_of(x, at) if count == -1 else i64(count)
    found = ops.topk(node(x), size, at, mode, "value", "i32", stable=True)
    if not scalar(return_indices, "return_indices"):
        return (found.output(0),)
    return found.output(0), cast(found.output(1), output_type(out, 1))


@kernels("argsort", exact=True)
def argsort(x: Operand, axis: Operand | int = -1, ascending: Operand | bool = False) -> ov.Output:
    at = axis_of(axis, rank(x))
    mode = "min" if scalar(ascending, "ascending") else "max"
    found = ops.topk(node(x), extent_of(x, at), at, mode, "value", "i32", stable=True)
    return found.output(1)


@kernels("non_zero", exact=True)
def non_zero(x: Operand) -> ov.Node:
    """One row of indices per element that is not zero, in row-major order.

    OpenVINO 2026.4 drops a conversion in front of NonZero, even one that makes integers of floats
    (EliminateConvertNonZero). A comparison keeps it.
    """
    value = node(x)
    if value.get_element_type() != ov.Type.boolean:
        value = ops.not_equal(value, like(0, value)).output(0)
    return ops.transpose(ops.non_zero(value, "i32"), i64([1, 0]))
