"""Rows for ops/special.py, ops/scan.py and ops/distance.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from fuzz.draw import FLOATS, PLAIN, USUAL, Draw, row

# No results of other ops: nobody promises the sign of a zero that an op computes.
SIGNED = ["normal", "zeros", "hundreds", "inf", "nan"]

aten = torch.ops.aten


@row(
    *[
        getattr(aten, name).default
        for name in ("erfc", "special_erfcx", "lgamma", "digamma", "exp2", "signbit", "angle")
    ]
)
def unary(d: Draw, op: Any) -> None:
    kinds: Sequence[str] = SIGNED if op in (aten.signbit.default, aten.angle.default) else USUAL
    if op in (aten.lgamma.default, aten.digamma.default):  # poles and many roots
        kinds = ("positive", "hundreds", "tiny", "inf", "nan")
    d.call(op, d.operand(d.types(op), kinds=kinds))


@row(aten.erfinv.default, aten.special_ndtri.default)
def inverse(d: Draw, op: Any) -> None:
    d.call(op, d.operand(FLOATS, kinds=("unit", "tiny", "nan")))


@row(
    *[getattr(aten, name).default for name in ("fmax", "fmin", "hypot", "logaddexp", "logaddexp2")],
    aten.copysign.Tensor,
    aten.ldexp.Tensor,
)
def binary(d: Draw, op: Any) -> None:
    x = d.operand(d.types(op), kinds=PLAIN if op is aten.ldexp.Tensor else USUAL)
    dtype = d.of(x).dtype if d.flag() else d.choice(*d.types(op))
    y = d.tensor(d.broadcasts(d.of(x).shape), dtype, USUAL if dtype in FLOATS else PLAIN)
    d.call(op, x, y)


@row(aten.copysign.Scalar)
def copysign(d: Draw, op: Any) -> None:
    d.call(op, d.operand(d.types(op), kinds=SIGNED), d.choice(1.0, -2, 0, -0.0))


@row(aten.cumprod.default, aten.logcumsumexp.default)
def scan(d: Draw, op: Any) -> None:
    x = d.operand(d.types(op), kinds=("unit", "normal", "zeros"))
    dim = d.dim(d.of(x).dim())
    if op is aten.cumprod.default and d.integer(0, 3) == 0:
        d.call(op, x, dim, dtype=d.choice(*d.types(op)))
    else:
        d.call(op, x, dim)


@row(aten.cummax.default, aten.cummin.default)
def running(d: Draw, op: Any) -> None:
    x = d.operand(d.types(op), kinds=(*PLAIN, "zeros", "inf"))
    d.call(op, x, d.dim(d.of(x).dim()))


NORMS = (2.0, 1.0, 0.0, float("inf"), 3.0, 0.5, 1.5)


@row(aten.dist.default)
def dist(d: Draw, op: Any) -> None:
    x = d.operand(FLOATS, kinds=PLAIN)
    y = d.tensor(d.broadcasts(d.of(x).shape), d.of(x).dtype, PLAIN)
    d.call(op, x, y, d.choice(*NORMS))


@row(aten._pdist_forward.default)
def pdist(d: Draw, op: Any) -> None:
    x = d.tensor([d.integer(2, 6), d.integer(1, 6)], kinds=("normal", "grid"))
    d.call(op, x, d.choice(*NORMS))
