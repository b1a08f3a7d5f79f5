"""Rows for the ops of ops/elementwise.py, ops/transcendental.py and ops/activation.py."""

from __future__ import annotations

from typing import Any

import torch

from fuzz.draw import BOOL, FLOATS, INTS, PLAIN, USUAL, Draw, row

aten = torch.ops.aten


def _overloads(names: str, overload: str = "default") -> list[Any]:
    return [getattr(getattr(aten, name), overload) for name in names.split()]


UNARY = """
    neg abs sign square floor ceil round trunc logical_not bitwise_not isnan isinf exp expm1 log
    log2 log10 log1p sqrt rsqrt reciprocal erf sin cos tan asin acos atan sinh cosh tanh asinh acosh
    atanh sigmoid silu relu relu6 hardsigmoid hardswish selu log_sigmoid mish
"""


@row(*_overloads(UNARY))
def unary(d: Draw, op: Any) -> None:
    # The argument of a periodic function loses its digits where it is large.
    periodic = op in (aten.sin.default, aten.cos.default, aten.tan.default)
    kinds = ("normal", "grid", "zeros", "tiny", "inf", "nan") if periodic else USUAL
    d.call(op, d.operand(d.types(op), kinds=kinds))


@row(
    *_overloads("add sub rsub mul div fmod remainder eq ne lt le gt ge", "Tensor"),
    *_overloads("bitwise_and bitwise_or bitwise_xor", "Tensor"),
    *_overloads("logical_and logical_or logical_xor maximum minimum atan2"),
    aten.pow.Tensor_Tensor,
    aten.div.Tensor_mode,
)
def binary(d: Draw, op: Any) -> None:
    types = d.types(op)
    kinds = ("positive", "unit") if op is aten.pow.Tensor_Tensor else USUAL
    if op is aten.div.Tensor_mode:  # PyTorch's floor of an infinite quotient is NaN, ours is not
        kinds = ("normal", "grid", "hundreds", "nan")
    x = d.operand(types, kinds=kinds)
    dtype = d.of(x).dtype if d.flag() else d.choice(*types)
    divides = op in (aten.div.Tensor, aten.div.Tensor_mode, aten.fmod.Tensor, aten.remainder.Tensor)
    low = 1 if divides or op is aten.pow.Tensor_Tensor else -9
    if op is aten.pow.Tensor_Tensor:
        kinds = ("unit", "normal")
    y = d.tensor(d.broadcasts(d.of(x).shape), dtype, kinds=kinds, low=low, high=4 - low)
    alpha = d.number(torch.result_type(d.of(x), d.of(y))) if d.flag() else None
    if "alpha" in str(op._schema) and alpha is not None and not isinstance(alpha, bool):
        d.call(op, x, y, alpha=alpha)
    elif op is aten.div.Tensor_mode:
        d.call(op, x, y, rounding_mode=d.choice("floor", "trunc"))
    elif d.flag() and d.of(x).dim():
        d.call(op, y, x) if not divides else d.call(op, x, y)
    else:
        d.call(op, x, y)


@row(
    *_overloads("add sub rsub mul div fmod remainder eq ne lt le gt ge floor_divide", "Scalar"),
    *_overloads("bitwise_and bitwise_or bitwise_xor", "Scalar"),
    aten.div.Scalar_mode,
)
def by_number(d: Draw, op: Any) -> None:
    x = d.operand(d.types(op), kinds=(*PLAIN, "hundreds", "nan") if "div" in str(op) else USUAL)
    dtype = d.of(x).dtype
    number = d.number(dtype if dtype is BOOL and "bitwise" in str(op) else d.choice(dtype, *FLOATS))
    if op is aten.div.Scalar_mode:
        d.call(op, x, number or 1, rounding_mode=d.choice("floor", "trunc"))
    elif any(word in str(op) for word in ("div", "fmod", "remainder")):
        d.call(op, x, number or 3)
    else:
        d.call(op, x, number)


@row(aten.pow.Scalar)
def power_of_number(d: Draw, op: Any) -> None:
    d.call(op, d.choice(2, 0.5, 3.0, 1, 10.0), d.operand(d.types(op), kinds=("normal", "grid")))


@row(aten.pow.Tensor_Scalar)
def power_by_number(d: Draw, op: Any) -> None:
    x = d.operand(d.types(op), kinds=d.choice(("positive",), ("normal", "zeros", "inf", "nan")))
    d.call(op, x, d.choice(2, 3, -1, 0, 0.5, -0.5, 1, 1.5, 4, -2, 2.0, 5, 0.3, 7))


@row(aten.round.decimals)
def round_decimals(d: Draw, op: Any) -> None:
    d.call(op, d.operand(FLOATS, kinds=("grid", "inf", "nan")), decimals=d.integer(-2, 3))


@row(aten.clamp.default, aten.hardtanh.default)
def clamp(d: Draw, op: Any) -> None:
    x = d.operand(d.types(op))
    dtype = d.of(x).dtype
    low, high = (d.number(d.choice(dtype, dtype, *FLOATS)) for _ in range(2))
    if op is aten.clamp.default:
        low, high = d.choice((low, high), (None, high), (low, None))
    elif low > high:
        low, high = high, low
    d.call(op, x, low, high)


@row(aten.clamp.Tensor)
def clamp_tensor(d: Draw, op: Any) -> None:
    x = d.operand(d.types(op))
    limits = [
        d.tensor(d.broadcasts(d.of(x).shape), d.choice(d.of(x).dtype, *d.types(op)))
        if d.integer(0, 3)
        else None
        for _ in range(2)
    ]
    d.call(op, x, *limits)


@row(aten.where.self)
def where(d: Draw, op: Any) -> None:
    x = d.operand(d.types(op))
    dtype = d.of(x).dtype if d.flag() else d.choice(*d.types(op))
    y = d.tensor(d.broadcasts(d.of(x).shape), dtype)
    mask = d.tensor(d.broadcasts(d.of(x).shape), BOOL)
    d.call(op, mask, *d.choice((x, y), (y, x)))


@row(aten.masked_fill.Scalar, aten.masked_fill.Tensor)
def masked_fill(d: Draw, op: Any) -> None:
    x = d.operand(d.types(op))
    mask = d.tensor(d.broadcasts(d.of(x).shape), BOOL)
    dtype = d.of(x).dtype
    if op is aten.masked_fill.Tensor:
        d.call(op, x, mask, d.tensor([], dtype))
    else:
        d.call(op, x, mask, d.number(dtype))


@row(aten.leaky_relu.default)
def leaky_relu(d: Draw, op: Any) -> None:
    d.call(op, d.operand(), d.choice(0.01, 0.5, -0.25, 0.0, 1, 2.0))


@row(aten.prelu.default)
def prelu(d: Draw, op: Any) -> None:
    x = d.operand()
    shape = d.of(x).shape
    count = shape[1] if len(shape) > 1 and d.flag() else 1
    d.call(op, x, d.tensor([count], d.of(x).dtype))


@row(aten._prelu_kernel.default)
def prelu_kernel(d: Draw, op: Any) -> None:
    x = d.operand()
    weight = [1 if d.flag() else extent for extent in d.of(x).shape]
    d.call(op, x, d.tensor(weight, d.of(x).dtype))


@row(aten.gelu.default)
def gelu(d: Draw, op: Any) -> None:
    d.call(op, d.operand(), approximate=d.choice("none", "tanh"))


@row(aten.elu.default)
def elu(d: Draw, op: Any) -> None:
    parameters = [d.choice(1, 1.0, 0.5, 2.0) for _ in range(d.integer(0, 3))]
    d.call(op, d.operand(), *parameters)


@row(aten.celu.default)
def celu(d: Draw, op: Any) -> None:
    d.call(op, d.operand(), d.choice(1.0, 0.5, 2.0, 0.1))


@row(aten.glu.default)
def glu(d: Draw, op: Any) -> None:
    shape = d.shape(1)
    axis = d.dim(len(shape))
    shape[axis] = 2 * d.integer(1, 3)
    d.call(op, d.tensor(shape, d.choice(*FLOATS)), axis)


@row(aten.softplus.default)
def softplus(d: Draw, op: Any) -> None:
    d.call(op, d.operand(), d.choice(1, 0.5, 2.0, 10), d.choice(20, 5, 1.0, 50))


# No NaN: the engine says why a softmax keeps but one of them.
SCORES = ("normal", "grid", "zeros", "hundreds", "tiny")


@row(aten.softmax.int, aten.log_softmax.int)
def softmax(d: Draw, op: Any) -> None:
    x = d.operand(d.types(op), kinds=SCORES)
    float_out = d.of(x).dtype in INTS
    dtype = torch.float32 if float_out or d.integer(0, 4) == 0 else None
    d.call(op, x, d.dim(d.of(x).dim()), dtype)


@row(aten._softmax.default, aten._log_softmax.default)
def softmax_kernel(d: Draw, op: Any) -> None:
    x = d.operand(kinds=SCORES)
    d.call(op, x, d.dim(d.of(x).dim()), False)
