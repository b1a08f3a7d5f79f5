"""Rows for ops/bounds.py: int64 values that are known to fit int32, and those known not to."""

from __future__ import annotations

import torch

from case import Case, Reject, randint, randn

aten = torch.ops.aten
TO = torch.ops.dim_order_ops._to_dim_order_copy.default
I32, I64, U8 = torch.int32, torch.int64, torch.uint8

FEW, IDS = randint(3, 4, low=0, high=200).to(U8), randint(3, 4)
NONE = {"half": False, "why": "no floats, so the compute precision changes nothing"}
BEYOND = "which does not fit int32; Core ML has no int64"


def counted(x: torch.Tensor, factor: int) -> torch.Tensor:
    return x + torch.arange(4) * factor


ROWS = [
    Case("ids", lambda x: x * x + 3, (IDS,), aten.mul.Tensor, **NONE),
    Case("counter", lambda x: counted(x, 2**29), (IDS,), aten.add.Tensor, **NONE),
    Case("narrow_sum", lambda x: x.sum(), (FEW,), aten.sum.default, **NONE),
    Case("narrow_prod", lambda x: x[:, :3].prod(1), (FEW,), aten.prod.dim_int, **NONE),
    Case("clamped_prod", lambda x: x.clamp(-9, 9).prod(0), (IDS,), aten.prod.dim_int, **NONE),
    Case("squares", lambda x: x.to(I64) ** 2, (FEW,), aten.pow.Tensor_Scalar, **NONE),
    Case("modulo", lambda x: (x % 1000) ** 3, (IDS,), aten.pow.Tensor_Scalar, **NONE),
    Case(
        "wrapped_before",
        lambda x: (x.to(I32) * 2**26 * 2**6).to(I64),
        (FEW,),
        aten.mul.Tensor,
        **NONE,
    ),
    Reject("counter_beyond", lambda x: counted(x, 2**30), (IDS,), aten.mul.Tensor,
           f"its values may reach {3 * 2**30}, {BEYOND}"),
    Reject("narrow_prod_beyond", lambda x: x.prod(1), (FEW,), aten.prod.dim_int, BEYOND),
    Reject("narrow_prod_far_beyond", lambda x: x.prod(), (FEW,), aten.prod.default, "10**28"),
    Reject("cubes_beyond", lambda x: (x % 2000) ** 3, (IDS,), aten.pow.Tensor_Scalar, BEYOND),
    Reject("clamped_sum_beyond", lambda x: x.clamp(0, 2**29).sum(1), (IDS,),
           aten.sum.dim_IntList, BEYOND),
    Reject("below", lambda x: x.clamp(0, 2**29) * -8, (IDS,), aten.mul.Tensor, "may reach -42949"),
    Reject("double", lambda x: torch.exp(x.double()), (randn(3),), aten.exp.default, ".float()"),
    Reject("bfloat16", lambda x: torch.exp(x.bfloat16()), (randn(3),), aten.exp.default,
           ".float() or .half()"),
]  # fmt: skip
