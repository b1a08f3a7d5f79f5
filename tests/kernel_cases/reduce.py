"""Reductions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kernel_case import KernelCase, ints, randn, uniform

X = randn(2, 3, 4)
OPS = (
    "reduce_l1_norm",
    "reduce_l2_norm",
    "reduce_log_sum_exp",
    "reduce_max",
    "reduce_mean",
    "reduce_min",
    "reduce_prod",
    "reduce_sum",
    "reduce_sum_square",
)


def _case(op: str, case: str, x: np.ndarray = X, **arguments: Any) -> KernelCase:
    return KernelCase(f"{op}-{case}", op, lambda mb, t, x: getattr(mb, op)(x=x, **arguments), (x,))


def _integers(op: str) -> KernelCase:
    return KernelCase(
        f"{op}-int",
        op,
        lambda mb, t, x: getattr(mb, op)(x=x, axes=[0]),
        (ints([1, -2], [30, 4], [5, 1000]),),
        half=False,
        why="integers only",
    )


def _large_integers(op: str, of: Callable[..., Any], x: np.ndarray, keep: bool) -> KernelCase:
    """Beyond 2**24, and for sums and products beyond 2**31: int32 wraps around."""
    return KernelCase(
        f"{op}-large-int-{'keep' if keep else 'drop'}",
        op,
        lambda mb, t, x: getattr(mb, op)(x=x, axes=[0, 2], keep_dims=keep),
        (x,),
        lambda x: of(x, axis=(0, 2), keepdims=keep).astype(np.int32),
        half=False,
        why="integers only",
    )


def _cumsum(exclusive: bool, reverse: bool) -> KernelCase:
    def expect(x: np.ndarray) -> np.ndarray:
        ordered = np.flip(x, 1) if reverse else x
        total = np.cumsum(ordered, 1) - (ordered if exclusive else 0)
        return np.flip(total, 1) if reverse else total

    return KernelCase(
        f"cumsum-exclusive-{exclusive}-reverse-{reverse}",
        "cumsum",
        lambda mb, t, x: mb.cumsum(x=x, axis=1, exclusive=exclusive, reverse=reverse),
        (X,),
        expect,
        atol=1e-4,
    )


TIES = np.float32([[1, 3, 3, 2], [0, 0, -1, -1]])

LARGE = (np.arange(2 * 3 * 5).reshape(2, 3, 5) * 100_000_007 % 2**31 - 2**30).astype(np.int32)
FACTORS = (np.arange(2 * 3 * 5).reshape(2, 3, 5) % 29 - 14 | 1).astype(np.int32)

ROWS = [
    *(_case(op, "keep", axes=[1, -1], keep_dims=True) for op in OPS),
    *(_case(op, "axis", axes=[0]) for op in OPS),
    *(_case(op, "all") for op in OPS),
    _case("reduce_log_sum", "axis", uniform(2, 3, 4, low=0.1, high=4.0), axes=[-2]),
    _case("reduce_log_sum_exp", "large", np.float32([[1e3, 1e3], [-1e3, 5]]), axes=[1]),
    KernelCase(
        "reduce_log_sum_exp-all-minus-infinity",
        "reduce_log_sum_exp",
        lambda mb, t, x: mb.reduce_log_sum_exp(x=x, axes=[1]),
        (np.float32([[-np.inf, -np.inf], [-np.inf, 0]]),),
        lambda x: np.float32([-np.inf, 0]),
    ),
    *(_integers(op) for op in ("reduce_max", "reduce_min", "reduce_sum", "reduce_prod")),
    *(
        _large_integers(op, of, x, keep)
        for op, of, x in (
            ("reduce_max", np.max, LARGE),
            ("reduce_min", np.min, LARGE),
            ("reduce_sum", np.sum, LARGE),
            ("reduce_prod", np.prod, FACTORS),
        )
        for keep in (False, True)
    ),
    *(_case(op, "default", TIES) for op in ("reduce_argmax", "reduce_argmin")),
    *(_case(op, "keep", TIES, axis=0, keep_dims=True) for op in ("reduce_argmax", "reduce_argmin")),
    KernelCase(
        "reduce_argmax-uint16",
        "reduce_argmax",
        lambda mb, t, x: mb.cast(
            x=mb.reduce_argmax(x=x, axis=-1, output_dtype="uint16"), dtype="int32"
        ),
        (X,),
        lambda x: np.argmax(x, -1),
    ),
    *(_cumsum(exclusive, reverse) for exclusive in (False, True) for reverse in (False, True)),
]
