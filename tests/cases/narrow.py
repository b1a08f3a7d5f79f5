"""int8, uint8 and int16, whose arithmetic wraps; see ops/narrow.py.

int8 never crosses the border of a delegate, so those cases make it inside and return it wider.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from executorch.exir.passes import dim_order_ops_registry  # noqa: F401  (defines dim_order_ops)

from case import Case, Reject, flat, randint, randn

aten = torch.ops.aten
TO = torch.ops.dim_order_ops._to_dim_order_copy.default
I8, U8, I16, I32, I64 = torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64
DTYPES = {"int8": I8, "uint8": U8, "int16": I16}


def _spread(dtype: torch.dtype) -> torch.Tensor:
    """Both ends of the range, what is around zero, and what is between."""
    low, high = torch.iinfo(dtype).min, torch.iinfo(dtype).max
    inner = randint(6, low=low, high=high).tolist()
    return torch.tensor([low, high, 0, 1, low + 1, high - 1, *inner], dtype=dtype).reshape(3, 4)


def _other(dtype: torch.dtype) -> torch.Tensor:
    """Not zero, both signs where there are two, and both ends."""
    low, high = torch.iinfo(dtype).min, torch.iinfo(dtype).max
    values = torch.tensor([high, low or 1, 3, 100, 7, high, 1, 2, 5, 9, 11, 50], dtype=dtype)
    return (values if low == 0 else values * torch.tensor([1, -1] * 6, dtype=dtype)).reshape(3, 4)


def _inside(fn: Callable[..., Any]) -> Callable[..., Any]:
    """``fn`` on int8 tensors that come in as int32, and leave as int32."""

    def inner(*args: torch.Tensor) -> Any:
        out = fn(*(x.to(I8) if x.dtype is I32 else x for x in args))
        many = isinstance(out, tuple)
        outs = tuple(o.to(I32) if o.dtype is I8 else o for o in (out if many else (out,)))
        return outs if many else outs[0]

    return inner


def _rows(name: str, fn: Callable[..., Any], covers: Any, *args: Any) -> list[Case]:
    """One row per dtype. Of the arguments, functions make a tensor of the dtype."""
    rows = []
    for kind, dtype in DTYPES.items():
        made = tuple(arg(dtype) if callable(arg) else arg for arg in args)
        if dtype is I8:
            made = tuple(x.to(I32) if x.dtype is I8 else x for x in made)
        run = _inside(fn) if dtype is I8 else fn
        floats = any(x.is_floating_point() for x in flat(run(*made)))
        why = "" if floats else "no floats, so the compute precision changes nothing"
        rows.append(Case(f"{name}_{kind}", run, made, covers, half=floats, why=why))
    return rows


def _each(rows: dict[str, tuple[Callable[..., Any], Any]], *args: Any) -> list[Case]:
    return [case for name, (fn, op) in rows.items() for case in _rows(name, fn, op, *args)]


UNARY = _each(
    {
        "abs": (torch.abs, aten.abs.default),
        "neg": (torch.neg, aten.neg.default),
        "sign": (torch.sign, aten.sign.default),
        "square": (torch.square, aten.square.default),
        "cube": (lambda x: x**3, aten.pow.Tensor_Scalar),
        "bitwise_not": (torch.bitwise_not, aten.bitwise_not.default),
        "relu": (torch.relu, aten.relu.default),
        "clamp": (lambda x: x.clamp(3, 90), aten.clamp.default),
        "clamp_above": (lambda x: x.clamp(max=50), aten.clamp.default),
        "add_number": (lambda x: x + 100, aten.add.Tensor),
        "rsub_number": (lambda x: 7 - x, aten.rsub.Scalar),
        "floor_number": (lambda x: x // 7, aten.div.Tensor_mode),
        "remainder_number": (lambda x: x % 7, aten.remainder.Scalar),
        "add_half": (lambda x: x + 0.5, aten.add.Tensor),
        "exp": (lambda x: torch.exp(x * -0.0001), aten.exp.default),
        "sqrt": (lambda x: torch.sqrt(torch.abs(x.to(I32))), aten.sqrt.default),
        "mean": (lambda x: x.to(torch.float32).mul(1 / 255).mean(-1), aten.mean.dim),
        "equal_number": (lambda x: x == 1, aten.eq.Scalar),
        "greater_number": (lambda x: x > 100, aten.gt.Scalar),
        "logical_not": (torch.logical_not, aten.logical_not.default),
        "where_number": (lambda x: torch.where(x > 5, x, 9), aten.where.self),
        "masked_fill": (lambda x: x.masked_fill(x > 5, 77), aten.masked_fill.Scalar),
        "sum": (lambda x: x.sum(1), aten.sum.dim_IntList),
        "sum_itself": (lambda x: x.sum(1, dtype=x.dtype), aten.sum.dim_IntList),
        "cumsum": (lambda x: x.cumsum(1), aten.cumsum.default),
        "cumsum_itself": (lambda x: x.cumsum(1, dtype=x.dtype), aten.cumsum.default),
        "amax": (lambda x: x.amax(0), aten.amax.default),
        "max_dim": (lambda x: tuple(x.max(1)), aten.max.dim),
        "min": (torch.min, aten.min.default),
        "any": (lambda x: x.any(1), aten.any.dim),
        "all": (lambda x: x.all(), aten.all.default),
        "sort": (lambda x: x.sort(1)[0], aten.sort.default),
        "topk": (lambda x: x.topk(2, 1)[0], aten.topk.default),
        "median": (torch.median, aten.median.default),
        "cat": (lambda x: torch.cat([x, x + x], 1), aten.cat.default),
        "stack_flip": (lambda x: torch.stack([x.flip(0), -x]).permute(2, 0, 1), aten.stack.default),
        "pad": (lambda x: F.pad(x + x, (1, 2), value=5), aten.pad.default),
        "slice": (lambda x: (x + x)[1:, ::2], aten.slice_copy.Tensor),
        "roll": (lambda x: torch.roll(x + x, 1, 1), aten.add.Tensor),
        "tril": (lambda x: torch.tril(x + x), aten.tril.default),
        "full_like": (lambda x: torch.full_like(x, 3) + x, aten.full_like.default),
        "to_float": (lambda x: x.to(torch.float32) * 0.5, TO),
        "to_half": (lambda x: x.to(torch.float16) * 0.5, TO),
        "to_bool": (lambda x: ~x.to(torch.bool), TO),
        "to_int64": (lambda x: x.to(I64) * 3, TO),
        "to_int16": (lambda x: x.to(I16) * 3, aten.mul.Tensor),
        "to_uint8": (lambda x: x.to(U8) * 3, aten.mul.Tensor),
        "to_int8": (lambda x: (x.to(I8) * 3).to(I16), TO),
        "rank0": (lambda x: x.amax() + x.amin(), aten.amax.default),
    },
    _spread,
)

BINARY = _each(
    {
        "add": (torch.add, aten.add.Tensor),
        "add_alpha": (lambda x, y: torch.add(x, y, alpha=3), aten.add.Tensor),
        "sub": (torch.sub, aten.sub.Tensor),
        "mul": (torch.mul, aten.mul.Tensor),
        "div": (torch.div, aten.div.Tensor),
        "div_floor": (lambda x, y: x // y, aten.div.Tensor_mode),
        "div_trunc": (lambda x, y: torch.div(x, y, rounding_mode="trunc"), aten.div.Tensor_mode),
        "remainder": (torch.remainder, aten.remainder.Tensor),
        "fmod": (torch.fmod, aten.fmod.Tensor),
        "maximum": (torch.maximum, aten.maximum.default),
        "minimum": (torch.minimum, aten.minimum.default),
        "less": (torch.lt, aten.lt.Tensor),
        "logical_and": (torch.logical_and, aten.logical_and.default),
        "where": (lambda x, y: torch.where(x > y, x, y), aten.where.self),
    },
    _spread,
    _other,
)

INDEX = [
    *_rows(
        "gather", lambda x, i: (x + x).gather(1, i), aten.gather.default,
        _spread, randint(3, 2, low=0, high=4),
    ),
    *_rows(
        "index", lambda x, i: (x + x)[i], aten.index.Tensor, _spread, torch.tensor([2, 0, 2]),
    ),
    *_rows(
        "scatter", lambda x, i: (x + x).scatter(1, i, 3), aten.scatter.value,
        _spread, torch.tensor([[2], [0], [2]]),
    ),
    *_rows(
        "scatter_add", lambda x, i: x.scatter_add(1, i, x), aten.scatter_add.default,
        _spread, torch.tensor([[2, 2], [0, 1], [2, 2]]),
    ),
    *_rows(
        "index_put",
        lambda x, i: (x + 1).index_put((i,), x[:2], accumulate=True), aten.index_put.default,
        _spread, torch.tensor([1, 1]),
    ),
]  # fmt: skip


class Constant(torch.nn.Module):
    """A stored table of a narrow dtype."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("table", _other(dtype))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x.to(self.table.dtype) * self.table).to(I32)


def _column(dtype: torch.dtype) -> torch.Tensor:
    return _other(dtype).reshape(4, 3)


PRODUCTS = [
    *_rows("mm", torch.mm, aten.mm.default, _spread, _column),
    *_rows("matmul", lambda x, y: x[None] @ torch.stack([y, y + y]), aten.matmul.default,
           _spread, _column),
    *_rows("mv", lambda x, y: torch.mv(x, y[0]), aten.mv.default, _spread, _other),
    *_rows("dot", lambda x, y: torch.dot(x[0], y[0]), aten.dot.default, _spread, _other),
    Case("mm_int32", torch.mm, (randint(3, 4, dtype=I32) * 12345, randint(4, 5, dtype=I32) * 999),
         aten.mm.default, half=False, why="no floats, so the compute precision changes nothing"),
    Case("mm_int64", torch.mm, (randint(3, 4) * 12345, randint(4, 5) * 999),
         aten.mm.default, half=False, why="no floats, so the compute precision changes nothing"),
    Reject("mm_many", torch.mm, (randint(200, 200), randint(200, 200)), aten.mm.default,
           "an integer product of 8000000 multiplications"),
]  # fmt: skip


A, B, C = _spread(U8), _spread(I16), randint(3, 4, low=-200, high=200).to(I32)
FRACTIONS = torch.tensor([-200.7, -1.0, -0.4, 0.3, 1.5, 127.9, 128.0, 255.9, 256.0, 300.2])

MIXED = [
    Case("uint8_int16", torch.add, (A, B), aten.add.Tensor),
    Case("uint8_int8", lambda x, y: x * y.to(I8), (A, C), aten.mul.Tensor),
    Case("uint8_int8_less", lambda x, y: x < y.to(I8), (A, C), aten.lt.Tensor),
    Case("uint8_int32", torch.sub, (A, C), aten.sub.Tensor),
    Case("uint8_int64", torch.maximum, (A, C.to(I64)), aten.maximum.default),
    Case("uint8_bool", lambda x, y: x + (y > 0), (A, B), aten.add.Tensor),
    Case("uint8_float", torch.mul, (A, randn(3, 4)), aten.mul.Tensor),
    Case("int16_half", torch.mul, (B, randn(3, 4).half()), aten.mul.Tensor, half_rtol=1e-2),
    Case("rank0_narrows", torch.maximum, (A, torch.tensor(300)), aten.maximum.default),
    Case("rank0_compared", torch.lt, (A, torch.tensor(-1)), aten.lt.Tensor),
    Case("rank0_clamp", lambda x, y: torch.clamp(x, max=y), (A, torch.tensor(300)),
         aten.clamp.Tensor),
    Case("rank0_both", torch.add, (torch.tensor(200, dtype=U8), torch.tensor(100, dtype=U8)),
         aten.add.Tensor),
    *(
        Case(f"constant_{name}", Constant(dtype), (C,), TO) for name, dtype in DTYPES.items()
    ),
    Case("float_int8", lambda x: x.to(I8).to(I32), (FRACTIONS,), TO, half=False,
         why="the values have more bits than fp16"),
    Case("float_uint8", lambda x: x.to(U8) + 1, (FRACTIONS,), TO, half=False,
         why="the values have more bits than fp16"),
    Case("float_int16", lambda x: (x * 1000).to(I16), (FRACTIONS,), TO, half=False,
         why="the values have more bits than fp16"),
    Case("int32_int8", lambda x: x.to(I8).sum(1), (C * 12345,), TO),
    Case("ends_of_int32", lambda x: (x.to(U8) + 0).to(I32) + x.to(I8),
         (torch.tensor([2**31 - 1, -(2**31), 2**31 - 128, -(2**31) + 127], dtype=I32),), TO),
]  # fmt: skip

REJECTS = [
    Reject("add_beyond", lambda x: torch.eq(x, 300), (A,), aten.eq.Scalar,
           "other is 300, which does not fit uint8"),
    Reject("uint8_mask", lambda x, y: x.index_put((y,), torch.tensor(3, dtype=I16)), (B, A),
           aten.index_put.default, "an index is uint8"),
    Reject("int8_in", lambda x: torch.abs(x), (_spread(I8),), aten.abs.default,
           "dtype int8, which the delegate does not take"),
    Reject("int8_out", lambda x: torch.abs(x).to(I8), (B,), TO,
           "its result leaves the delegate and has dtype int8"),
]  # fmt: skip

ROWS = [*UNARY, *BINARY, *INDEX, *PRODUCTS, *MIXED, *REJECTS]
