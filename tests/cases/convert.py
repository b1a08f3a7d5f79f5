"""Rows for ops/convert.py. A copy that nothing computes on would not be delegated."""

from __future__ import annotations

import torch
from executorch.exir.passes import dim_order_ops_registry  # noqa: F401  (defines dim_order_ops)

from case import Case, Reject, randbool, randint, randn
from cases._joined import joined

aten = torch.ops.aten
TO = torch.ops.dim_order_ops._to_dim_order_copy.default

FRACTIONS = torch.tensor([-2.7, -1.0, -0.4, 0.0, 0.3, 1.5, 2.9])

ROWS = joined(
    [
        Case("float_int", lambda x: x.to(torch.int64) * 2, (FRACTIONS,), TO),
        Case("float_int32", lambda x: x.to(torch.int32) * 2, (FRACTIONS,), TO),
        Case("float_bool", lambda x: torch.logical_not(x.to(torch.bool)), (FRACTIONS,), TO),
        Case("float_half", lambda x: torch.exp(x.to(torch.float16)), (FRACTIONS,), TO, rtol=1e-3),
        Case("half_float", lambda x: torch.exp(x.to(torch.float32)), (FRACTIONS.half(),), TO),
        Case("int_float", lambda x: x.to(torch.float32) + 0.5, (randint(5),), TO),
        Case("int_bool", lambda x: ~x.to(torch.bool), (randint(5, low=-2, high=2),), TO),
        Case("int_int32", lambda x: x.to(torch.int32) + 1, (randint(5),), TO),
        Case("bool_float", lambda x: x.to(torch.float32) * 3, (randbool(5),), TO),
        Case("bool_int", lambda x: x.to(torch.int64) * 3, (randbool(5),), TO),
        Case(
            "infinite_constant_int",
            lambda x: torch.where(
                x > 0, torch.arange(5.0, dtype=torch.float32).log().to(torch.int64), 7
            ),
            (torch.tensor([-1, 1, 1, 1, 1]),),
            TO,
        ),
        Case("rank0", lambda x: x.to(torch.float32) + 0.5, (torch.tensor(3),), TO),
        Reject("double", lambda x: x.to(torch.float64) + 1, (randn(3),), TO, "float64"),
        Reject(
            "channels_last",
            lambda x: x.to(torch.float16, memory_format=torch.channels_last) + 1,
            (randn(1, 2, 3, 4),),
            TO,
            "dim_order is",
        ),
    ]
)
