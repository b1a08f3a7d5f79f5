"""Rows for the shifts of ops/bits.py and the other spellings of its bitwise ops."""

from __future__ import annotations

from typing import Any

import torch

from fuzz.draw import BOOL, I64, INTS, Draw, Slot, row

aten = torch.ops.aten

WORDS = ("and", "or", "xor")
SHIFTS = ("left_shift", "right_shift")


def _whole(d: Draw, shape: list[int], dtype: torch.dtype) -> Slot:
    return d.tensor(shape, dtype, low=-(2**31), high=2**31 - 1)


@row(*[getattr(getattr(aten, f"__{w}__"), kind) for w in WORDS for kind in ("Scalar", "Tensor")])
def dunder(d: Draw, op: Any) -> None:
    x = _whole(d, d.shape(), d.choice(*d.types(op)))
    dtype = d.of(x).dtype
    if "Scalar" in str(op):
        d.call(op, x, d.number(dtype))
    else:
        d.call(op, x, _whole(d, d.broadcasts(d.of(x).shape), d.choice(dtype, *INTS, BOOL)))


@row(*[getattr(aten, f"bitwise_{word}").Scalar_Tensor for word in WORDS])
def number_first(d: Draw, op: Any) -> None:
    x = _whole(d, d.shape(), d.choice(*d.types(op)))
    d.call(op, d.number(d.of(x).dtype), x)


@row(
    *[getattr(aten, f"__{word}__").Scalar for word in ("lshift", "rshift")],
    *[getattr(aten, f"__{word}__").Tensor for word in ("lshift", "rshift")],
    *[
        getattr(getattr(aten, f"bitwise_{word}"), kind)
        for word in SHIFTS
        for kind in ("Tensor", "Tensor_Scalar", "Scalar_Tensor")
    ],
)
def shift(d: Draw, op: Any) -> None:
    left = "lshift" in str(op) or "left" in str(op)
    dtype = d.choice(*INTS)
    small = left and dtype is I64  # beyond int32 nothing is promised
    bits = 31 if dtype is I64 else torch.iinfo(dtype).bits - 1
    x = d.tensor(d.shape(), dtype) if small else _whole(d, d.shape(), dtype)
    if "Scalar_Tensor" in str(op):
        d.call(op, d.choice(1, 5, -3, 100), d.tensor(d.of(x).shape, dtype, low=0, high=bits))
    elif "Scalar" in str(op):
        d.call(op, x, d.integer(0, bits))
    else:
        at = d.broadcasts(d.of(x).shape)
        d.call(op, x, d.tensor(at, dtype, low=0, high=bits))
