"""Rows for the ops of ops/reduce.py, sorting included."""

from __future__ import annotations

from typing import Any

import torch

from fuzz.draw import ALL, FLOATS, INTS, PLAIN, USUAL, Draw, Slot, row

aten = torch.ops.aten

SPREADS = ("var", "std", "var_mean", "std_mean")
# Not "large": squares beyond float32 make a deviation infinite that PyTorch computes in float64.
SQUARED = (*PLAIN, "zeros", "hundreds", "tiny", "inf", "nan")


def _spreading(d: Draw, op: Any) -> Slot:
    """PyTorch's mean beside a deviation is infinite if the last element alone is, else NaN; that
    of ``mean`` is infinite in both cases, and so is ours."""
    means = "mean" in op._schema.name
    return d.operand(kinds=[kind for kind in SQUARED if kind != "inf" or not means])


def _dtype(d: Draw) -> torch.dtype | None:
    return d.choice(*FLOATS, *INTS) if d.integer(0, 3) == 0 else None


@row(aten.sum.default, aten.mean.default, aten.prod.default)
def whole(d: Draw, op: Any) -> None:
    x = d.operand(d.types(op), kinds=("unit", "normal") if op is aten.prod.default else PLAIN)
    dtype = _dtype(d)
    if op is aten.mean.default:
        dtype = d.choice(*FLOATS) if d.of(x).dtype not in FLOATS else None
    d.call(op, x, dtype=dtype)


@row(aten.sum.dim_IntList, aten.mean.dim)
def over_axes(d: Draw, op: Any) -> None:
    x = d.operand(d.types(op))
    dtype = _dtype(d)
    if op is aten.mean.dim:
        dtype = d.choice(*FLOATS) if d.of(x).dtype not in FLOATS else None
    dims = d.choice(None, d.dims(d.of(x).dim()), d.dims(d.of(x).dim(), 1))
    d.call(op, x, dims, d.flag(), dtype=dtype)


@row(aten.prod.dim_int, aten.cumsum.default)
def over_axis(d: Draw, op: Any) -> None:
    x = d.operand(d.types(op), kinds=("normal", "unit", "zeros"))
    dim = d.dim(d.of(x).dim())
    if op is aten.cumsum.default:
        d.call(op, x, dim, dtype=_dtype(d))
    else:
        d.call(op, x, dim, d.flag(), dtype=_dtype(d))


@row(aten.amax.default, aten.amin.default)
def extreme(d: Draw, op: Any) -> None:
    x = d.operand(ALL)
    d.call(op, x, d.dims(d.of(x).dim()), d.flag())


@row(
    *[getattr(aten, name).default for name in ("max", "min", "any", "all")],
    aten.median.default,
)
def one(d: Draw, op: Any) -> None:
    kinds = (*PLAIN, "inf") if op is aten.median.default else USUAL  # a sort drops NaN
    d.call(op, d.operand(d.types(op), kinds=kinds))


@row(aten.argmax.default, aten.argmin.default)
def position(d: Draw, op: Any) -> None:
    x = d.operand(d.types(op))
    d.call(op, x, None if d.integer(0, 3) == 0 else d.dim(d.of(x).dim()), d.flag())


@row(aten.max.dim, aten.min.dim, aten.any.dim, aten.all.dim)
def along(d: Draw, op: Any) -> None:
    x = d.operand(ALL)
    d.call(op, x, d.dim(d.of(x).dim()), d.flag())


@row(aten.any.dims, aten.all.dims)
def quantifier(d: Draw, op: Any) -> None:
    x = d.operand(ALL)
    d.call(op, x, None if d.integer(0, 3) == 0 else d.dims(d.of(x).dim()), d.flag())


@row(*[getattr(aten, name).default for name in SPREADS])
def spread(d: Draw, op: Any) -> None:
    d.call(op, _spreading(d, op), d.flag())


@row(*[getattr(aten, name).dim for name in SPREADS])
def spread_over(d: Draw, op: Any) -> None:
    x = _spreading(d, op)
    d.call(op, x, d.dims(d.of(x).dim(), 1), d.flag(), d.flag())


@row(*[getattr(aten, name).correction for name in SPREADS])
def spread_corrected(d: Draw, op: Any) -> None:
    x = _spreading(d, op)
    dims = d.choice(None, d.dims(d.of(x).dim(), 1))
    d.call(op, x, dims, correction=d.choice(None, 0, 1, 2, 0.5), keepdim=d.flag())


@row(aten.linalg_vector_norm.default)
def vector_norm(d: Draw, op: Any) -> None:
    x = d.operand()
    order = d.choice(2, 1, 0, 3, 0.5, -1, -2, 2.5, float("inf"), float("-inf"))
    dims = d.choice(None, d.dims(d.of(x).dim(), 1))
    d.call(op, x, order, dims, d.flag())


@row(aten.logsumexp.default)
def logsumexp(d: Draw, op: Any) -> None:
    x = d.operand(d.types(op))
    d.call(op, x, d.dims(d.of(x).dim(), 1), d.flag())


@row(aten.sort.default, aten.argsort.default)
def sort(d: Draw, op: Any) -> None:
    x = d.operand(FLOATS, kinds=("distinct",))
    d.call(op, x, d.dim(d.of(x).dim()), d.flag())


@row(aten.topk.default)
def topk(d: Draw, op: Any) -> None:
    x = d.operand(FLOATS, kinds=("distinct",))
    dim = d.dim(d.of(x).dim())
    extent = d.of(x).shape[dim] if d.of(x).dim() else 1
    d.call(op, x, d.integer(1, extent), dim, d.flag(), True)


@row(aten.median.dim)
def median(d: Draw, op: Any) -> None:
    x = d.operand(FLOATS, kinds=("distinct",))
    d.call(op, x, d.dim(d.of(x).dim()), d.flag())


@row(aten.cdist.default, aten._cdist_forward.default)
def cdist(d: Draw, op: Any) -> None:
    dtype = torch.float32
    batch, size = d.shape(0, 2, 30), d.integer(1, 6)
    x, y = (d.tensor([*batch, d.integer(1, 6), size], dtype, ("normal", "grid")) for _ in "xy")
    d.call(op, x, y, d.choice(2.0, 1.0, 0.0, float("inf"), 3.0), d.choice(None, 1, 2))


@row(aten.one_hot.default)
def one_hot(d: Draw, op: Any) -> None:
    classes = d.integer(1, 7)
    x = d.tensor(d.shape(0, 4, 200), torch.int64, low=0, high=classes - 1)
    d.call(op, x, classes)
