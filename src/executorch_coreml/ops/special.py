"""Error and gamma functions, logarithms of sums, and the signs and exponents of floats.

MIL has none of them but ``erf``. The approximations hold to about 1e-7 and are computed in fp32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch

from executorch_coreml.ops.call import Call
from executorch_coreml.ops.emit import Emit, Var, mil_type
from executorch_coreml.ops.moves import broadcast, fill
from executorch_coreml.ops.precision import compute_type, keep_fp32, result
from executorch_coreml.ops.rule import ANY, FLOAT, INT, Family, Lower
from executorch_coreml.ops.transcendental import log, log1p, reciprocal

aten = torch.ops.aten
rules = Family(dynamic=True, empty=True)

Formula: TypeAlias = Callable[[Emit, Var], Var]


def _polynomial(mb: Emit, x: Var, coefficients: Sequence[float]) -> Var:
    """By Horner's scheme, the highest power first."""
    value = mb.add(x=mb.mul(x=x, y=coefficients[0]), y=coefficients[1])
    for coefficient in coefficients[2:]:
        value = mb.add(x=mb.mul(x=value, y=x), y=coefficient)
    return value


# -- error functions -----------------------------------------------------------------------------

# erfc(x) = t exp(-x^2 + P(t)), t = 1 / (1 + x / 2), for x >= 0, to 1.2e-7 of the result.
# Press, Teukolsky, Vetterling and Flannery, "Numerical Recipes", section 6.2.
_ERFC = (
    *(0.17087277, -0.82215223, 1.48851587, -1.13520398, 0.27886807),
    *(-0.18628806, 0.09678418, 0.37409196, 1.00002368, -1.26551223),
)


def _scaled_erfc(mb: Emit, size: Var) -> Var:
    """erfc(x) exp(x^2) for x >= 0."""
    t = reciprocal(mb, mb.add(x=mb.mul(x=size, y=0.5), y=1.0))
    return mb.mul(x=t, y=mb.exp(x=_polynomial(mb, t, _ERFC)))


def erfc(mb: Emit, x: Var) -> Var:
    """1 - erf(x), without the cancellation."""
    size = mb.abs(x=x)
    value = mb.mul(x=_scaled_erfc(mb, size), y=mb.exp(x=mb.mul(x=mb.mul(x=size, y=-1.0), y=size)))
    negative = mb.less(x=x, y=0.0)
    return mb.select(cond=negative, a=mb.sub(x=2.0, y=value), b=value)


def erfcx(mb: Emit, x: Var) -> Var:
    """erfc(x) exp(x^2)."""
    value = _scaled_erfc(mb, mb.abs(x=x))
    mirrored = mb.sub(x=mb.mul(x=mb.exp(x=mb.mul(x=x, y=x)), y=2.0), y=value)
    return mb.select(cond=mb.less(x=x, y=0.0), a=mirrored, b=value)


# Giles, "Approximating the erfinv function", GPU Computing Gems 2 (2011): of w = -log(1 - x^2).
_ERFINV_CENTRE = (
    *(2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087),
    *(-0.00125372503, -0.00417768164, 0.246640727, 1.50140941),
)
_ERFINV_TAIL = (
    *(-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773),
    *(-0.0076224613, 0.00943887047, 1.00167406, 2.83297682),
)


def _erfinv(mb: Emit, x: Var, rest: Var) -> Var:
    """erfinv(x), given 1 - x^2, which callers may know better than from x."""
    w = mb.mul(x=log(mb, rest), y=-1.0)
    centre = _polynomial(mb, mb.sub(x=w, y=2.5), _ERFINV_CENTRE)
    tail = _polynomial(mb, mb.sub(x=mb.sqrt(x=w), y=3.0), _ERFINV_TAIL)
    value = mb.mul(x=x, y=mb.select(cond=mb.less(x=w, y=5.0), a=centre, b=tail))
    ends = mb.equal(x=rest, y=0.0)  # the tail's polynomial ends in inf - inf
    return mb.select(cond=ends, a=mb.mul(x=x, y=math.inf), b=value)


def erfinv(mb: Emit, x: Var) -> Var:
    return _erfinv(mb, x, mb.mul(x=mb.sub(x=1.0, y=x), y=mb.add(x=x, y=1.0)))


def ndtri(mb: Emit, p: Var) -> Var:
    """The quantile of the normal distribution, sqrt(2) erfinv(2p - 1), accurate near 0 as well."""
    x = mb.sub(x=mb.add(x=p, y=p), y=1.0)
    rest = mb.mul(x=mb.mul(x=p, y=4.0), y=mb.sub(x=1.0, y=p))
    return mb.mul(x=_erfinv(mb, x, rest), y=math.sqrt(2))


# -- gamma functions -----------------------------------------------------------------------------

# Lanczos' series for g = 5; Numerical Recipes, section 6.1.
_LANCZOS = (
    *(76.18009172947146, -86.50532032941677, 24.01409824083091),
    *(-1.231739572450155, 0.1208650973866179e-2, -0.5395239384953e-5),
)


def _lgamma_of_large(mb: Emit, x: Var) -> Var:
    """For x >= 1/2."""
    series = mb.const(1.000000000190015, "fp32")
    for number, coefficient in enumerate(_LANCZOS, 1):
        series = mb.add(x=series, y=mb.real_div(x=coefficient, y=mb.add(x=x, y=float(number))))
    base = mb.add(x=x, y=5.5)
    power = mb.mul(x=mb.add(x=x, y=0.5), y=log(mb, base))
    scaled = mb.real_div(x=mb.mul(x=series, y=math.sqrt(2 * math.pi)), y=x)
    return mb.add(x=mb.sub(x=power, y=base), y=log(mb, scaled))


def lgamma(mb: Emit, x: Var) -> Var:
    """log |gamma(x)|; below 1/2 by reflection, infinite for both infinities."""
    low = mb.less(x=x, y=0.5)
    large = _lgamma_of_large(mb, mb.select(cond=low, a=mb.sub(x=1.0, y=x), b=x))
    sine = mb.abs(x=mb.sin(x=mb.mul(x=mb.sub(x=x, y=mb.round(x=x)), y=math.pi)))
    mirrored = mb.sub(x=mb.sub(x=math.log(math.pi), y=log(mb, sine)), y=large)
    found, size = mb.select(cond=low, a=mirrored, b=large), mb.abs(x=x)
    return mb.select(cond=mb.equal(x=size, y=math.inf), a=size, b=found)  # not infinity less itself


def digamma(mb: Emit, x: Var) -> Var:
    """The derivative of lgamma: six steps up, then the asymptotic series; below 1/2 reflected.

    -1/x at the poles 0 and -0, NaN at those below, as in PyTorch.
    """
    low = mb.less(x=x, y=0.5)
    z = mb.select(cond=low, a=mb.sub(x=1.0, y=x), b=x)
    steps = reciprocal(mb, z)
    for number in range(1, 6):
        steps = mb.add(x=steps, y=reciprocal(mb, mb.add(x=z, y=float(number))))
    high = mb.add(x=z, y=6.0)
    r = reciprocal(mb, high)
    square = mb.mul(x=r, y=r)
    series = mb.mul(x=_polynomial(mb, square, (-1 / 252, 1 / 120, -1 / 12)), y=square)
    large = mb.add(x=mb.sub(x=log(mb, high), y=mb.mul(x=r, y=0.5)), y=series)
    large = mb.sub(x=large, y=steps)
    turn = mb.mul(x=mb.sub(x=x, y=mb.round(x=x)), y=math.pi)
    sine = mb.select(cond=mb.equal(x=x, y=0.0), a=x, b=mb.sin(x=turn))
    pole = mb.logical_and(x=mb.less(x=x, y=0.0), y=mb.equal(x=turn, y=0.0))
    cosine = mb.select(cond=pole, a=mb.const(0.0, x), b=mb.cos(x=turn))
    cotangent = mb.real_div(x=cosine, y=sine)
    mirrored = mb.sub(x=large, y=mb.mul(x=cotangent, y=math.pi))
    return mb.select(cond=low, a=mirrored, b=large)


def _in_fp32(formula: Formula) -> Lower:
    def lower(mb: Emit, call: Call) -> Var:
        x = mb.var(call["self"], keep_fp32(mb, call.out.dtype, "an approximation to 1e-7"))
        return result(mb, call, formula(mb, x))

    return lower


for _op, _formula in (
    (aten.erfc, erfc),
    (aten.special_erfcx, erfcx),
    (aten.erfinv, erfinv),
    (aten.special_ndtri, ndtri),
    (aten.lgamma, lgamma),
    (aten.digamma, digamma),
):
    rules(_op.default, types=ANY)(_in_fp32(_formula))


@rules(aten.exp2.default, types=ANY)
def exp2(mb: Emit, call: Call) -> Var:
    x = mb.var(call["self"], compute_type(mb, call, call.out.dtype, "self"))
    return result(mb, call, mb.exp2(x=x))


# -- two operands --------------------------------------------------------------------------------


def log_add(mb: Emit, x: Var, y: Var, base: float = math.e) -> Var:
    """log(base^x + base^y) = max + log1p(base^-|x - y|); of equal ones log(2) more, even of inf."""
    apart = mb.mul(x=mb.abs(x=mb.sub(x=x, y=y)), y=-math.log(base))
    more = log1p(mb, mb.exp(x=apart))
    if base != math.e:
        more = mb.mul(x=more, y=1 / math.log(base))
    value = mb.add(x=mb.maximum(x=x, y=y), y=more)
    doubled = mb.add(x=mb.maximum(x=x, y=y), y=math.log(2) / math.log(base))
    return mb.select(cond=mb.equal(x=x, y=y), a=doubled, b=value)


def hypot(mb: Emit, x: Var, y: Var) -> Var:
    """sqrt(x^2 + y^2), without squares beyond the range."""
    x, y = mb.abs(x=x), mb.abs(x=y)
    larger, smaller = mb.maximum(x=x, y=y), mb.minimum(x=x, y=y)
    plain = mb.logical_or(x=mb.equal(x=smaller, y=0.0), y=mb.equal(x=larger, y=math.inf))
    ratio = mb.real_div(x=smaller, y=larger)
    root = mb.sqrt(x=mb.add(x=mb.mul(x=ratio, y=ratio), y=1.0))
    return mb.select(cond=plain, a=larger, b=mb.mul(x=larger, y=root))


def _extreme(op: str) -> Lower:
    """The larger or smaller one; NaN only where both are."""

    def lower(mb: Emit, call: Call) -> Var:
        x, y = _pair(mb, call)
        if call.out.dtype in FLOAT:
            x_there, y_there = mb.equal(x=x, y=x), mb.equal(x=y, y=y)
            x, y = mb.select(cond=x_there, a=x, b=y), mb.select(cond=y_there, a=y, b=x)
        return result(mb, call, mb.op(op, x=x, y=y))

    return lower


def _pair(mb: Emit, call: Call) -> tuple[Var, Var]:
    """``self`` and ``other`` in the shape of the result and the type to compute in."""
    kind = compute_type(mb, call, call.out.dtype, "self", "other")
    x, y = (broadcast(mb, mb.var(call[name], kind), call.out.shape) for name in ("self", "other"))
    return x, y


rules(aten.fmax.default, types=FLOAT | INT, in_range=True)(_extreme("maximum"))
rules(aten.fmin.default, types=FLOAT | INT, in_range=True)(_extreme("minimum"))


def _of_two(formula: Callable[[Emit, Var, Var], Var]) -> Lower:
    return lambda mb, call: result(mb, call, formula(mb, *_pair(mb, call)))


def log_add_2(mb: Emit, x: Var, y: Var) -> Var:
    return log_add(mb, x, y, base=2.0)


rules(aten.hypot.default, types=FLOAT)(_of_two(hypot))
rules(aten.logaddexp.default, types=FLOAT)(_of_two(log_add))
rules(aten.logaddexp2.default, types=FLOAT)(_of_two(log_add_2))


@rules(aten.ldexp.Tensor, types=ANY)
def ldexp(mb: Emit, call: Call) -> Var:
    """x 2^other, in fp32: either factor may be beyond fp16's range when the product is not.

    By an integer PyTorch (2.13) multiplies as C's ldexp does, for which no power is beyond range:
    in four steps none is in float32, and 2^300 makes 0 or infinity of everything.
    """
    kind = keep_fp32(mb, call.out.dtype, "a power of two beyond fp16's range")
    x, other = mb.var(call["self"], kind), mb.var(call["other"], kind)
    if call.dtype("other") in FLOAT:
        return result(mb, call, mb.mul(x=x, y=mb.exp2(x=other)))
    other = mb.clip(x=other, alpha=-300.0, beta=300.0)
    step = mb.floor(x=mb.mul(x=other, y=0.25))
    power = mb.exp2(x=step)
    for _ in range(3):
        x = mb.mul(x=x, y=power)
    last = mb.exp2(x=mb.sub(x=other, y=mb.mul(x=step, y=3.0)))
    return result(mb, call, mb.mul(x=x, y=last))


# -- signs ---------------------------------------------------------------------------------------


def _minus(mb: Emit, x: Var) -> Var:
    """Whether the sign bit is set: -0 is told from 0 by its reciprocal."""
    below = mb.less(x=x, y=mb.const(0, x))
    if mil_type(x) == "int32":
        return below
    zero = mb.equal(x=x, y=0.0)
    return mb.logical_or(
        x=below, y=mb.logical_and(x=zero, y=mb.less(x=mb.real_div(x=1.0, y=x), y=0.0))
    )


@rules(aten.signbit.default, types=ANY)
def signbit(mb: Emit, call: Call) -> Var:
    x = mb.var(call["self"])
    if mil_type(x) == "bool":
        return fill(mb, call.out.shape, False, "bool")
    return _minus(mb, x)


@rules(aten.copysign.Tensor, aten.copysign.Scalar, types=FLOAT | INT)
def copysign(mb: Emit, call: Call) -> Var:
    x, y = _pair(mb, call)
    size = mb.abs(x=x)
    signed = mb.select(cond=_minus(mb, y), a=mb.mul(x=size, y=-1.0), b=size)
    return result(mb, call, signed)


@rules(aten.angle.default, types=ANY)
def angle(mb: Emit, call: Call) -> Var:
    """Of a real number: 0, or pi where it is negative; NaN stays."""
    x = mb.var(call["self"], call.out.dtype)
    value = mb.select(
        cond=mb.less(x=x, y=0.0),
        a=fill(mb, call.out.shape, math.pi, mil_type(x)),
        b=fill(mb, call.out.shape, 0.0, mil_type(x)),
    )
    return mb.select(cond=mb.equal(x=x, y=x), a=value, b=x)
