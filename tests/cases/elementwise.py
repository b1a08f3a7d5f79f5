"""Rows for ops/elementwise.py."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from case import Case, Reject, randbool, randint, randn, uniform
from cases._joined import joined

aten = torch.ops.aten
I32, I64, F16, F32 = torch.int32, torch.int64, torch.float16, torch.float32

X, Y = randn(2, 3, 4), randn(2, 3, 4, scale=2.0) + 0.5
INTS, MORE = randint(3, 4), randint(3, 4, low=1, high=9)
EVEN = torch.arange(-12, 12).reshape(4, 6) / 4  # exact in fp16, with ties
DIVISOR = torch.tensor([0.75, -1.25, 2.0, -0.5, 3.0, 1.5])
INF = torch.tensor([math.inf, -math.inf, math.nan, 0.0, 1.0, -65504.0])


def remains(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Of quotients whose float32 has no remainder left: whether those given are in their range."""
    signed, whole = torch.fmod(x, y), torch.remainder(x, y)
    return signed.abs() < y, signed * x >= 0, (whole >= 0) & (whole < y)


def _pairs(
    name: str, fn: Callable[..., Any], covers: Any, *, ints: bool = True, bools: bool = False
) -> list[Case]:
    """One binary op on every kind of operands it takes."""
    rows: dict[str, tuple[Any, ...]] = {
        "float": (X, Y),
        "broadcast": (X, randn(4)),
        "outer": (randn(3, 1), randn(1, 4)),
        "rank5": (randn(1, 2, 1, 2, 3), randn(2, 1, 2, 1, 3)),
        "rank0": (X, torch.tensor(1.5)),
        "half": (X.to(F16), Y.to(F16)),
        "half_float": (X.to(F16), Y),
    }
    if ints:
        rows["int"] = (INTS, MORE)
        rows["int32"] = (INTS.to(I32), MORE)
        rows["int_float"] = (INTS, randn(3, 4))
        rows["int_rank0_float"] = (INTS, torch.tensor(2.5))
        if name != "sub":
            rows["bool_float"] = (randbool(3, 4), randn(3, 4))
    if bools:
        rows["bool"] = (randbool(3, 4), randbool(4))
    strided = Case(f"{name}_strided", lambda x, y: fn(x.t(), y), (randn(4, 3), randn(3, 4)), covers)
    return [strided, *(Case(f"{name}_{kind}", fn, args, covers) for kind, args in rows.items())]


ARITHMETIC = [
    *_pairs("add", torch.add, aten.add.Tensor, bools=True),
    *_pairs("sub", torch.sub, aten.sub.Tensor),
    *_pairs("mul", torch.mul, aten.mul.Tensor, bools=True),
    *_pairs("maximum", torch.maximum, aten.maximum.default, bools=True),
    *_pairs("minimum", torch.minimum, aten.minimum.default, bools=True),
    Case("add_alpha", lambda x, y: torch.add(x, y, alpha=0.5), (X, Y), aten.add.Tensor),
    Case("add_alpha_int", lambda x, y: torch.add(x, y, alpha=3), (INTS, MORE), aten.add.Tensor),
    Case("sub_alpha", lambda x, y: torch.sub(x, y, alpha=-2), (X, Y), aten.sub.Tensor),
    Case("add_number", lambda x: x + 2, (X,), aten.add.Tensor),
    Case("add_bool_int", lambda x: x + 2, (randbool(3),), aten.add.Tensor),
    Case("add_int_number", lambda x: x + 2.5, (INTS,), aten.add.Tensor),
    Case("add_scalar", lambda x: aten.add.Scalar(x, 2, 3), (INTS,), aten.add.Scalar),
    Case("sub_scalar", lambda x: aten.sub.Scalar(x, 0.5), (X,), aten.sub.Scalar),
    Case("mul_scalar", lambda x: aten.mul.Scalar(x, 0.5), (X,), aten.mul.Scalar),
    Case("rsub", lambda x: 1.0 - x, (X,), aten.rsub.Scalar),
    Case("rsub_int", lambda x: aten.rsub.Scalar(x, 7, 2), (INTS,), aten.rsub.Scalar),
    Case("rsub_tensor", lambda x, y: torch.rsub(x, y, alpha=2), (X, Y), aten.rsub.Tensor),
    Case("add_both_rank0", torch.add, (torch.tensor(2.0), torch.tensor(3.0)), aten.add.Tensor),
    Case("neg", torch.neg, (X,), aten.neg.default),
    Case("neg_int", torch.neg, (INTS,), aten.neg.default),
    Case("square", torch.square, (X,), aten.square.default),
    Case("square_int", torch.square, (INTS,), aten.square.default),
    Case("mul_large_int", lambda x: x * 1000003, (INTS,), aten.mul.Tensor),
    # fp16 would lose these: constants beyond its range, below it, and integers beyond 2048.
    Case("add_beyond", lambda x: (x + 1e5) - 1e5, (torch.ones(3),), aten.add.Tensor, half=False,
         why="the sum itself is beyond fp16"),
    Case("mul_beyond", lambda x: x * 1e6, (X * 1e-4,), aten.mul.Tensor),
    Case("mul_tiny", lambda x: x * 1e-9 * 1e9, (torch.zeros(3),), aten.mul.Tensor),
    Case("mul_subnormal", lambda x: x * 3.3e-7, (torch.tensor([3e4, 6e4]),), aten.mul.Tensor,
         half_rtol=4e-3, half_atol=0.0),
    Case("add_epsilon", lambda x: 1e-4 / (x + 1e-12), (torch.zeros(2) + 1.0,), aten.add.Tensor),
    Case("mask", lambda x, m: torch.softmax(x + (1.0 - m) * -1e9, -1),
         (randn(2, 4), torch.tensor([[1.0, 1, 0, 1], [0, 0, 0, 0]])), aten.mul.Tensor),
    Case("mask_min", lambda x, m: torch.softmax(x + (1.0 - m) * torch.finfo(F32).min, -1),
         (randn(2, 4), torch.tensor([[1.0, 1, 0, 1], [1, 0, 0, 0]])), aten.mul.Tensor),
    Case("int_times_float", lambda x: x * 1e-3, (torch.tensor([100000, 4097]),), aten.mul.Tensor,
         half=False, why="ExecuTorch casts 100000 to float32 in a node of its own, fp16 here"),
]  # fmt: skip

DIVISION = [
    *_pairs("div", torch.div, aten.div.Tensor),
    Case("div_number", lambda x: x / 3, (X,), aten.div.Tensor),
    Case("div_int_number", lambda x: x / 4, (INTS,), aten.div.Tensor),
    Case("div_scalar", lambda x: aten.div.Scalar(x, 4), (INTS,), aten.div.Scalar),
    Case("div_zero", lambda x, y: x / y, (torch.tensor([1.0, -1, 0]), torch.zeros(3)),
         aten.div.Tensor),
    Case("div_tiny", lambda x: x / 1e-6, (X * 1e-3,), aten.div.Tensor),
    Case("div_beyond", lambda x: x / 1e5, (X * 1e4,), aten.div.Tensor),
    Case("div_integer_beyond", lambda x: x / 90000, (X * 1e4,), aten.div.Tensor),
    *[
        Case(f"div_{mode}_{kind}", lambda x, y, mode=mode: torch.div(x, y, rounding_mode=mode),
             inputs, aten.div.Tensor_mode)
        for mode in ("floor", "trunc", None)
        for kind, inputs in {
            "float": (EVEN, DIVISOR),
            "int": (randint(40), torch.tensor([3, -3, 7, -1]).repeat(10)),
            "int_float": (INTS, torch.tensor(2.5)),
            "large_int": (torch.tensor([2**30 + 1, -(2**30) - 1]), torch.tensor([32769, -32769])),
        }.items()
        if mode or kind != "large_int"  # ExecuTorch casts to float32, fp16 here, in its own node
    ],
    Case("div_scalar_mode", lambda x: aten.div.Scalar_mode(x, 3, rounding_mode="floor"), (INTS,),
         aten.div.Scalar_mode),
    Case("floor_divide", lambda x, y: x // y, (INTS, torch.tensor([3, -3, 2, -1])),
         aten.div.Tensor_mode),
    Case("floor_divide_int32", lambda x: x // 3, (INTS.int(),), aten.div.Tensor_mode),
    Case("floor_divide_float", lambda x: x // 0.75, (EVEN,), aten.div.Tensor_mode),
    Case("floor_divide_half", lambda x: x // 0.75, (EVEN.half(),), aten.div.Tensor_mode),
    Case("floor_divide_scalar", lambda x: aten.floor_divide.Scalar(x, -4), (INTS,),
         aten.floor_divide.Scalar),
    *[
        Case(f"{name}_{kind}", fn, inputs, op.Tensor)
        for name, fn, op in (("fmod", torch.fmod, aten.fmod),
                             ("remainder", torch.remainder, aten.remainder))
        for kind, inputs in {
            "float": (EVEN, DIVISOR),
            "random": (uniform(50, low=-40.0, high=40.0).half().float(), torch.tensor(1.375)),
            "large": (torch.tensor([1000.5, -1000.5, 30000.0, -30000.0]), torch.tensor([0.75])),
            "int": (randint(40), torch.tensor([3, -3, 7, -1]).repeat(10)),
            "int_float": (INTS, torch.tensor(2.5)),
            "half": (EVEN.half(), DIVISOR.half()),
        }.items()
    ],
    Case("remainder_astray", remains, (randn(6, scale=1e16), uniform(6, low=0.1, high=2.0)),
         (aten.fmod.Tensor, aten.remainder.Tensor), half=False, why="1e16 is infinite in fp16"),
    Case("fmod_number", lambda x: torch.fmod(x, 0.75), (EVEN,), aten.fmod.Scalar),
    Case("remainder_number", lambda x: x % -0.75, (EVEN,), aten.remainder.Scalar),
    Case("remainder_int_number", lambda x: x % 4, (INTS,), aten.remainder.Scalar),
]  # fmt: skip

COMPARISONS = [
    row
    for name in ("eq", "ne", "lt", "le", "gt", "ge")
    for fn, op in [(getattr(torch, name), getattr(aten, name))]
    for row in [
        Case(f"{name}_float", fn, (EVEN, EVEN.flip(0)), op.Tensor),
        Case(f"{name}_broadcast", fn, (EVEN, EVEN[:1]), op.Tensor),
        Case(f"{name}_int", fn, (INTS, MORE), op.Tensor),
        Case(f"{name}_large_int", fn, (torch.tensor([2**24 + 1, 5]), torch.tensor([2**24, 5])),
             op.Tensor),
        Case(f"{name}_bool", fn, (randbool(3, 4), randbool(4)), op.Tensor),
        Case(f"{name}_int_float", fn, (INTS, torch.tensor(2.5)), op.Tensor),
        Case(f"{name}_large_int_float", lambda x, fn=fn: fn(x, 4096.5),
             (torch.tensor([4097, 4096]),), op.Scalar),
        Case(f"{name}_number", lambda x, fn=fn: fn(x, 0.25), (EVEN,), op.Scalar),
        Case(f"{name}_int_number", lambda x, fn=fn: fn(x, 2), (INTS,), op.Scalar),
        Case(f"{name}_int_fraction", lambda x, fn=fn: fn(x, 2.5), (INTS,), op.Scalar),
        Case(f"{name}_tiny", lambda x, fn=fn: fn(x, 1e-9), (torch.tensor([0.0, 1.0]),), op.Scalar),
        Case(f"{name}_nan", fn, (INF, torch.tensor(math.nan)), op.Tensor),
    ]
]  # fmt: skip

LOGIC = [
    *[
        row
        for name in ("and", "or", "xor")
        for fn, op in [(getattr(torch, f"logical_{name}"), getattr(aten, f"logical_{name}"))]
        for row in [
            Case(f"logical_{name}", fn, (randbool(3, 4), randbool(4)), op.default),
            Case(f"logical_{name}_float", fn, (EVEN, EVEN.flip(1)), op.default),
            Case(f"logical_{name}_int", fn, (INTS, randbool(3, 4)), op.default),
        ]
    ],
    Case("logical_not", torch.logical_not, (randbool(5),), aten.logical_not.default),
    Case("logical_not_float", torch.logical_not, (EVEN,), aten.logical_not.default),
    Case("logical_not_int", torch.logical_not, (INTS,), aten.logical_not.default),
    Case("isnan", torch.isnan, (INF,), aten.isnan.default),
    Case("isnan_int", torch.isnan, (INTS,), aten.isnan.default),
    Case("isnan_bool", torch.isnan, (randbool(3),), aten.isnan.default),
    Case("isinf", torch.isinf, (INF,), aten.isinf.default),
    Case("isinf_int", aten.isinf.default, (INTS,), aten.isinf.default),
    Case("isinf_bool", aten.isinf.default, (randbool(5),), aten.isinf.default),
]  # fmt: skip

ROUNDING = [
    *[
        Case(f"round_decimals_{decimals}", lambda x, d=decimals: torch.round(x, decimals=d),
             (EVEN * 60 if decimals < 0 or decimals > 2 else EVEN,), aten.round.decimals)
        for decimals in (-2, -1, 0, 1, 2, 3)
    ],
    *[
        row
        for name in ("floor", "ceil", "round", "trunc")
        for fn, op in [(getattr(torch, name), getattr(aten, name).default)]
        for row in [
            Case(name, fn, (EVEN,), op),
            Case(f"{name}_int", lambda x, fn=fn: fn(x) + 1, (INTS,), op),
            Case(f"{name}_half", fn, (EVEN.half(),), op),
            Case(f"{name}_rank0", fn, (torch.tensor(-1.5),), op),
        ]
    ],
    Case("abs", torch.abs, (X,), aten.abs.default),
    Case("abs_int", torch.abs, (INTS,), aten.abs.default),
    Case("sign", torch.sign, (EVEN,), aten.sign.default),
    Case("sign_int", torch.sign, (INTS,), aten.sign.default),
]  # fmt: skip

MASK, FMIN = randbool(2, 3, 4), torch.finfo(F32).min

SELECTION = [
    Case("clamp", lambda x: x.clamp(-0.5, 0.5), (X,), aten.clamp.default),
    Case("clamp_low", lambda x: x.clamp(min=0.25), (X,), aten.clamp.default),
    Case("clamp_high", lambda x: x.clamp(max=0.25), (X,), aten.clamp.default),
    Case("clamp_crossed", lambda x: x.clamp(0.5, -0.5), (X,), aten.clamp.default),
    Case("clamp_equal", lambda x: x.clamp(0.5, 0.5), (X,), aten.clamp.default),
    Case("clamp_int", lambda x: x.clamp(-3, 4), (INTS,), aten.clamp.default),
    Case("clamp_int_float", lambda x: x.clamp(-2.5, 4), (INTS,), aten.clamp.default),
    Case("clamp_inf", lambda x: x.clamp(-math.inf, math.inf), (X,), aten.clamp.default),
    Case("clamp_beyond", lambda x: x.clamp(-1e6, 1e6), (X,), aten.clamp.default),
    Case("clamp_finite", lambda x: x.clamp(FMIN, -FMIN) * 0.0,
         (torch.tensor([math.inf, -math.inf, 1.0]),), aten.clamp.default),
    Case("clamp_epsilon", lambda x: x / x.clamp(min=1e-12), (torch.zeros(3),), aten.clamp.default),
    Case("clamp_tensor", torch.clamp, (X, randn(4) - 1, randn(3, 1) + 1), aten.clamp.Tensor),
    Case("clamp_tensor_low", lambda x, low: torch.clamp(x, min=low), (INTS, MORE),
         aten.clamp.Tensor),
    Case("clamp_tensor_high", lambda x, high: torch.clamp(x, max=high), (X, torch.tensor(0.5)),
         aten.clamp.Tensor),
    Case("where", torch.where, (MASK, X, Y), aten.where.self),
    Case("where_broadcast", torch.where, (randbool(3, 1), randn(4), randn(2, 1, 1)),
         aten.where.self),
    Case("where_wide_condition", torch.where, (MASK, randn(4), torch.tensor(2.0)),
         aten.where.self),
    Case("where_numbers", lambda m: torch.where(m, 1.0, -2.0), (MASK,), aten.where.self),
    Case("where_rank0", torch.where, (MASK, torch.tensor(1.0), torch.tensor(3.0)),
         aten.where.self),
    Case("where_int", torch.where, (randbool(3, 4), INTS, MORE), aten.where.self),
    Case("where_bool", torch.where, (randbool(3, 4), randbool(4), randbool(3, 1)),
         aten.where.self),
    Case("where_promotes", torch.where, (randbool(3, 4), INTS, randn(4)), aten.where.self),
    Case("where_min", lambda m, x: torch.softmax(torch.where(m, x, FMIN), -1),
         (torch.tensor([[True, False, True], [False, False, False]]), randn(2, 3)),
         aten.where.self),
    Case("masked_fill", lambda x, m: x.masked_fill(m, 0.5), (X, MASK), aten.masked_fill.Scalar),
    Case("masked_fill_inf", lambda x, m: x.masked_fill(m, -math.inf), (X, MASK),
         aten.masked_fill.Scalar),
    Case("masked_fill_int", lambda x, m: x.masked_fill(m, 7), (INTS, randbool(4)),
         aten.masked_fill.Scalar),
    Case("masked_fill_tensor", lambda x, m, v: x.masked_fill(m, v),
         (X, randbool(3, 1), torch.tensor(2.0)), aten.masked_fill.Tensor),
    *[
        Case(f"masked_row_{value:g}", lambda x, m, v=value: torch.softmax(x.masked_fill(m, v), -1),
             (randn(2, 3), torch.tensor([[True, False, True], [True, True, True]])),
             aten.masked_fill.Scalar)
        for value in (-1e4, -1e9, FMIN)
    ],
]  # fmt: skip

# A NaN must not disappear: it is how a program that overflows shows.
MISSING = torch.tensor([[math.nan, 1.0, -2.0], [math.inf, -1.0, math.nan], [1.0, 2.0, 3.0]])
ENDS = torch.tensor([math.inf, -math.inf, math.nan, 0.0, -0.0, 1.5, -2.25, 3.0])

NANS = [
    Case("nan_maximum", lambda x: torch.maximum(x, x.flip(0)), (MISSING,), aten.maximum.default),
    Case("nan_minimum", lambda x: torch.minimum(x, x.flip(0)), (MISSING,), aten.minimum.default),
    Case("nan_clamp", lambda x: x.clamp(-1, 1), (MISSING,), aten.clamp.default),
    Case("nan_clamp_high", lambda x: x.clamp(max=1), (MISSING,), aten.clamp.default),
    Case("nan_clamp_tensor", lambda x: torch.clamp(x, max=x[2]), (MISSING,), aten.clamp.Tensor),
    Case("nan_relu", torch.relu, (MISSING,), aten.relu.default),
    Case("nan_relu6", aten.relu6.default, (MISSING,), aten.relu6.default),
    Case("nan_hardswish", aten.hardswish.default, (MISSING,), aten.hardswish.default),
    Case("nan_exp", torch.exp, (MISSING,), aten.exp.default),
    Case("nan_acosh", torch.acosh, (MISSING,), aten.acosh.default),
    Case("nan_sign", torch.sign, (MISSING,), aten.sign.default),
    *[
        Case(f"infinite_{name}", fn, (ENDS[:, None], ENDS), op.Tensor)
        for name, fn, op in (("fmod", torch.fmod, aten.fmod),
                             ("remainder", torch.remainder, aten.remainder))
    ],
    Case("infinite_atan2", torch.atan2, (ENDS[:, None], ENDS), aten.atan2.default),
    Case("infinite_slope", aten._prelu_kernel.default, (ENDS[:, None].repeat(1, 8), ENDS),
         aten._prelu_kernel.default),
    Case("infinite_amax", lambda x: x.amax(1), (torch.full((2, 3), -math.inf),),
         aten.amax.default),
    Case("infinite_amin", lambda x: x.amin(1), (torch.full((2, 3), math.inf),),
         aten.amin.default),
    Case("nan_amax", lambda x: x.amax(1), (MISSING,), aten.amax.default),
    Case("nan_amin", lambda x: x.amin(0), (MISSING,), aten.amin.default),
    Case("nan_argmax", lambda x: x.argmax(1), (MISSING,), aten.argmax.default),
    Case("nan_argmin", lambda x: x.argmin(1), (MISSING,), aten.argmin.default),
]  # fmt: skip

WIDE = torch.tensor([1, 2])
BIG = 2**40

REJECTED = [
    Reject("mul_wide", lambda x: aten.mul.Scalar(x, BIG), (WIDE,), aten.mul.Scalar, "int32"),
    Reject("add_wide", lambda x: aten.add.Scalar(x, BIG), (WIDE,), aten.add.Scalar, "int32"),
    Reject("add_wide_alpha", lambda x: torch.add(x, x, alpha=BIG), (WIDE,), aten.add.Tensor,
           "alpha is"),
    Reject("eq_wide", lambda x: x == BIG, (WIDE,), aten.eq.Scalar, "int32"),
    Reject("clamp_wide_min", lambda x: x.clamp(min=-BIG), (WIDE,), aten.clamp.default, "min is"),
    Reject("clamp_wide_max", lambda x: x.clamp(max=BIG), (WIDE,), aten.clamp.default, "max is"),
    Reject("add_double", torch.add, (X.double(), Y.double()), aten.add.Tensor, "float64"),
    Reject("rank6", torch.add, (randn(1, 1, 1, 1, 1, 2), randn(2)), aten.add.Tensor, "rank 6"),
]  # fmt: skip

ROWS = joined(
    [*ARITHMETIC, *DIVISION, *COMPARISONS, *LOGIC, *ROUNDING, *SELECTION, *NANS, *REJECTED]
)
