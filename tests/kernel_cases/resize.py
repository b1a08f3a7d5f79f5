"""Resizing and cropping.

The grids of the sampling modes are written here as numpy.linspace, as ``SamplingMode`` in
NeuralNetwork.proto of coremltools defines them; PyTorch is the reference where it has the mode.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from kernel_case import KernelCase, ints, randn

MODES = ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "DEFAULT", "OFFSET_CORNERS", "UNALIGN_CORNERS")


def grid(mode: str, first: float, last: float, count: int) -> np.ndarray:
    length = last - first
    start, end = 0.0, length
    if mode == "ALIGN_CORNERS" and count == 1:
        start = end = length / 2
    elif mode == "DEFAULT":
        end = (length + 1) - (length + 1) / count
    elif mode == "OFFSET_CORNERS":
        spacing = max(1.0, length) / count
        start, end = spacing / 2, spacing / 2 + (count - 1) * spacing
    elif mode == "UNALIGN_CORNERS":
        spacing = (length + 1) / count
        start, end = spacing / 2 - 0.5, spacing / 2 - 0.5 + (count - 1) * spacing
    return np.clip(first + np.linspace(start, end, count), min(first, last), max(first, last))


def linear(x: np.ndarray, points: np.ndarray, axis: int) -> np.ndarray:
    low = np.clip(np.floor(points).astype(int), 0, x.shape[axis] - 1)
    high = np.clip(low + 1, 0, x.shape[axis] - 1)
    spread = [1] * x.ndim
    spread[axis] = -1
    weight = (points - low).reshape(spread)
    return np.take(x, low, axis) * (1 - weight) + np.take(x, high, axis) * weight


def _resized(x: np.ndarray, sizes: tuple[int, ...], mode: str) -> np.ndarray:
    wide = x.astype(np.float64)
    for axis, size in enumerate(sizes, x.ndim - len(sizes)):
        wide = linear(wide, grid(mode, 0, x.shape[axis] - 1, size), axis)
    return wide.astype(np.float32)


def _copied(x: np.ndarray, sizes: tuple[int, ...], centre: bool) -> np.ndarray:
    """Nearest neighbours, in whole numbers."""
    for axis, size in enumerate(sizes, x.ndim - len(sizes)):
        order = np.arange(size) * 2 + centre
        x = np.take(x, order * x.shape[axis] // (2 * size), axis)
    return x


def _bilinear(mode: str, extents: tuple[int, ...], sizes: tuple[int, int]) -> KernelCase:
    return KernelCase(
        f"resize_bilinear-{mode}-{'x'.join(map(str, extents))}-to-{sizes[0]}x{sizes[1]}",
        "resize_bilinear",
        lambda mb, t, x: mb.resize_bilinear(
            x=x, target_size_height=sizes[0], target_size_width=sizes[1], sampling_mode=mode
        ),
        (randn(*extents),),
        lambda x: _resized(x, sizes, mode),
    )


def _documented(mode: str, points: list[float]) -> KernelCase:
    """The grid points in the documentation of resize_bilinear, seen through x = (0, 1)."""
    return KernelCase(
        f"resize_bilinear-documented-{mode}-{len(points)}",
        "resize_bilinear",
        lambda mb, t, x: mb.resize_bilinear(
            x=x, target_size_height=1, target_size_width=len(points), sampling_mode=mode
        ),
        (np.float32([[[0, 1]]]),),
        lambda x: np.float32([[points]]),
    )


def _upsample_bilinear(
    case: str, height: float, width: float, target: str = "iOS18", **flags: bool
) -> KernelCase:
    align = flags.get("align_corners", True)
    half = flags.get("half_pixel_centers", not align)
    extents = (2, 3, 5, 6)
    sizes = (int(height * 5), int(width * 6))

    def expect(x: np.ndarray) -> np.ndarray:
        if not (align or half):
            return _resized(x, sizes, "DEFAULT")
        image = torch.tensor(x)
        return F.interpolate(image, sizes, mode="bilinear", align_corners=align).numpy()

    return KernelCase(
        f"upsample_bilinear-{case}",
        "upsample_bilinear",
        lambda mb, t, x: mb.upsample_bilinear(
            x=x, scale_factor_height=height, scale_factor_width=width, **flags
        ),
        (randn(*extents),),
        expect,
        target,
        atol=2e-6,
    )


def _nearest(op: str, extents: tuple[int, ...], height: float, width: float) -> KernelCase:
    upsample = op == "upsample_nearest_neighbor"
    sizes = (int(extents[-2] * height), int(extents[-1] * width)) if upsample else (height, width)
    names = (
        ("scale_factor_height", "scale_factor_width")
        if upsample
        else ("target_size_height", "target_size_width")
    )
    return KernelCase(
        f"{op}-{'x'.join(map(str, extents))}-{height}-{width}",
        op,
        lambda mb, t, x: getattr(mb, op)(x=x, **dict(zip(names, (height, width), strict=True))),
        (randn(*extents),),
        lambda x: _copied(x, sizes, centre=not upsample),  # type: ignore[arg-type]
        rtol=0,
        atol=0,
    )


def _resize(
    case: str,
    extents: tuple[int, ...],
    shape: list[int],
    dims: int,
    kind: str = "LINEAR",
    mode: str = "DEFAULT",
    computed: bool = False,
) -> KernelCase:
    wanted = shape[len(shape) - dims :]
    sizes = tuple(n or o for n, o in zip(wanted, extents[len(extents) - dims :], strict=True))

    def build(mb: Any, t: Any, x: Any, *rest: Any) -> Any:
        return mb.resize(
            x=x,
            shape=rest[0] if rest else np.int32(shape),
            resized_dims=np.uint32(dims),
            interpolation_mode=kind,
            sampling_mode=mode,
        )

    def expect(x: np.ndarray, *_: np.ndarray) -> np.ndarray:
        if kind == "LINEAR":
            return _resized(x, sizes, mode)
        if mode in ("DEFAULT", "UNALIGN_CORNERS"):
            return _copied(x, sizes, centre=True)
        for axis, size in enumerate(sizes, x.ndim - len(sizes)):
            points = grid(mode, 0, x.shape[axis] - 1, size)
            x = np.take(x, np.floor(points + 0.5).astype(int), axis)
        return x

    inputs = (randn(*extents), ints(*shape)) if computed else (randn(*extents),)
    return KernelCase(f"resize-{case}", "resize", build, inputs, expect)


ROWS = [
    *(
        _bilinear(mode, (2, 3, 5, 6), sizes)
        for mode in MODES
        for sizes in ((7, 9), (3, 2), (10, 12), (1, 4), (1, 1))
    ),
    *(_bilinear(mode, (3, 5, 6), (8, 3)) for mode in MODES),
    *(_bilinear(mode, (2, 2, 3, 5, 6), (8, 3)) for mode in MODES),
    _documented("UNALIGN_CORNERS", [0, 0.1, 0.5, 0.9, 1]),
    _documented("STRICT_ALIGN_CORNERS", [0, 0.25, 0.5, 0.75, 1]),
    _documented("ALIGN_CORNERS", [0, 0.25, 0.5, 0.75, 1]),
    _documented("DEFAULT", [0, 0.4, 0.8, 1, 1]),
    _documented("OFFSET_CORNERS", [0.1, 0.3, 0.5, 0.7, 0.9]),
    _documented("DEFAULT", [0, 1 / 3, 2 / 3, 1, 1, 1]),
    _upsample_bilinear("align", 2, 3, align_corners=True),
    _upsample_bilinear("half-pixel", 2, 3, align_corners=False),
    _upsample_bilinear("fractional", 2.5, 0.5, align_corners=False),
    _upsample_bilinear("fractional-align", 1.5, 2.25, align_corners=True),
    _upsample_bilinear("asymmetric", 2, 3, align_corners=False, half_pixel_centers=False),
    _upsample_bilinear("half-pixel-given", 2, 3, align_corners=False, half_pixel_centers=True),
    _upsample_bilinear("default", 2, 2),
    _upsample_bilinear("ios15", 2, 3, target="iOS15", align_corners=False),
    *(
        _nearest("upsample_nearest_neighbor", extents, height, width)
        for extents in ((2, 3, 4), (2, 3, 4, 5), (2, 2, 3, 4, 5))
        for height, width in ((2, 3), (1, 49))
    ),
    _nearest("upsample_nearest_neighbor", (2, 3, 7, 10), 1.5, 0.75),
    _nearest("upsample_nearest_neighbor", (1, 1, 1, 3), 3.17, 0.67),
    *(
        _nearest("resize_nearest_neighbor", (2, 3, 4, 6), height, width)
        for height, width in ((8, 18), (7, 9), (2, 3), (3, 4), (1, 1))
    ),
    _nearest("resize_nearest_neighbor", (3, 4, 6), 5, 12),
    *(_resize(f"linear-{mode}", (2, 3, 5, 6), [1, 7, 9], 2, mode=mode) for mode in MODES),
    *(
        _resize(f"nearest-{mode}", (2, 3, 5, 6), [7, 9], 2, "NEAREST_NEIGHBOR", mode)
        for mode in MODES
    ),
    _resize("one-dimension", (2, 3, 5), [8], 1),
    _resize("three-dimensions", (1, 3, 4, 5), [5, 6, 7], 3),
    _resize("three-dimensions-nearest", (1, 3, 4, 5), [6, 8, 10], 3, "NEAREST_NEIGHBOR"),
    _resize("inherited", (2, 3, 5, 6), [1, 0, 9], 2),
    *(
        _resize(f"computed-linear-{mode}", (2, 3, 5, 6), [1, 7, 9], 2, mode=mode, computed=True)
        for mode in MODES
    ),
    _resize("computed-nearest", (2, 3, 5, 6), [7, 13], 2, "NEAREST_NEIGHBOR", computed=True),
    _resize("computed-inherited", (2, 3, 5, 6), [1, 0, 9], 2, computed=True),
    *(
        KernelCase(
            f"crop-{case}",
            "crop",
            lambda mb, t, x, h=height, w=width: mb.crop(x=x, crop_height=h, crop_width=w),
            (randn(*extents),),
            lambda x, h=height, w=width: x[
                ..., h[0] : x.shape[-2] - h[1], w[0] : x.shape[-1] - w[1]
            ],
        )
        for case, extents, height, width in (
            ("rank-3", (2, 5, 6), [1, 2], [0, 3]),
            ("rank-4", (2, 3, 5, 6), [0, 1], [1, 1]),
            ("rank-5", (2, 2, 3, 5, 6), [2, 0], [0, 0]),
        )
    ),
]
