"""Inputs that break the plain form of a function in fp16, for ops that have a stabler one.

Beyond 65504 is infinite, below 6e-8 is zero, and a difference of like numbers loses its digits.
Inputs are values that fp16 holds exactly: what is lost is lost by the function, not at the border.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from case import Case, Reject, randn

aten = torch.ops.aten


def held(x: torch.Tensor) -> torch.Tensor:
    """The nearest values that fp16 holds."""
    return x.half().float()


SIDES = torch.tensor([-60000.0, -300, -88, -20, -11, -1, 0, 1, 10.375, 11, 20, 88, 300, 60000])
TINY = held(torch.tensor([-1e-3, -1e-4, -1e-6, 0, 1e-6, 1e-5, 1e-4, 1e-3]))
ROWS_300 = held(randn(3, 64) * 300)
OFFSET = held(randn(3, 64) + 500)
FAINT = held(randn(3, 64) * 1e-3)
LONG = held(randn(2, 5000).abs())


def scaled(fn, by: float):
    """Results brought into the range where fp16 and the tolerance tell them apart."""
    return lambda *inputs: fn(*inputs) * by


ROWS: list[Case | Reject] = [
    *(
        Case(name, fn, (SIDES,), covers=op)
        for name, fn, op in (
            ("softplus", F.softplus, aten.softplus.default),
            ("mish", F.mish, aten.mish.default),
            ("log-sigmoid", F.logsigmoid, aten.log_sigmoid.default),
            ("sigmoid", torch.sigmoid, aten.sigmoid.default),
            ("silu", F.silu, aten.silu.default),
            ("gelu", F.gelu, aten.gelu.default),
            ("gelu-tanh", lambda x: F.gelu(x, approximate="tanh"), aten.gelu.default),
            ("tanh", torch.tanh, aten.tanh.default),
            ("elu", F.elu, aten.elu.default),
            ("hardswish", lambda x: F.hardswish(x / 4), aten.hardswish.default),
            ("asinh", torch.asinh, aten.asinh.default),
            ("erf", torch.erf, aten.erf.default),
        )
    ),
    *(
        Case(f"{name}-tiny", scaled(fn, 500.0), (TINY,), covers=op)
        for name, fn, op in (
            ("log1p", torch.log1p, aten.log1p.default),
            ("expm1", torch.expm1, aten.expm1.default),
            ("asinh", torch.asinh, aten.asinh.default),
            ("atanh", torch.atanh, aten.atanh.default),
            ("sinh", torch.sinh, aten.sinh.default),
            ("tanh", torch.tanh, aten.tanh.default),
        )
    ),
    Case("log1p-large", torch.log1p, (SIDES.abs(),), covers=aten.log1p.default),
    Case("expm1-negative", torch.expm1, (-SIDES.abs(),), covers=aten.expm1.default),
    Case("logsumexp", lambda x: x.logsumexp(-1), (ROWS_300,), covers=aten.logsumexp.default),
    Case("logsumexp-offset", lambda x: x.logsumexp(-1), (OFFSET,), covers=aten.logsumexp.default),
    Case("log-softmax", lambda x: x.log_softmax(-1), (ROWS_300,), covers=aten.log_softmax.int),
    Case("softmax-offset", lambda x: x.softmax(-1), (OFFSET,), covers=aten.softmax.int),
    Case("logaddexp", torch.logaddexp, (SIDES, SIDES.flip(0)), covers=aten.logaddexp.default),
    Case("mean-long", lambda x: x.mean(-1), (LONG * 20,), covers=aten.mean.dim),
    Case("sum-long", lambda x: x.sum(-1), (LONG,), covers=aten.sum.dim_IntList),
    Case("var-offset", lambda x: x.var(-1), (OFFSET,), covers=aten.var.dim),
    Case("var-large", lambda x: x.std(-1), (ROWS_300,), covers=aten.std.dim),
    Case("var-faint", scaled(lambda x: x.std(-1), 500.0), (FAINT,), covers=aten.std.dim),
    Case(
        "norm-large", lambda x: x.norm(dim=-1), (ROWS_300,), covers=aten.linalg_vector_norm.default
    ),
    Case(
        "norm-faint",
        scaled(lambda x: x.norm(dim=-1), 100.0),
        (FAINT,),
        covers=aten.linalg_vector_norm.default,
    ),
    Case("normalize-large", lambda x: F.normalize(x, dim=-1), (ROWS_300,), covers=()),
    Case("normalize-faint", lambda x: F.normalize(x, dim=-1), (FAINT,), covers=()),
    Case(
        "cosine-similarity-large",
        lambda x, y: F.cosine_similarity(x, y),
        (ROWS_300, ROWS_300.flip(0)),
        covers=(),
    ),
    Case(
        "cosine-similarity-faint",
        lambda x, y: F.cosine_similarity(x, y),
        (FAINT, FAINT.flip(0)),
        covers=(),
    ),
    Case(
        "layer-norm-large", torch.nn.LayerNorm(64, eps=1e-12), (ROWS_300,), aten.layer_norm.default
    ),
    Case(
        "layer-norm-offset",
        torch.nn.LayerNorm(64, eps=1e-12),
        (OFFSET,),
        aten.layer_norm.default,
        rtol=1e-4,  # one float32 rounding of the mean, 500, is 3e-5 of the deviation, 1
    ),
    *(
        Case(f"rms-norm-{name}", torch.nn.RMSNorm(64, eps=1e-12), (x,), aten.rms_norm.default)
        for name, x in (("large", ROWS_300), ("faint", FAINT))
    ),
    Case("square-root-of-squares", lambda x: (x * x + 1e-8).sqrt(), (ROWS_300,), covers=()),
    Case("power", lambda x: x.abs() ** 0.3, (SIDES,), covers=aten.pow.Tensor_Scalar),
    Case("power-cube-root", lambda x: (x.abs() ** 3) ** (1 / 3), (SIDES / 2000,), covers=()),
    Case("exp2", torch.exp2, (torch.tensor([-24.0, -14, -1, 0, 9, 15]),), covers=aten.exp2.default),
    Case("entropy", lambda p: -(p * p.log()).sum(-1), (torch.full((2, 8), 0.125),), covers=()),
    Case(
        "masked-softmax",
        lambda x: (x + torch.full((64, 64), -math.inf).triu(1)[:3]).softmax(-1),
        (ROWS_300,),
        covers=(),
    ),
]
