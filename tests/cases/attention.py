"""Rows for ops/attention.py."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from case import Case, randbool, randn

aten = torch.ops.aten
SDPA = aten.scaled_dot_product_attention.default


def _inputs(*batch, queries=3, keys=5, width=8, values=8, scale=1.0):
    return (
        randn(*batch, queries, width, scale=scale),
        randn(*batch, keys, width, scale=scale),
        randn(*batch, keys, values),
    )


def _with(**options):
    return lambda q, k, v, *mask: F.scaled_dot_product_attention(q, k, v, *mask, **options)


class Masked(nn.Module):
    """Attention with a mask stored in the model."""

    def __init__(self, mask):
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, q, k, v):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask)


def _grouped(queries=3, keys=5, heads=4, shared=2):
    return (randn(2, heads, queries, 8), *(randn(2, heads // shared, keys, 8) for _ in "kv"))


ALLOWED = torch.tensor([[True, True, False, True, False], [False] * 5, [True] * 5])
INFINITE = torch.zeros(3, 5).masked_fill(~ALLOWED, -torch.inf)
LOWEST = torch.zeros(3, 5).masked_fill(~ALLOWED, torch.finfo(torch.float32).min)

ROWS: list[Case] = [
    *(
        Case(f"plain {batch}", _with(), _inputs(*batch), SDPA)
        for batch in [(), (2,), (1, 2), (2, 3, 1)]
    ),
    Case("other value width", _with(), _inputs(1, 2, values=4), SDPA),
    Case("scale", _with(scale=0.3), _inputs(1, 2), SDPA),
    Case("scale 1", _with(scale=1.0), _inputs(1, 2), SDPA),
    Case(
        "scores that overflow fp16 before scaling",
        _with(scale=1e-5),
        _inputs(1, 2, scale=100.0, width=64),
        SDPA,
    ),
    Case("keys broadcast over heads", _with(), (randn(2, 4, 3, 8), *[randn(2, 1, 5, 8)] * 2), SDPA),
    *(
        Case(f"causal {n}x{m}", _with(is_causal=True), _inputs(1, 2, queries=n, keys=m), SDPA)
        for n, m in [(4, 4), (3, 5), (5, 3)]
    ),
    *(
        Case(f"mask {shape}", _with(), (*_inputs(2, 2), mask), SDPA)
        for shape, mask in [
            ("bool", randbool(3, 5)),
            ("bool per sample", randbool(2, 1, 1, 5)),
            ("bool with a row of False", ALLOWED),
            ("float", randn(2, 2, 3, 5)),
            ("float per head", randn(2, 3, 5)),
            ("-inf with a full row", INFINITE),
        ]
    ),
    Case(
        "finfo.min mask with a full row at run time",
        _with(),
        (*_inputs(2, 2), LOWEST),
        SDPA,
    ),
    *(
        Case(f"stored mask {id}", Masked(mask), _inputs(2, 2), SDPA)
        for id, mask in [
            ("bool", torch.ones(3, 5, dtype=torch.bool).tril()),
            ("bool with a row of False", ALLOWED),
            ("-inf with a full row", INFINITE),
            ("finfo.min with a full row", LOWEST),
            ("bool that hides nothing", torch.ones(2, 1, 3, 5, dtype=torch.bool)),
            ("float that hides nothing", torch.zeros(2, 2, 3, 5)),
            ("the same for all samples", ALLOWED.expand(2, 1, 3, 5)),
            ("float per head", randn(1, 2, 3, 5).expand(2, 2, 3, 5)),
        ]
    ),
    *(
        Case(f"grouped {id}", _with(enable_gqa=True, **options), (*_grouped(), *mask), SDPA)
        for id, options, mask in [
            ("plain", {}, ()),
            ("causal", {"is_causal": True}, ()),
            ("mask", {}, (ALLOWED,)),
            ("mask per head", {}, (randn(2, 4, 3, 5),)),
        ]
    ),
    Case(
        "grouped without batch",
        _with(enable_gqa=True),
        (randn(4, 3, 8), randn(2, 5, 8), randn(2, 5, 8)),
        SDPA,
    ),
    Case(
        "grouped, fewer value heads than key heads",
        _with(enable_gqa=True),
        (randn(1, 4, 3, 8), randn(1, 2, 5, 8), randn(1, 1, 5, 8)),
        SDPA,
    ),
    Case(
        "float16",
        _with(is_causal=True),
        tuple(x.half() for x in _inputs(1, 2, queries=4, keys=4)),
        SDPA,
        rtol=2e-3,  # fp16 is the dtype of the model, and each step is rounded to it
    ),
]
