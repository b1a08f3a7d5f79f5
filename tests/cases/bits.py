"""Rows for ops/bits.py. All int32 values matter: the arithmetic must be exact at both ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.export import Dim

from case import Case, Reject, randbool, randint

aten = torch.ops.aten

INT32 = torch.int32
ENDS = torch.tensor([[2**31 - 1, -(2**31), 0, -1], [1, -7, 123456789, -987654321]], dtype=INT32)
OTHER = torch.tensor([[-(2**31), 2**31 - 1, -1, 0], [3, 12, -123456788, 987654321]], dtype=INT32)
BY = torch.tensor([[0, 1, 2, 31], [30, 5, 17, 3]], dtype=INT32)
BEYOND = torch.tensor([[32, 40, -1, 31], [0, 100, -5, 33]], dtype=INT32)
LONG = randint(2, 3, low=-(2**20), high=2**20)


def two(name: str, op: Callable[..., Any], *others: tuple[str, Any, Any]) -> list[Case]:
    """Tensor with tensor, broadcast, and each of ``others``: (suffix, number, overload)."""
    covers = getattr(aten, name).Tensor
    return [
        Case(name, op, (ENDS, OTHER), covers=covers),
        Case(f"{name}-broadcast", op, (ENDS, OTHER[1]), covers=covers),
        Case(f"{name}-int64", op, (LONG, randint(3, low=-9)), covers=covers),
        Case(f"{name}-bool", op, (randbool(3, 4), randbool(4)), covers=covers),
        Case(
            f"{name}-bool-number",
            lambda x: op(x, True),
            (randbool(5),),
            covers=getattr(aten, name).Scalar,
        ),
        *(
            Case(f"{name}-{suffix}", lambda x, n=number: op(x, n), (ENDS,), covers=overload)
            for suffix, number, overload in others
        ),
    ]


def shifts(name: str, op: Callable[..., Any]) -> list[Case]:
    packet = getattr(aten, name)
    return [
        Case(name, op, (ENDS, BY), covers=packet.Tensor),
        Case(f"{name}-beyond", op, (ENDS, BEYOND), covers=packet.Tensor),
        Case(f"{name}-number", lambda x: op(x, 5), (ENDS,), covers=packet.Tensor_Scalar),
        Case(f"{name}-int64", lambda x: op(x, 3), (LONG,), covers=packet.Tensor_Scalar),
        Case(f"{name}-of-number", lambda x: op(5, x), (BY,), covers=packet.Scalar_Tensor),
    ]


ROWS: list[Case | Reject] = [
    *two(
        "bitwise_and",
        torch.bitwise_and,
        ("low-bits", 255, aten.bitwise_and.Scalar),
        ("number", 0x0F0F0F0F, aten.bitwise_and.Scalar),
        ("negative", -256, aten.bitwise_and.Scalar),
    ),
    *two("bitwise_or", torch.bitwise_or, ("number", 0x0F0F0F0F, aten.bitwise_or.Scalar)),
    *two("bitwise_xor", torch.bitwise_xor, ("number", -2, aten.bitwise_xor.Scalar)),
    Case("and-operator", lambda x, y: x & y, (ENDS, OTHER), covers=aten.__and__.Tensor),
    Case("bitwise_not", torch.bitwise_not, (ENDS,), covers=aten.bitwise_not.default),
    Case("bitwise_not-bool", torch.bitwise_not, (randbool(3),), covers=aten.bitwise_not.default),
    *shifts("bitwise_left_shift", torch.bitwise_left_shift),
    *shifts("bitwise_right_shift", torch.bitwise_right_shift),
    Case("left-operator", lambda x: x << 3, (ENDS,), covers=aten.__lshift__.Scalar),
    Case("right-operator", lambda x: x >> 3, (ENDS,), covers=aten.__rshift__.Scalar),
    Reject(
        "left-shift-int64",
        lambda x, by: x << by,
        (LONG, randint(3, low=0)),
        covers=aten.__lshift__.Tensor,
        reason="may not fit int32",
    ),
    Reject(
        "and-dynamic-integers",
        lambda x, y: x & y,
        (ENDS.flatten(), OTHER.flatten()),
        covers=aten.bitwise_and.Tensor,
        reason="the bits of integers of the dynamic shape",
        dynamic=({0: Dim("n", min=3, max=9)},) * 2,
    ),
]
