"""Rows for ops/transcendental.py."""

from __future__ import annotations

import torch

from case import Case, Reject, randbool, randint, randn, uniform
from cases._joined import joined

aten = torch.ops.aten

X = randn(2, 3, 4)
POSITIVE = uniform(2, 3, 4, low=0.05, high=6.0)
UNIT = uniform(3, 5, low=-0.95, high=0.95)
INTS = randint(3, 4, low=1, high=9)
TINY = torch.tensor([-3e-4, -1e-4, 0.0, 1e-4, 3e-4])
HALF_RTOL = 2e-3  # a result in fp16 after up to three roundings to fp16
HUGE = torch.tensor([-60000.0, -300.0, 300.0, 60000.0])

# name -> inputs beyond the plain one. Small ones are compared relative to themselves: they are
# all small, so a formula that cancels fails.
PLAIN: dict[str, torch.Tensor] = {
    "exp": X, "expm1": X, "log": POSITIVE, "log2": POSITIVE, "log10": POSITIVE,
    "log1p": POSITIVE - 0.95, "sqrt": POSITIVE, "rsqrt": POSITIVE, "reciprocal": POSITIVE,
    "erf": X, "sin": X, "cos": X, "tan": UNIT, "asin": UNIT, "acos": UNIT, "atan": X, "sinh": X,
    "cosh": X, "tanh": X, "asinh": X, "acosh": POSITIVE + 1, "atanh": UNIT, "sigmoid": X,
}  # fmt: skip
OF_INT = dict.fromkeys(PLAIN, INTS) | {
    name: randint(3, 4, low=0, high=2) for name in ("asin", "acos")
}
SMALL = ("expm1", "log1p", "asinh", "sin", "tan", "tanh", "atan", "sinh")

UNARY = [
    row
    for name, x in PLAIN.items()
    for fn, op in [(getattr(torch, name), getattr(aten, name).default)]
    for row in [
        Case(name, fn, (x,), op),
        Case(f"{name}_half", fn, (x.half(),), op, rtol=HALF_RTOL),
        Case(f"{name}_rank0", fn, (x.reshape(-1)[3].clone(),), op),
        *([Case(f"{name}_int", fn, (OF_INT[name],), op)] if name != "atanh" else []),
        *(
            [Case(f"{name}_small", fn, (TINY,), op, atol=0.0, half_atol=0.0, half_rtol=2e-3)]
            if name in SMALL
            else []
        ),
    ]
]

EDGES = [
    Case("sigmoid_bool", torch.sigmoid, (randbool(4),), aten.sigmoid.default),
    Case("log_zero", torch.log, (torch.tensor([0.0, 1.0]),), aten.log.default),
    Case("rsqrt_zero", torch.rsqrt, (torch.tensor([0.0, 4.0]),), aten.rsqrt.default),
    Case("rsqrt_small", torch.rsqrt, (torch.tensor([1e-6, 2e-6]),), aten.rsqrt.default,
         half_rtol=5e-2),  # 1e-6 has 4 bits in fp16
    Case("rsqrt_epsilon", lambda x: torch.rsqrt(x + 1e-12) * x, (torch.zeros(3),),
         aten.rsqrt.default),
    Case("rsqrt_mean_square",
         lambda x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6),
         (randn(3, 64) * 400,), aten.rsqrt.default),
    Case("sqrt_mean_square", lambda x: x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-6),
         (randn(3, 64) * 400,), aten.sqrt.default),
    Case("reciprocal_zero", torch.reciprocal, (torch.tensor([0.0, 1e-3, -2.0]),),
         aten.reciprocal.default),
    Case("log1p_large", torch.log1p, (HUGE.abs(),), aten.log1p.default),
    Case("log1p_edge", torch.log1p, (torch.tensor([-1.0, -0.25, 0.25]),), aten.log1p.default),
    Case("expm1_far", torch.expm1, (torch.tensor([-30.0, -8.0, 10.0]),), aten.expm1.default),
    Case("asinh_large", torch.asinh, (HUGE,), aten.asinh.default),
    Case("acosh_large", torch.acosh, (HUGE.abs(),), aten.acosh.default),
    Case("acosh_near_1", torch.acosh, (1 + torch.tensor([0.0, 2**-10, 2**-8]),),
         aten.acosh.default, atol=0.0, half_atol=0.0),
    Case("acosh_below_1", torch.acosh, (torch.tensor([0.5, -0.5, -2.0, -300.0]),),
         aten.acosh.default),
    Case("asinh_huge", torch.asinh, (torch.tensor([-1e30, 1e20, 3e38]),), aten.asinh.default,
         half=False, why="the arguments are beyond fp16"),
    Case("exp_int_large", torch.exp, (torch.tensor([9, 10]),), aten.exp.default),
    Case("sqrt_large_int", torch.sqrt, (torch.tensor([1000000, 250000]),), aten.sqrt.default),
]  # fmt: skip

SQUARE = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0], [0.0, 2.0], [0.0, -2.0],
                       [3.0, 0.0], [-3.0, 0.0], [0.0, 0.0]])  # fmt: skip

BINARY = [
    Case("atan2", torch.atan2, (X, randn(4)), aten.atan2.default),
    Case("atan2_quadrants", lambda p: torch.atan2(p[:, 0], p[:, 1]), (SQUARE,),
         aten.atan2.default),
    Case("atan2_int", torch.atan2, (randint(3, 4), INTS), aten.atan2.default),
    Case("atan2_steep", torch.atan2, (HUGE, torch.full((4,), 1e-3)), aten.atan2.default),
    Case("pow_tensor", torch.pow, (POSITIVE, randn(4)), aten.pow.Tensor_Tensor),
    Case("pow_int", torch.pow, (randint(3, 4, low=-5, high=5), randint(4, low=0, high=5)),
         aten.pow.Tensor_Tensor),
    Case("pow_int_exact", torch.pow, (torch.tensor([7, -3, 2, -2]), torch.tensor([9, 19, 30, 31])),
         aten.pow.Tensor_Tensor),
    Case("pow_int_negative", torch.pow, (torch.tensor([[0], [1], [-1], [2], [-3]]),
         torch.tensor([-1, -2, -33, 0])), aten.pow.Tensor_Tensor),
    Case("pow_int_units", torch.pow, (torch.tensor([[0], [1], [-1]]),
         torch.tensor([0, 31, 32, 100, 2**31 - 1, -(2**31) + 1])), aten.pow.Tensor_Tensor),
    Case("pow_int_narrow", lambda x: torch.pow(x, torch.full_like(x, 9)),
         (torch.tensor([7, 100, 255], dtype=torch.uint8),), aten.pow.Tensor_Tensor),
    Case("pow_int_wraps", torch.pow, (torch.tensor([[3], [5], [7]], dtype=torch.uint8),
         torch.tensor([250, 33, 100, 255], dtype=torch.uint8)), aten.pow.Tensor_Tensor),
    Case("pow_int32_wraps", torch.pow, (torch.tensor([[3], [-5], [7]], dtype=torch.int32),
         torch.tensor([250, 33, 2**30 + 1], dtype=torch.int32)), aten.pow.Tensor_Tensor),
    Case("pow_base_constants", lambda x: x + 2 ** torch.tensor([-1, 3, 0]), (INTS[0, :3],),
         aten.pow.Scalar),
    Case("pow_base_hundred", lambda x: 100**x, (torch.tensor([0, 1, 4, -1]),), aten.pow.Scalar),
    Case("pow_int_float", torch.pow, (INTS, randn(4)), aten.pow.Tensor_Tensor),
    Case("pow_negative_base", torch.pow, (torch.tensor([-2.0, -3.0]), torch.tensor([3.0, 2.0])),
         aten.pow.Tensor_Tensor),
    Case("pow_base", lambda x: 2**x, (X,), aten.pow.Scalar),
    Case("pow_base_float", lambda x: 0.3**x, (X,), aten.pow.Scalar),
    Case("pow_base_int", lambda x: 3**x, (INTS,), aten.pow.Scalar),
    *[
        Case(f"pow_{exponent}", lambda x, e=exponent: x**e, (x,), aten.pow.Tensor_Scalar)
        for exponent, x in (
            (0, X), (1, X), (2, X), (3, X), (5, X), (8, X), (-1, X + 3), (-2, X + 3),
            (0.5, POSITIVE), (-0.5, POSITIVE), (1.7, POSITIVE), (9, X), (2.0, X),
        )
    ],
    *[
        Case(f"pow_int_{exponent}", lambda x, e=exponent: x**e, (INTS,), aten.pow.Tensor_Scalar)
        for exponent in (0, 2, 3, 0.5, 2.0, 9)
    ],
    Case("pow_inverse_square", lambda x: x**-2, (torch.tensor([300.0, -400.0]),),
         aten.pow.Tensor_Scalar, half_atol=1e-7),
    Case("pow_bool", lambda x: x**2, (randbool(4),), aten.pow.Tensor_Scalar),
    Reject("pow_wide", lambda x: aten.pow.Scalar(2**40, x), (torch.tensor([0, 1]),),
           aten.pow.Scalar, "int32"),
    Reject("pow_tensor_bool", torch.pow, (randbool(3), INTS[0, :3]), aten.pow.Tensor_Tensor,
           "allowed: float16"),
]  # fmt: skip

ROWS = joined([*UNARY, *EDGES, *BINARY])
