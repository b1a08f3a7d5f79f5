"""Bitwise logic and shifts of integers, by exact int32 arithmetic: MIL has no op for bits."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from executorch_coreml.ops.call import Call
from executorch_coreml.ops.checks import INT32_MIN, fits_int32, says
from executorch_coreml.ops.convert import truth
from executorch_coreml.ops.emit import Emit, Var, mil_type
from executorch_coreml.ops.moves import broadcast, concat, fill, piece, reshape, take
from executorch_coreml.ops.narrow import exactly
from executorch_coreml.ops.rule import BOOL, INT, Check, Family, Lower

aten = torch.ops.aten
rules = Family()

POWERS = 2 ** np.arange(31)  # of the bits below the sign


# -- logic ---------------------------------------------------------------------------------------


def _negative(mb: Emit, x: Var) -> Var:
    return mb.less(x=x, y=0)


def _signed(mb: Emit, negative: Var) -> Var:
    """The value of a sign bit."""
    lowest = fill(mb, negative.shape, INT32_MIN, "int32")
    return mb.select(cond=negative, a=lowest, b=fill(mb, negative.shape, 0, "int32"))


def _bits(mb: Emit, x: Var) -> Var:
    """[n, 31]: the bits of a vector below the sign, 0 or 1, lowest first."""
    rest = mb.sub(x=x, y=_signed(mb, _negative(mb, x)))  # in two's complement: the sign bit off
    above = mb.floor_div(x=reshape(mb, rest, [x.shape[0], 1]), y=mb.const(POWERS, "int32"))
    nothing = fill(mb, [x.shape[0], 1], 0, "int32")
    twice = mb.mul(x=concat(mb, [piece(mb, above, 1, 1, 31), nothing], 1), y=2)
    return mb.sub(x=above, y=twice)


def _number(mb: Emit, bits: Var) -> Var:
    """The reverse of :func:`_bits`, in halves: a compute unit may add integers up as floats."""
    halves = []
    for start, stop in ((0, 16), (16, 31)):
        weights = mb.const(POWERS[: stop - start], "int32")
        weighted = mb.mul(x=piece(mb, bits, 1, start, stop), y=weights)
        halves.append(mb.reduce_sum(x=weighted, axes=[1], keep_dims=False))
    return mb.add(x=halves[0], y=mb.mul(x=halves[1], y=2**16))


def _and(mb: Emit, x: Var, y: Var) -> Var:
    return mb.mul(x=x, y=y)


def _or(mb: Emit, x: Var, y: Var) -> Var:
    return mb.maximum(x=x, y=y)


def _xor(mb: Emit, x: Var, y: Var) -> Var:
    return mb.abs(x=mb.sub(x=x, y=y))


def _low_bits(value: Any) -> int | None:
    """2^k of a number 2^k - 1, a mask of the k lowest bits."""
    whole = isinstance(value, int) and 0 < value < 2**30 and value & (value + 1) == 0
    return value + 1 if whole else None


def _fixed_integers(call: Call) -> str | None:
    """Integers have fixed shapes; bools, such as masks, may have dynamic ones."""
    if call.out.dtype is torch.bool or all(isinstance(e, int) for e in call.out.shape):
        return None
    return f"the bits of integers of the dynamic shape {tuple(call.out.shape)} are not separated"


def _logic(logical: str, of_bits: Any) -> Lower:
    def lower(mb: Emit, call: Call) -> Var:
        if call.out.dtype is torch.bool:
            return mb.op(logical, x=truth(mb, call["self"]), y=truth(mb, call["other"]))
        dtype = exactly(call.out.dtype, "int32")
        x, y = (mb.var(call[name], dtype) for name in ("self", "other"))
        if of_bits is _and and (size := _low_bits(call["other"])) is not None:
            return mb.sub(x=x, y=mb.mul(x=mb.floor_div(x=x, y=size), y=size))
        shape = call.out.shape
        x, y = (reshape(mb, broadcast(mb, v, shape), [prod(shape)]) for v in (x, y))
        value = _number(mb, of_bits(mb, _bits(mb, x), _bits(mb, y)))
        sign = mb.op(logical, x=_negative(mb, x), y=_negative(mb, y))
        return reshape(mb, mb.add(x=value, y=_signed(mb, sign)), shape)

    return lower


for _op, _other, _mil, _of_bits in (
    (aten.bitwise_and, aten.__and__, "logical_and", _and),
    (aten.bitwise_or, aten.__or__, "logical_or", _or),
    (aten.bitwise_xor, aten.__xor__, "logical_xor", _xor),
):
    rules(
        _op.Tensor,
        _op.Scalar,
        _op.Scalar_Tensor,
        _other.Tensor,
        _other.Scalar,
        types=INT | BOOL,
        checks=[fits_int32("self"), fits_int32("other"), _fixed_integers],
        in_range=True,
        dynamic=True,
        empty=True,
    )(_logic(_mil, _of_bits))


@rules(aten.bitwise_not.default, types=INT | BOOL, dynamic=True, empty=True)
def bitwise_not(mb: Emit, call: Call) -> Var:
    """Two's complement: ~x is -1 - x."""
    x = mb.var(call["self"])
    return mb.logical_not(x=x) if mil_type(x) == "bool" else mb.sub(x=mb.const(-1, x), y=x)


# -- shifts --------------------------------------------------------------------------------------


def _not_beyond_int32(name: str) -> Check:
    """int64 values are shifted to the left by numbers known now, and by less than 31."""

    @says(f"an int64 is shifted to the left by a constant {name} below 31")
    def check(call: Call) -> str | None:
        by = call[name]
        if call.out.dtype is not torch.int64 or (isinstance(by, int) and 0 <= by < 31):
            return None
        return f"an int64 shifted to the left by {name} may not fit int32; Core ML has no int64"

    return check


def _within(mb: Emit, by: Var, largest: int) -> Var:
    """Whether a distance is one: others, negative ones included, shift every bit out."""
    return mb.logical_and(x=mb.greater_equal(x=by, y=0), y=mb.less_equal(x=by, y=largest))


def _power(mb: Emit, by: Var, count: int) -> Var:
    """2^by for distances from 0 to count - 1, those outside replaced by one of them."""
    inside = mb.minimum(x=mb.maximum(x=by, y=0), y=count - 1)
    table = (np.int64(1) << np.arange(count)).astype(np.uint32).astype(np.int32)
    return take(mb, mb.const(table, "int32"), inside, 0)


def _chosen(mb: Emit, call: Call, cond: Var, a: Var, b: Var) -> Var:
    shape = call.out.shape
    return mb.select(cond=broadcast(mb, cond, shape), a=broadcast(mb, a, shape), b=b)


def _operands(mb: Emit, call: Call) -> tuple[Var, Var]:
    shape = call.out.shape
    x = broadcast(mb, mb.var(call["self"], "int32"), shape)
    by = call["other"]
    return x, mb.var(by if isinstance(by, Node) else int(by), "int32")


def left_shift(mb: Emit, call: Call) -> Var:
    """Times a power of two; what leaves int32 is lost, as in PyTorch."""
    x, by = _operands(mb, call)
    shifted = mb.mul(x=x, y=_power(mb, by, 32))
    nothing = fill(mb, call.out.shape, 0, "int32")
    return _chosen(mb, call, _within(mb, by, 31), shifted, nothing)


def right_shift(mb: Emit, call: Call) -> Var:
    """Divided by a power of two and rounded down; beyond 30 the sign alone is left."""
    x, by = _operands(mb, call)
    shifted = mb.floor_div(x=x, y=_power(mb, by, 31))
    sign = mb.mul(x=mb.cast(_negative(mb, x), "int32"), y=-1)
    return _chosen(mb, call, _within(mb, by, 30), shifted, sign)


_WIDE = [fits_int32("self"), fits_int32("other")]

rules(
    aten.bitwise_left_shift.Tensor,
    aten.bitwise_left_shift.Tensor_Scalar,
    aten.bitwise_left_shift.Scalar_Tensor,
    aten.__lshift__.Scalar,
    aten.__lshift__.Tensor,
    types=INT,
    checks=[*_WIDE, _not_beyond_int32("other")],
)(left_shift)
rules(
    aten.bitwise_right_shift.Tensor,
    aten.bitwise_right_shift.Tensor_Scalar,
    aten.bitwise_right_shift.Scalar_Tensor,
    aten.__rshift__.Scalar,
    aten.__rshift__.Tensor,
    types=INT,
    checks=_WIDE,
)(right_shift)
