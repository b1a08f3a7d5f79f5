"""Rows for ops/create.py. A tensor made from numbers meets an input, so that a delegate exists."""

from __future__ import annotations

import math

import torch
from torch.export import Dim

from case import Case, Reject, randbool, randint, randn

aten = torch.ops.aten

HALF = torch.float16
FULL, ARANGE = aten.full.default, aten.arange.start_step
LOWEST = torch.finfo(torch.float32).min

ROWS: list[Case | Reject] = [
    Case("full", lambda x: x * torch.full((2, 3), 1.5), (randn(2, 3),), covers=FULL),
    Case("full-rank0", lambda x: x * torch.full((), 3.0), (randn(2, 3),), covers=FULL),
    Case("full-int", lambda x: x * torch.full((3,), 7), (randint(3),), covers=FULL),
    Case("full-large-int", lambda x: x * torch.full((3,), 2**24 + 1), (randint(3),), covers=FULL),
    Case(
        "full-fp16",
        lambda x: x * torch.full((3,), 0.1, dtype=HALF),
        (randn(3, dtype=HALF),),
        covers=FULL,
    ),
    Case(
        "full-bool",
        lambda x: torch.logical_and(x, torch.full((3,), True)),
        (randbool(3),),
        covers=FULL,
    ),
    Case(
        "full-truncates-to-int",
        lambda x: x * torch.full((3,), 2.7, dtype=torch.int32),
        (randint(3, dtype=torch.int32),),
        covers=FULL,
    ),
    Case(
        "full-infinite",
        lambda x: torch.minimum(x, torch.full((3,), math.inf)),
        (randn(3),),
        covers=FULL,
    ),
    Case(
        "full-mask-survives-softmax",
        lambda x: torch.softmax(x + torch.full((2, 4), LOWEST).triu(1), -1),
        (randn(2, 4),),
        covers=FULL,
    ),
    Case(
        "full-like",
        lambda x: x * torch.full_like(x, -2),
        (randn(2, 3),),
        covers=aten.full_like.default,
    ),
    Case(
        "full-like-other-dtype",
        lambda x: x * torch.full_like(x, 3, dtype=torch.int64),
        (randint(3, dtype=torch.int32),),
        covers=aten.full_like.default,
    ),
    Case(
        "new-full", lambda x: x * x.new_full((3,), 0.5), (randn(3),), covers=aten.new_full.default
    ),
    Case("new-zeros", lambda x: x + x.new_zeros(3), (randn(3),), covers=aten.new_zeros.default),
    Case("new-ones", lambda x: x + x.new_ones(3), (randn(3),), covers=aten.new_ones.default),
    Case("zeros", lambda x: x + torch.zeros(3), (randn(3),), covers=aten.zeros.default),
    Case("ones", lambda x: x + torch.ones(2, 3), (randn(2, 3),), covers=aten.ones.default),
    Case(
        "zeros-like", lambda x: x + torch.zeros_like(x), (randn(3),), covers=aten.zeros_like.default
    ),
    Case(
        "ones-like", lambda x: x + torch.ones_like(x), (randint(3),), covers=aten.ones_like.default
    ),
    Case("fill", lambda x: x * aten.fill(x, 3), (randn(2, 3),), covers=aten.fill.Scalar),
    Case("arange", lambda x: x * torch.arange(4), (randint(4),), covers=aten.arange.default),
    Case("arange-float", lambda x: x * torch.arange(4.0), (randn(4),), covers=aten.arange.default),
    Case("arange-start", lambda x: x * torch.arange(2, 6), (randint(4),), covers=aten.arange.start),
    Case("arange-step", lambda x: x * torch.arange(9, 0, -3), (randint(3),), covers=ARANGE),
    Case("arange-fraction", lambda x: x * torch.arange(0, 1, 0.1), (randn(10),), covers=ARANGE),
    Case(
        "scalar-tensor",
        lambda x: x * torch.scalar_tensor(2.5),
        (randn(3),),
        covers=aten.scalar_tensor.default,
    ),
    Case("eye", lambda x: x * torch.eye(3), (randn(3, 3),), covers=aten.eye.default),
    Case("eye-wide", lambda x: x * torch.eye(2, 3), (randn(2, 3),), covers=aten.eye.m),
    Case(
        "linspace",
        lambda x: x * torch.linspace(-1, 1, 7),
        (randn(7),),
        covers=aten.linspace.default,
    ),
    Reject(
        "full-at-run-time",
        lambda x, n: x + torch.full((3,), n.item()),
        (randn(3), torch.tensor(2.0)),
        covers=FULL,
        reason="fill_value is computed at run time",
    ),
    Reject(
        "full-beyond-int32",
        lambda x: x * torch.full((3,), 2**40),
        (randint(3),),
        covers=FULL,
        reason="does not fit int32",
    ),
    Reject(
        "scalar-tensor-at-run-time",
        lambda x, n: x + torch.scalar_tensor(n.item()),
        (randn(3), torch.tensor(2.0)),
        covers=aten.scalar_tensor.default,
        reason="s is computed at run time",
    ),
    Reject(
        "arange-dynamic-start",
        lambda x: torch.arange(x.shape[0], 2 * x.shape[0]) + x,
        (randn(6),),
        covers=aten.arange.start_step,
        reason="start is computed at run time",
        dynamic=({0: Dim("n", min=3, max=8)},),
    ),
    Case(
        "empty-filled",
        lambda x: torch.empty(3).fill_(2) * x + torch.empty_like(x).fill_(1),
        (randn(3),),
        covers=(),
    ),
    Case(
        "empty-strided",
        # Not even times 0: what lies in memory may be NaN.
        lambda x: torch.where(x == x, x, torch.empty_strided((3,), (1,))),
        (randn(3),),
        covers=aten.empty_strided.default,
    ),
    Case(
        "triangle-indices",
        lambda x: x[torch.tril_indices(3, 3)[0]] + torch.triu_indices(3, 3)[1],
        (randint(3),),
        covers=(aten.tril_indices.default, aten.triu_indices.default),
    ),
    Case(
        "kaiser-window",
        lambda x: x * torch.kaiser_window(7),
        (randn(7),),
        covers=aten.kaiser_window.default,
    ),
]
