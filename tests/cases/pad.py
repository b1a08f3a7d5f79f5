"""Rows for ops/pad.py."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F

from case import Case, Reject, randbool, randint, randn
from cases._moved import moved

aten = torch.ops.aten
PAD, CONSTANT = aten.pad.default, aten.constant_pad_nd.default


def padded(id: str, x: torch.Tensor, amounts: tuple[int, ...], *args: Any) -> Case:
    return moved(f"pad-{id}", PAD, lambda x: F.pad(x, amounts, *args), x)


ROWS: list[Case | Reject] = [
    moved("constant", CONSTANT, lambda x: torch.constant_pad_nd(x, (1, 2), 3.5), randn(2, 3)),
    moved("constant-default", CONSTANT, lambda x: aten.constant_pad_nd(x, (0, 1)), randint(3)),
    padded("constant", randn(2, 3), (1, 2, 0, 1)),
    padded("constant-value", randn(2, 3), (1, 0), "constant", -1.5),
    padded("constant-infinite", randn(2, 3), (1, 0), "constant", -math.inf),
    padded("constant-rank5", randn(1, 2, 2, 1, 2), (1, 0, 0, 1, 2, 0)),
    padded("constant-crops", randn(4, 5), (-1, 2, -1, -1)),
    padded("constant-only-crops", randn(4, 5), (-1, 0, 0, -2)),
    padded("constant-none", randn(2, 3), (0, 0)),
    padded("constant-fp16", randn(2, 3, dtype=torch.float16), (1, 1), "constant", 0.1),
    padded("constant-int", randint(2, 3), (1, 2, 1, 0), "constant", 7),
    padded("constant-large-int", randint(2, 3), (1, 0), "constant", 2**24),
    padded("constant-bool", randbool(2, 3), (1, 1, 0, 1), "constant", 1),
    *[
        row
        for mode in ("reflect", "replicate", "circular")
        for row in (
            padded(f"{mode}-1d", randn(1, 2, 4), (1, 2), mode),
            padded(f"{mode}-2d", randn(1, 2, 3, 4), (1, 2, 2, 0), mode),
            padded(f"{mode}-3d", randn(1, 1, 3, 3, 4), (1, 2, 2, 0, 1, 1), mode),
            padded(f"{mode}-unbatched", randn(2, 4), (3, 1), mode),
            padded(f"{mode}-crops", randn(1, 2, 5), (-1, 2), mode),
            padded(f"{mode}-int", randint(1, 2, 4), (1, 2), mode),
        )
    ],
    *[
        moved(str(op).removeprefix("aten."), op, lambda x, op=op: op(x, (1, 1) * (x.dim() - 2)), x)
        for x, *ops in (
            (randn(1, 2, 4), aten.reflection_pad1d, aten.replication_pad1d),
            (randn(1, 2, 3, 4), aten.reflection_pad2d, aten.replication_pad2d),
            (randn(1, 1, 2, 3, 4), aten.reflection_pad3d, aten.replication_pad3d),
        )
        for op in (packet.default for packet in ops)
    ],
    Reject(
        "value-at-run-time",
        lambda x, n: aten.constant_pad_nd(x, (1, 1), n.item()).relu(),
        (randn(2, 3), torch.tensor(1.0)),
        covers=CONSTANT,
        reason="value is computed at run time",
    ),
]
