"""Rows for ops/ranks.py: more than five axes inside a delegate, five at most at its border."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from case import Case, Reject, randbool, randn
from cases._moved import moved

aten = torch.ops.aten

PERMUTE, SELECT, VIEW = aten.permute_copy.default, aten.select_copy.int, aten.view_copy.default
SLICE, SPLIT, EXPAND = aten.slice_copy.Tensor, aten.split_with_sizes_copy.default, aten.expand_copy


def windows(x: Tensor) -> Tensor:
    """[B, 4, 6, C] -> windows of 2 by 3, as in Swin."""
    b, c = x.shape[0], x.shape[3]
    return x.view(b, 2, 2, 2, 3, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 2, 3, c)


def joined(x: Tensor) -> Tensor:
    """The way back from :func:`windows`."""
    return x.view(-1, 2, 2, 2, 3, x.shape[-1]).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, 6, 5)


def blocks(x: Tensor) -> Tensor:
    """[B, 4, 4, 6, C] -> windows of 2 by 2 by 3, as in Video Swin: six runs of axes."""
    b, c = x.shape[0], x.shape[4]
    cut = x.view(b, 2, 2, 2, 2, 2, 3, c).permute(0, 1, 3, 5, 2, 4, 6, 7)
    return cut.reshape(-1, 12, c)


def six(x: Tensor) -> Tensor:
    """[4, 6, 5] -> [2, 2, 2, 3, 5, 1]."""
    return x.view(2, 2, 2, 3, 5, 1)


def both(x: Tensor, y: Tensor) -> Tensor:
    """Operands broadcast to one another, on six axes."""
    return (six(x) * y.view(2, 1, 2, 1, 5, 1) + y.view(4, 5)[0].view(5, 1)).view(4, 6, 5)


class Shifted(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shift", randn(2, 1, 2, 3, 5, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (six(x) + self.shift).flatten(1)


WEIGHT = randn(4, 5)
X = randn(4, 6, 5)

ROWS = [
    moved("windows", PERMUTE, windows, randn(2, 4, 6, 5)),
    moved("windows-and-back", PERMUTE, lambda x: joined(windows(x).relu()), randn(2, 4, 6, 5)),
    moved("windows-bool", PERMUTE, windows, randbool(2, 4, 6, 5)),
    moved("blocks", PERMUTE, blocks, randn(2, 4, 4, 6, 5)),
    moved(
        "reversed-8",
        PERMUTE,
        lambda x: x.view([2] * 8).permute(*range(7, -1, -1)).flatten(),
        randn(256),
    ),
    moved("transpose", aten.transpose_copy.int, lambda x: six(x).transpose(1, 4).flatten(2), X),
    moved("unbind", SLICE, lambda x: x.view(2, 2, 2, 3, 5, 1).unbind(2), X),
    moved("chunk", SPLIT, lambda x: [c.flatten() for c in six(x).split([1, 2], 3)], X),
    moved("select", SELECT, lambda x: six(x)[..., 1, :, 0], X),
    moved("slice", SLICE, lambda x: six(x)[:, 1:, :, ::2].flatten(), X),
    moved(
        "expand",
        EXPAND.default,
        lambda x: x.view(2, 2, 1, 6, 5, 1).expand(2, 2, 3, 6, 5, 2).flatten(1),
        X,
    ),
    moved("cat", aten.cat.default, lambda x: torch.cat([six(x), six(x) + 1], 2).flatten(1), X),
    moved("flip", aten.flip.default, lambda x: six(x).flip(0, 3).flatten(1), X),
    moved("roll", aten.roll.default, lambda x: six(x).roll((1, 2), (1, 3)).flatten(1), X),
    Case("broadcast", both, (X, randn(20)), aten.mul.Tensor),
    Case(
        "where",
        lambda x, m: torch.where(m.view(1, 2, 1, 3, 1, 1), six(x), 0.0).flatten(1),
        (X, randbool(6)),
        aten.where.self,
    ),
    Case("mean", lambda x: six(x).mean((1, 3)), (X,), aten.mean.dim),
    Case("mean-kept", lambda x: six(x).mean((1, 3), True).flatten(), (X,), aten.mean.dim),
    Case("amax", lambda x: six(x).amax(2), (X,), aten.amax.default),
    Case("sum-all", lambda x: six(x).sum(), (X,), aten.sum.default),
    Case("softmax", lambda x: six(x).softmax(3).flatten(1), (X,), aten.softmax.int),
    Case("linear", lambda x: F.linear(six(x).mT, WEIGHT).flatten(1), (X,), aten.linear.default),
    Case(
        "layer_norm",
        lambda x: F.layer_norm(six(x).mT, (5,)).flatten(1),
        (X,),
        aten.layer_norm.default,
    ),
    Case("weight", Shifted(), (X,), aten.add.Tensor),
    Reject("leaves", lambda x: six(x) + 1, (X,), aten.add.Tensor, "its result leaves the delegate"),
    Reject("enters", lambda x: x.relu().sum((0, 1)), (six(X),), aten.relu.default, "rank 6"),
    Reject(
        "every-axis",
        lambda x: six(x).amax((0, 2, 4)).relu(),
        (X,),
        aten.amax.default,
        "rank 6; Core ML allows at most 5",
    ),
]
