"""Random ops: the values are nobody else's, so their statistics are compared.

Each program reduces its samples to statistics; bounds are five standard errors of the statistic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kernel_case import KernelCase

COUNT = 40000
SHAPE = (200, 200)


def _case(
    op: str,
    case: str,
    draw: Callable[[Any, Any], Any],
    moments: tuple[float, float],
    bounds: tuple[float, float],
    error: float,
    half_open: bool = False,
) -> KernelCase:
    """The mean and the mean square, and how many samples lie outside the bounds."""

    def build(mb: Any, t: Any, x: Any) -> Any:
        samples = draw(mb, t)
        low = mb.less(x=samples, y=t(bounds[0]))
        above = mb.greater_equal if half_open else mb.greater
        high = above(x=samples, y=t(bounds[1]))
        outside = mb.reduce_sum(x=mb.cast(x=mb.logical_or(x=low, y=high), dtype="int32"))
        squares = mb.mul(x=samples, y=samples)
        means = [mb.reduce_mean(x=v, keep_dims=True) for v in (samples, squares)]
        return [*(mb.add(x=x, y=mean) for mean in means), outside]

    def expect(x: np.ndarray) -> tuple[Any, ...]:
        return (*(x + np.float32(moment) for moment in moments), np.int32(0))

    zeros = np.zeros((1, 1), np.float32)
    return KernelCase(f"{op}-{case}", op, build, (zeros,), expect, rtol=0, atol=error)


def _uniform(case: str, low: float, high: float, **seed: int) -> KernelCase:
    mean = (low + high) / 2
    square = (high - low) ** 2 / 12 + mean**2
    error = 5 * (high - low) * max(abs(low), abs(high), 1) / np.sqrt(COUNT)

    def draw(mb: Any, t: Any) -> Any:
        return mb.random_uniform(shape=SHAPE, low=t(low), high=t(high), **seed)

    return _case(
        "random_uniform", case, draw, (mean, square), (low, high), error, half_open=low < high
    )


def _normal(case: str, mean: float, deviation: float, **seed: int) -> KernelCase:
    spread = deviation * np.sqrt(2 * deviation**2 + 4 * mean**2)
    error = 5 * max(spread, deviation) / np.sqrt(COUNT)

    def draw(mb: Any, t: Any) -> Any:
        return mb.random_normal(shape=SHAPE, mean=t(mean), stddev=t(deviation), **seed)

    reach = 7 * deviation
    return _case(
        "random_normal",
        case,
        draw,
        (mean, deviation**2 + mean**2),
        (mean - reach, mean + reach),
        error,
    )


def _bernoulli(case: str, probability: float, **seed: int) -> KernelCase:
    def draw(mb: Any, t: Any) -> Any:
        return mb.random_bernoulli(shape=SHAPE, prob=t(probability), **seed)

    error = 5 * np.sqrt(probability * (1 - probability) / COUNT)
    return _case("random_bernoulli", case, draw, (probability, probability), (0.0, 1.0), error)


def _categorical(case: str, mode: str, weights: list[list[float]], **seed: int) -> KernelCase:
    """How often each class is drawn in each row; the input is the logits or probabilities."""
    given = np.float16(weights)
    size = 20000

    def build(mb: Any, t: Any, x: Any) -> Any:
        drawn = mb.random_categorical(x=x, mode=mode, size=size, **seed)
        hits = [mb.cast(x=mb.equal(x=drawn, y=t(k)), dtype="fp32") for k in range(given.shape[-1])]
        return [mb.reduce_mean(x=hit, axes=[-1]) for hit in hits]

    def expect(x: np.ndarray) -> tuple[np.ndarray, ...]:
        odds = np.exp(x) if mode == "logits" else x
        share = odds / odds.sum(-1, keepdims=True)
        return tuple(share[:, k].astype(np.float32) for k in range(share.shape[-1]))

    return KernelCase(
        f"random_categorical-{case}",
        "random_categorical",
        build,
        (given.astype(np.float32),),
        expect,
        rtol=0,
        atol=5 * 0.5 / np.sqrt(size),
    )


ROWS = [
    _uniform("default", 0.0, 1.0),
    _uniform("seed", 0.0, 1.0, seed=3),
    _uniform("range", -2.0, 5.0, seed=0),
    _uniform("one-value", 2.0, 2.0),
    _normal("default", 0.0, 1.0),
    _normal("seed", 0.0, 1.0, seed=3),
    _normal("moved", 1.5, 0.25, seed=0),
    _bernoulli("default", 0.5),
    _bernoulli("seed", 0.25, seed=7),
    _bernoulli("never", 0.0, seed=7),
    _bernoulli("always", 1.0, seed=7),
    _categorical("logits", "logits", [[0, 1, 2], [3, 3, -3]]),
    _categorical("probs", "probs", [[0.5, 0.25, 0.25], [0.125, 0.875, 0]], seed=5),
    _categorical("one-class", "logits", [[2.0]], seed=5),
]
