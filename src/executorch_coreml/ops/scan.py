"""Running products, extrema and sums of exponentials: MIL has an op for running sums only.

A scan of n elements takes log2(n) steps over the whole tensor: each combines every element with
the one 1, 2, 4, ... places before it (Hillis and Steele, "Data Parallel Algorithms", 1986).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch

from executorch_coreml.ops.call import Call
from executorch_coreml.ops.emit import Emit, Var, mil_type
from executorch_coreml.ops.moves import broadcast, concat, piece
from executorch_coreml.ops.precision import compute_type, keep_fp32, result
from executorch_coreml.ops.rule import FLOAT, INT, Family, Lower
from executorch_coreml.ops.special import log_add

aten = torch.ops.aten
rules = Family()

Scanned: TypeAlias = "tuple[Var, ...]"


def scan(
    mb: Emit, values: Scanned, axis: int, combine: Callable[[Scanned, Scanned], Scanned]
) -> Scanned:
    """``combine(earlier, later)`` of each element and all before it; it must be associative."""
    extent, step = values[0].shape[axis], 1
    while step < extent:
        heads = [piece(mb, v, axis, 0, step) for v in values]
        earlier = tuple(piece(mb, v, axis, 0, extent - step) for v in values)
        later = tuple(piece(mb, v, axis, step, extent) for v in values)
        combined = combine(earlier, later)
        values = tuple(
            concat(mb, [head, rest], axis) for head, rest in zip(heads, combined, strict=True)
        )
        step *= 2
    return values


def _scanned(mb: Emit, call: Call, x: Var, combine: Callable[[Var, Var], Var]) -> Var:
    if not x.shape:
        return x
    return scan(mb, (x,), call.dim(), lambda one, other: (combine(one[0], other[0]),))[0]


@rules(aten.cumprod.default)
def cumprod(mb: Emit, call: Call) -> Var:
    x = mb.var(call["self"], compute_type(mb, call, call.out.dtype, "self"))
    return result(mb, call, _scanned(mb, call, x, lambda a, b: mb.mul(x=a, y=b)))


@rules(aten.logcumsumexp.default, types=FLOAT)
def logcumsumexp(mb: Emit, call: Call) -> Var:
    x = mb.var(call["self"], keep_fp32(mb, call.out.dtype, "a running sum of exponentials"))
    return result(mb, call, _scanned(mb, call, x, lambda a, b: log_add(mb, a, b)))


def _running_extreme(comparison: str) -> Lower:
    """(values, indices). Of equal values the last one counts; NaN is above and below all."""

    def lower(mb: Emit, call: Call) -> Scanned:
        x = mb.var(call["self"])
        if not x.shape:
            return x, mb.const(0, "int32")
        axis, rank = call.dim(), len(x.shape)
        shape = [x.shape[axis] if other == axis else 1 for other in range(rank)]
        place = mb.const(np.arange(x.shape[axis]).reshape(shape), "int32")
        place = broadcast(mb, place, x.shape)

        def combine(earlier: Scanned, later: Scanned) -> Scanned:
            takes = mb.op(comparison, x=later[0], y=earlier[0])
            if mil_type(x) != "int32":
                takes = mb.logical_or(x=takes, y=mb.not_equal(x=later[0], y=later[0]))
            value, index = (
                mb.select(cond=takes, a=b, b=a) for a, b in zip(earlier, later, strict=True)
            )
            return value, index

        return scan(mb, (x, place), axis, combine)

    return lower


rules(aten.cummax.default, types=FLOAT | INT, in_range=True)(_running_extreme("greater_equal"))
rules(aten.cummin.default, types=FLOAT | INT, in_range=True)(_running_extreme("less_equal"))
