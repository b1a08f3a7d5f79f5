"""Rows for ops/reduce.py."""

from __future__ import annotations

import math
from typing import Any

import torch

from case import Case, Reject, randbool, randint, randn, uniform
from cases._joined import joined

aten = torch.ops.aten

X = randn(2, 3, 4)
NEAR_1 = uniform(2, 3, 4, low=0.5, high=1.5)
INTS = randint(2, 3, 4)
BOOLS = randbool(2, 3, 4)
DIMS: tuple[Any, ...] = (0, -1, (0, 2), (-1, -3), (0, 1, 2))


def _over(name: str, fn: Any, covers: Any, x: torch.Tensor = X, dims: Any = DIMS) -> list[Case]:
    """A reduction over several choices of axes, both with and without keeping them."""
    return [
        Case(f"{name}_{index}{'_keep' * keep}", lambda x, d=dim, k=keep: fn(x, dim=d, keepdim=k),
             (x,), covers)
        for index, dim in enumerate(dims)
        for keep in (False, True)
    ]  # fmt: skip


SUMS = [
    *_over("sum", torch.sum, aten.sum.dim_IntList),
    *_over("mean", torch.mean, aten.mean.dim),
    Case("sum_all", torch.sum, (X,), aten.sum.default),
    Case("mean_all", torch.mean, (X,), aten.mean.default),
    Case("sum_rank0", torch.sum, (torch.tensor(2.0),), aten.sum.default),
    Case("sum_dim_rank0", lambda x: x.sum(0) + 1, (torch.tensor(2.0),), aten.sum.dim_IntList),
    Case("sum_int", lambda x: x.sum(1), (INTS,), aten.sum.dim_IntList),
    Case("sum_int32", lambda x: x.sum(1), (INTS.to(torch.int32),), aten.sum.dim_IntList),
    Case("sum_bool", lambda x: x.sum(1), (BOOLS,), aten.sum.dim_IntList),
    Case("sum_half", lambda x: x.sum(1), (X.half(),), aten.sum.dim_IntList),
    Case("sum_dtype", lambda x: x.sum(1, dtype=torch.float32), (INTS,), aten.sum.dim_IntList),
    Case("sum_to_int", lambda x: x.sum(1, dtype=torch.int64), (X * 3,), aten.sum.dim_IntList),
    Case("mean_dtype", lambda x: x.mean(1, dtype=torch.float32), (INTS,), aten.mean.dim),
    Case("mean_half", lambda x: x.mean((0, 1)), (X.half(),), aten.mean.dim),
    Case("mean_large", lambda x: x.mean(-1), (uniform(2, 4096, low=50.0, high=150.0),),
         aten.mean.dim),
    Case("sum_large", lambda x: x.sum(-1), (uniform(2, 4096, low=0.0, high=1.0),),
         aten.sum.dim_IntList),
    Case("sum_large_int", lambda x: x.sum(), (randint(50, low=0, high=100000),), aten.sum.default),
    Case("sum_strided", lambda x: x.transpose(0, 2).sum(0), (X,), aten.sum.dim_IntList),
    Case("prod_all", torch.prod, (NEAR_1,), aten.prod.default),
    Case("prod_dim", lambda x: x.prod(1), (X,), aten.prod.dim_int),
    Case("prod_keep", lambda x: x.prod(-1, keepdim=True), (X,), aten.prod.dim_int),
    Case("prod_int", lambda x: x.prod(-1), (INTS,), aten.prod.dim_int),
    Case("prod_bool", lambda x: x.prod(-1), (BOOLS,), aten.prod.dim_int),
    Case("prod_dtype", lambda x: x.prod(0, dtype=torch.float32), (INTS,), aten.prod.dim_int),
    *[
        Case(f"cumsum_{dim}", lambda x, d=dim: x.cumsum(d), (X,), aten.cumsum.default)
        for dim in (0, 1, -1, -3)
    ],
    Case("cumsum_int", lambda x: x.cumsum(-2), (INTS,), aten.cumsum.default),
    Case("cumsum_bool", lambda x: x.cumsum(1), (BOOLS,), aten.cumsum.default),
    Case("cumsum_dtype", lambda x: x.cumsum(1, dtype=torch.float32), (INTS,), aten.cumsum.default),
    Case("cumsum_rank0", lambda x: x.cumsum(0) + 1, (torch.tensor(2.0),), aten.cumsum.default),
    Case("cumsum_large", lambda x: x.cumsum(1), (uniform(1, 2000, low=0.0, high=2.0),),
         aten.cumsum.default),
]  # fmt: skip

DISTINCT = torch.randperm(24, generator=torch.Generator().manual_seed(0)).reshape(2, 3, 4)

EXTREMA = [
    row
    for name, reduce, whole, pair, arg in (
        ("max", torch.amax, torch.max, aten.max, aten.argmax.default),
        ("min", torch.amin, torch.min, aten.min, aten.argmin.default),
    )
    for extreme in [getattr(aten, f"a{name}").default]
    for position in [getattr(torch, f"arg{name}")]
    for row in [
        *_over(f"a{name}", reduce, extreme),
        Case(f"a{name}_int", lambda x, f=reduce: f(x, (0, 1)), (INTS,), extreme),
        Case(f"a{name}_bool", lambda x, f=reduce: f(x, -1), (BOOLS,), extreme),
        Case(f"a{name}_half", lambda x, f=reduce: f(x, -1), (X.half(),), extreme),
        Case(f"a{name}_empty_dims", lambda x, f=reduce: f(x, ()), (X,), extreme),
        Case(f"a{name}_rank0", lambda x, f=reduce: f(x, ()) + 1, (torch.tensor(2.0),), extreme),
        Case(f"{name}_all", whole, (X,), pair.default),
        Case(f"{name}_all_int", whole, (INTS,), pair.default),
        Case(f"{name}_dim", lambda x, f=whole: tuple(f(x, 1)),
             (DISTINCT.float(),), pair.dim),
        Case(f"{name}_dim_keep", lambda x, f=whole: tuple(f(x, -1, keepdim=True)),
             (DISTINCT,), pair.dim),
        Case(f"{name}_values", lambda x, f=whole: f(x, 0)[0], (X,), pair.dim),
        Case(f"{name}_indices", lambda x, f=whole: f(x, 0)[1], (DISTINCT.float(),), pair.dim),
        Case(f"{name}_dim_bool", lambda x, f=whole: f(x, 1)[0], (BOOLS,), pair.dim),
        Case(f"{name}_dim_rank0", lambda x, f=whole: [v + 1 for v in f(x, 0)],
             (torch.tensor(2.0),), pair.dim),
        *[
            Case(f"arg{name}_{index}", lambda x, f=position, d=dim, k=keep: f(x, d, k),
                 (DISTINCT.float(),), arg)
            for index, (dim, keep) in enumerate(
                (d, k) for d in (None, 0, 1, -1) for k in (False, True)
            )
        ],
        Case(f"arg{name}_int", lambda x, f=position: f(x, 1), (DISTINCT,), arg),
        Case(f"arg{name}_none_int", position, (DISTINCT,), arg),
        Case(f"arg{name}_half", lambda x, f=position: f(x, 1), (DISTINCT.half(),), arg),
        Case(f"arg{name}_rank0", position, (torch.tensor(2.0),), arg),
    ]
]  # fmt: skip

SOME = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.3, 0.0], [1e-3, -2.0, 0.5]])

TRUTH = [
    row
    for name, fn, op in (("any", torch.any, aten.any), ("all", torch.all, aten.all))
    for row in [
        Case(name, fn, (SOME,), op.default),
        Case(f"{name}_bool", fn, (SOME > 0,), op.default),
        Case(f"{name}_dim", lambda x, f=fn: f(x, 1), (SOME,), op.dim),
        Case(f"{name}_dim_keep", lambda x, f=fn: f(x, -1, keepdim=True), (SOME > 0,), op.dim),
        Case(f"{name}_int", lambda x, f=fn: f(x, 0), (SOME.ceil().long(),), op.dim),
        Case(f"{name}_dims", lambda x, f=fn: f(x, (0, 1)), (SOME,), op.dims),
        Case(f"{name}_no_dims", lambda x, f=fn: f(x, ()), (SOME,), op.dims),
        Case(f"{name}_none", lambda x, op=op: op.dims(x, None, True), (SOME,), op.dims),
        Case(f"{name}_rank0", fn, (torch.tensor(True),), op.default),
    ]
]

APART = randn(3, 50, scale=600.0) + 1000.0  # squares are beyond fp16

SPREAD = [
    row
    for name, fn, op in (("var", torch.var, aten.var), ("std", torch.std, aten.std))
    for row in [
        *_over(name, fn, op.dim),
        Case(f"{name}_all", fn, (X,), op.default),
        *[
            Case(f"{name}_correction_{c}", lambda x, f=fn, c=c: f(x, 1, correction=c), (X,),
                 op.correction)
            for c in (0, 1, 2)
        ],
        Case(f"{name}_dim", lambda x, op=op: op.dim(x, [1], False), (X,), op.dim),
        Case(f"{name}_default", lambda x, op=op: op.default(x, False), (X,), op.default),
        Case(f"{name}_half", lambda x, f=fn: f(x, 1), (X.half(),), op.dim, rtol=1e-3),
        Case(f"{name}_constant", lambda x, f=fn: f(x, 1), (torch.full((2, 3), 7.25),), op.dim),
        Case(f"{name}_one", lambda x, f=fn: f(x, 1, correction=0), (randn(3, 1),), op.correction),
    ]
] + [
    Case("std_apart", lambda x: x.std(1), (APART,), aten.std.dim),
]  # fmt: skip

NORMS = [
    *[
        Case(f"norm_{order}_{index}",
             lambda x, o=order, d=dim, k=keep: torch.linalg.vector_norm(x, o, d, k), (X,),
             aten.linalg_vector_norm.default)
        for order in (2, 1, 0, 3, 2.5, -1, math.inf, -math.inf)
        for index, (dim, keep) in enumerate(((None, False), (1, True), ((0, -1), False)))
    ],
    Case("norm_apart", lambda x: torch.linalg.vector_norm(x, dim=1), (APART,),
         aten.linalg_vector_norm.default),
    Case("norm_small", lambda x: torch.linalg.vector_norm(x, dim=1) * 1e3, (X[0] * 1e-4,),
         aten.linalg_vector_norm.default, half_rtol=1e-2),  # 1e-4 is subnormal in fp16
    Case("norm_dtype", lambda x: torch.linalg.vector_norm(x, dim=1, dtype=torch.float32),
         (X.half(),), aten.linalg_vector_norm.default),
    Case("norm_rank0", torch.linalg.vector_norm, (torch.tensor(-2.0),),
         aten.linalg_vector_norm.default),
    Case("normalize", torch.nn.functional.normalize, (torch.stack([torch.zeros(4), X[0, 0]]),),
         aten.linalg_vector_norm.default),
]  # fmt: skip

LOG_SUMS = [
    *_over("logsumexp", torch.logsumexp, aten.logsumexp.default),
    Case("logsumexp_large", lambda x: torch.logsumexp(x, 1), (randn(3, 8, scale=200.0),),
         aten.logsumexp.default),
    Case("logsumexp_even", lambda x: torch.logsumexp(x, -1), (torch.full((2, 3000), 7.625),),
         aten.logsumexp.default),
    Case("logsumexp_inf", lambda x: torch.logsumexp(x, 1),
         (torch.tensor([[-math.inf, -math.inf], [math.inf, 1.0], [-math.inf, 2.0]]),),
         aten.logsumexp.default),
    Case("logsumexp_rank0", lambda x: torch.logsumexp(x, 0), (torch.tensor(2.0),),
         aten.logsumexp.default),
]  # fmt: skip

PAIRS = [
    Case("var_mean", lambda x: torch.var_mean(x, 1), ((randn(3, 40) + 300).half().float(),),
         aten.var_mean.dim),
    Case("var_mean_one_read", lambda x: torch.var_mean(x, 1)[1], (randn(3, 4),),
         aten.var_mean.dim),
    Case("std_mean", lambda x: torch.std_mean(x, unbiased=True), (randn(3, 40),),
         aten.std_mean.default),
    Case("std_mean_correction", lambda x: torch.std_mean(x, 1, correction=0, keepdim=True),
         (randn(3, 40),), aten.std_mean.correction),
]  # fmt: skip

REJECTED = [
    Reject("amax_double", torch.amax, (X.double(),), aten.amax.default, "float64"),
    Reject("var_double", torch.var, (X.double(),), aten.var.correction, "allowed: float16"),
]

ROWS = joined([*SUMS, *EXTREMA, *TRUTH, *SPREAD, *NORMS, *LOG_SUMS, *PAIRS, *REJECTED])
