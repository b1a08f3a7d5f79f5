"""Elementwise ops."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernel_case import KernelCase, bools, ints, randn, uniform

X, Y = randn(2, 3, 5), randn(3, 1)
# Beyond 2**24 float32 cannot tell neighbours apart, so integer arithmetic must not go through it.
BIG = ints(2**31 - 1, -(2**31) + 1, 2**24 + 1, 100000001, -7, 7, -7, 0)
SMALL = ints(1, 2, 2**24, 3, 2, -2, -2, 5)


def _unary(op: str, x: np.ndarray, case: str = "", **options: Any) -> KernelCase:
    name = f"{op}-{case}" if case else op
    return KernelCase(name, op, lambda mb, t, x: getattr(mb, op)(x=x), (x,), **options)


def _binary(
    op: str, x: np.ndarray, y: np.ndarray, case: str = "float", **options: Any
) -> KernelCase:
    return KernelCase(
        f"{op}-{case}", op, lambda mb, t, x, y: getattr(mb, op)(x=x, y=y), (x, y), **options
    )


def _integers(op: str, **options: Any) -> KernelCase:
    return _binary(op, BIG, SMALL, "int", half=False, why="integers only", **options)


def _logical(op: str) -> KernelCase:
    x, y = bools(True, True, False, False), bools(True, False, True, False)
    return _binary(op, x, y, "bool", half=False, why="booleans only")


def _epsilon(op: str, epsilon: float) -> KernelCase:
    return KernelCase(
        f"{op}-epsilon",
        op,
        lambda mb, t, x: getattr(mb, op)(x=x, epsilon=t(epsilon)),
        (uniform(3, 4, low=0.0, high=2.0),),
    )


INSIDE, POSITIVE = uniform(4, 7, low=-0.99, high=0.99), uniform(4, 7, low=0.1, high=9.0)
HALVES = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.49, -0.0], np.float32)

ROWS = [
    *(_unary(op, X) for op in ("abs", "atan", "ceil", "cos", "erf", "exp", "exp2", "floor")),
    *(_unary(op, X) for op in ("sign", "sin", "square", "tan", "tanh")),
    *(_unary(op, INSIDE) for op in ("acos", "asin", "atanh", "cosh", "sinh")),
    *(_unary(op, POSITIVE) for op in ("inverse", "log", "rsqrt", "sqrt")),
    *(_unary(op, ints(-3, 0, 4), "int", half=False, why="integers only") for op in ("abs", "sign")),
    _unary("square", ints(-3, 0, 40000), "int", half=False, why="integers only"),
    _unary("exp2", ints(0, 3, 10), "int", half=False, why="integers only"),
    _unary("round", HALVES),
    _unary("logical_not", bools(True, False), half=False, why="booleans only"),
    _unary("exp", np.float32([-200, -80, 11.5, 80, 200]), "range"),
    _epsilon("inverse", 0.25),
    _epsilon("log", 0.125),
    _epsilon("rsqrt", 0.5),
    KernelCase("clip", "clip", lambda mb, t, x: mb.clip(x=x, alpha=t(-0.3), beta=t(0.7)), (X,)),
    KernelCase("threshold", "threshold", lambda mb, t, x: mb.threshold(x=x, alpha=t(0.1)), (X,)),
    KernelCase(
        "threshold-int",
        "threshold",
        lambda mb, t, x: mb.threshold(x=x, alpha=np.int32(2**24)),
        (BIG,),
        half=False,
        why="integers only",
    ),
    *(_binary(op, X, Y) for op in ("add", "sub", "mul", "real_div", "maximum", "minimum")),
    *(_binary(op, X * 4, Y) for op in ("floor_div", "mod")),
    _binary("pow", POSITIVE, randn(4, 7)),
    KernelCase("pow-square", "pow", lambda mb, t, x: mb.pow(x=x, y=t(2)), (X,)),
    KernelCase("pow-cube", "pow", lambda mb, t, x: mb.pow(x=x, y=t(3)), (X,)),
    _binary("pow", ints(3, -2, 10), ints(4, 3, 6), "int", half=False, why="integers only"),
    *(_integers(op) for op in ("maximum", "minimum", "floor_div", "mod")),
    *(_integers(op) for op in ("equal", "not_equal", "less", "less_equal")),
    *(_integers(op) for op in ("greater", "greater_equal")),
    _binary("add", BIG[2:], SMALL[2:], "int", half=False, why="integers only"),
    _binary("sub", BIG[2:], SMALL[2:], "int", half=False, why="integers only"),
    _binary("mul", BIG[3:], SMALL[3:], "int", half=False, why="integers only"),
    _integers(
        "real_div",  # towards zero
        expect=lambda x, y: np.sign(x) * np.sign(y) * (abs(x.astype(np.int64)) // abs(y)),
    ),
    *(_binary(op, np.round(X), np.round(Y)) for op in ("equal", "not_equal", "less")),
    *(_binary(op, np.round(X), np.round(Y)) for op in ("less_equal", "greater", "greater_equal")),
    *(_logical(op) for op in ("logical_and", "logical_or", "logical_xor")),
    KernelCase("cast-to-int", "cast", lambda mb, t, x: mb.cast(x=x, dtype="int32"), (X * 10,)),
    KernelCase(
        "cast-to-half",
        "cast",
        lambda mb, t, x: mb.cast(x=x, dtype="fp16"),
        (X * 1e4,),
        expect=lambda x: x.astype(np.float16),
        rtol=0,
        atol=0,
    ),
    KernelCase(
        "cast-int-to-half",
        "cast",
        lambda mb, t, x: mb.cast(x=x, dtype="fp16"),
        (ints(2049, 2051, 65519, 65520, -4099),),
        expect=lambda x: x.astype(np.float16),
        rtol=0,
        atol=0,
    ),
    KernelCase("cast-to-bool", "cast", lambda mb, t, x: mb.cast(x=x, dtype="bool"), (HALVES,)),
    KernelCase(
        "cast-bool-to-float",
        "cast",
        lambda mb, t, x: mb.cast(x=x, dtype="fp32"),
        (bools(True, False),),
    ),
    KernelCase(
        "select",
        "select",
        lambda mb, t, c, a, b: mb.select(cond=c, a=a, b=b),
        (bools([True], [False], [True]), X, Y),
    ),
    KernelCase(
        "select-int",
        "select",
        lambda mb, t, c, a, b: mb.select(cond=c, a=a, b=b),
        (bools(*[True, False] * 4), BIG, SMALL),
        half=False,
        why="integers only",
    ),
]
