"""Movement of data: reshaping, joining, cutting, padding, and tensors made from shapes.

Semantics: coremltools ``mil/ops/defs/iOS15/tensor_transformation.py`` and ``tensor_operation.py``,
iOS16 (``fill_like``, ``reshape_like``, ``pixel_unshuffle``). Slices are in ``index.py``.
"""

from __future__ import annotations

from math import prod

import numpy as np
import openvino as ov
from openvino import opset15 as ops

from executorch_coreml.engine.kernels.operand import (
    Array,
    Operand,
    axis_of,
    cast,
    each,
    i64,
    integers,
    is_float,
    is_known,
    like,
    node,
    output_type,
    rank,
    require_extents,
    scalar,
    shape,
    shape_node,
    text,
)
from executorch_coreml.engine.kernels.table import Family
from executorch_coreml.engine.kernels.violations import LENGTH, Violations
from executorch_coreml.errors import ProgramError
from executorch_coreml.mil.types import TensorType, UnrankedType

kernels = Family()


@kernels("identity", exact=True)
def identity(x: Operand) -> Operand:
    return x


@kernels("reshape", exact=True)
def reshape(x: Operand, shape: Operand, opset: int) -> ov.Node:
    """0 keeps the extent of ``x`` at that place, -1 takes what is left.

    From iOS17 on places are counted from the last one, and a 0 in front of those of ``x`` is 1.
    """
    target = cast(shape, ov.Type.i64)
    count = target.get_partial_shape()[0]
    if opset < 7 or count.is_dynamic or count.get_length() == rank(x):
        return ops.reshape(node(x), target, special_zero=True)
    more = count.get_length() - rank(x)
    same = [
        i64([1] * max(more, 0)),
        ops.slice(shape_node(x), *map(i64, ([max(-more, 0)], [rank(x)], [1], [0]))),
    ]
    kept = ops.concat(same, 0)
    return ops.reshape(
        node(x), ops.select(ops.equal(target, i64(0)), kept, target), special_zero=False
    )


@kernels("reshape_like", since=6, exact=True)
def reshape_like(
    x: Operand,
    ref_tensors: Operand | tuple[Operand, ...],
    begins: Operand | tuple[Operand, ...],
    ends: Operand | tuple[Operand, ...],
    end_masks: Operand | tuple[Operand, ...],
) -> ov.Node:
    """The new shape is ``ref.shape[begin:end]`` of each reference, joined."""
    parts = []
    places = (each(begins), each(ends), each(end_masks))
    for ref, begin, end, mask in zip(each(ref_tensors), *places, strict=True):
        stop = None if scalar(mask, "end_masks") else int(scalar(end, "ends"))
        taken = range(rank(ref))[int(scalar(begin, "begins")) : stop]
        parts.append(ops.gather(shape_node(ref), i64(list(taken)), i64(0)))
    return ops.reshape(node(x), ops.concat(parts, 0), special_zero=False)


@kernels("expand_dims", exact=True)
def expand_dims(x: Operand, axes: Operand) -> ov.Node:
    at = integers(axes, "axes")
    final = rank(x) + len(at)
    return ops.unsqueeze(node(x), i64(sorted(axis_of(axis, final, "axes") for axis in at)))


@kernels("squeeze", exact=True)
def squeeze(
    x: Operand, out: tuple[TensorType | UnrankedType, ...], axes: Operand | None = None
) -> ov.Output:
    """Removes extents of 1; axes that are known to be longer stay, as in PyTorch."""
    extents = shape(x)
    if axes is None:
        removed = [axis for axis, extent in enumerate(extents) if extent == 1]
    else:
        asked = sorted({axis_of(axis, rank(x), "axes") for axis in integers(axes, "axes")})
        removed = [axis for axis in asked if extents[axis] in (1, None)]
    left = rank(x) - len(removed)
    if isinstance(out[0], TensorType) and left != len(out[0].shape):
        raise ProgramError(f"cannot squeeze a value of shape {extents} to {out[0]}")
    return ops.squeeze(node(x), i64(removed)).output(0) if removed else node(x)


@kernels("transpose", exact=True)
def transpose(x: Operand, perm: Operand) -> ov.Node:
    order = [axis_of(axis, rank(x), "perm") for axis in integers(perm, "perm")]
    return ops.transpose(node(x), i64(order))


@kernels("flatten2d", exact=True)
def flatten2d(x: Operand, axis: Operand | int = 1) -> ov.Node:
    at = int(scalar(axis, "axis"))
    before, after = shape(x)[:at], shape(x)[at:]
    if None not in before:
        target = i64([prod(extent or 0 for extent in before), -1])
    elif None not in after:
        target = i64([-1, prod(extent or 0 for extent in after)])
    else:
        ahead = ops.gather(shape_node(x), i64(list(range(rank(x))[:at])), i64(0))
        target = ops.concat([ops.reduce_prod(ahead, i64([0]), True), i64([-1])], 0).output(0)
    return ops.reshape(node(x), target, special_zero=False)


@kernels("shape", exact=True)
def shape_of(x: Operand, out: tuple[TensorType, ...]) -> ov.Output | Array:
    extents = shape(x)
    if None not in extents:
        return np.array(extents, np.int32)
    return cast(shape_node(x), output_type(out))


@kernels("concat", exact=True)
def concat(
    values: Operand | tuple[Operand, ...], axis: Operand, interleave: Operand | bool = False
) -> ov.Node:
    parts = [node(value) for value in each(values)]
    if rank(parts[0]) == 0:
        parts = [ops.unsqueeze(part, i64([0])).output(0) for part in parts]
    at = axis_of(axis, rank(parts[0]))
    if not scalar(interleave, "interleave"):
        return ops.concat(parts, at)
    stacked = stack(tuple(parts), at + 1)
    extents = [0] * at + [-1] + [extent or 0 for extent in shape(parts[0])[at + 1 :]]
    if None in shape(parts[0])[at + 1 :]:
        raise ProgramError("concat cannot interleave values of unknown extents behind the axis")
    return ops.reshape(stacked, i64(extents), special_zero=True)


@kernels("stack", exact=True)
def stack(values: Operand | tuple[Operand, ...], axis: Operand | int) -> ov.Node:
    parts = each(values)
    at = axis_of(axis, rank(parts[0]) + 1)
    return ops.concat([ops.unsqueeze(node(part), i64([at])) for part in parts], at)


@kernels("split", exact=True)
def split(
    x: Operand,
    axis: Operand,
    out: tuple[TensorType, ...],
    num_splits: Operand | None = None,
    split_sizes: Operand | None = None,
) -> tuple[ov.Output, ...]:
    at = axis_of(axis, rank(x))
    if split_sizes is not None:
        pieces = ops.variadic_split(node(x), i64(at), i64(integers(split_sizes, "split_sizes")))
    elif num_splits is not None:
        count = int(scalar(num_splits, "num_splits"))
        if count != len(out):  # as many are made, before anything else is looked at
            raise ProgramError(f"num_splits is {count}, with {len(out)} outputs")
        pieces = ops.split(node(x), i64(at), count)
    else:
        raise ProgramError("split needs num_splits or split_sizes")
    return tuple(pieces.outputs())


@kernels("tile", exact=True)
def tile(x: Operand, reps: Operand, violations: Violations) -> ov.Node:
    return ops.tile(node(x), violations.sizes(reps))


@kernels("reverse", exact=True)
def reverse(x: Operand, axes: Operand | None = None) -> ov.Node:
    over = range(rank(x)) if axes is None else integers(axes, "axes")
    at = sorted({axis_of(axis, rank(x), "axes") for axis in over})
    start, stop, step = [-1] * len(at), [np.iinfo(np.int32).min] * len(at), [-1] * len(at)
    return ops.slice(node(x), i64(start), i64(stop), i64(step), i64(at))


@kernels("reverse_sequence", exact=True)
def reverse_sequence(
    x: Operand,
    lengths: Operand,
    violations: Violations,
    seq_axis: Operand | int = 0,
    batch_axis: Operand | int = 0,
) -> ov.Node:
    along = axis_of(seq_axis, rank(x), "seq_axis")
    extent = shape(x)[along]
    limit = ops.add(extent_of(x, along), i64(1)).output(0) if extent is None else i64(extent + 1)
    legal = violations.within(lengths, limit, LENGTH)
    return ops.reverse_sequence(node(x), legal, axis_of(batch_axis, rank(x), "batch_axis"), along)


# "depth_first" keeps a channel's block together, as torch.nn.PixelShuffle does; "blocks_first" is
# tf.nn.depth_to_space.
@kernels("pixel_shuffle", exact=True)
def pixel_shuffle(x: Operand, upscale_factor: Operand) -> ov.Node:
    factor = int(scalar(upscale_factor, "upscale_factor"))
    return ops.depth_to_space(node(x), "depth_first", factor)


@kernels("pixel_unshuffle", since=6, exact=True)
def pixel_unshuffle(x: Operand, downscale_factor: Operand) -> ov.Node:
    factor = int(scalar(downscale_factor, "downscale_factor"))
    return ops.space_to_depth(node(x), "depth_first", factor)


@kernels("depth_to_space", exact=True)
def depth_to_space(x: Operand, block_size: Operand) -> ov.Node:
    return ops.depth_to_space(node(x), "blocks_first", int(scalar(block_size, "block_size")))


@kernels("space_to_depth", exact=True)
def space_to_depth(x: Operand, block_size: Operand) -> ov.Node:
    return ops.space_to_depth(node(x), "blocks_first", int(scalar(block_size, "block_size")))


@kernels("space_to_batch", exact=True)
def space_to_batch(x: Operand, block_shape: Operand, paddings: Operand) -> ov.Node:
    block, pads = integers(block_shape, "block_shape"), integers(paddings, "paddings")
    return ops.space_to_batch(
        node(x), i64([1, 1, *block]), i64([0, 0, *pads[::2]]), i64([0, 0, *pads[1::2]])
    )


@kernels("batch_to_space", exact=True)
def batch_to_space(x: Operand, block_shape: Operand, crops: Operand) -> ov.Node:
    block, cut = integers(block_shape, "block_shape"), integers(crops, "crops")
    return ops.batch_to_space(
        node(x), i64([1, 1, *block]), i64([0, 0, *cut[::2]]), i64([0, 0, *cut[1::2]])
    )


def extent_of(x: Operand, axis: int) -> ov.Output:
    """One extent of ``x`` as an int64 scalar node."""
    extent = shape(x)[axis]
    if extent is not None:
        return i64(extent)
    return ops.gather(shape_node(x), i64(axis), i64(0)).output(0)


def up_to(stop: ov.Output, step: int = 1) -> ov.Output:
    """0, step, 2 * step, ... below ``stop``: int64 of rank 1."""
    return ops.range(i64(0), stop, i64(step), "i64").output(0)


@kernels("sliding_windows", exact=True)
def sliding_windows(x: Operand, axis: Operand, size: Operand, stride: Operand | int = 1) -> ov.Node:
    at, window = axis_of(axis, rank(x)), int(scalar(size, "size"))
    last = ops.subtract(extent_of(x, at), i64(window - 1)).output(0)
    starts = up_to(last, int(scalar(stride, "stride")))
    indices = ops.add(ops.unsqueeze(starts, i64([1])), up_to(i64(window)))
    return ops.gather(node(x), indices, i64(at))


@kernels("band_part", exact=True)
def band_part(x: Operand, lower: Operand | int = -1, upper: Operand | int = -1) -> ov.Output:
    """Keeps row - column <= lower and column - row <= upper; a negative bound keeps all."""
    rows, columns = up_to(extent_of(x, -2)), up_to(extent_of(x, -1))
    below = ops.subtract(ops.unsqueeze(rows, i64([1])), columns)
    down, up = int(scalar(lower, "lower")), int(scalar(upper, "upper"))
    value = node(x)
    if down >= 0:
        value = ops.select(ops.less_equal(below, i64(down)), value, like(0, value)).output(0)
    if up >= 0:
        value = ops.select(ops.greater_equal(below, i64(-up)), value, like(0, value)).output(0)
    return value


@kernels("fill", exact=True)
def fill(
    shape: Operand,
    out: tuple[TensorType, ...],
    violations: Violations,
    value: Operand | float = 0.0,
) -> ov.Node:
    return _filled(cast(node(value), output_type(out)), violations.sizes(shape))


@kernels("fill_like", since=6, exact=True)
def fill_like(
    ref_tensor: Operand, out: tuple[TensorType, ...], value: Operand | float = 0.0
) -> ov.Node:
    return _filled(cast(node(value), output_type(out)), shape_node(ref_tensor))


def _filled(value: ov.Output, extents: ov.Output) -> ov.Node:
    """One number in a shape, which may be computed.

    Not OpenVINO's Broadcast: fused with the arithmetic behind it, it makes 1 of an extent that
    turns out 0 (CPU plugin, 2026.4).
    """
    (rank,) = extents.get_partial_shape()
    if rank.is_dynamic or extents.get_node().get_type_name() == "Constant":
        return ops.broadcast(value, extents)
    return ops.tile(ops.reshape(value, i64([1] * rank.get_length()), False), extents)


@kernels("range_1d")
def range_1d(
    start: Operand,
    end: Operand,
    step: Operand,
    out: tuple[TensorType, ...],
    violations: Violations,
) -> ov.Output:
    """Integers are exact; floats are ``start + i * step`` in float32.

    Nothing where ``step`` leads away from ``end``, as ``numpy.arange`` has it: OpenVINO's Range
    counts as far in the wrong direction, and divides by a step of 0.
    """
    known_step = scalar(step, "step") if is_known(step) else None
    if known_step == 0:
        raise ProgramError("a step of 0 leads nowhere")
    if all(is_known(bound) for bound in (start, end, step)) and not is_float(start):
        numbers = range(*(int(scalar(bound, "range_1d")) for bound in (start, end, step)))
        require_extents([len(numbers)], out)
        return node(np.arange(numbers.start, numbers.stop, numbers.step, dtype=np.int32))
    first, last, by = node(start), node(end), node(step)
    if known_step is not None:
        furthest = ops.maximum if known_step > 0 else ops.minimum
        last = furthest(last, first).output(0)
    else:
        violations.require_a_step(by)
        none = like(0, by)
        ahead = ops.select(ops.greater(by, none), ops.maximum(last, first), first)
        last = ops.select(ops.less(by, none), ops.minimum(last, first), ahead).output(0)
        by = ops.select(ops.equal(by, none), like(1, by), by).output(0)
    return ops.range(first, last, by, output_type(out).get_type_name()).output(0)


@kernels("one_hot", exact=True)
def one_hot(
    indices: Operand,
    one_hot_vector_size: Operand,
    out: tuple[TensorType, ...],
    violations: Violations,
    axis: Operand | int = -1,
    on_value: Operand | int = 1,
    off_value: Operand | int = 0,
) -> ov.Node:
    at = axis_of(axis, rank(indices) + 1)
    to = output_type(out)
    on, off = cast(node(on_value), to), cast(node(off_value), to)
    return ops.one_hot(node(indices), violations.sizes(one_hot_vector_size), on, off, at)


_PAD_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}


@kernels("pad", exact=True)
def pad(
    x: Operand, pad: Operand, mode: str = "constant", constant_val: Operand | float = 0.0
) -> ov.Node:
    """``pad`` gives (before, after) per dimension for the last dimensions of ``x``."""
    chosen = text(mode, "mode")
    if chosen not in _PAD_MODES:
        raise ProgramError(f"unknown pad mode {chosen!r}")
    if is_known(pad):
        amounts = integers(pad, "pad")
        amounts = [0] * (2 * rank(x) - len(amounts)) + amounts
        before, after = i64(amounts[::2]), i64(amounts[1::2])
    else:
        pairs = ops.reshape(cast(pad, ov.Type.i64), i64([-1, 2]), special_zero=False)
        before, after = (ops.gather(pairs, i64(side), i64(1)).output(0) for side in (0, 1))
    value = node(x)
    filler = cast(node(constant_val), value.get_element_type())
    return ops.pad(value, before, after, _PAD_MODES[chosen], filler)
