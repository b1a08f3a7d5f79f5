"""Rows for ops/linear.py."""

from __future__ import annotations

import torch
from torch import nn

from case import Case, Reject, randint, randn

aten = torch.ops.aten


class Weighted(nn.Module):
    """A function of the inputs and of parameters of the given shapes."""

    def __init__(self, fn, *shapes, dtype=torch.float32):
        super().__init__()
        self.fn = fn
        self.weights = nn.ParameterList(randn(*shape, dtype=dtype) for shape in shapes)

    def forward(self, *inputs):
        return self.fn(*inputs, *self.weights)


def _linear(bias=True, rank=2):
    shapes = [(3, 4)] if rank == 2 else [(4,)]
    return Weighted(nn.functional.linear, *shapes, *([(3,)] if bias else []))


class Large(nn.Module):
    """A linear layer whose weight fp16 cannot hold, while its results are ordinary."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(randn(3, 4, scale=1e5))

    def forward(self, x):
        return nn.functional.linear(x, self.weight)


class Bytes(nn.Module):
    """A product of 8-bit matrices, the second of them a weight unless it is an input."""

    def __init__(self, dtype, weight=None):
        super().__init__()
        self.dtype = dtype
        self.register_buffer("weight", weight)

    def forward(self, x, other=None):
        other = self.weight if other is None else other.to(torch.int8)
        return torch._int_mm(x.to(self.dtype), other)


def _bytes(*shape, low=-128):
    return randint(*shape, low=low, high=low + 256, dtype=torch.int32)


PRODUCTS = [
    (torch.matmul, (4,), (4,), aten.matmul.default),
    (torch.matmul, (4,), (4, 3), aten.matmul.default),
    (torch.matmul, (2, 4), (4,), aten.matmul.default),
    (torch.matmul, (5, 2, 4), (4,), aten.matmul.default),
    (torch.matmul, (4,), (5, 4, 3), aten.matmul.default),
    (torch.matmul, (5, 2, 4), (4, 3), aten.matmul.default),
    (torch.matmul, (2, 1, 2, 4), (3, 4, 5), aten.matmul.default),
    (torch.matmul, (2, 1, 3, 2, 4), (2, 1, 4, 5), aten.matmul.default),
    (torch.mm, (2, 4), (4, 3), aten.mm.default),
    (torch.bmm, (5, 2, 4), (5, 4, 3), aten.bmm.default),
    (torch.mv, (2, 4), (4,), aten.mv.default),
    (torch.dot, (4,), (4,), aten.dot.default),
]
BIASES = [(3,), (1, 3), (2, 1), (2, 3), (1,), ()]

ROWS: list[Case | Reject] = [
    Case(
        "int_mm weight",
        Bytes(torch.int8, _bytes(40, 24).to(torch.int8)),
        (_bytes(3, 40),),
        covers=aten._int_mm.default,
    ),
    Case(
        "int_mm of inputs, unsigned",
        Bytes(torch.uint8),
        (_bytes(3, 40, low=0), _bytes(40, 24)),
        covers=aten._int_mm.default,
    ),
    Case(  # sums of up to 2**26, which float32 does not have exactly
        "int_mm long weight",
        Bytes(torch.int8, torch.full((4099, 8), -127, dtype=torch.int8)),
        (torch.full((20, 4099), -127, dtype=torch.int32),),
        covers=aten._int_mm.default,
        rtol=0,
        atol=0,
        half_rtol=0,
        half_atol=0,
    ),
    Case(
        "int_mm of long inputs",
        Bytes(torch.uint8),
        (
            torch.full((20, 1201), 255, dtype=torch.int32),
            torch.full((1201, 8), -127, dtype=torch.int32),
        ),
        covers=aten._int_mm.default,
        rtol=0,
        atol=0,
        half_rtol=0,
        half_atol=0,
    ),
    *(
        Case(
            f"linear rank {len(shape)} bias={bias}",
            _linear(bias),
            (randn(*shape),),
            aten.linear.default,
        )
        for shape in [(4,), (2, 4), (5, 2, 4), (2, 3, 2, 4), (2, 1, 3, 2, 4)]
        for bias in (True, False)
    ),
    Case(
        "linear weight at run time",
        nn.functional.linear,
        (randn(5, 2, 4), randn(3, 4), randn(3)),
        aten.linear.default,
    ),
    Case(
        "dot of constants",
        lambda x: x + torch.dot(torch.tensor([1.0, 2, 3]), torch.tensor([0.5, -1, 4])),
        (randn(2, 4),),
        aten.dot.default,
    ),
    Case("linear weight vector", _linear(bias=False, rank=1), (randn(2, 4),), aten.linear.default),
    Case(
        "linear computed weight",
        Weighted(lambda x, w: nn.functional.linear(x, w + w), (3, 4)),
        (randn(2, 4),),
        aten.linear.default,
    ),
    Case(
        "linear float16",
        Weighted(nn.functional.linear, (3, 4), (3,), dtype=torch.float16),
        (randn(2, 4, dtype=torch.float16),),
        aten.linear.default,
        rtol=1e-3,  # fp16 is the dtype of the model
    ),
    Case(
        "linear weight beyond fp16",
        Large(),
        (randn(2, 4, scale=1e-3),),
        aten.linear.default,
    ),
    *(
        Case(f"{op} {x}x{y}", fn, (randn(*x), randn(*y, scale=0.5)), op)
        for fn, x, y, op in PRODUCTS
    ),
    *(
        Case(f"{op} by a weight", Weighted(fn, y), (randn(*x),), op)
        for fn, x, y, op in PRODUCTS
        if fn is not torch.matmul
    ),
    Case(
        "matmul transposed input",
        lambda x, y: torch.matmul(x, y.transpose(-1, -2)),
        (randn(2, 3, 4), randn(2, 5, 4)),
        aten.matmul.default,
    ),
    *(
        Case(
            f"addmm weights bias {shape}",
            Weighted(lambda x, w, b: torch.addmm(b, x, w), (4, 3), shape),
            (randn(2, 4),),
            aten.addmm.default,
        )
        for shape in BIASES
    ),
    *(
        Case(
            f"addmm inputs bias {shape}",
            lambda b, x, w: torch.addmm(b, x, w, beta=0.5, alpha=2),
            (randn(*shape), randn(2, 4), randn(4, 3)),
            aten.addmm.default,
        )
        for shape in BIASES
    ),
    Case(
        "addmm weights scaled",
        Weighted(lambda x, w, b: torch.addmm(b, x, w, beta=-2, alpha=0.5), (4, 3), (3,)),
        (randn(2, 4),),
        aten.addmm.default,
    ),
    Case(
        "addmm beta 0 ignores NaN",
        lambda b, x, w: torch.addmm(b, x, w, beta=0),
        (torch.full((3,), float("nan")), randn(2, 4), randn(4, 3)),
        aten.addmm.default,
    ),
    Case(
        "addmm alpha keeps large products in fp16",
        lambda b, x, w: torch.addmm(b, x, w, alpha=2**-8),
        (randn(3), randn(2, 4, scale=1000.0), randn(4, 3, scale=1000.0)),
        aten.addmm.default,
    ),
    Case(
        "baddbmm",
        torch.baddbmm,
        (randn(2, 1, 5), randn(2, 3, 4), randn(2, 4, 5)),
        aten.baddbmm.default,
    ),
    Case(
        "baddbmm scaled",
        lambda a, b, c: torch.baddbmm(a, b, c, beta=2.5, alpha=0.5),
        (randn(5), randn(2, 3, 4), randn(2, 4, 5)),
        aten.baddbmm.default,
    ),
    Case(
        "addbmm",
        lambda x, a, b: torch.addbmm(x, a, b, beta=0.5, alpha=2),
        (randn(3), randn(2, 4, 5), randn(2, 5, 3)),
        aten.addbmm.default,
    ),
    Case(
        "addmv",
        lambda x, a, b: torch.addmv(x, a, b, beta=0.5, alpha=2),
        (randn(4), randn(4, 5), randn(5)),
        aten.addmv.default,
    ),
    Case(
        "nn.Bilinear",
        torch.nn.Bilinear(3, 4, 5),
        (randn(2, 3), randn(2, 4)),
        aten._trilinear.default,
    ),
]
