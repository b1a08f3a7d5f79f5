"""Rows for ops/special.py. Tails and the neighbourhood of poles are where short forms break."""

from __future__ import annotations

import math

import torch

from case import Case, Reject, randint, randn, uniform

aten = torch.ops.aten

INF, NAN = math.inf, math.nan
TAILS = torch.tensor([-9.0, -3, -1, -0.1, -1e-4, 0, 1e-4, 0.1, 0.5, 1, 2, 3, 3.5, 5, 9])
EDGES = torch.tensor([-1, -0.9995, -0.5, -1e-3, 0, 1e-3, 0.25, 0.99, 0.9995, 1])
CHANCES = torch.tensor([0.0, 1e-6, 1e-4, 0.01, 0.3, 0.5, 0.75, 0.99, 1])
POSITIVE = torch.tensor([0.01, 0.25, 0.5, 1, 1.5, 2, 3.25, 10, 60.0, 300])
BETWEEN_POLES = torch.tensor([-0.25, -0.5, -1.5, -2.75, -5.5])
SIGNS = torch.tensor([0.0, -0.0, 1.5, -1.5, INF, -INF])
BELOW_ZERO = torch.tensor([-1.0988792e-7])
WITH_NAN = torch.tensor([[1.0, NAN, NAN, -3, INF], [2.0, 1, NAN, -INF, 0]])
LARGE = torch.tensor([[-INF, -60000.0, 0, 100, 60000, INF, 3, 5]])


ROWS: list[Case | Reject] = [
    Case("erfc", torch.erfc, (TAILS,), covers=aten.erfc.default),
    # The tail itself, scaled up: 1 - erf(x) has lost it.
    Case(
        "erfc-tail",
        lambda x: torch.erfc(x) * 1e3,
        (uniform(9, low=2, high=2.4),),
        covers=aten.erfc.default,
    ),
    Case("erfc-int", torch.erfc, (randint(5, low=-2, high=3),), covers=aten.erfc.default),
    Case(
        "erfcx",
        torch.special.erfcx,
        (uniform(9, low=-1.5, high=300),),
        covers=aten.special_erfcx.default,
    ),
    Case("erfinv", torch.erfinv, (EDGES,), covers=aten.erfinv.default),
    Case("ndtri", torch.special.ndtri, (CHANCES,), covers=aten.special_ndtri.default),
    Case("lgamma", torch.lgamma, (POSITIVE,), covers=aten.lgamma.default),
    Case(
        "lgamma-infinite",
        torch.lgamma,
        (torch.tensor([INF, -INF, NAN, 2.5]),),
        covers=aten.lgamma.default,
    ),
    Case(
        "lgamma-just-below-zero",
        torch.lgamma,
        (BELOW_ZERO,),
        covers=aten.lgamma.default,
        half=False,
        why="no fp16 number",
    ),
    Case("lgamma-small", torch.lgamma, (BETWEEN_POLES,), covers=aten.lgamma.default),
    Case("digamma", torch.digamma, (POSITIVE[1:],), covers=aten.digamma.default),
    Case(
        "digamma-poles",
        torch.digamma,
        (torch.tensor([-7.0, -1.0, 0.0, -0.0, 1.0, math.inf]),),
        covers=aten.digamma.default,
    ),
    Case(
        "digamma-just-below-zero",
        torch.digamma,
        (BELOW_ZERO,),
        covers=aten.digamma.default,
        half=False,
        why="no fp16 number",
    ),
    Case("digamma-small", torch.digamma, (BETWEEN_POLES,), covers=aten.digamma.default),
    Case(
        "exp2",
        torch.exp2,
        (torch.tensor([-30.0, -14.5, -1, 0, 0.5, 9, 15.9]),),
        covers=aten.exp2.default,
    ),
    Case("exp2-int", torch.exp2, (randint(5),), covers=aten.exp2.default),
    Case(
        "logaddexp",
        torch.logaddexp,
        (LARGE, LARGE.clone().flip(1)),
        covers=aten.logaddexp.default,
    ),
    Case("logaddexp-equal", torch.logaddexp, (LARGE, LARGE + 0), covers=aten.logaddexp.default),
    Case(
        "logaddexp-broadcast",
        torch.logaddexp,
        (randn(3, 1), randn(4)),
        covers=aten.logaddexp.default,
    ),
    Case(
        "logaddexp2",
        torch.logaddexp2,
        (LARGE, LARGE.clone().flip(1)),
        covers=aten.logaddexp2.default,
    ),
    Case(
        "logaddexp2-near", torch.logaddexp2, (randn(3, 4), randn(4)), covers=aten.logaddexp2.default
    ),
    Case(
        "hypot",
        torch.hypot,
        (torch.tensor([[3.0, 0, 300, -40000, INF, 1e-4]]), torch.tensor([[4.0], [0.0], [-500]])),
        covers=aten.hypot.default,
    ),
    Case("fmax", torch.fmax, (WITH_NAN, WITH_NAN.flip(0)), covers=aten.fmax.default),
    Case("fmax-int", torch.fmax, (randint(3, 4), randint(4)), covers=aten.fmax.default),
    Case("fmin", torch.fmin, (WITH_NAN, WITH_NAN[1]), covers=aten.fmin.default),
    Case(
        "ldexp",
        torch.ldexp,
        (torch.tensor([1.5, 60000, 1e-3, 0.75]), torch.tensor([3, -17, 24, 0])),
        covers=aten.ldexp.Tensor,
    ),
    Case(
        "ldexp-far",
        torch.ldexp,
        (
            torch.tensor([0.0, -0.0, 2.0**-14, 0.25, -1.5, 3.0, 60000.0, 5.0]),
            torch.tensor([254, 1000, 25, 252, -100, 127, -20, -1000]),
        ),
        covers=aten.ldexp.Tensor,
    ),
    Case(
        "ldexp-int", torch.ldexp, (randint(4), randint(4, low=-3, high=3)), covers=aten.ldexp.Tensor
    ),
    Case("signbit", torch.signbit, (SIGNS,), covers=aten.signbit.default),
    Case("signbit-int", torch.signbit, (randint(5),), covers=aten.signbit.default),
    Case("copysign", torch.copysign, (randn(3, 6), SIGNS), covers=aten.copysign.Tensor),
    Case("copysign-int", torch.copysign, (randint(3, 4), randint(4)), covers=aten.copysign.Tensor),
    Case(
        "copysign-number",
        lambda x: torch.copysign(x, -2.0),
        (randn(5),),
        covers=aten.copysign.Scalar,
    ),
    Case("angle", torch.angle, (torch.tensor([-2.0, 0, 3, NAN]),), covers=aten.angle.default),
    Case("angle-int", torch.angle, (randint(5),), covers=aten.angle.default),
]
