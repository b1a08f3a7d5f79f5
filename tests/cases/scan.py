"""Rows for ops/scan.py."""

from __future__ import annotations

import math

import torch

from case import Case, Reject, randint, randn, uniform

aten = torch.ops.aten

PROD, LOGSUM = aten.cumprod.default, aten.logcumsumexp.default
MAX, MIN = aten.cummax.default, aten.cummin.default
INF, NAN = math.inf, math.nan
TIES = torch.tensor([[1.0, 1, 0, 3, 3, NAN, 5, NAN], [2, -INF, 2, INF, 1, INF, 0, 0]])


def running_max(x: torch.Tensor, dim: int = -1) -> tuple[torch.Tensor, ...]:
    return tuple(torch.cummax(x, dim))


def running_min(x: torch.Tensor, dim: int = -1) -> tuple[torch.Tensor, ...]:
    return tuple(torch.cummin(x, dim))


ROWS: list[Case | Reject] = [
    Case("cumprod", lambda x: x.cumprod(1), (uniform(2, 13, 3, low=-1.5, high=1.5),), covers=PROD),
    Case("cumprod-zeros", lambda x: x.cumprod(0), (randn(7, 2).relu(),), covers=PROD),
    Case("cumprod-one", lambda x: x.cumprod(0) + 1, (randn(1, 2),), covers=PROD),
    Case("cumprod-rank0", lambda x: x.cumprod(0) + 1, (torch.tensor(2.5),), covers=PROD),
    Case("cumprod-int", lambda x: x.cumprod(-1), (randint(3, 6, low=-3, high=4),), covers=PROD),
    Case("logcumsumexp", lambda x: x.logcumsumexp(1), (randn(2, 40),), covers=LOGSUM),
    Case("logcumsumexp-large", lambda x: x.logcumsumexp(0), (randn(9, 3) * 2000,), covers=LOGSUM),
    Case(
        "logcumsumexp-infinite",
        lambda x: x.logcumsumexp(0),
        (torch.tensor([-INF, -INF, 1.0, 2.0, INF, INF, 3.0]),),
        covers=LOGSUM,
    ),
    Case("logcumsumexp-long", lambda x: x.logcumsumexp(0), (torch.zeros(3000),), covers=LOGSUM),
    Case("cummax", running_max, (randn(3, 11),), covers=MAX),
    Case("cummax-ties-and-nan", running_max, (TIES,), covers=MAX),
    Case("cummax-int", lambda x: running_max(x, 0), (randint(6, 2),), covers=MAX),
    Case("cummax-rank0", lambda x: running_max(x + 1, 0), (torch.tensor(2.5),), covers=MAX),
    Case("cummin", running_min, (randn(3, 11),), covers=MIN),
    Case("cummin-ties-and-nan", running_min, (TIES,), covers=MIN),
]
