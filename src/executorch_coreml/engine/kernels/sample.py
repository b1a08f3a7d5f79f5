"""Sampling an image at computed positions: ``crop_resize``, ``resample`` and ``affine``.

Semantics: coremltools ``mil/ops/defs/iOS15/image_resizing.py``, ``iOS16/`` and ``iOS17/``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import openvino as ov
from openvino import opset15 as ops

from executorch_coreml.engine.kernels.operand import (
    Operand,
    absolute,
    cast,
    f32,
    gather,
    i64,
    node,
    rank,
    require_extents,
    scalar,
    shape,
    text,
)
from executorch_coreml.engine.kernels.resize import grid, linear_along, sampling
from executorch_coreml.engine.kernels.shape import extent_of
from executorch_coreml.engine.kernels.table import Family
from executorch_coreml.errors import ProgramError
from executorch_coreml.mil.types import TensorType

kernels = Family()


def _image_size(x: Operand, what: str) -> list[int]:
    """Height and width of images [B, C, H, W], of which B and C may be open."""
    extents = [extent for extent in shape(x)[2:] if extent is not None]
    if len(extents) != 2 or rank(x) != 4:
        raise ProgramError(f"{what} must be of rank 4 and known height and width, got {shape(x)}")
    return extents


# Where (top, left, bottom, right), or (middle row, middle column, height, width), stand in a box.
_BOX_COLUMNS = {
    "CORNERS_HEIGHT_FIRST": (0, 1, 2, 3),
    "CORNERS_WIDTH_FIRST": (1, 0, 3, 2),
    "CENTER_SIZE_HEIGHT_FIRST": (0, 1, 2, 3),
    "CENTER_SIZE_WIDTH_FIRST": (1, 0, 3, 2),
}


@kernels("crop_resize")
def crop_resize(
    x: Operand,
    roi: Operand | None = None,
    boxes: Operand | None = None,
    box_indices: Operand | None = None,
    target_height: Operand | int = 1,
    target_width: Operand | int = 1,
    normalized_coordinates: Operand | bool = False,
    spatial_scale: Operand | float = 1.0,
    box_coordinate_mode: Operand | str = "CORNERS_HEIGHT_FIRST",
    sampling_mode: Operand | str = "DEFAULT",
    pad_value: Operand | float = 0.0,
) -> ov.Output:
    """Boxes cut out of images and resized linearly; ``pad_value`` outside the image.

    iOS15 and iOS16 give ``roi``, of shape [N, 1, 4, 1, 1] for every image or [N, 1, 5, 1, 1] with
    the index of the image first, and get [N, B or 1, C, height, width]. iOS17 gives ``boxes`` and
    ``box_indices`` (image n for box n by default) and gets [N, C, height, width].
    """
    extents = _image_size(x, "x")
    images, channels = (extent_of(x, axis) for axis in (0, 1))
    rectangles, chosen = _regions(images, roi, boxes, box_indices)
    size = int(scalar(target_height, "target_height")), int(scalar(target_width, "target_width"))
    scale = float(scalar(spatial_scale, "spatial_scale"))
    scales = [scale, scale]
    if scalar(normalized_coordinates, "normalized_coordinates"):
        scales = [scale * (extent - 1) for extent in extents]
    bounds = _bounds(rectangles, text(box_coordinate_mode, "box_coordinate_mode").upper(), scales)
    value = ops.gather(cast(x, ov.Type.f32), chosen, i64(0)).output(0)
    inside = []
    for d, (first, last) in enumerate(bounds):
        points = grid(sampling(sampling_mode), first, last, size[d])
        value = linear_along(value, points, 2 + d)
        within = ops.logical_and(
            ops.greater_equal(points, f32(0.0)), ops.less_equal(points, f32(extents[d] - 1.0))
        )
        inside.append(ops.unsqueeze(within, i64([1, 3 - d])))
    pad = f32(scalar(pad_value, "pad_value"))
    result = ops.select(ops.logical_and(*inside), value, pad)
    if roi is None:
        return result.output(0)
    per_box = images if shape(roi)[2] == 4 else i64(1)
    batch = [i64([shape(roi)[0] or 0]), *(ops.unsqueeze(n, i64(0)) for n in (per_box, channels))]
    target = ops.concat([*batch, i64(list(size))], 0)
    return ops.reshape(result, target, False).output(0)


def _regions(
    images: ov.Output, roi: Operand | None, boxes: Operand | None, box_indices: Operand | None
) -> tuple[ov.Output, ov.Output]:
    """The boxes [n, 4], one per crop, and the index of the image of each."""
    if boxes is not None:
        number = shape(boxes)[0]
        if box_indices is not None:
            return cast(boxes, ov.Type.f32), cast(box_indices, ov.Type.i64)
        if number is None:
            raise ProgramError("the number of boxes must be known without box_indices")
        return cast(boxes, ov.Type.f32), i64(list(range(number)))
    if roi is None:
        raise ProgramError("crop_resize needs roi or boxes")
    number, columns = shape(roi)[0], shape(roi)[2]
    if columns not in (4, 5) or number is None:
        raise ProgramError(f"roi must be of shape [N, 1, 4 or 5, 1, 1], got {shape(roi)}")
    flat = ops.reshape(cast(roi, ov.Type.f32), i64([number, columns]), False)
    if columns == 5:
        index = ops.convert(ops.gather(flat, i64(0), i64(1)), "i64")
        return ops.gather(flat, i64([1, 2, 3, 4]), i64(1)).output(0), index.output(0)
    crops = ops.multiply(images, i64(number))
    order = ops.range(i64(0), crops, i64(1), "i64")
    repeated = ops.gather(flat, ops.divide(order, images), i64(0))
    return repeated.output(0), ops.mod(order, images).output(0)


def _bounds(boxes: ov.Output, mode: str, scales: list[float]) -> list[tuple[ov.Output, ov.Output]]:
    """(first, last) of rows and of columns, each [n, 1], in pixels."""
    if mode not in _BOX_COLUMNS:
        raise ProgramError(f"box_coordinate_mode must be one of {list(_BOX_COLUMNS)}, got {mode!r}")
    columns = [ops.gather(boxes, i64([place]), i64(1)) for place in _BOX_COLUMNS[mode]]
    pairs = []
    for scale, one, two in zip(scales, columns[:2], columns[2:], strict=True):
        if mode.startswith("CENTER"):
            half = ops.multiply(two, f32(0.5))
            one, two = ops.subtract(one, half), ops.add(one, half)
        pairs.append(
            (ops.multiply(one, f32(scale)).output(0), ops.multiply(two, f32(scale)).output(0))
        )
    return pairs


@dataclass(frozen=True)
class _Sampler:
    """How ``resample`` reads an image; the attributes of the op, checked."""

    nearest: bool
    padding: str
    padding_value: float
    coordinates: str
    align_corners: bool

    @classmethod
    def read(
        cls,
        sampling_mode: Operand | str,
        padding_mode: Operand | str,
        padding_value: Operand | float,
        coordinates_mode: Operand | str,
        align_corners: Operand | bool,
    ) -> _Sampler:
        names = (
            _one_of(sampling_mode, "sampling_mode", "bilinear", "nearest"),
            _one_of(padding_mode, "padding_mode", "constant", "border", "reflection", "symmetric"),
            _one_of(
                coordinates_mode,
                "coordinates_mode",
                "unnormalized",
                "normalized_minus_one_to_one",
                "normalized_zero_to_one",
            ),
        )
        return cls(
            nearest=names[0] == "nearest",
            padding=names[1],
            padding_value=float(scalar(padding_value, "padding_value")),
            coordinates=names[2],
            align_corners=bool(scalar(align_corners, "align_corners")),
        )

    def grid_sample_padding(self) -> str | None:
        """The padding of OpenVINO's GridSample if that computes the same, else None.

        Of 2026.4, it rounds to the nearest pixel before it mirrors: a position halfway between two
        pixels then gives the other one.
        """
        if self.coordinates == "unnormalized" or (
            self.padding == "constant" and self.padding_value != 0
        ):
            return None
        if self.nearest and self.padding in ("reflection", "symmetric"):
            return None
        names = {
            "constant": "zeros",
            "border": "border",
            "reflection": "reflection" if self.align_corners else None,
            "symmetric": None if self.align_corners else "reflection",
        }
        return names[self.padding]

    def pixels(self, coordinates: ov.Output, extent: int) -> ov.Node | ov.Output:
        """Coordinates of one axis, in pixels of an axis of ``extent``."""
        if self.coordinates == "unnormalized":
            return coordinates
        unit: ov.Node | ov.Output = coordinates
        if self.coordinates == "normalized_minus_one_to_one":
            unit = ops.multiply(ops.add(coordinates, f32(1.0)), f32(0.5))
        if self.align_corners:
            return ops.multiply(unit, f32(extent - 1.0))
        return ops.subtract(ops.multiply(unit, f32(float(extent))), f32(0.5))

    def padded(self, pixels: ov.Node | ov.Output, extent: int) -> ov.Node | ov.Output:
        """Positions beyond the image moved to where its padding repeats it."""
        if self.padding == "constant":
            return pixels
        if self.padding == "reflection":
            pixels = _mirrored(pixels, 0.0, extent - 1.0)
        elif self.padding == "symmetric":
            pixels = _mirrored(pixels, -0.5, extent - 0.5)
        return ops.minimum(ops.maximum(pixels, f32(0.0)), f32(extent - 1.0))


def _one_of(value: Operand | str, what: str, *names: str) -> str:
    name = text(value, what).lower()
    if name not in names:
        raise ProgramError(f"{what} must be one of {list(names)}, got {name!r}")
    return name


def _mirrored(pixels: ov.Node | ov.Output, low: float, high: float) -> ov.Node | ov.Output:
    """Positions folded into [low, high] by mirrors at both ends."""
    span = high - low
    if span == 0:
        return f32(low)
    distance = ops.floor_mod(absolute(ops.subtract(pixels, f32(low))), f32(2 * span))
    folded = ops.subtract(f32(span), absolute(ops.subtract(distance, f32(span))))
    return ops.add(folded, f32(low))


def _sample(x: Operand, coordinates: ov.Output, how: _Sampler) -> ov.Output:
    """``x`` [B, C, H, W] at ``coordinates`` [B, h, w, 2] of (column, row)."""
    padding = how.grid_sample_padding()
    if padding is None:
        return _sample_by_gather(x, coordinates, how)
    if how.coordinates == "normalized_zero_to_one":
        doubled = ops.multiply(coordinates, f32(2.0))
        coordinates = ops.subtract(doubled, f32(1.0)).output(0)
    attributes = {
        "align_corners": how.align_corners,
        "mode": "nearest" if how.nearest else "bilinear",
        "padding_mode": padding,
    }
    return ops.grid_sample(cast(x, ov.Type.f32), coordinates, attributes).output(0)


def _sample_by_gather(x: Operand, coordinates: ov.Output, how: _Sampler) -> ov.Output:
    height, width = _image_size(x, "x")
    flat = ops.reshape(cast(x, ov.Type.f32), i64([0, 0, -1]), True)
    positions = [
        how.padded(how.pixels(ops.gather(coordinates, i64(c), i64(3)).output(0), extent), extent)
        for c, extent in enumerate((width, height))
    ]

    def fetch(column: ov.Node, row: ov.Node) -> ov.Node:
        """The pixels at whole positions, or ``padding_value`` outside."""
        nearest = [
            ops.minimum(ops.maximum(place, f32(0.0)), f32(extent - 1.0))
            for place, extent in ((column, width), (row, height))
        ]
        index = [ops.convert(place, "i32") for place in nearest]
        offset = ops.add(ops.multiply(index[1], ops.constant(width, ov.Type.i32)), index[0])
        pixel = gather(node(flat), offset.output(0), 2, 1)
        if how.padding != "constant":
            return pixel
        inside = ops.logical_and(ops.equal(column, nearest[0]), ops.equal(row, nearest[1]))
        return ops.select(ops.unsqueeze(inside, i64(1)), pixel, f32(how.padding_value))

    if how.nearest:
        columns, rows = (ops.round(position, "half_to_even") for position in positions)
        return fetch(columns, rows).output(0)
    low = [ops.floor(position) for position in positions]
    high = [ops.add(position, f32(1.0)) for position in low]
    far = [
        ops.unsqueeze(ops.subtract(position, whole), i64(1))
        for position, whole in zip(positions, low, strict=True)
    ]
    near = [ops.subtract(f32(1.0), weight) for weight in far]

    def row(which: ov.Node) -> ov.Node:
        left = ops.multiply(fetch(low[0], which), near[0])
        return ops.add(left, ops.multiply(fetch(high[0], which), far[0]))

    top = ops.multiply(row(low[1]), near[1])
    return ops.add(top, ops.multiply(row(high[1]), far[1])).output(0)


@kernels("resample")
def resample(
    x: Operand,
    coordinates: Operand,
    sampling_mode: Operand | str,
    padding_mode: Operand | str,
    padding_value: Operand | float,
    coordinates_mode: Operand | str,
    align_corners: Operand | bool,
) -> ov.Output:
    """Nearest positions round half to even.

    ``reflection`` mirrors at the centres of the border pixels, ``symmetric`` at their edges.
    """
    how = _Sampler.read(sampling_mode, padding_mode, padding_value, coordinates_mode, align_corners)
    return _sample(x, cast(coordinates, ov.Type.f32), how)


@kernels("affine")
def affine(
    x: Operand,
    transform_matrix: Operand,
    out: tuple[TensorType, ...],
    output_height: Operand,
    output_width: Operand,
    sampling_mode: Operand | str,
    padding_mode: Operand | str,
    padding_value: Operand | float,
    coordinates_mode: Operand | str,
    align_corners: Operand | bool,
) -> ov.Output:
    """``resample`` at (a0 x + a1 y + a2, b0 x + b1 y + b2), x and y evenly spaced."""
    how = _Sampler.read(sampling_mode, padding_mode, padding_value, coordinates_mode, align_corners)
    if how.coordinates != "normalized_minus_one_to_one":
        raise ProgramError("affine takes normalized_minus_one_to_one coordinates only")
    size = int(scalar(output_height, "output_height")), int(scalar(output_width, "output_width"))
    require_extents(size, out)
    rows, columns = (_centres(extent, how.align_corners) for extent in size)
    plane = np.stack([*np.meshgrid(columns, rows), np.ones(size)], axis=-1).reshape(1, -1, 3)
    matrices = ops.reshape(cast(transform_matrix, ov.Type.f32), i64([-1, 2, 3]), False)
    points = ops.matmul(f32(plane), matrices, False, True)
    grids = ops.reshape(points, i64([-1, *size, 2]), False)
    batch = shape(x)[0]
    if batch is None:
        raise ProgramError("the number of images must be known")
    if shape(transform_matrix)[0] != batch:
        grids = ops.broadcast(grids, i64([batch, *size, 2]))
    return _sample(x, grids.output(0), how)


def _centres(extent: int, align_corners: bool) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Evenly spaced positions: from -1 to 1, or the centres of cells that fill that interval."""
    if extent == 1:
        return np.zeros(1)
    ends = 1.0 if align_corners else (extent - 1) / extent
    return np.linspace(-ends, ends, extent)
