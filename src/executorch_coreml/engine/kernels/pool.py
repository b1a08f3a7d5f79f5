"""``max_pool``, ``avg_pool`` and ``l2_pool`` in one, two and three spatial dimensions.

Semantics: coremltools ``mil/ops/defs/iOS15/pool.py`` and ``_utils.spatial_dimensions_out_shape``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import openvino as ov
from openvino import opset14 as ops

from executorch_coreml.engine.kernels.conv import auto_pad, per_dimension
from executorch_coreml.engine.kernels.operand import (
    Operand,
    f32,
    integers,
    node,
    rank,
    scalar,
    shape,
)
from executorch_coreml.engine.kernels.table import Family
from executorch_coreml.errors import ProgramError

kernels = Family()


@dataclass(frozen=True)
class _Windows:
    """The windows of a pool, one entry per spatial dimension.

    ``begin`` and ``end`` pad such that rounding the number of windows down gives the right one,
    unless ``auto_pad`` computes them. ``clipped`` is, per dimension, how many elements of each
    window lie within the input and the padding the program asked for; None where all do.
    """

    sizes: list[int]
    strides: list[int]
    begin: list[int]
    end: list[int]
    auto_pad: str
    clipped: tuple[list[int], ...] | None

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
        end, clipped = _rounded_up(shape(x)[2:], sizes, steps, begin, end)
        return cls(sizes, steps, begin, end, "explicit", clipped)


def _rounded_up(
    extents: tuple[int | None, ...],
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
        if extent is None:
            raise ProgramError("the spatial extents must be known with ceil_mode")
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
        ops.multiply(node(x), f32(0.5)),
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
    pooled = _average(node(x), windows, exclude)
    if exclude or windows.clipped is None:
        return pooled
    correction = np.ones([1] * rank(x))
    for d, (size, counts) in enumerate(zip(windows.sizes, windows.clipped, strict=True)):
        spread = [1] * rank(x)
        spread[2 + d] = -1
        correction = correction * (size / np.asarray(counts)).reshape(spread)
    return pooled if (correction == 1).all() else ops.multiply(pooled, f32(correction))


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
    value = node(x)
    mean = _average(ops.multiply(value, value), windows, False)
    return ops.sqrt(ops.multiply(mean, f32(float(np.prod(windows.sizes)))))
