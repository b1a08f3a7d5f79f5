"""Resizing and cropping: ``upsample_*``, ``resize*``, ``crop`` and ``crop_resize``.

Semantics: coremltools ``mil/ops/defs/iOS15/image_resizing.py``, ``iOS16/`` and ``iOS17/``, and
``SamplingMode`` in ``mlmodel/format/NeuralNetwork.proto``. With X the extent of the input, N that
of the output and both inclusive ends clamped to, point i lies at

=======================  =============================  ===============================
sampling mode            first point                    spacing
=======================  =============================  ===============================
STRICT_ALIGN_CORNERS     0                              (X - 1) / (N - 1)
ALIGN_CORNERS            0, or (X - 1) / 2 if N = 1     (X - 1) / (N - 1)
DEFAULT                  0                              X / N
OFFSET_CORNERS           half the spacing               max(1, X - 1) / N
UNALIGN_CORNERS          half the spacing - 1/2         X / N
=======================  =============================  ===============================

Nearest neighbours: ``upsample_nearest_neighbor`` takes floor(i X / N), ``resize_nearest_neighbor``
and ``resize`` in DEFAULT mode floor((i + 1/2) X / N) (what the TensorFlow front end of coremltools
lowers to and tests them as), ``resize`` in other modes the nearest to the point above, ties up
(for UNALIGN_CORNERS that is the same).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import openvino as ov
from openvino import opset15 as ops

from executorch_coreml.engine.kernels.operand import (
    Operand,
    cast,
    f32,
    gather,
    i64,
    integers,
    is_known,
    node,
    output_type,
    rank,
    scalar,
    shape_node,
    text,
)
from executorch_coreml.engine.kernels.operand import shape as extents_of
from executorch_coreml.engine.kernels.table import Family
from executorch_coreml.errors import ProgramError
from executorch_coreml.mil.types import TensorType

kernels = Family()

# An extent: a number, or a rank-0 int64 node where it depends on the input.
Extent: TypeAlias = "int | ov.Output"

# Sampling mode -> the coordinate transformation of OpenVINO's Interpolate with the same points.
# ALIGN_CORNERS is like STRICT_ALIGN_CORNERS unless N = 1; OFFSET_CORNERS has no counterpart.
_TRANSFORMATIONS: dict[str, str | None] = {
    "STRICT_ALIGN_CORNERS": "align_corners",
    "ALIGN_CORNERS": "align_corners",
    "DEFAULT": "asymmetric",
    "OFFSET_CORNERS": None,
    "UNALIGN_CORNERS": "half_pixel",
}


def sampling(mode: Operand | str) -> str:
    """The name of a sampling mode.

    Raises:
        ProgramError: MIL has no such mode.
    """
    name = text(mode, "sampling_mode").upper()
    if name not in _TRANSFORMATIONS:
        raise ProgramError(f"sampling_mode must be one of {list(_TRANSFORMATIONS)}, got {name!r}")
    return name


def grid(mode: str, first: ov.Output, last: ov.Output, count: Extent) -> ov.Output:
    """``count`` points in [first, last] (float32, broadcast against a new last dimension)."""
    length = ops.subtract(last, first)
    number = cast(i64(count) if isinstance(count, int) else count, ov.Type.f32)
    start: ov.Node | ov.Output = f32(0.0)
    if mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        spacing = ops.divide(length, ops.maximum(ops.subtract(number, f32(1.0)), f32(1.0)))
        if mode == "ALIGN_CORNERS":
            alone = ops.convert(ops.equal(number, f32(1.0)), "f32")
            start = ops.multiply(length, ops.multiply(alone, f32(0.5)))
    elif mode == "OFFSET_CORNERS":
        spacing = ops.divide(ops.maximum(length, f32(1.0)), number)
        start = ops.multiply(spacing, f32(0.5))
    else:
        spacing = ops.divide(ops.add(length, f32(1.0)), number)
        if mode == "UNALIGN_CORNERS":
            start = ops.subtract(ops.multiply(spacing, f32(0.5)), f32(0.5))
    steps = ops.range(f32(0.0), number, f32(1.0), "f32")
    points = ops.add(ops.add(start, ops.multiply(steps, spacing)), first)
    lower, upper = ops.minimum(first, last), ops.maximum(first, last)
    return ops.minimum(ops.maximum(points, lower), upper).output(0)


def _extent(x: Operand, axis: int) -> Extent:
    known = extents_of(x)[axis]
    if known is not None:
        return known
    return ops.gather(shape_node(x), i64(axis), i64(0)).output(0)


def _last(extent: Extent) -> ov.Output:
    """The position of the last element, as float32."""
    end = i64(extent) if isinstance(extent, int) else extent
    return ops.subtract(ops.convert(end, "f32"), f32(1.0)).output(0)


def linear_along(x: ov.Output, points: ov.Output, axis: int) -> ov.Output:
    """``x`` at fractional positions along ``axis``, interpolated linearly.

    ``points`` is of shape [n], or [batch, n] with positions of their own for each x[b].
    """
    batched = rank(points) - 1
    last = _last(_extent(x, axis))
    below = ops.floor(points)
    above = ops.add(below, f32(1.0))
    spread = [*([-1] * batched), *([1] * (axis - batched)), -1, *([1] * (rank(x) - 1 - axis))]
    if batched:
        spread[0] = 0
    fraction = ops.reshape(ops.subtract(points, below), i64(spread), True)

    def take(position: ov.Node) -> ov.Node:
        index = ops.minimum(ops.maximum(position, f32(0.0)), last)
        return gather(x, ops.convert(index, "i32").output(0), axis, batched)

    rest = ops.subtract(f32(1.0), fraction)
    weighted = ops.multiply(take(below), rest), ops.multiply(take(above), fraction)
    return ops.add(*weighted).output(0)


def _resize_linear(x: Operand, sizes: Sequence[Extent], mode: str) -> ov.Output:
    """The trailing dimensions of ``x`` resized: by one Interpolate where that is exact."""
    value, first = cast(x, ov.Type.f32), rank(x) - len(sizes)
    transformation = _TRANSFORMATIONS[mode]
    known = [size for size in sizes if isinstance(size, int)]
    exact = len(known) == len(sizes) <= 2 and (mode != "ALIGN_CORNERS" or 1 not in known)
    if exact and transformation is not None:
        axes = i64(list(range(first, rank(x))))
        return ops.interpolate(
            value,
            i64(known),
            "linear_onnx",
            "sizes",
            coordinate_transformation_mode=transformation,
            axes=axes,
        ).output(0)
    for axis, size in enumerate(sizes, first):
        points = grid(mode, f32(0.0), _last(_extent(value, axis)), size)
        value = linear_along(value, points, axis)
    return value


def _nearest_indices(rule: str, extent: Extent, size: Extent) -> ov.Node:
    """The position to copy each of ``size`` elements from; ``rule`` is a sampling mode, or
    ``"floor"`` for floor(i X / N), or ``"centre"`` for floor((i + 1/2) X / N)."""
    if rule not in ("floor", "centre"):
        points = grid(rule, f32(0.0), _last(extent), size)
        return ops.convert(ops.floor(ops.add(points, f32(0.5))), "i64")
    old, new = (i64(n) if isinstance(n, int) else n for n in (extent, size))
    order = ops.range(i64(0), new, i64(1), "i64")
    doubled = ops.multiply(order, i64(2))
    if rule == "centre":
        doubled = ops.add(doubled, i64(1))
    return ops.divide(ops.multiply(doubled, old), ops.multiply(new, i64(2)))


def _resize_nearest(x: Operand, sizes: Sequence[Extent], rule: str) -> ov.Output:
    """As :func:`_resize_linear`, by copying.

    Whole factors need one Interpolate; its half-pixel positions are then never at a tie, unlike
    the asymmetric ones, which float32 may move below a whole number.
    """
    value, first = node(x), rank(x) - len(sizes)
    old = [_extent(x, axis) for axis in range(first, rank(x))]
    factors = [
        n // o if isinstance(n, int) and isinstance(o, int) and n % o == 0 else 0
        for n, o in zip(sizes, old, strict=True)
    ]
    if rule in ("floor", "centre") and len(sizes) <= 2 and 0 not in factors:
        axes = i64(list(range(first, rank(x))))
        known = [size for size in sizes if isinstance(size, int)]
        return ops.interpolate(value, i64(known), "nearest", "sizes", axes=axes).output(0)
    for axis, (extent, size) in enumerate(zip(old, sizes, strict=True), first):
        indices = _nearest_indices(rule, extent, size)
        value = ops.gather(value, indices, i64(axis)).output(0)
    return value


def _scaled_sizes(x: Operand, *factors: Operand | float) -> list[Extent]:
    """The extents of the last two dimensions times ``factors``, rounded down."""
    sizes: list[Extent] = []
    for axis, factor in zip((rank(x) - 2, rank(x) - 1), factors, strict=True):
        extent, scale = _extent(x, axis), np.float32(scalar(factor, "scale factor"))
        if isinstance(extent, int):
            sizes.append(int(np.floor(scale * np.float32(extent))))
        else:
            product = ops.multiply(ops.convert(extent, "f32"), f32(float(scale)))
            sizes.append(ops.convert(ops.floor(product), "i64").output(0))
    return sizes


@kernels("upsample_nearest_neighbor", exact=True)
def upsample_nearest_neighbor(
    x: Operand,
    scale_factor_height: Operand | float = 1,
    scale_factor_width: Operand | float = 1,
) -> ov.Output:
    sizes = _scaled_sizes(x, scale_factor_height, scale_factor_width)
    return _resize_nearest(x, sizes, "floor")


@kernels("upsample_bilinear")
def upsample_bilinear(
    x: Operand,
    scale_factor_height: Operand | float = 1,
    scale_factor_width: Operand | float = 1,
    align_corners: Operand | bool = True,
    half_pixel_centers: Operand | bool | None = None,
) -> ov.Output:
    """``half_pixel_centers`` (iOS16) is the opposite of ``align_corners`` if left out."""
    align = bool(scalar(align_corners, "align_corners"))
    half = not align
    if half_pixel_centers is not None:
        half = bool(scalar(half_pixel_centers, "half_pixel_centers"))
    if align and half:
        raise ProgramError("align_corners and half_pixel_centers exclude each other")
    mode = "STRICT_ALIGN_CORNERS" if align else "UNALIGN_CORNERS" if half else "DEFAULT"
    return _resize_linear(x, _scaled_sizes(x, scale_factor_height, scale_factor_width), mode)


@kernels("resize_nearest_neighbor", exact=True)
def resize_nearest_neighbor(
    x: Operand, target_size_height: Operand, target_size_width: Operand
) -> ov.Output:
    sizes = [
        int(scalar(target_size_height, "target_size_height")),
        int(scalar(target_size_width, "target_size_width")),
    ]
    return _resize_nearest(x, sizes, "centre")


@kernels("resize_bilinear")
def resize_bilinear(
    x: Operand,
    target_size_height: Operand | int = 1,
    target_size_width: Operand | int = 1,
    sampling_mode: Operand | str = "DEFAULT",
) -> ov.Output:
    sizes = [
        int(scalar(target_size_height, "target_size_height")),
        int(scalar(target_size_width, "target_size_width")),
    ]
    return _resize_linear(x, sizes, sampling(sampling_mode))


@kernels("resize", since=7)
def resize(
    x: Operand,
    shape: Operand,
    resized_dims: Operand,
    out: tuple[TensorType, ...],
    interpolation_mode: Operand | str = "LINEAR",
    sampling_mode: Operand | str = "DEFAULT",
) -> ov.Output:
    """The last ``resized_dims`` dimensions of ``x`` take the last extents of ``shape``.

    0 keeps the extent of ``x``. ``shape`` may be computed.
    """
    count = int(scalar(resized_dims, "resized_dims"))
    sizes = _target_sizes(x, shape, count)
    mode, kind = sampling(sampling_mode), text(interpolation_mode, "interpolation_mode").upper()
    if kind == "NEAREST_NEIGHBOR":
        rule = "centre" if mode in ("DEFAULT", "UNALIGN_CORNERS") else mode
        return _resize_nearest(x, sizes, rule)
    if kind != "LINEAR":
        raise ProgramError(f"interpolation_mode must be LINEAR or NEAREST_NEIGHBOR, got {kind!r}")
    return cast(_resize_linear(x, sizes, mode), output_type(out))


def _target_sizes(x: Operand, shape: Operand, count: int) -> list[Extent]:
    length = extents_of(shape)[0]
    if length is None or not 0 <= count <= min(length, rank(x)):
        raise ProgramError(f"resized_dims {count} exceeds the length of shape or the rank of x")
    old = [_extent(x, axis) for axis in range(rank(x) - count, rank(x))]
    if is_known(shape):
        new = integers(shape, "shape")[length - count :]
        return [n or o for n, o in zip(new, old, strict=True)]
    sizes: list[Extent] = []
    for place, extent in enumerate(old, length - count):
        asked = ops.gather(cast(shape, ov.Type.i64), i64(place), i64(0))
        keep = ops.equal(asked, i64(0))
        kept = i64(extent) if isinstance(extent, int) else extent
        sizes.append(ops.select(keep, kept, asked).output(0))
    return sizes


@kernels("crop", exact=True)
def crop(x: Operand, crop_height: Operand, crop_width: Operand) -> ov.Node:
    """Cuts (first, last) rows and columns off the last two dimensions."""
    cuts = integers(crop_height, "crop_height"), integers(crop_width, "crop_width")
    if any(len(cut) != 2 for cut in cuts):
        raise ProgramError(f"crop_height and crop_width need two numbers each, got {cuts}")
    end = np.iinfo(np.int32).max
    starts = i64([cut[0] for cut in cuts])
    stops = i64([-cut[1] if cut[1] else end for cut in cuts])
    return ops.slice(node(x), starts, stops, i64([1, 1]), i64([rank(x) - 2, rank(x) - 1]))
