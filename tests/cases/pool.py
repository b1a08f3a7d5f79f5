"""Rows for ops/pool.py."""

from __future__ import annotations

import math

import torch
from torch.export import Dim
from torch.nn import functional as F

from case import Case, Reject, randint, randn

aten = torch.ops.aten

SIZES = {1: (10,), 2: (7, 10), 3: (5, 6, 7)}
MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
ADAPTIVE_MAX = {1: F.adaptive_max_pool1d, 2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d}
ADAPTIVE = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}


def _op(kind, n):
    return getattr(aten, f"{kind}{n}d").default


def _with(fn, *args, **options):
    return lambda x: fn(x, *args, **options)


def _apart(*shape):
    """Values that fp16 tells apart."""
    count = math.prod(shape)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(count))
    return order.reshape(shape) * 0.5 - 100


WINDOWS = [
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 3, "stride": 1},
    {"kernel_size": 3, "stride": 2, "ceil_mode": True},
    {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
    {"kernel_size": 2, "stride": 3, "ceil_mode": True},
]
AVERAGE_WINDOWS = [*WINDOWS, *({**options, "count_include_pad": False} for options in WINDOWS)]

ROWS: list[Case | Reject] = [
    *(
        Case(f"max_pool{n}d {o}", _with(MAX[n], **o), (randn(2, 3, *SIZES[n]),), _op("max_pool", n))
        for n in (1, 2, 3)
        for o in [*WINDOWS, {"kernel_size": 2, "dilation": 2, "stride": 1, "padding": 1}]
    ),
    *(
        Case(
            f"avg_pool{n}d {o}",
            _with(AVERAGE[n], **o),
            (randn(2, 3, *SIZES[n]),),
            _op("avg_pool", n),
        )
        for n in (1, 2, 3)
        for o in AVERAGE_WINDOWS
    ),
    *(
        Case(
            f"{kind}_pool{n}d without batch",
            _with(fn[n], 2),
            (randn(3, *SIZES[n]),),
            _op(f"{kind}_pool", n),
        )
        for n in (1, 2, 3)
        for kind, fn in (("max", MAX), ("avg", AVERAGE))
    ),
    *(
        Case(
            f"avg_pool{n}d divisor {o}",
            _with(AVERAGE[n], **o, divisor_override=3),
            (randn(2, 3, *SIZES[n]),),
            _op("avg_pool", n),
        )
        for n in (2, 3)
        for o in [*WINDOWS[:2], WINDOWS[4]]
    ),
    Case(
        "avg_pool2d large padding",
        _with(F.avg_pool2d, 7, stride=4, padding=3),
        (randn(1, 2, 9, 12),),
        aten.avg_pool2d.default,
    ),
    Case(
        "max_pool2d uneven",
        _with(F.max_pool2d, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 3)),
        (randn(1, 2, 7, 9),),
        aten.max_pool2d.default,
    ),
    Case(
        "max_pool2d of negative values ignores padding",
        _with(F.max_pool2d, 3, stride=2, padding=1),
        (-randn(1, 2, 6, 6).abs() - 1,),
        aten.max_pool2d.default,
    ),
    Case(
        "max_pool2d of minus infinity",
        _with(F.max_pool2d, 2),
        (torch.where(randn(1, 2, 4, 6) > 1, 1.0, -math.inf).index_fill(3, torch.tensor([5]), 2.0),),
        aten.max_pool2d.default,
    ),
    Case(
        "max_pool2d with unused indices",
        lambda x: aten.max_pool2d_with_indices(x, [3, 3], [2, 2], [1, 1])[0],
        (randn(1, 2, 6, 7),),
        aten.max_pool2d_with_indices.default,
    ),
    Case(
        "max_pool3d with unused indices",
        lambda x: aten.max_pool3d_with_indices(x, [2, 2, 2])[0],
        (randn(1, 2, 4, 5, 6),),
        aten.max_pool3d_with_indices.default,
    ),
    Case(
        "avg_pool2d sums that overflow fp16",
        _with(F.avg_pool2d, 5),
        (torch.full((1, 1, 10, 10), 6e4),),
        aten.avg_pool2d.default,
    ),
    *(
        Case(
            f"adaptive_{kind}_pool{n}d to {out}",
            _with(fn[n], out),
            (randn(2, 3, *SIZES[n]),),
            _op(f"adaptive_{kind}_pool", n),
        )
        for kind, fn in (("avg", ADAPTIVE), ("max", ADAPTIVE_MAX))
        for n, outs in {
            1: [1, 5, 3, 10, 13],
            2: [1, (1, 5), 3, (None, 4), (7, 2), (9, 12)],
            3: [1, (5, 3, 1), (2, 4, 3)],
        }.items()
        for out in outs
    ),
    Case(
        "adaptive_avg_pool2d without batch",
        _with(F.adaptive_avg_pool2d, (2, 3)),
        (randn(3, 7, 10),),
        aten.adaptive_avg_pool2d.default,
    ),
    *(
        Case(
            f"_adaptive_avg_pool{n}d",
            lambda x, n=n: getattr(aten, f"_adaptive_avg_pool{n}d")(x, [3] * n),
            (randn(2, 3, *SIZES[n]),),
            _op("_adaptive_avg_pool", n),
        )
        for n in (2, 3)
    ),
    Case(
        "avg_pool2d float16",
        _with(F.avg_pool2d, 3, padding=1),
        (randn(1, 2, 6, 6, dtype=torch.float16),),
        aten.avg_pool2d.default,
        rtol=1e-3,  # fp16 is the dtype of the model
    ),
    *(
        Case(
            f"max_pool{n}d indices {o}",
            _with(MAX[n], return_indices=True, **o),
            (_apart(2, 3, *SIZES[n]),),
            getattr(aten, f"max_pool{max(n, 2)}d_with_indices").default,
        )
        for n in (1, 2, 3)
        for o in [*WINDOWS[1::3], {"kernel_size": 2, "dilation": 2, "stride": 1, "padding": 1}]
    ),
    *(
        Case(
            f"adaptive_max_pool{n}d indices",
            _with(ADAPTIVE_MAX[n], 3, return_indices=True),
            (_apart(3, *SIZES[n]),),
            _op("adaptive_max_pool", n),
        )
        for n in (1, 2, 3)
    ),
    Case(
        "max_pool2d indices only",
        lambda x: F.max_pool2d(x, 3, 2, 1, return_indices=True)[1],
        (torch.zeros(1, 2, 6, 6),),  # of equal values, the first
        aten.max_pool2d_with_indices.default,
    ),
    Reject(
        "max_pool2d of integers",
        _with(F.max_pool2d, 2),
        (randint(1, 2, 6, 6),),
        aten.max_pool2d_with_indices.default,
        "int64",
    ),
    Reject(
        "dynamic-dilation",
        lambda x: F.max_pool2d(x, 3, 1, dilation=2),
        (randn(1, 2, 7, 7),),
        covers=aten.max_pool2d_with_indices.default,
        reason="need fixed spatial extents",
        dynamic=({2: Dim("n", min=6, max=9)},),
    ),
    Reject(
        "dynamic-adaptive",
        lambda x: F.adaptive_avg_pool2d(x, 2),
        (randn(1, 2, 7, 7),),
        covers=aten._adaptive_avg_pool2d.default,
        reason="need fixed spatial extents",
        dynamic=({2: Dim("n", min=5, max=9)},),
    ),
]
