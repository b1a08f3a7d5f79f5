"""Powers, exponentials, logarithms, trigonometric and hyperbolic functions.

Where the textbook formula overflows or cancels (log1p, expm1, asinh, acosh), another one is
emitted that keeps its accuracy for small and for large arguments, in fp16 as in fp32.
"""

from __future__ import annotations

import math
from functools import reduce

import torch

from executorch_coreml.ops.call import Call
from executorch_coreml.ops.checks import fits_int32
from executorch_coreml.ops.emit import Emit, Var, mil_type
from executorch_coreml.ops.moves import fill_like
from executorch_coreml.ops.narrow import exactly
from executorch_coreml.ops.precision import compute_type, result
from executorch_coreml.ops.rule import ANY, FLOAT, INT, Family, Lower

aten = torch.ops.aten
rules = Family(dynamic=True, empty=True)


def _of_float(formula: str | Lower) -> Lower:
    """A function of one float value; integers and bools are promoted as PyTorch does."""

    def lower(mb: Emit, call: Call) -> Var:
        x = mb.var(call["self"], compute_type(mb, call, call.out.dtype, "self"))
        value = mb.op(formula, x=x) if isinstance(formula, str) else formula(mb, x)
        return result(mb, call, value)

    return lower


# -- formulas of one MIL value -------------------------------------------------------------------


def log(mb: Emit, x: Var) -> Var:
    """MIL's default epsilon would make log(0) finite."""
    return mb.log(x=x, epsilon=0.0)


def reciprocal(mb: Emit, x: Var) -> Var:
    """MIL's default epsilon would add 1e-4 to ``x``."""
    return mb.inverse(x=x, epsilon=0.0)


def rsqrt(mb: Emit, x: Var) -> Var:
    return mb.rsqrt(x=x, epsilon=0.0)


def log1p(mb: Emit, x: Var) -> Var:
    """log(1 + x). Near zero 2 atanh(s), s = x / (x + 2), by its series: 1 + x would lose x.

    For |x| < 1/4 the first term left out is below 2e-8 of the result.
    """
    s = mb.real_div(x=x, y=mb.add(x=x, y=2.0))
    square = mb.mul(x=s, y=s)
    series = mb.add(x=mb.mul(x=square, y=1 / 7), y=1 / 5)
    series = mb.add(x=mb.mul(x=square, y=series), y=1 / 3)
    series = mb.add(x=mb.mul(x=square, y=series), y=1.0)
    small = mb.mul(x=mb.add(x=s, y=s), y=series)
    near = mb.less(x=mb.abs(x=x), y=0.25)
    return mb.select(cond=near, a=small, b=log(mb, mb.add(x=x, y=1.0)))


def expm1(mb: Emit, x: Var) -> Var:
    """exp(x) - 1 = tanh(x / 2) (exp(x) + 1), which cancels nowhere."""
    return mb.mul(x=mb.tanh(x=mb.mul(x=x, y=0.5)), y=mb.add(x=mb.exp(x=x), y=1.0))


def _of_large(mb: Emit, x: Var, sign: float) -> Var:
    """log(x + sqrt(x^2 + sign)) for x >= 1, without the square of x."""
    r = reciprocal(mb, x)
    root = mb.sqrt(x=mb.add(x=mb.mul(x=mb.mul(x=r, y=r), y=sign), y=1.0))
    return mb.add(x=log(mb, x), y=log(mb, mb.add(x=root, y=1.0)))


def asinh(mb: Emit, x: Var) -> Var:
    """For |x| < 1 log1p(|x| + x^2 / (1 + sqrt(1 + x^2))): no cancellation near zero."""
    size = mb.abs(x=x)
    small = mb.minimum(x=size, y=1.0)
    square = mb.mul(x=small, y=small)
    root = mb.sqrt(x=mb.add(x=square, y=1.0))
    near = log1p(mb, mb.add(x=small, y=mb.real_div(x=square, y=mb.add(x=root, y=1.0))))
    far = _of_large(mb, mb.maximum(x=size, y=1.0), 1.0)
    value = mb.select(cond=mb.less(x=size, y=1.0), a=near, b=far)
    return mb.mul(x=mb.sign(x=x), y=value)


def acosh(mb: Emit, x: Var) -> Var:
    """For x < 2 log1p(t + sqrt(t) sqrt(t + 2)), t = x - 1; its sqrt(t) is NaN for x < 1."""
    t = mb.sub(x=x, y=1.0)
    roots = mb.mul(x=mb.sqrt(x=t), y=mb.sqrt(x=mb.add(x=t, y=2.0)))
    near = log1p(mb, mb.add(x=t, y=roots))
    far = _of_large(mb, mb.maximum(x=x, y=2.0), -1.0)
    return mb.select(cond=mb.less(x=x, y=2.0), a=near, b=far)


def _log_to(base: float) -> Lower:
    return lambda mb, x: mb.mul(x=log(mb, x), y=1 / math.log(base))


for _op, _formula in (
    (aten.exp, "exp"),
    (aten.expm1, expm1),
    (aten.log, log),
    (aten.log2, _log_to(2.0)),
    (aten.log10, _log_to(10.0)),
    (aten.log1p, log1p),
    (aten.sqrt, "sqrt"),
    (aten.rsqrt, rsqrt),
    (aten.reciprocal, reciprocal),
    (aten.erf, "erf"),
    (aten.sin, "sin"),
    (aten.cos, "cos"),
    (aten.tan, "tan"),
    (aten.asin, "asin"),
    (aten.acos, "acos"),
    (aten.atan, "atan"),
    (aten.sinh, "sinh"),
    (aten.cosh, "cosh"),
    (aten.tanh, "tanh"),
    (aten.asinh, asinh),
    (aten.acosh, acosh),
    (aten.atanh, "atanh"),
    (aten.sigmoid, "sigmoid"),
):
    rules(_op.default, types=ANY)(_of_float(_formula))


# -- two operands --------------------------------------------------------------------------------


@rules(aten.atan2.default, types=ANY)
def atan2(mb: Emit, call: Call) -> Var:
    """The angle of the point (other, self), from the arctangent of a slope of at most 1."""
    kind = compute_type(mb, call, call.out.dtype, "self", "other")
    y, x = mb.var(call["self"], kind), mb.var(call["other"], kind)
    high, wide = mb.abs(x=y), mb.abs(x=x)
    angle = mb.atan(x=_ratio(mb, mb.minimum(x=high, y=wide), mb.maximum(x=high, y=wide)))
    steep = mb.greater(x=high, y=wide)
    angle = mb.select(cond=steep, a=mb.sub(x=math.pi / 2, y=angle), b=angle)
    angle = mb.select(cond=_negative(mb, x), a=mb.sub(x=math.pi, y=angle), b=angle)
    return result(mb, call, mb.select(cond=_negative(mb, y), a=mb.mul(x=angle, y=-1.0), b=angle))


def _negative(mb: Emit, x: Var) -> Var:
    """Whether ``x`` has a minus sign, -0 included, of which 1 / x is -infinity."""
    inverse = mb.less(x=reciprocal(mb, x), y=0.0)
    return mb.logical_or(x=mb.less(x=x, y=0.0), y=inverse)


def _ratio(mb: Emit, smaller: Var, larger: Var) -> Var:
    """smaller / larger; 0 where both are zero, 1 where both are infinite."""
    nothing = mb.equal(x=larger, y=0.0)
    divisor = mb.select(cond=nothing, a=mb.const(1.0, larger), b=larger)
    both = mb.equal(x=smaller, y=math.inf)
    return mb.select(cond=both, a=mb.const(1.0, larger), b=mb.real_div(x=smaller, y=divisor))


# -- powers --------------------------------------------------------------------------------------

MAX_MULTIPLIED = 8  # integer exponents up to here become multiplications, of integers all


@rules(aten.pow.Tensor_Tensor, aten.pow.Scalar, types=FLOAT | INT, checks=[fits_int32("self")])
def power(mb: Emit, call: Call) -> Var:
    dtype = call.out.dtype
    kind = compute_type(mb, call, dtype, "self", "exponent")
    x, exponent = mb.var(call["self"], kind), mb.var(call["exponent"], exactly(dtype, kind))
    if kind == "int32":
        return result(mb, call, _integer_power(mb, x, exponent, dtype))
    return result(mb, call, mb.pow(x=x, y=exponent))


def _integer_power(mb: Emit, x: Var, exponent: Var, dtype: torch.dtype) -> Var:
    """By squaring, which is exact and wraps. To a negative power -1 and 1 alone are not 0.

    MIL's ``pow`` computes integers as floats, and coremltools 9.0 fails to fold negative exponents.
    """
    rest = size = mb.abs(x=exponent)
    bits = torch.iinfo(dtype).max.bit_length()
    if exponent.val is not None:
        bits = max(int(size.val.max()).bit_length(), 1)
    elif dtype is torch.int64:
        # A power of 32 or more leaves int32, but for the bases -1, 0 and 1: oddness is enough.
        bits = 5
        rest = mb.minimum(x=size, y=mb.add(x=mb.mod(x=size, y=2), y=30))
    factors, base = [], x
    for _ in range(bits):
        one_less = mb.mul(x=mb.sub(x=base, y=1), y=mb.mod(x=rest, y=2))
        factors.append(mb.add(x=one_less, y=1))
        base, rest = mb.mul(x=base, y=base), mb.floor_div(x=rest, y=2)
    power = reduce(lambda a, b: mb.mul(x=a, y=b), factors)
    unit = mb.equal(x=mb.abs(x=x), y=1)
    kept = mb.logical_or(x=mb.greater_equal(x=exponent, y=0), y=unit)
    return mb.mul(x=power, y=mb.cast(kept, "int32"))


@rules(aten.pow.Tensor_Scalar, types=ANY)
def power_by_number(mb: Emit, call: Call) -> Var:
    """Common exponents by multiplication and square root: exact for negative and integer bases."""
    kind = compute_type(mb, call, call.out.dtype, "self", "exponent")
    x, exponent = mb.var(call["self"], kind), call["exponent"]
    return result(mb, call, raised(mb, x, exponent))


def raised(mb: Emit, x: Var, exponent: float) -> Var:
    """``x`` to a power known now."""
    if exponent == 0:
        return fill_like(mb, x, 1)
    whole = mil_type(x) == "int32"
    if whole or (exponent == int(exponent) and abs(exponent) <= MAX_MULTIPLIED):
        base = x if exponent > 0 else reciprocal(mb, x)
        return _multiplied(mb, base, abs(int(exponent)))
    if abs(exponent) == 0.5:
        return mb.sqrt(x=x) if exponent > 0 else rsqrt(mb, x)
    return mb.pow(x=x, y=mb.const(exponent, x))


def _multiplied(mb: Emit, x: Var, times: int) -> Var:
    """x^times by squaring; ``times`` >= 1."""
    if times == 1:
        return x
    half = _multiplied(mb, x, times // 2)
    square = mb.square(x=half) if mil_type(half) != "int32" else mb.mul(x=half, y=half)
    return mb.mul(x=square, y=x) if times % 2 else square
