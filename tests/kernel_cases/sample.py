"""Sampling at computed positions, against numpy references from the documentation and PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from kernel_case import KernelCase, randn, uniform
from kernel_cases.resize import MODES, grid, linear


def _cropped(
    x: np.ndarray,
    boxes: np.ndarray,
    indices: np.ndarray,
    size: tuple[int, int],
    mode: str,
    pad: float,
) -> np.ndarray:
    """Boxes (top, left, bottom, right) in pixels, one image each."""
    result = []
    for box, index in zip(boxes.astype(np.float64), indices, strict=True):
        image = x[index].astype(np.float64)
        inside = []
        for d in range(2):
            points = grid(mode, box[d], box[2 + d], size[d])
            image = linear(image, points, 1 + d)
            inside.append((points >= 0) & (points <= x.shape[2 + d] - 1))
        result.append(np.where(inside[0][:, None] & inside[1], image, pad))
    return np.stack(result).astype(np.float32)


# (top, left, bottom, right), on images of 6 x 8; eighths, so that fp16 boxes are the same.
BOXES = np.float32([[1, 1, 4, 5], [0, 2, 5, 7], [2.125, 0.5, 3.375, 6.25], [4, 5, 1, 2]])
OUTSIDE = np.float32([[-1, 1, 4, 9], [3, -2, 8, 5]])
IMAGES = (2, 3, 6, 8)


def _crop_boxes(
    case: str,
    boxes: np.ndarray,
    size: tuple[int, int] = (3, 4),
    mode: str = "ALIGN_CORNERS",
    pixels: np.ndarray | None = None,
    pad: float = 0.0,
    computed: bool = False,
    **attributes: Any,
) -> KernelCase:
    """iOS17: ``pixels`` are the boxes that ``boxes`` stand for in the coordinates given."""
    indices = np.arange(len(boxes), dtype=np.int32) % 2

    def build(mb: Any, t: Any, x: Any, *rest: Any) -> Any:
        return mb.crop_resize(
            x=x,
            boxes=rest[0] if rest else t(boxes),
            box_indices=indices,
            target_height=size[0],
            target_width=size[1],
            sampling_mode=mode,
            pad_value=t(pad),
            **attributes,
        )

    def expect(x: np.ndarray, *_: np.ndarray) -> np.ndarray:
        return _cropped(x, boxes if pixels is None else pixels, indices, size, mode, pad)

    inputs = (randn(*IMAGES), boxes) if computed else (randn(*IMAGES),)
    return KernelCase(f"crop_resize-{case}", "crop_resize", build, inputs, expect, atol=1e-5)


def _crop_regions(case: str, target: str, with_index: bool, images: int) -> KernelCase:
    """iOS15 and iOS16: boxes as ``roi``."""
    count = len(BOXES)
    indices = np.arange(count) % images
    columns = np.concatenate([indices[:, None], BOXES], 1) if with_index else BOXES
    roi = columns.astype(np.float32).reshape(count, 1, -1, 1, 1)

    def build(mb: Any, t: Any, x: Any) -> Any:
        return mb.crop_resize(
            x=x, roi=t(roi), target_height=3, target_width=4, sampling_mode="ALIGN_CORNERS"
        )

    def expect(x: np.ndarray) -> np.ndarray:
        every = [indices] if with_index else [np.full(count, i) for i in range(images)]
        crops = [_cropped(x, BOXES, one, (3, 4), "ALIGN_CORNERS", 0.0) for one in every]
        return np.stack(crops, 1)

    x = randn(images, 3, 6, 8)
    return KernelCase(f"crop_resize-{case}", "crop_resize", build, (x,), expect, target, atol=1e-5)


def _mirror(p: np.ndarray, low: float, high: float) -> np.ndarray:
    """Reflected one border at a time until inside."""
    if high == low:
        return np.full_like(p, low)
    while ((p < low) | (p > high)).any():
        p = np.where(p < low, 2 * low - p, p)
        p = np.where(p > high, 2 * high - p, p)
    return p


def _sampled(
    x: np.ndarray, coordinates: np.ndarray, nearest: bool, padding: str, value: float, **a: Any
) -> np.ndarray:
    """Pixel by pixel, from the documentation of resample."""
    batch, channels, height, width = x.shape
    positions = []
    for c, extent in enumerate((width, height)):
        p = coordinates[..., c].astype(np.float64)
        if a["coordinates_mode"] != "unnormalized":
            unit = p if a["coordinates_mode"] == "normalized_zero_to_one" else (p + 1) / 2
            p = unit * (extent - 1) if a["align_corners"] else unit * extent - 0.5
        if padding == "reflection":
            p = _mirror(p, 0, extent - 1)
        elif padding == "symmetric":
            p = _mirror(p, -0.5, extent - 0.5)
        positions.append(p if padding == "constant" else np.clip(p, 0, extent - 1))

    def pixel(b: int, column: int, row: int) -> Any:
        if padding == "constant" and not (0 <= column < width and 0 <= row < height):
            return np.full(channels, value)
        return x[b, :, min(max(row, 0), height - 1), min(max(column, 0), width - 1)]

    result = np.empty((batch, channels, *coordinates.shape[1:3]))
    for b, i, j in np.ndindex(batch, *coordinates.shape[1:3]):
        p, q = positions[0][b, i, j], positions[1][b, i, j]
        if nearest:
            result[b, :, i, j] = pixel(b, round(p), round(q))
            continue
        left, top = int(np.floor(p)), int(np.floor(q))
        result[b, :, i, j] = sum(
            pixel(b, left + dx, top + dy)
            * ((p - left) if dx else (1 - p + left))
            * ((q - top) if dy else (1 - q + top))
            for dx in (0, 1)
            for dy in (0, 1)
        )
    return result.astype(np.float32)


def _resample(
    kind: str, padding: str, coordinates_mode: str, align: bool, value: float = 0.0, **options: Any
) -> KernelCase:
    if coordinates_mode == "unnormalized":
        coordinates = uniform(2, 3, 4, 2, low=-6, high=11)
    elif coordinates_mode == "normalized_zero_to_one":
        coordinates = uniform(2, 3, 4, 2, low=-1, high=2)
    else:
        coordinates = uniform(2, 3, 4, 2, low=-2, high=2)
    attributes = {"coordinates_mode": coordinates_mode, "align_corners": align}

    def build(mb: Any, t: Any, x: Any, coordinates: Any) -> Any:
        return mb.resample(
            x=x,
            coordinates=coordinates,
            sampling_mode=kind,
            padding_mode=padding,
            padding_value=t(value),
            **attributes,
        )

    def expect(x: np.ndarray, c: np.ndarray) -> np.ndarray:
        return _sampled(x, c, kind == "nearest", padding, value, **attributes)

    return KernelCase(
        f"resample-{kind}-{padding}-{value:g}-{coordinates_mode}-align-{align}",
        "resample",
        build,
        (randn(2, 3, 4, 5), coordinates),
        expect,
        atol=1e-5,
        **options,
    )


def _affine(case: str, matrices: int, height: int, width: int) -> KernelCase:
    theta = randn(matrices, 6).astype(np.float16).astype(np.float32)

    def build(mb: Any, t: Any, x: Any, matrix: Any) -> Any:
        return mb.affine(
            x=x,
            transform_matrix=matrix,
            output_height=height,
            output_width=width,
            sampling_mode="bilinear",
            padding_mode="constant",
            padding_value=t(0.0),
            coordinates_mode="normalized_minus_one_to_one",
            align_corners=True,
        )

    def expect(x: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        every = torch.tensor(matrix).reshape(-1, 2, 3).expand(x.shape[0], 2, 3)
        grid = F.affine_grid(every, [x.shape[0], 1, height, width], align_corners=True)
        return F.grid_sample(torch.tensor(x), grid, align_corners=True).numpy()

    return KernelCase(
        f"affine-{case}", "affine", build, (randn(2, 3, 4, 5), theta), expect, atol=1e-5
    )


# Of coremltools' TestResample::test_builder_to_backend_smoke: 3.5 is halfway, behind mirrors.
_HALFWAY = KernelCase(
    "resample-halfway",
    "resample",
    lambda mb, t, x, coordinates: mb.resample(
        x=x,
        coordinates=coordinates,
        sampling_mode="nearest",
        padding_mode="symmetric",
        padding_value=t(0.0),
        coordinates_mode="normalized_zero_to_one",
        align_corners=False,
    ),
    (
        np.float32([[[[11, 22], [33, 44]]]]),
        np.float32([[[[-1, -2], [-3.75, -1]], [[0, 0], [3.5, 1.25]]]]),
    ),
    lambda x, coordinates: np.float32([[[[22, 33], [11, 33]]]]),
)

ROWS = [
    _HALFWAY,
    *(_crop_boxes(f"boxes-{mode}", BOXES[:3], mode=mode) for mode in MODES),
    _crop_boxes("one-point", BOXES[:3], (1, 1)),
    _crop_boxes("flipped", BOXES),
    _crop_boxes("outside", OUTSIDE, pad=10.0),
    _crop_boxes("computed", BOXES, computed=True),
    _crop_boxes(
        "width-first",
        BOXES,
        pixels=BOXES[:, [1, 0, 3, 2]] * [1, 1, 1, 1],
        box_coordinate_mode="CORNERS_WIDTH_FIRST",
    ),
    _crop_boxes(
        "centre",
        np.float32([[2, 3, 2, 4], [3, 4, 1, 2]]),
        pixels=np.float32([[1, 1, 3, 5], [2.5, 3, 3.5, 5]]),
        box_coordinate_mode="CENTER_SIZE_HEIGHT_FIRST",
    ),
    _crop_boxes(
        "centre-width-first",
        np.float32([[3, 2, 4, 2], [4, 3, 2, 1]]),
        pixels=np.float32([[1, 1, 3, 5], [2.5, 3, 3.5, 5]]),
        box_coordinate_mode="CENTER_SIZE_WIDTH_FIRST",
    ),
    _crop_boxes(
        "normalized",
        np.float32([[0, 0.25, 0.5, 1], [0.25, 0, 1, 0.5]]),
        pixels=np.float32([[0, 1.75, 2.5, 7], [1.25, 0, 5, 3.5]]),
        normalized_coordinates=True,
    ),
    _crop_boxes("scaled", BOXES * 2, pixels=BOXES, spatial_scale=0.5),
    _crop_regions("roi", "iOS16", with_index=False, images=2),
    _crop_regions("roi-index", "iOS16", with_index=True, images=1),
    _crop_regions("roi-ios15", "iOS15", with_index=False, images=1),
    *(
        _resample(kind, padding, coordinates, align)
        for kind in ("bilinear", "nearest")
        for padding in ("constant", "border", "reflection", "symmetric")
        for coordinates in ("normalized_minus_one_to_one", "normalized_zero_to_one")
        for align in (True, False)
    ),
    *(
        _resample(kind, padding, "unnormalized", True)
        for kind in ("bilinear", "nearest")
        for padding in ("constant", "border", "reflection", "symmetric")
    ),
    _resample("bilinear", "constant", "normalized_minus_one_to_one", True, 6.0),
    _resample("nearest", "constant", "unnormalized", False, 6.0),
    _affine("square", 1, 4, 5),
    _affine("wide", 2, 2, 7),
    KernelCase(
        "affine-documented",
        "affine",
        lambda mb, t, x, matrix: mb.affine(
            x=x,
            transform_matrix=matrix,
            output_height=3,
            output_width=3,
            sampling_mode="bilinear",
            padding_mode="constant",
            padding_value=t(0.0),
            coordinates_mode="normalized_minus_one_to_one",
            align_corners=True,
        ),
        (np.float32([[[[11, 22], [33, 44]]]]), np.float32([[-1, -2, -3.75, -1, 3.5, 1.25]])),
        lambda x, matrix: F.grid_sample(
            torch.tensor(x),
            F.affine_grid(torch.tensor(matrix).reshape(1, 2, 3), [1, 1, 3, 3], align_corners=True),
            align_corners=True,
        ).numpy(),
    ),
]
