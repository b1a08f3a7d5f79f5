"""Rows for ops/sample.py."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from case import Case, Reject, randn

aten = torch.ops.aten

IMAGE, VOLUME = randn(2, 3, 5, 6), randn(2, 3, 4, 5, 6)
PADDINGS = ("zeros", "border", "reflection")


def _grid(*shape: int) -> torch.Tensor:
    """Points that fp16 holds exactly, within the image and around it."""
    return torch.round(randn(*shape, scale=0.8) * 64) / 64


ROWS: list[Case | Reject] = [
    *(
        Case(
            f"{mode}-{padding}-corners={corners}",
            lambda x, grid, m=mode, p=padding, c=corners: F.grid_sample(x, grid, m, p, c),
            (IMAGE, _grid(2, 4, 3, 2)),
            covers=aten.grid_sampler.default,
        )
        for mode in ("bilinear", "nearest", "bicubic")
        for padding in PADDINGS
        for corners in (False, True)
    ),
    *(
        Case(
            f"3d-{mode}-{padding}-corners={corners}",
            lambda x, grid, m=mode, p=padding, c=corners: F.grid_sample(x, grid, m, p, c),
            (VOLUME, _grid(2, 2, 4, 3, 3)),
            covers=aten.grid_sampler.default,
        )
        for mode in ("bilinear", "nearest")
        for padding in PADDINGS
        for corners in (False, True)
    ),
    Case(
        "far-outside",
        lambda x, grid: F.grid_sample(x, grid * 20, "bicubic", "reflection", False),
        (IMAGE, _grid(2, 4, 3, 2)),
        covers=aten.grid_sampler.default,
    ),
    Case(
        "one-pixel",
        lambda x, grid: F.grid_sample(x, grid, "bilinear", "reflection", True),
        (randn(1, 2, 1, 1, 3), _grid(1, 2, 2, 2, 3)),
        covers=aten.grid_sampler.default,
    ),
    Case(
        "core-2d",
        lambda x, grid: aten.grid_sampler_2d(x, grid, 0, 0, False),
        (IMAGE, _grid(2, 4, 3, 2)),
        covers=aten.grid_sampler_2d.default,
    ),
    Case(
        "core-3d",
        lambda x, grid: aten.grid_sampler_3d(x, grid, 0, 0, False),
        (VOLUME, _grid(2, 2, 4, 3, 3)),
        covers=aten.grid_sampler_3d.default,
    ),
]
