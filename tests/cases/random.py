"""Rows for ops/random.py: what holds of every draw, as far as a number of them can show.

Each fact fails by chance less than once in a million runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from case import Case, Reject, randint, randn, uniform

aten = torch.ops.aten

N = 2000
MANY = torch.zeros(N)
SPREAD = 12**-0.5  # of the uniform distribution


def within(drawn: Tensor, low: float, high: float) -> Tensor:
    return ((drawn >= low) & (drawn < high)).all()


def mean_near(drawn: Tensor, mean: float, spread: float) -> Tensor:
    """Six standard errors and the resolution of fp16."""
    return (drawn.float().mean() - mean).abs() < 6 * spread * drawn.numel() ** -0.5 + 1e-3


def varied(one: Tensor, other: Tensor) -> Tensor:
    """Draws of one call differ, and those of two calls do."""
    return (one != other).any() & (one.flatten()[1:] != one.flatten()[:-1]).any()


def facts(draw: Callable[..., Tensor], low: float, high: float, mean: float, spread: float) -> Any:
    def fn(*inputs: Tensor) -> tuple[Tensor, ...]:
        one, other = draw(*inputs), draw(*inputs)
        return within(one, low, high), mean_near(one, mean, spread), varied(one, other), one * 0

    return fn


def dropped(x: Tensor) -> tuple[Tensor, ...]:
    y, kept = aten.native_dropout(x, 0.25, True)
    right = torch.where(kept, x / 0.75, 0.0)
    return ((y - right).abs() < 0.01).all(), mean_near(kept.float(), 0.75, 0.44), y * 0


def permuted(x: Tensor) -> tuple[Tensor, ...]:
    order = torch.randperm(50)
    return order.sort()[0] + x, (order != torch.arange(50)).any()


def counted(drawn: Tensor, number: int, chance: float) -> Tensor:
    return mean_near((drawn == number).float(), chance, 0.5)


def chosen(weights: Tensor) -> tuple[Tensor, ...]:
    drawn = torch.multinomial(weights, N, replacement=True)
    return counted(drawn, 0, 0.2), counted(drawn, 1, 0.0), counted(drawn, 2, 0.8), drawn * 0


def chosen_once(weights: Tensor) -> Tensor:
    """All that have a weight, each once."""
    return torch.multinomial(weights, 3).sort(-1)[0]


ROWS: list[Case | Reject] = [
    Case(
        "rand",
        facts(lambda x: torch.rand(N) + x, 0, 1, 0.5, SPREAD),
        (MANY,),
        covers=aten.rand.default,
    ),
    Case(
        "rand-rank0",
        lambda x: (torch.rand(()) * x < 1) & (torch.rand(()) * x >= 0),
        (torch.tensor(1.0),),
        covers=aten.rand.default,
    ),
    Case(
        "rand-half",
        facts(lambda x: torch.rand(N, dtype=torch.float16) + x, 0, 1, 0.5, SPREAD),
        (MANY.half(),),
        covers=aten.rand.default,
    ),
    Case(
        "rand-like",
        facts(torch.rand_like, 0, 1, 0.5, SPREAD),
        (MANY,),
        covers=aten.rand_like.default,
    ),
    Case(
        "randn",
        facts(lambda x: torch.randn(2, N) + x, -7, 7, 0, 1),
        (MANY,),
        covers=aten.randn.default,
    ),
    Case(
        "randn-deviation",
        lambda x: mean_near((torch.randn(N) + x).square(), 1, 1.5),
        (MANY,),
        covers=aten.randn.default,
    ),
    Case(
        "randn-like", facts(torch.randn_like, -7, 7, 0, 1), (MANY,), covers=aten.randn_like.default
    ),
    Case(
        "uniform",
        facts(lambda x: x.clone().uniform_(-3, 5), -3, 5, 1, 8 * SPREAD),
        (MANY,),
        covers=aten.uniform.default,
    ),
    Case(
        "normal",
        facts(lambda x: torch.normal(x + 2, 0.5), -2, 6, 2, 0.5),
        (MANY,),
        covers=aten.normal.Tensor_float,
    ),
    Case(
        "normal-tensors",
        facts(lambda x: torch.normal(x + 2, x + 0.5), -2, 6, 2, 0.5),
        (MANY,),
        covers=aten.normal.Tensor_Tensor,
    ),
    Case(
        "normal-in-place",
        facts(lambda x: x.clone().normal_(2, 0.5), -2, 6, 2, 0.5),
        (MANY,),
        covers=aten.normal_functional.default,
    ),
    Case(
        "exponential",
        facts(lambda x: x.clone().exponential_(2.0), 0, 20, 0.5, 0.5),
        (MANY,),
        covers=aten.exponential.default,
    ),
    Case(
        "randint",
        facts(lambda x: torch.randint(5, (N,)) + x, 0, 5, 2, 1.5),
        (MANY.long(),),
        covers=aten.randint.default,
    ),
    Case(
        "randint-low",
        facts(lambda x: torch.randint(-2, 7, (3, N)) + x, -2, 7, 2, 2.6),
        (MANY.long(),),
        covers=aten.randint.low,
    ),
    Case(
        "randint-every-value",
        lambda x: counted(torch.randint(1, 4, (N,)) + x, 3, 1 / 3),
        (MANY.long(),),
        covers=aten.randint.low,
    ),
    Case(
        "randint-like",
        facts(lambda x: torch.randint_like(x, 5), 0, 5, 2, 1.5),
        (MANY,),
        covers=aten.randint_like.default,
    ),
    Case(
        "randint-like-low",
        facts(lambda x: torch.randint_like(x, 1, 5), 1, 5, 2.5, 1.2),
        (MANY.long(),),
        covers=aten.randint_like.low_dtype,
    ),
    Case("randperm", permuted, (randint(50),), covers=aten.randperm.default),
    Case(
        "bernoulli",
        lambda p: (mean_near(torch.bernoulli(p), 0.3, 0.46), torch.bernoulli(p * 0)),
        (MANY + 0.3,),
        covers=aten.bernoulli.default,
    ),
    Case(
        "bernoulli-p",
        lambda x: (mean_near(torch.bernoulli(x, 0.3), 0.3, 0.46), torch.bernoulli(x, 1.0)),
        (MANY,),
        covers=aten.bernoulli.p,
    ),
    Case(
        "multinomial",
        chosen_once,
        (torch.tensor([[0, 1.0, 2, 0, 0.1], [1, 0.1, 0.01, 0, 0]]),),
        covers=aten.multinomial.default,
    ),
    Case(
        "multinomial-replacement",
        chosen,
        (torch.tensor([1.0, 0.0, 4.0]),),
        covers=aten.multinomial.default,
    ),
    Case("dropout", dropped, (uniform(N, low=1, high=2),), covers=aten.native_dropout.default),
    Case(
        "dropout-eval",
        lambda x: aten.native_dropout(x, 0.25, False),
        (randn(3, 4),),
        covers=aten.native_dropout.default,
    ),
    Case(
        "dropout-all",
        lambda x: aten.native_dropout(x, 1.0, True),
        (randn(3, 4),),
        covers=aten.native_dropout.default,
    ),
    Reject(
        "randint-wide",
        lambda x: torch.randint(2**25, (3,)) + x,
        (randint(3),),
        covers=aten.randint.default,
        reason="33554432 different values",
    ),
]
