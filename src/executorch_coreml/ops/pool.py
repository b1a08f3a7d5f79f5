"""Average and maximum pooling, with fixed and with adaptive windows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from executorch_coreml.ops.axes import along_axis, batched, max_along_axis, unbatched
from executorch_coreml.ops.call import Call
from executorch_coreml.ops.checks import dtype_of
from executorch_coreml.ops.emit import Emit, Var, mil_type
from executorch_coreml.ops.moves import reshape
from executorch_coreml.ops.rule import FLOAT, INT, Family
from executorch_coreml.ops.sizes import dynamic, fixed_extent, product

aten = torch.ops.aten
rules = Family(dynamic=True)


@dataclass(frozen=True, slots=True)
class Windows:
    """Fixed windows per spatial axis.

    ``ends`` is the padding behind each axis that gives exactly the output extents: with ceil_mode
    it may exceed ``padding``, and the last window reaches beyond the padded input.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    ends: tuple[int, ...]
    sizes: tuple[int, ...]
    outs: tuple[int, ...]

    @property
    def pad(self) -> list[int]:
        return [amount for pair in zip(self.padding, self.ends, strict=True) for amount in pair]

    def positions(self, axis: int) -> list[list[int]]:
        """The input positions inside each window along one spatial axis."""
        size, kernel = self.sizes[axis], self.kernel[axis]
        starts = [o * self.stride[axis] - self.padding[axis] for o in range(self.outs[axis])]
        reach = range(0, kernel * self.dilation[axis], self.dilation[axis])
        return [[s + step for step in reach if 0 <= s + step < size] for s in starts]


def _windows(call: Call, spatial: int) -> Windows:
    def per_axis(given: int | Sequence[int]) -> tuple[int, ...]:
        values = (given,) if isinstance(given, int) else tuple(given)
        return values * spatial if len(values) == 1 else values

    kernel, padding = per_axis(call["kernel_size"]), per_axis(call["padding"])
    stride = per_axis(call["stride"] or kernel)
    dilation = per_axis(call.args.get("dilation", 1))
    sizes = call.shape("self")[-spatial:]
    outs = tuple(call.outs[0].shape[-spatial:])
    # Without ceil_mode no window ends beyond the padding, whatever the extents.
    ends = padding
    if call["ceil_mode"]:
        ends = tuple(
            max(p, (o - 1) * s + d * (k - 1) + 1 - size - p)
            for o, s, d, k, size, p in zip(
                outs, stride, dilation, kernel, sizes, padding, strict=True
            )
        )
    return Windows(kernel, stride, padding, dilation, ends, sizes, outs)


def _placed(call: Call) -> str | None:
    """The spatial extents are fixed if the window positions matter: ceil_mode, dilation, indices"""
    unknown = dynamic(call.shape("self")[-_spatial(call) :])
    dilation = call.args.get("dilation", 1)
    dilated = set(dilation if isinstance(dilation, (list, tuple)) else [dilation]) - {1}
    if not unknown or not (call["ceil_mode"] or dilated or call.reads(1)):
        return None
    return "ceil_mode, dilation and indices need fixed spatial extents"


def _adapted(call: Call) -> str | None:
    """The spatial extents are fixed, or pooled to one"""
    spatial = _spatial(call)
    fixed = not dynamic(call.shape("self")[-spatial:])
    outs = {fixed_extent(extent) for extent in call.outs[0].shape[-spatial:]}
    return None if fixed or outs == {1} else "windows that adapt need fixed spatial extents"


def _spatial(call: Call) -> int:
    """The number of spatial axes, from the name of the op: ``...pool2d...``."""
    return int(call.op._schema.name.split("pool", 1)[1][0])


# -- maximum -------------------------------------------------------------------------------------

FLOAT_INPUT = dtype_of("self", torch.float32, torch.float16)


def max_pool(mb: Emit, call: Call) -> Any:
    windows = _windows(call, _spatial(call))
    x, added = batched(mb, mb.var(call["self"]), len(windows.kernel))
    if call.reads(1):
        positions = [windows.positions(axis) for axis in range(len(windows.kernel))]
        return tuple(unbatched(mb, out, added) for out in _max_and_where(mb, x, positions))
    if set(windows.dilation) == {1}:
        out = mb.max_pool(
            x=x,
            kernel_sizes=list(windows.kernel),
            strides=list(windows.stride),
            pad_type="custom",
            pad=windows.pad,
        )
    else:
        out = x
        for axis in range(len(windows.kernel)):
            out = max_along_axis(mb, out, windows.positions(axis), 2 + axis)
    out = unbatched(mb, out, added)
    return out if isinstance(call.out, torch.Tensor) else (out, None)


def adaptive_max_pool(mb: Emit, call: Call) -> Any:
    spatial = _spatial(call)
    x, added = batched(mb, mb.var(call["self"]), spatial)
    outs = tuple(call.outs[0].shape[-spatial:])
    sizes = call.shape("self")[-spatial:]
    if set(outs) == {1} and (call.reads(1) or dynamic(sizes)):
        return tuple(unbatched(mb, out, added) for out in _overall(mb, call, x))
    if call.reads(1):
        positions = [_adaptive(size, out) for size, out in zip(sizes, outs, strict=True)]
        return tuple(unbatched(mb, out, added) for out in _max_and_where(mb, x, positions))
    even = _even(sizes, outs)
    if even:
        x = mb.max_pool(x=x, kernel_sizes=even, strides=even, pad_type="valid")
    else:
        for axis, out in enumerate(outs):
            size = int(x.shape[2 + axis])
            if size != out:
                x = max_along_axis(mb, x, _adaptive(size, out), 2 + axis)
    return unbatched(mb, x, added), None


def _overall(mb: Emit, call: Call, x: Var) -> tuple[Var, Var]:
    """The maximum of each channel, and its position; the extents may be dynamic."""
    shape, spatial = call.shape("self"), _spatial(call)
    axes = list(range(2, 2 + spatial))
    largest = mb.reduce_max(x=x, axes=axes, keep_dims=True)
    batch = (1, *shape)[-2 - spatial : -spatial]
    flat = reshape(mb, x, [*batch, product(shape[-spatial:])])
    where = mb.reduce_argmax(x=flat, axis=2, keep_dims=True)
    return largest, mb.expand_dims(x=where, axes=axes[1:]) if spatial > 1 else where


def _max_and_where(mb: Emit, x: Var, positions: list[list[list[int]]]) -> tuple[Var, Var]:
    """(maxima, their positions in the flattened spatial axes), for windows given per axis.

    MIL's pools tell no positions: each window's values are gathered, and searched. Shorter windows
    repeat their last position, which is not before the first maximum.
    """
    sizes = [int(extent) for extent in x.shape[2:]]
    windows = [
        [int(np.ravel_multi_index(place, sizes)) for place in itertools.product(*window)]
        for window in itertools.product(*positions)
    ]
    widest = max(map(len, windows))
    table = np.array([w + w[-1:] * (widest - len(w)) for w in windows], np.int32)
    channels = int(x.shape[1])
    shape = [-1, channels, *map(len, positions)]
    flat = mb.reshape(x=x, shape=[-1, channels, math.prod(sizes)])
    picked = mb.gather(x=flat, indices=table, axis=2)
    first = mb.reduce_argmax(x=picked, axis=3, keep_dims=False)
    start = mb.const(np.arange(len(windows)) * widest, "int32")
    where = mb.gather(x=table.reshape(-1), indices=mb.add(x=first, y=start), axis=0)
    largest = mb.reduce_max(x=picked, axes=[3], keep_dims=False)
    return mb.reshape(x=largest, shape=shape), mb.reshape(x=where, shape=shape)


for _n, _max, _indices, _adaptive_max in (
    (1, aten.max_pool1d, None, aten.adaptive_max_pool1d),
    (2, aten.max_pool2d, aten.max_pool2d_with_indices, aten.adaptive_max_pool2d),
    (3, aten.max_pool3d, aten.max_pool3d_with_indices, aten.adaptive_max_pool3d),
):
    rules(_max.default, types=FLOAT, checks=[_placed])(max_pool)
    if _indices is not None:
        rules(_indices.default, types=FLOAT | INT, checks=[FLOAT_INPUT, _placed])(max_pool)
    rules(_adaptive_max.default, types=FLOAT | INT, checks=[FLOAT_INPUT, _adapted])(
        adaptive_max_pool
    )


# -- average -------------------------------------------------------------------------------------


def avg_pool(mb: Emit, call: Call) -> Var:
    windows = _windows(call, _spatial(call))
    x, added = batched(mb, mb.var(call["self"]), len(windows.kernel))
    divisor = call.args.get("divisor_override")
    out = mb.avg_pool(
        x=x,
        kernel_sizes=list(windows.kernel),
        strides=list(windows.stride),
        pad_type="custom",
        pad=windows.pad,
        exclude_padding_from_average=not call["count_include_pad"] and divisor is None,
    )
    volume = int(np.prod(windows.kernel))
    if divisor is not None:
        out = mb.mul(x=out, y=mb.const(volume / divisor, mil_type(out)))
    elif call["count_include_pad"] and windows.ends != windows.padding:
        out = mb.mul(x=out, y=mb.const(volume / _counts(windows), mil_type(out)))
    return unbatched(mb, out, added)


def _counts(windows: Windows) -> np.ndarray[Any, Any]:
    """Per output, the window's part inside the padded input: what torch divides by.

    With ceil_mode the last window may reach further; shape [1, 1, *outs].
    """
    count = np.ones((1, 1), np.int64)
    for axis, out in enumerate(windows.outs):
        starts = np.arange(out) * windows.stride[axis] - windows.padding[axis]
        limit = windows.sizes[axis] + windows.padding[axis]
        inside = np.minimum(starts + windows.kernel[axis], limit) - starts
        count = count[..., None] * inside
    return count


def adaptive_avg_pool(mb: Emit, call: Call) -> Var:
    spatial = _spatial(call)
    x, added = batched(mb, mb.var(call["self"]), spatial)
    outs = tuple(call.out.shape[-spatial:])
    if set(outs) == {1}:
        x = mb.reduce_mean(x=x, axes=list(range(2, 2 + spatial)), keep_dims=True)
    elif even := _even(call.shape("self")[-spatial:], outs):
        x = mb.avg_pool(x=x, kernel_sizes=even, strides=even, pad_type="valid")
    else:
        for axis, out in enumerate(outs):
            size = int(x.shape[2 + axis])
            if size != out:
                x = along_axis(mb, x, _averages(_adaptive(size, out), size), 2 + axis)
    return unbatched(mb, x, added)


for _n, _average, *_adaptive_average in (
    (1, aten.avg_pool1d, aten.adaptive_avg_pool1d),
    (2, aten.avg_pool2d, aten.adaptive_avg_pool2d, aten._adaptive_avg_pool2d),
    (3, aten.avg_pool3d, aten.adaptive_avg_pool3d, aten._adaptive_avg_pool3d),
):
    rules(_average.default, types=FLOAT, checks=[_placed])(avg_pool)
    rules(*(op.default for op in _adaptive_average), types=FLOAT, checks=[_adapted])(
        adaptive_avg_pool
    )


# -- adaptive windows ----------------------------------------------------------------------------


def _even(sizes: Sequence[int], outs: Sequence[int]) -> list[int] | None:
    """The extents of the windows if all windows of each axis are equal and touch, else None."""
    if any(size % out for size, out in zip(sizes, outs, strict=True)):
        return None
    return [size // out for size, out in zip(sizes, outs, strict=True)]


def _adaptive(size: int, out: int) -> list[list[int]]:
    """torch's windows: from floor(i * size / out) to ceil((i + 1) * size / out)."""
    return [list(range(i * size // out, -(-(i + 1) * size // out))) for i in range(out)]


def _averages(windows: list[list[int]], size: int) -> np.ndarray[Any, Any]:
    """[windows, size]: row ``i`` averages window ``i``."""
    matrix = np.zeros((len(windows), size), np.float32)
    for row, window in enumerate(windows):
        matrix[row, window] = 1 / len(window)
    return matrix
