"""Models as ``etcoreml export`` and ``etcoreml report`` are given them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

_Model = tuple[nn.Module, tuple[Any, ...]]


class Mixed(nn.Module):
    """Two delegates around an op of float64, and one that fp16 cannot hold."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(16, 32)
        self.last = nn.Linear(32, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = torch.relu(self.first(x)).double().cosh().float()
        return torch.fmod(self.last(wide) / 3.7, 1)


def mixed() -> _Model:
    return Mixed().eval(), (torch.linspace(-1, 1, 32).reshape(2, 16),)


class Small(nn.Module):
    """A layer whose weight is large enough to be quantized."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(64, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.linear(x))


def small() -> _Model:
    return Small().eval(), (torch.ones(1, 64),)


def longer() -> _Model:
    """The same layer for more rows: another method of one program."""
    return Small().eval(), (torch.ones(4, 64),)


def other() -> _Model:
    """The same layer with one other weight, and another activation."""
    model, inputs = small()
    with torch.no_grad():
        model.linear.weight[3, 5] += 0.5
    return nn.Sequential(model.linear, nn.Tanh()).eval(), inputs


class Total(nn.Module):
    """A sum over all calls, in a buffer whose width the Neural Engine may refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(24))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.total.add_(x.sum(0))
        return torch.relu(x) + self.total


def total() -> torch.export.ExportedProgram:
    """Any number of rows."""
    rows = {0: torch.export.Dim("rows", min=2, max=8)}
    return torch.export.export(Total(), (torch.ones(4, 24),), dynamic_shapes=(rows,), strict=False)


def broken() -> _Model:
    raise RuntimeError("no checkpoint")
