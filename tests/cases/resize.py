"""Rows for ops/resize.py."""

from __future__ import annotations

import torch
from torch.export import Dim
from torch.nn import functional as F

from case import Case, Reject, randn

aten = torch.ops.aten

IMAGES = {1: (2, 3, 7), 2: (2, 3, 5, 7), 3: (1, 2, 3, 4, 5)}
SIZES = {1: (10,), 2: (8, 3), 3: (5, 2, 9)}
NEAREST = {"nearest": "upsample_nearest", "nearest-exact": "_upsample_nearest_exact"}
LINEAR = {1: "linear1d", 2: "bilinear2d", 3: "trilinear3d"}


def _interpolate(**options):
    return lambda x: F.interpolate(x, **options)


def _op(name):
    return getattr(aten, name).vec


TO = {
    n: [
        {"size": SIZES[n]},
        {"scale_factor": 2},
        {"scale_factor": 1.7},
        {"scale_factor": 0.6},
        {"scale_factor": 1.7, "recompute_scale_factor": True},
    ]
    for n in (1, 2, 3)
}


ROWS: list[Case | Reject] = [
    *(
        Case(
            f"{mode}{n}d {to}",
            _interpolate(mode=mode, **to),
            (randn(*IMAGES[n]),),
            _op(f"{name}{n}d"),
        )
        for mode, name in (
            ("nearest", "upsample_nearest"),
            ("nearest-exact", "_upsample_nearest_exact"),
        )
        for n in (1, 2, 3)
        for to in TO[n]
    ),
    *(
        Case(
            f"{LINEAR[n]} {to} align_corners={corners}",
            _interpolate(mode=LINEAR[n][:-2], align_corners=corners, **to),
            (randn(*IMAGES[n]),),
            _op(f"upsample_{LINEAR[n]}"),
        )
        for n in (1, 2, 3)
        for to in TO[n]
        for corners in (False, True)
    ),
    *(
        Case(
            f"bicubic2d {to} align_corners={corners}",
            _interpolate(mode="bicubic", align_corners=corners, **to),
            (randn(*IMAGES[2]),),
            aten.upsample_bicubic2d.vec,
        )
        for to in TO[2]
        for corners in (False, True)
    ),
    *(
        Case(
            f"{mode} antialias {to}",
            _interpolate(mode=mode, antialias=True, **to),
            (randn(*IMAGES[2]),),
            _op(f"_upsample_{mode}2d_aa"),
        )
        for mode in ("bilinear", "bicubic")
        for to in TO[2][:4]
    ),
    *(
        Case(
            f"bilinear2d to {size}",
            _interpolate(mode="bilinear", size=size, align_corners=corners),
            (randn(*IMAGES[2]),),
            aten.upsample_bilinear2d.vec,
        )
        for size, corners in [((1, 4), True), ((1, 1), False), ((5, 7), True)]
    ),
    *(
        Case(
            f"{name} plain overload",
            lambda x, name=name, args=args: getattr(aten, name).default(x, *args),
            (randn(*IMAGES[len(args[0])]),),
            getattr(aten, name).default,
        )
        for name, args in [
            ("upsample_nearest1d", ([14],)),
            ("upsample_nearest2d", ([10, 14],)),
            ("upsample_nearest3d", ([6, 8, 5],)),
            ("_upsample_nearest_exact1d", ([5],)),
            ("_upsample_nearest_exact2d", ([4, 5],)),
            ("_upsample_nearest_exact3d", ([2, 8, 5],)),
            ("upsample_linear1d", ([5], False)),
            ("_upsample_bilinear2d_aa", ([3, 4], False)),
        ]
    ),
    Reject(
        "dynamic-antialias",
        lambda x: aten._upsample_bilinear2d_aa(x, [3, 4], False),
        (randn(1, 2, 5, 6),),
        aten._upsample_bilinear2d_aa.default,
        "needs fixed extents",
        dynamic=({3: Dim("n", min=3, max=8)},),
    ),
    Reject(
        "dynamic-nearest",
        lambda x: F.interpolate(x, size=(5, x.shape[3] + 2)),
        (randn(1, 2, 5, 6),),
        aten.upsample_nearest2d.vec,
        "by a whole factor",
        dynamic=({3: Dim("n", min=3, max=8)},),
    ),
    Reject(
        "dynamic-bilinear",
        lambda x: F.interpolate(x, (5, x.shape[3] + 2), mode="bilinear", align_corners=True),
        (randn(1, 2, 5, 6),),
        aten.upsample_bilinear2d.vec,
        "without align_corners",
        dynamic=({3: Dim("n", min=3, max=8)},),
    ),
]
