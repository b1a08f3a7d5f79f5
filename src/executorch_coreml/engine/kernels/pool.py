"""``max_pool``, ``avg_pool`` and ``l2_pool`` in one, two and three spatial dimensions.

Semantics: coremltools ``mil/ops/defs/iOS15/pool.py`` and ``_utils.spatial_dimensions_out_shape``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import openvino as ov
from openvino import opset14 as ops

from executorch_coreml.engine.kernels.conv import auto_pad, per_dimension
from executorch_coreml.engine.kernels.operand import (
    Operand,
    f32,
    i64,
    integers,
    node,
    rank,
    scalar,
    shape,
)
from executorch_coreml.engine.kernels.shape import extent_of
from executorch_coreml.engine.kernels.table import Family
from executorch_coreml.errors import ProgramError

kernels = Family()


@dataclass(frozen=True)
class _Windows:
    """The windows of a pool, one entry per spatial dimension.

    ``begin`` and ``end`` pad such that rounding the number of windows down gives the right one,
    unless ``auto_pad`` computes them. ``clipped`` is, per dimension, how many elements of each
    window lie within the input and the padding the program asked for; None where all do. Where
    that depends on extents that only a run knows, ``late`` computes it.
    """

    sizes: list[int]
    strides: list[int]
    begin: list[int]
    end: list[int]
    auto_pad: str
    clipped: tuple[list[int], ...] | None
    late: tuple[_LateWindows, ...] = ()

    @classmethod
    def read(
        cls,
        x: Operand,
        kernel_sizes: Operand,
        strides: Operand | None,
        pad_type: Operand | str,
        pad: Operand | None,
        ceil_mode: Operand | bool,
    ) -> _Windows:
        spatial = rank(x) - 2
        sizes = integers(kernel_sizes, "kernel_sizes")
        steps = per_dimension(strides, spatial, 1, "strides")
        mode = auto_pad(pad_type)
        amounts = per_dimension(pad if mode == "explicit" else None, 2 * spatial, 0, "pad")
        begin, end = amounts[::2], amounts[1::2]
        if not scalar(ceil_mode, "ceil_mode"):
            return cls(sizes, steps, begin, end, mode, None)
        if mode.startswith("same"):
            raise ProgramError("ceil_mode goes with pad_type valid or custom only")
        extents = [extent for extent in shape(x)[2:] if extent is not None]
        if len(extents) < spatial:
            late = tuple(
                _LateWindows(extent_of(x, 2 + d), sizes[d], steps[d], begin[d], end[d])
                for d in range(spatial)
            )
            return cls(sizes, steps, begin, [0] * spatial, "explicit", None, late)
        end, clipped = _rounded_up(extents, sizes, steps, begin, end)
        return cls(sizes, steps, begin, end, "explicit", clipped)

    def padded(self, x: ov.Output, value: float) -> ov.Output:
        """``x`` with room for the windows whose number only a run knows."""
        if not self.late:
            return x
        after = [ops.unsqueeze(each.room(), i64(0)) for each in self.late]
        nothing = i64([0, 0])
        ends = ops.concat([nothing, *after], 0)
        return ops.pad(x, i64([0] * rank(x)), ends, "constant", f32(value)).output(0)


class _LateWindows:
    """The windows of ``ceil_mode`` along one dimension, as :func:`_rounded_up` has them, by nodes.

    Args:
        extent: Of the input: int64, a scalar.
    """

    def __init__(self, extent: ov.Output, size: int, stride: int, before: int, after: int):
        self.extent = extent
        self.size, self.stride, self.before, self.after = size, stride, before, after
        beyond = ops.add(extent, i64(before + after - size + stride - 1))
        count = ops.add(ops.divide(beyond, i64(stride)), i64(1))
        if before + after:
            start = ops.multiply(ops.subtract(count, i64(1)), i64(stride))
            dropped = ops.greater_equal(start, ops.add(extent, i64(before)))
            count = ops.subtract(count, ops.convert(dropped, "i64"))
        self.count = count.output(0)

    def room(self) -> ov.Output:
        """How much the last window reaches beyond the input."""
        reach = ops.multiply(ops.subtract(self.count, i64(1)), i64(self.stride))
        missing = ops.subtract(ops.add(reach, i64(self.size - self.before)), self.extent)
        return ops.maximum(missing, i64(0)).output(0)

    def counts(self, exclude_padding: bool) -> ov.Output:
        """How many elements of each window count: those of the input, or of the padding too."""
        starts = ops.multiply(ops.range(i64(0), self.count, i64(1), "i64"), i64(self.stride))
        limit = ops.add(self.extent, i64(self.before + (0 if exclude_padding else self.after)))
        ends = ops.minimum(ops.add(starts, i64(self.size)), limit)
        first = ops.maximum(starts, i64(self.before)) if exclude_padding else starts
        return ops.subtract(ends, first).output(0)


def _rounded_up(
    extents: Sequence[int],
    sizes: list[int],
    strides: list[int],
    begin: list[int],
    end: list[int],
) -> tuple[list[int], tuple[list[int], ...]]:
    """The end padding that makes room for the windows of ``ceil_mode``, and what they clip to.

    A last window that starts in the end padding is dropped, but only if there is any padding.
    """
    ends, clipped = [], []
    for extent, size, stride, before, after in zip(
        extents, sizes, strides, begin, end, strict=True
    ):
        padded = before + extent + after
        count = -(-(padded - size) // stride) + 1
        if before + after > 0 and (count - 1) * stride >= before + extent:
            count -= 1
        ends.append(max((count - 1) * stride + size - before - extent, 0))
        clipped.append([min(i * stride + size, padded) - i * stride for i in range(count)])
    return ends, tuple(clipped)


def _average(x: ov.Output | ov.Node, windows: _Windows, exclude_padding: bool) -> ov.Node:
    return ops.avg_pool(
        x,
        windows.strides,
        windows.begin,
        windows.end,
        windows.sizes,
        exclude_padding,
        "floor",
        windows.auto_pad,
    )


@kernels("max_pool", exact=True)
def max_pool(
    x: Operand,
    kernel_sizes: Operand,
    pad_type: Operand | str,
    strides: Operand | None = None,
    pad: Operand | None = None,
    ceil_mode: Operand | bool = False,
) -> ov.Output:
    """Padding never wins; NaN is lost, as OpenVINO 2026.4's pool drops it.

    That pool starts from the lowest float, which it gives back for a window of -inf alone: pooling
    halves and doubling makes it -inf, and changes no other value. The halving joins a convolution
    before it, so that it costs next to nothing; finding the NaN would take a second pool.
    """
    windows = _Windows.read(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    pooled = ops.max_pool(
        ops.multiply(windows.padded(node(x), -np.inf), f32(0.5)),
        windows.strides,
        [1] * len(windows.sizes),
        windows.begin,
        windows.end,
        windows.sizes,
        "floor",
        windows.auto_pad,
    )
    return ops.multiply(pooled.output(0), f32(2.0)).output(0)


@kernels("avg_pool")
def avg_pool(
    x: Operand,
    kernel_sizes: Operand,
    pad_type: Operand | str,
    strides: Operand | None = None,
    pad: Operand | None = None,
    exclude_padding_from_average: Operand | bool = False,
    ceil_mode: Operand | bool = False,
) -> ov.Node:
    """Divides by the elements of a window, the padding's zeros counted unless excluded.

    What ``ceil_mode`` lets a window reach beyond the padding never counts, as in PyTorch.
    """
    windows = _Windows.read(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    exclude = bool(scalar(exclude_padding_from_average, "exclude_padding_from_average"))
    if windows.late:
        return _late_average(windows.padded(node(x), 0.0), windows, exclude)
    pooled = _average(node(x), windows, exclude)
    if exclude or windows.clipped is None:
        return pooled
    correction = np.ones([1] * rank(x))
    for d, (size, counts) in enumerate(zip(windows.sizes, windows.clipped, strict=True)):
        spread = [1] * rank(x)
        spread[2 + d] = -1
        correction = correction * (size / np.asarray(counts)).reshape(spread)
    return pooled if (correction == 1).all() else ops.multiply(pooled, f32(correction))


def _late_average(x: ov.Output, windows: _Windows, exclude: bool) -> ov.Node:
    """The average of padded ``x``, over the elements that count."""
    pooled = _average(x, windows, False)
    for d, (size, late) in enumerate(zip(windows.sizes, windows.late, strict=True)):
        counts = ops.convert(late.counts(exclude), "f32")
        spread = [1] * rank(x)
        spread[2 + d] = -1
        factor = ops.reshape(ops.divide(f32(size), counts), i64(spread), False)
        pooled = ops.multiply(pooled, factor)
    return pooled


@kernels("l2_pool")
def l2_pool(
    x: Operand,
    kernel_sizes: Operand,
    pad_type: Operand | str,
    strides: Operand | None = None,
    pad: Operand | None = None,
    ceil_mode: Operand | bool = False,
) -> ov.Node:
    """The square root of the sum of squares in each window."""
    windows = _Windows.read(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    value = windows.padded(node(x), 0.0)
    mean = _average(ops.multiply(value, value), windows, False)
    return ops.sqrt(ops.multiply(mean, f32(float(np.prod(windows.sizes)))))
