"""Arithmetic, comparison, logic, rounding and selection, element by element."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.fx import Node

from executorch_coreml.ops.call import Call
from executorch_coreml.ops.checks import fits_int32
from executorch_coreml.ops.convert import truth
from executorch_coreml.ops.emit import Emit, Var, mil_type
from executorch_coreml.ops.half import FP16_MAX
from executorch_coreml.ops.moves import broadcast, fill, numeric
from executorch_coreml.ops.narrow import exactly
from executorch_coreml.ops.precision import (
    bound,
    choice,
    compute_type,
    keep_fp32,
    operand,
    overflows,
    result,
)
from executorch_coreml.ops.rule import FLOAT, INT, Family, Lower
from executorch_coreml.ops.sizes import Extent, fixed_extent, same

aten = torch.ops.aten
rules = Family(dynamic=True, empty=True)


# -- sums and products ---------------------------------------------------------------------------


def _finite(mb: Emit, call: Call, value: Var, *names: str) -> Var:
    """``value``, computed in fp32, with fp16's largest values for those beyond its range.

    ``(1 - mask) * -1e9`` must not become -inf: a softmax over nothing but -inf is NaN.
    """
    if mil_type(value) != "fp32" or mb.type_of(call.out.dtype) != "fp16":
        return value
    if not any(overflows(mb, call[name]) for name in names):
        return value
    return mb.clip(x=value, alpha=-FP16_MAX, beta=FP16_MAX)


def _sum(mb: Emit, call: Call, first: str, second: str, op: str) -> Var:
    """first ± alpha * second."""
    if call.out.dtype is torch.bool:
        return mb.logical_or(x=mb.var(call[first], "bool"), y=mb.var(call[second], "bool"))
    kind = compute_type(mb, call, call.out.dtype, first, second, "alpha", scale=False)
    x, y = operand(mb, call[first], kind), operand(mb, call[second], kind)
    if call["alpha"] != 1:
        y = mb.mul(x=y, y=mb.var(call["alpha"], kind))
    value = mb.op(op, x=x, y=y)
    return result(mb, call, _finite(mb, call, value, first, second))


SUM_CHECKS = [fits_int32("other"), fits_int32("alpha")]


@rules(aten.add.Tensor, aten.add.Scalar, checks=SUM_CHECKS)
def add(mb: Emit, call: Call) -> Var:
    return _sum(mb, call, "self", "other", "add")


@rules(aten.sub.Tensor, aten.sub.Scalar, checks=SUM_CHECKS)
def sub(mb: Emit, call: Call) -> Var:
    return _sum(mb, call, "self", "other", "sub")


@rules(aten.rsub.Tensor, aten.rsub.Scalar, checks=SUM_CHECKS)
def rsub(mb: Emit, call: Call) -> Var:
    return _sum(mb, call, "other", "self", "sub")


@rules(aten.mul.Tensor, aten.mul.Scalar, checks=[fits_int32("other")])
def mul(mb: Emit, call: Call) -> Var:
    if call.out.dtype is torch.bool:
        return mb.logical_and(x=mb.var(call["self"], "bool"), y=mb.var(call["other"], "bool"))
    kind = compute_type(mb, call, call.out.dtype, "self", "other")
    value = mb.mul(x=mb.var(call["self"], kind), y=mb.var(call["other"], kind))
    return result(mb, call, _finite(mb, call, value, "self", "other"))


@rules(aten.neg.default, types=FLOAT | INT)
def neg(mb: Emit, call: Call) -> Var:
    x = mb.var(call["self"])
    return mb.mul(x=x, y=mb.const(-1, x))


def _extremum(op: str, logical: str) -> Lower:
    def lower(mb: Emit, call: Call) -> Var:
        kind = exactly(call.out.dtype, mb.type_of(call.out.dtype))
        x, y = operand(mb, call["self"], kind), operand(mb, call["other"], kind)
        return mb.op(logical if kind == "bool" else op, x=x, y=y)

    return lower


rules(aten.maximum.default, in_range=True)(_extremum("maximum", "logical_or"))
rules(aten.minimum.default, in_range=True)(_extremum("minimum", "logical_and"))


# -- division ------------------------------------------------------------------------------------


def trunc(mb: Emit, x: Var) -> Var:
    """Rounds towards zero: MIL has no op for it."""
    return mb.mul(x=mb.sign(x=x), y=mb.floor(x=mb.abs(x=x)))


def _quotient(mb: Emit, x: Var, y: Var, mode: str) -> Var:
    """x / y rounded down (``"floor"``) or towards zero (``"trunc"``), in the type of both."""
    if mil_type(x) != "int32":
        value = mb.real_div(x=x, y=y)
        return mb.floor(x=value) if mode == "floor" else trunc(mb, value)
    if mode == "floor":
        return mb.floor_div(x=x, y=y)
    # The quotient of magnitudes is the same however an implementation rounds negative ones.
    size = mb.floor_div(x=mb.abs(x=x), y=mb.abs(x=y))
    return mb.mul(x=size, y=mb.mul(x=mb.sign(x=x), y=mb.sign(x=y)))


ROUNDED = "a quotient rounded to fp16 may cross an integer"


def _divide(mb: Emit, call: Call, mode: str | None) -> Var:
    dtype = call.out.dtype
    if mode is None:
        kind = compute_type(mb, call, dtype, "self", "other")
        value = mb.real_div(x=mb.var(call["self"], kind), y=mb.var(call["other"], kind))
        return result(mb, call, _finite(mb, call, value, "self", "other"))
    return result(mb, call, _quotient(mb, *_operands(mb, call), mode))


@rules(aten.div.Tensor, aten.div.Scalar, checks=[fits_int32("other")])
def div(mb: Emit, call: Call) -> Var:
    return _divide(mb, call, None)


@rules(aten.div.Tensor_mode, aten.div.Scalar_mode, checks=[fits_int32("other")])
def div_mode(mb: Emit, call: Call) -> Var:
    return _divide(mb, call, call["rounding_mode"])


# Not floor_divide.default: kept whole, ExecuTorch 1.5.1 refuses it for int32 // 3, whose number
# becomes an int64 tensor. It decomposes to div.Tensor_mode, which converts the number.
@rules(aten.floor_divide.Scalar, checks=[fits_int32("other")])
def floor_divide(mb: Emit, call: Call) -> Var:
    return _divide(mb, call, "floor")


def _fmod(mb: Emit, x: Var, y: Var) -> Var:
    """The remainder of x / y with the sign of x.

    MIL's ``mod`` is not used: Core ML gives wrong remainders for floats on some devices. The float
    quotient may be rounded across an integer, which two selects repair. Of a quotient beyond 2**24
    no remainder is left in float32: it becomes 0, and not a number outside its range.
    """
    if mil_type(x) == "int32":
        return mb.sub(x=x, y=mb.mul(x=_quotient(mb, x, y, "trunc"), y=y))
    size, by = mb.abs(x=x), mb.abs(x=y)
    times = mb.floor(x=mb.real_div(x=size, y=by))
    rest = mb.sub(x=size, y=mb.mul(x=times, y=by))
    # Not 0 * by, which an infinite divisor would make NaN.
    rest = mb.select(cond=mb.equal(x=times, y=0.0), a=size, b=rest)
    rest = mb.select(cond=mb.less(x=rest, y=0.0), a=mb.add(x=rest, y=by), b=rest)
    rest = mb.select(cond=mb.less(x=rest, y=by), a=rest, b=mb.sub(x=rest, y=by))
    astray = mb.logical_or(x=mb.less(x=rest, y=0.0), y=mb.greater_equal(x=rest, y=by))
    rest = mb.select(cond=astray, a=mb.sub(x=by, y=by), b=rest)
    return mb.mul(x=mb.sign(x=x), y=rest)


def _operands(mb: Emit, call: Call) -> tuple[Var, Var]:
    kind = exactly(call.out.dtype, keep_fp32(mb, call.out.dtype, ROUNDED))
    return mb.var(call["self"], kind), mb.var(call["other"], kind)


@rules(aten.fmod.Tensor, aten.fmod.Scalar, checks=[fits_int32("other")], in_range=True)
def fmod(mb: Emit, call: Call) -> Var:
    return result(mb, call, _fmod(mb, *_operands(mb, call)))


@rules(aten.remainder.Tensor, aten.remainder.Scalar, checks=[fits_int32("other")], in_range=True)
def remainder(mb: Emit, call: Call) -> Var:
    """The remainder with the sign of the divisor."""
    x, y = _operands(mb, call)
    rest = _fmod(mb, x, y)
    signs = mb.mul(x=mb.sign(x=rest), y=mb.sign(x=y))
    differs = mb.less(x=signs, y=mb.const(0, signs))
    return result(mb, call, mb.select(cond=differs, a=mb.add(x=rest, y=y), b=rest))


# -- comparison and logic ------------------------------------------------------------------------


def _comparison(op: str) -> Lower:
    def lower(mb: Emit, call: Call) -> Var:
        x, y = (
            value.meta["val"] if isinstance(value, Node) else value
            for value in (call["self"], call["other"])
        )
        dtype = torch.result_type(x, y)
        kind = compute_type(mb, call, dtype, "self", "other")
        kind = "int32" if kind == "bool" else kind  # MIL does not compare bools
        cast = exactly(dtype, kind)
        return mb.op(op, x=mb.var(call["self"], cast), y=mb.var(call["other"], cast))

    return lower


for _op, _mil in {
    aten.eq: "equal",
    aten.ne: "not_equal",
    aten.lt: "less",
    aten.le: "less_equal",
    aten.gt: "greater",
    aten.ge: "greater_equal",
}.items():
    rules(_op.Tensor, _op.Scalar, checks=[fits_int32("other")])(_comparison(_mil))


def _logical(op: str) -> Lower:
    def lower(mb: Emit, call: Call) -> Var:
        return mb.op(op, x=truth(mb, call["self"]), y=truth(mb, call["other"]))

    return lower


for _op, _mil in (
    (aten.logical_and, "logical_and"),
    (aten.logical_or, "logical_or"),
    (aten.logical_xor, "logical_xor"),
):
    rules(_op.default)(_logical(_mil))


@rules(aten.logical_not.default)
def logical_not(mb: Emit, call: Call) -> Var:
    return mb.logical_not(x=truth(mb, call["self"]))


@rules(aten.isnan.default)
def isnan(mb: Emit, call: Call) -> Var:
    x = numeric(mb, mb.var(call["self"]))
    return mb.not_equal(x=x, y=x)


@rules(aten.isinf.default)
def isinf(mb: Emit, call: Call) -> Var:
    x = mb.var(call["self"])
    if call.dtype("self") not in FLOAT:
        return fill(mb, x.shape, False, "bool")
    return mb.equal(x=mb.abs(x=x), y=math.inf)


# -- magnitude and rounding ----------------------------------------------------------------------

rules.unary(
    (aten.abs.default, "abs", FLOAT | INT),
    (aten.square.default, "square", FLOAT | INT),
)


@rules(aten.sign.default, types=FLOAT | INT)
def sign(mb: Emit, call: Call) -> Var:
    """PyTorch's sign of NaN is 0."""
    x = mb.var(call["self"])
    value = mb.sign(x=x)
    if call.out.dtype not in FLOAT:
        return value
    return mb.select(cond=mb.equal(x=x, y=x), a=value, b=mb.const(0, x))


def _rounding(op: str) -> Lower:
    def lower(mb: Emit, call: Call) -> Var:
        x = mb.var(call["self"])
        if mil_type(x) == "int32":
            return x
        return trunc(mb, x) if op == "trunc" else mb.op(op, x=x)

    return lower


rules(aten.floor.default, types=FLOAT | INT, in_range=True)(_rounding("floor"))
rules(aten.ceil.default, types=FLOAT | INT, in_range=True)(_rounding("ceil"))
rules(aten.round.default, types=FLOAT | INT, in_range=True)(_rounding("round"))
rules(aten.trunc.default, types=FLOAT | INT, in_range=True)(_rounding("trunc"))


@rules(aten.round.decimals, types=FLOAT)
def round_decimals(mb: Emit, call: Call) -> Var:
    """Scaled by a power of ten, rounded, and scaled back, as PyTorch does."""
    decimals = call["decimals"]
    there, back = ("real_div", "mul") if decimals < 0 else ("mul", "real_div")
    power = 10.0 ** abs(decimals)
    kind = keep_fp32(mb, call.out.dtype, f"values scaled by 1e{decimals}")
    scaled = mb.op(there, x=mb.var(call["self"], kind), y=power)
    return result(mb, call, mb.op(back, x=mb.round(x=scaled), y=power))


# -- selection -----------------------------------------------------------------------------------


def limit(mb: Emit, call: Call, low: float | None, high: float | None) -> Var:
    """min(max(self, low), high) of numbers or None; ``high`` wins where the limits cross."""
    kind = compute_type(mb, call, call.out.dtype, "self")
    x = mb.var(call["self"], kind)
    if kind != "int32":
        low, high = bound(mb, low, kind), bound(mb, high, kind)
        if low is not None and high is not None and low < high:
            return result(mb, call, mb.clip(x=x, alpha=low, beta=high))
    if low is not None:
        x = mb.maximum(x=x, y=mb.const(low, x))
    if high is not None:
        x = mb.minimum(x=x, y=mb.const(high, x))
    return result(mb, call, x)


@rules(
    aten.clamp.default,
    types=FLOAT | INT,
    checks=[fits_int32("min"), fits_int32("max")],
    in_range=True,
)
def clamp(mb: Emit, call: Call) -> Var:
    if any(isinstance(call[name], Node) for name in ("min", "max")):  # a size
        return clamp_tensor(mb, call)
    return limit(mb, call, call["min"], call["max"])


@rules(aten.clamp.Tensor, types=FLOAT | INT, in_range=True)
def clamp_tensor(mb: Emit, call: Call) -> Var:
    kind = exactly(call.out.dtype, mb.type_of(call.out.dtype))
    x = mb.var(call["self"], kind)
    if call["min"] is not None:
        x = mb.maximum(x=x, y=operand(mb, call["min"], kind))
    if call["max"] is not None:
        x = mb.minimum(x=x, y=operand(mb, call["max"], kind))
    return x


def _select(mb: Emit, call: Call, cond: Var, a: Var, b: Var) -> Var:
    """MIL's ``select`` takes its shape from ``a`` and ``b`` alone."""
    if not _covers(call.out.shape, a, b):
        b = broadcast(mb, b, call.out.shape)
    return mb.select(cond=cond, a=a, b=b)


def _covers(shape: Sequence[Extent], *values: Var) -> bool:
    """Whether the values broadcast to ``shape`` among themselves."""
    found: list[Extent] = [1] * len(shape)
    for value in values:
        for axis, extent in enumerate(value.shape, start=len(shape) - len(value.shape)):
            found[axis] = extent if fixed_extent(found[axis]) == 1 else found[axis]
    return same(found, shape)


@rules(aten.where.self, in_range=True)
def where(mb: Emit, call: Call) -> Var:
    kind = exactly(call.out.dtype, mb.type_of(call.out.dtype))
    a, b = choice(mb, call["self"], kind), choice(mb, call["other"], kind)
    return _select(mb, call, truth(mb, call["condition"]), a, b)


@rules(
    aten.masked_fill.Scalar,
    aten.masked_fill.Tensor,
    checks=[fits_int32("value")],
    in_range=True,
)
def masked_fill(mb: Emit, call: Call) -> Var:
    kind = exactly(call.out.dtype, mb.type_of(call.out.dtype))
    value = choice(mb, call["value"], kind)
    return _select(mb, call, truth(mb, call["mask"]), value, mb.var(call["self"], kind))
