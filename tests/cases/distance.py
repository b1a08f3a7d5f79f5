"""Rows for ops/distance.py."""

from __future__ import annotations

import math

import torch

from case import Case, Reject, randn

aten = torch.ops.aten

PDIST, CDIST = aten._pdist_forward.default, aten._cdist_forward.default
LARGE = randn(5, 3) * 300  # squares beyond fp16's range
NEAR = torch.tensor([[1.0, 2.0], [1.0, 2.0], [1.0, 2.001953125]]) * 16  # products would cancel

ROWS: list[Case | Reject] = [
    *(
        Case(
            f"cdist-p{p}-{len(x)}",
            lambda x, y, p=p: torch.cdist(x, y, p=p),
            (randn(*x, scale=scale), randn(*y, scale=scale)),
            covers=aten.cdist.default,
        )
        for p in (0.0, 1.0, 2.0, 3.0, math.inf)
        for x, y, scale in [((3, 4), (5, 4), 1.0), ((2, 3, 4), (2, 5, 4), 500.0)]
    ),
    Case(
        "cdist-core",
        lambda x, y: aten._cdist_forward(x, y, 2.0, None),
        (randn(3, 4), randn(5, 4)),
        covers=CDIST,
    ),
    Reject(
        "cdist-rank-5",
        torch.cdist,
        (randn(1, 1, 1, 3, 4), randn(1, 1, 1, 5, 4)),
        covers=CDIST,
        reason="rank 5",
    ),
    Case("pdist", torch.pdist, (randn(5, 3),), covers=PDIST),
    Case("pdist-p1", lambda x: torch.pdist(x, 1), (randn(4, 3),), covers=PDIST),
    Case("pdist-p3", lambda x: torch.pdist(x, 3), (randn(4, 3),), covers=PDIST),
    Case("pdist-p0", lambda x: torch.pdist(x, 0), (randn(4, 3).relu(),), covers=PDIST),
    Case("pdist-infinite", lambda x: torch.pdist(x, math.inf), (randn(4, 3),), covers=PDIST),
    Case("pdist-large", torch.pdist, (LARGE,), covers=PDIST),
    Case("pdist-near", torch.pdist, (NEAR,), covers=PDIST),
    Case(
        "cdist-near",
        lambda x: torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist"),
        (NEAR,),
        covers=aten.cdist.default,
    ),
    Case("dist", lambda x, y: torch.dist(x, y), (LARGE, LARGE.flip(0)), covers=aten.dist.default),
    Case(
        "dist-p3",
        lambda x, y: torch.dist(x, y, 3),
        (randn(3, 4), randn(4)),
        covers=aten.dist.default,
    ),
]
