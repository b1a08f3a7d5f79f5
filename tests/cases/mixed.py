"""Models in fp16, wholly (``model.half()``) or in islands as autocast makes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from case import Case, randbool, randint, randn

aten = torch.ops.aten
F16, F32 = torch.float16, torch.float32


def seeded(make: Callable[..., nn.Module], *args: Any, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    return make(*args, **options).eval()


class Vision(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.SiLU(),
            nn.MaxPool2d(2),
            nn.ConvTranspose2d(8, 4, 2, stride=2),
            nn.GroupNorm(2, 4),
            nn.GELU(),
            nn.Upsample(scale_factor=2, mode="bilinear"),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 5),
            nn.Softmax(-1),
        )


class Text(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.norm = nn.LayerNorm(8)
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
        self.gate = nn.Linear(8, 16)
        self.rms = nn.RMSNorm(8)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.embed(ids))
        x = x + self.attend(x, x, x, need_weights=False)[0]
        return self.rms(x + F.glu(self.gate(x)))


class Island(nn.Module):
    """As autocast computes: products in fp16, sums and norms in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8).half()
        self.norm = nn.LayerNorm(8)
        self.last = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.first(x.to(F16))
        z = self.norm(y.to(F32)) + x.mean()
        return self.last(z), (y * 2).sum(-1)


def islands(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Sums of both kinds of floats, and choices between them."""
    half = torch.matmul(x.half(), y.half())
    return (
        half + x.mean(),
        torch.where(half > 0, half, x.mean().half()),
        half.float() * x[:, :2],
        half,
    )


TOLERANCE = {"rtol": 4e-3, "atol": 2e-3}

ROWS = [
    Case("vision_half", seeded(Vision).half(), (randn(2, 3, 8, 8).half(),),
         aten.conv2d.default, **TOLERANCE),
    Case("text_half", seeded(Text).half(), (randint(2, 6, low=0, high=20),),
         aten.scaled_dot_product_attention.default, **TOLERANCE),
    Case("island", seeded(Island), (randn(4, 6),), aten.linear.default, **TOLERANCE),
    Case("islands", islands, (randn(4, 4), randn(4, 2)), aten.where.self, **TOLERANCE),
    Case("half_rank0", lambda x, y: (x + y, x.float() * 3, x > y),
         (torch.tensor(1.5, dtype=F16), torch.tensor(0.25, dtype=F16)), aten.add.Tensor),
    Case("half_by_number", lambda x: x * 0.1 + 2, (randn(3, 4).half(),), aten.mul.Tensor,
         rtol=1e-3),
    Case("half_of_bool", lambda x, m: x * m, (randn(3, 4).half(), randbool(3, 4)),
         aten.mul.Tensor),
    Case("half_of_int", lambda x, i: x + i, (randn(3, 4).half(), randint(3, 4)),
         aten.add.Tensor, rtol=1e-3),
    Case("half_and_float", torch.add, (randn(3, 4).half(), randn(3, 4)), aten.add.Tensor),
    Case("half_float_rank0", torch.mul, (randn(3, 4).half(), torch.tensor(1.7)), aten.mul.Tensor,
         rtol=1e-3),
]  # fmt: skip
