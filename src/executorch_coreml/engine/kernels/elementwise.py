"""Elementwise arithmetic, comparison, logic, rounding and ``cast``.

Semantics: coremltools ``mil/ops/defs/iOS15/elementwise_unary.py``, ``elementwise_binary.py`` and
``control_flow.py`` (``select``), with the iOS17 refinements. Operands broadcast as in numpy.

OpenVINO's CPU plugin divides, compares and selects int32 values in float32, which is wrong beyond
2**24 (seen in 2026.4); add, subtract, multiply, minimum and maximum are exact there, and the
integer kernels below use nothing else where it matters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset15 as ops

from executorch_coreml.engine.kernels.operand import (
    Operand,
    absolute,
    cast,
    is_bool,
    is_float,
    is_known,
    keeping_nan,
    like,
    node,
    output_type,
    scalar,
)
from executorch_coreml.engine.kernels.table import Family
from executorch_coreml.mil.types import TensorType

kernels = Family()

Unary = Callable[[ov.Output], "ov.Node | ov.Output"]
Binary = Callable[[ov.Output, ov.Output], "ov.Node | ov.Output"]


def _unary(op: str, apply: Unary, *, exact: bool = False) -> None:
    def kernel(x: Operand) -> ov.Node:
        return apply(node(x))

    kernels(op, exact=exact)(kernel)


def common(x: Operand, y: Operand) -> tuple[ov.Output, ov.Output]:
    """Two operands in one element type: the float one's where they differ, else the wider one."""
    left, right = node(x), node(y)
    a, b = left.get_element_type(), right.get_element_type()
    if a == b:
        return left, right
    to = max((a, b), key=lambda kind: (kind.is_real(), kind.bitwidth))
    return cast(left, to), cast(right, to)


def _binary(op: str, apply: Binary, *, integer: Binary | None = None, exact: bool = False) -> None:
    def kernel(x: Operand, y: Operand) -> ov.Node | ov.Output:
        left, right = common(x, y)
        whole = integer is not None and left.get_element_type().is_integral()
        return integer(left, right) if whole and integer is not None else apply(left, right)

    kernels(op, exact=exact)(kernel)


def _extreme(apply: Binary) -> Callable[[ov.Output, ov.Output], ov.Output]:
    """maximum or minimum; NaN where either operand is, as in numpy."""
    return lambda x, y: keeping_nan(x, keeping_nan(y, apply(x, y)))


_unary("abs", absolute, exact=True)
_unary("acos", ops.acos)
_unary("asin", ops.asin)
_unary("atan", ops.atan)
_unary("atanh", ops.atanh)
_unary("ceil", ops.ceiling, exact=True)
_unary("cos", ops.cos)
_unary("cosh", ops.cosh)
_unary("erf", ops.erf)
_unary("exp", lambda x: keeping_nan(x, ops.exp(x)))
_unary("floor", ops.floor, exact=True)
_unary("logical_not", lambda x: ops.logical_not(cast(x, ov.Type.boolean)), exact=True)
_unary("round", lambda x: ops.round(x, "half_to_even"), exact=True)
_unary("sign", ops.sign, exact=True)
_unary("sin", ops.sin)
_unary("sinh", ops.sinh)
_unary("sqrt", ops.sqrt)
_unary("square", lambda x: ops.multiply(x, x))
_unary("tan", ops.tan)
_unary("tanh", ops.tanh)


@kernels("exp2")
def exp2(x: Operand) -> ov.Node:
    value = cast(x, ov.Type.f32)
    power = ops.power(like(2.0, value), value)
    return power if is_float(x) else ops.convert(ops.round(power, "half_to_even"), ov.Type.i32)


@kernels("clip", exact=True)
def clip(x: Operand, alpha: Operand, beta: Operand) -> ov.Output:
    value = node(x)
    limits = float(scalar(alpha, "alpha")), float(scalar(beta, "beta"))
    return keeping_nan(value, ops.clamp(value, *limits))


@kernels("threshold", exact=True)
def threshold(x: Operand, alpha: Operand) -> ov.Output:
    return _extreme(ops.maximum)(*common(x, alpha))


# The default epsilons have the type of ``x``, so that in fp16 those of log and rsqrt are zero.
@kernels("inverse")
def inverse(x: Operand, out: tuple[TensorType, ...], epsilon: Operand | None = None) -> ov.Node:
    return ops.divide(like(1.0, x), _plus(x, epsilon, 1e-4, out))


@kernels("log")
def log(x: Operand, out: tuple[TensorType, ...], epsilon: Operand | None = None) -> ov.Node:
    return ops.log(_plus(x, epsilon, 1e-45, out))


@kernels("rsqrt")
def rsqrt(x: Operand, out: tuple[TensorType, ...], epsilon: Operand | None = None) -> ov.Node:
    return ops.divide(like(1.0, x), ops.sqrt(_plus(x, epsilon, 1e-12, out)))


def _plus(
    x: Operand, epsilon: Operand | None, default: float, out: tuple[TensorType, ...]
) -> ov.Output:
    """``x + epsilon``; ``x`` itself where epsilon is zero."""
    kind = np.float16 if out[0].dtype == "fp16" else np.float32
    value = float(kind(default)) if epsilon is None else float(scalar(epsilon, "epsilon"))
    return node(x) if value == 0 else ops.add(node(x), like(value, x)).output(0)


def _not_zero(x: ov.Output | ov.Node) -> ov.Node:
    return ops.not_equal(x, like(0, node(x)))


def floor_divide(x: ov.Output, y: ov.Output) -> tuple[ov.Output, ov.Output]:
    """Integer quotient towards minus infinity, and the remainder, which has the sign of ``y``.

    Exact for all int32 values: the float32 estimate of the quotient is off by a relative 2**-22,
    a second estimate, of the remainder, leaves it off by at most one, and that is corrected.
    """

    def estimate(value: ov.Output) -> ov.Node:
        quotient = ops.divide(cast(value, ov.Type.f32), cast(y, ov.Type.f32))
        return ops.convert(ops.floor(quotient), x.get_element_type())

    first = estimate(x)
    rest = ops.subtract(x, ops.multiply(first, y)).output(0)
    second = estimate(rest)
    rest = ops.subtract(rest, ops.multiply(second, y)).output(0)
    low = ops.less(ops.multiply(ops.sign(rest), ops.sign(y)), like(0, x))
    high = ops.greater_equal(ops.subtract(absolute(rest), absolute(y)), like(0, x))
    step = ops.subtract(
        ops.convert(ops.logical_and(high, ops.logical_not(low)), x.get_element_type()),
        ops.convert(low, x.get_element_type()),
    )
    quotient = ops.add(ops.add(first, second), step)
    return quotient.output(0), ops.subtract(rest, ops.multiply(step, y)).output(0)


def _truncate_divide(x: ov.Output, y: ov.Output) -> ov.Node:
    """Integer quotient towards zero."""
    quotient, rest = floor_divide(x, y)
    negative = ops.logical_xor(ops.less(x, like(0, x)), ops.less(y, like(0, y)))
    up = ops.logical_and(negative, _not_zero(rest))
    return ops.add(quotient, ops.convert(up, x.get_element_type()))


def _float_mod(x: ov.Output, y: ov.Output) -> ov.Node:
    """The remainder of ``x / y`` with the sign of ``y``, from the exact remainder of C's fmod."""
    rest = ops.mod(x, y)
    differs = ops.logical_xor(ops.less(rest, like(0.0, x)), ops.less(y, like(0.0, y)))
    return ops.select(ops.logical_and(differs, _not_zero(rest)), ops.add(rest, y), rest)


def _integer_power(x: ov.Output, y: ov.Output) -> ov.Node:
    kind = x.get_element_type()
    power = ops.power(cast(x, ov.Type.f32), cast(y, ov.Type.f32))
    return ops.convert(ops.round(power, "half_to_even"), kind)


_binary("add", ops.add)
_binary("sub", ops.subtract)
_binary("mul", ops.multiply)
_binary("real_div", ops.divide, integer=_truncate_divide)
_binary(
    "floor_div",
    lambda x, y: ops.floor(ops.divide(x, y)),
    integer=lambda x, y: floor_divide(x, y)[0].get_node(),
)
_binary("mod", _float_mod, integer=lambda x, y: floor_divide(x, y)[1].get_node())
_binary("maximum", _extreme(ops.maximum), exact=True)
_binary("minimum", _extreme(ops.minimum), exact=True)
_binary(
    "equal",
    ops.equal,
    integer=lambda x, y: ops.equal(ops.subtract(x, y), like(0, x)),
    exact=True,
)
_binary("not_equal", ops.not_equal, integer=lambda x, y: _not_zero(ops.subtract(x, y)), exact=True)


# x > y exactly when max(x, y) is not y; the difference of unlike int32 values never wraps to zero.
def _exceeds(x: ov.Output, y: ov.Output) -> ov.Node:
    return _not_zero(ops.subtract(ops.maximum(x, y), y))


def _swapped(apply: Binary) -> Binary:
    return lambda x, y: apply(y, x)


def _negated(apply: Binary) -> Binary:
    return lambda x, y: ops.logical_not(apply(x, y))


# OpenVINO's greater and greater_equal are true for NaN on the CPU (seen in 2026.4); less is right.
_binary("greater", _swapped(ops.less), integer=_exceeds, exact=True)
_binary("less", ops.less, integer=_swapped(_exceeds), exact=True)
_binary(
    "greater_equal",
    _swapped(ops.less_equal),
    integer=_negated(_swapped(_exceeds)),
    exact=True,
)
_binary("less_equal", ops.less_equal, integer=_negated(_exceeds), exact=True)


def _logical(op: str, apply: Callable[[Any, Any], ov.Node]) -> None:
    def kernel(x: Operand, y: Operand) -> ov.Node:
        return apply(cast(x, ov.Type.boolean), cast(y, ov.Type.boolean))

    kernels(op, exact=True)(kernel)


_logical("logical_and", ops.logical_and)
_logical("logical_or", ops.logical_or)
_logical("logical_xor", ops.logical_xor)


@kernels("pow")
def power(x: Operand, y: Operand) -> ov.Node:
    """Small constant exponents multiply, which is exact for integers and faster for floats."""
    left, right = common(x, y)
    if is_known(y) and np.size(y) == 1 and scalar(y, "y") in (2, 3):
        square = ops.multiply(left, left)
        return square if scalar(y, "y") == 2 else ops.multiply(square, left)
    if left.get_element_type().is_integral():
        return _integer_power(left, right)
    return ops.power(left, right)


@kernels("cast", exact=True)
def cast_to(x: Operand, dtype: str, out: tuple[TensorType, ...]) -> ov.Output:
    """The declared output type says what ``dtype`` says. Floats truncate towards zero."""
    to = output_type(out)
    if to == ov.Type.boolean and not is_bool(x):
        return _not_zero(node(x)).output(0)
    return cast(x, to)


@kernels("select", exact=True)
def select(cond: Operand, a: Operand, b: Operand) -> ov.Node:
    """Integers by arithmetic, ``b + cond * (a - b)``, exact even where the difference wraps."""
    chosen, (yes, no) = cast(cond, ov.Type.boolean), common(a, b)
    if yes.get_element_type().is_integral() and not is_bool(yes):
        weight = ops.convert(chosen, yes.get_element_type())
        return ops.add(no, ops.multiply(weight, ops.subtract(yes, no)))
    return ops.select(chosen, yes, no)
