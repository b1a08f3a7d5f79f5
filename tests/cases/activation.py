"""Rows for ops/activation.py."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from case import Case, Reject, randint, randn
from cases._joined import joined

aten = torch.ops.aten

X = randn(2, 4, 5, scale=3.0)
WIDE = torch.tensor([-60000.0, -300.0, -20.0, -11.0, -8.0, 8.0, 10.5, 11.0, 20.0, 300.0, 60000.0])
INTS = randint(3, 4)
HALF = X.half()
HALF_RTOL = 2e-3  # a result in fp16 after up to three roundings to fp16


class PReLU(torch.nn.Module):
    """One slope, or one per channel."""

    def __init__(self, count: int):
        super().__init__()
        self.slopes = torch.nn.Parameter(torch.linspace(0.1, 0.9, count))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.prelu(x, self.slopes)


FUNCTIONS = {
    "relu": (F.relu, aten.relu.default),
    "relu6": (F.relu6, aten.relu6.default),
    "hardtanh": (F.hardtanh, aten.hardtanh.default),
    "hardsigmoid": (F.hardsigmoid, aten.hardsigmoid.default),
    "hardswish": (F.hardswish, aten.hardswish.default),
    "leaky_relu": (F.leaky_relu, aten.leaky_relu.default),
    "gelu": (F.gelu, aten.gelu.default),
    "gelu_tanh": (lambda x: F.gelu(x, approximate="tanh"), aten.gelu.default),
    "elu": (F.elu, aten.elu.default),
    "celu": (F.celu, aten.celu.default),
    "selu": (F.selu, aten.selu.default),
    "silu": (F.silu, aten.silu.default),
    "softplus": (F.softplus, aten.softplus.default),
    "logsigmoid": (F.logsigmoid, aten.log_sigmoid.default),
    "mish": (F.mish, aten.mish.default),
}

ACTIVATIONS = [
    row
    for name, (fn, op) in FUNCTIONS.items()
    for row in [
        Case(name, fn, (X,), op),
        Case(f"{name}_half", fn, (HALF,), op, rtol=HALF_RTOL),
        Case(f"{name}_rank0", fn, (torch.tensor(-0.75),), op),
        Case(f"{name}_strided", lambda x, fn=fn: fn(x.transpose(0, 2)), (X,), op),
        Case(f"{name}_wide", fn, (WIDE,), op),
    ]
]

ARGUMENTS = [
    Case("relu_int", F.relu, (INTS,), aten.relu.default),
    Case("relu6_int", aten.relu6.default, (INTS,), aten.relu6.default),
    Case("hardtanh_limits", lambda x: F.hardtanh(x, -0.5, 2), (X,), aten.hardtanh.default),
    Case("hardtanh_int", lambda x: F.hardtanh(x, -2, 3), (INTS,), aten.hardtanh.default),
    Case("hardtanh_6_int", lambda x: F.hardtanh(x, 0, 6), (INTS,), aten.hardtanh.default),
    Case("leaky_relu_slope", lambda x: F.leaky_relu(x, 0.3), (X,), aten.leaky_relu.default),
    Case("leaky_relu_steep", lambda x: F.leaky_relu(x, 2), (X,), aten.leaky_relu.default),
    Case("leaky_relu_negative", lambda x: F.leaky_relu(x, -0.5), (X,), aten.leaky_relu.default),
    Case("elu_alpha", lambda x: F.elu(x, 0.7), (X,), aten.elu.default),
    Case("elu_scales", lambda x: aten.elu.default(x, 0.7, 1.5, 0.4), (X,), aten.elu.default),
    Case("celu_alpha", lambda x: F.celu(x, 2.5), (X,), aten.celu.default),
    Case("softplus_beta", lambda x: F.softplus(x, beta=2.5), (X,), aten.softplus.default),
    Case("softplus_beta_wide", lambda x: F.softplus(x, beta=2), (WIDE,), aten.softplus.default),
    # Of a rank-0 constant, which coremltools computes while the program is built.
    Case(
        "softplus_constant",
        lambda x: x + F.softplus(torch.tensor(1.5), threshold=5),
        (X,),
        aten.softplus.default,
    ),
    Case("softplus_threshold", lambda x: F.softplus(x, threshold=1), (X,), aten.softplus.default),
    Case("softplus_both", lambda x: F.softplus(x, 0.5, 2), (X,), aten.softplus.default),
    Case("softplus_small", F.softplus, (torch.tensor([-9.0, -8.5, -8.0]),), aten.softplus.default,
         atol=0.0, half_atol=0.0, half_rtol=5e-3),  # the argument of exp has 2^-8 steps there
    *[
        Case(f"glu_{dim}", lambda x, d=dim: F.glu(x, d), (randn(2, 4, 6),), aten.glu.default)
        for dim in (-1, 0, 1, -2)
    ],
    *[
        Case(f"prelu_{count}_rank{len(shape)}", PReLU(count), (randn(*shape),),
             aten.prelu.default)
        for count, shape in (
            (1, (3,)), (1, (2, 3)), (3, (2, 3)), (3, (2, 3, 4)), (1, (2, 3, 4, 2)),
            (3, (2, 3, 4, 2)), (3, (1, 3, 2, 2, 2)),
        )
    ],
    Case("prelu_rank0", F.prelu, (torch.tensor(-2.0), torch.tensor([0.5])), aten.prelu.default),
    Case("prelu_computed", lambda x, w: F.prelu(x, w * 2), (randn(2, 3, 4, 2), randn(3)),
         aten.prelu.default),
]  # fmt: skip

MASKED = torch.tensor([[1.0, -math.inf, 2.0, -math.inf], [-math.inf, 0.0, -math.inf, -math.inf]])

LOWEST = torch.where(MASKED.isinf(), torch.finfo(torch.float32).min, 0.0)
LOWEST[1] = torch.finfo(torch.float32).min  # a row with nothing to attend to

MASKS = [
    Case("softmax_mask_input", lambda x, m: torch.softmax(x + m, -1), (randn(2, 4), LOWEST),
         aten.softmax.int),
    Case("softmax_mask_expanded", lambda x, m: torch.softmax(x + m[:, None], -1),
         (randn(2, 3, 4), LOWEST), aten.softmax.int),
]  # fmt: skip

SOFTMAX = [
    row
    for name, fn, op, core in (
        ("softmax", torch.softmax, aten.softmax.int, aten._softmax.default),
        ("log_softmax", torch.log_softmax, aten.log_softmax.int, aten._log_softmax.default),
    )
    for row in [
        *[
            Case(f"{name}_{dim}", lambda x, fn=fn, d=dim: fn(x, d), (randn(2, 3, 4),), op)
            for dim in (-1, 0, 1, -3)
        ],
        Case(f"{name}_core", lambda x, core=core: core(x, 1, False), (randn(2, 3, 4),), core),
        Case(f"{name}_half", lambda x, fn=fn: fn(x, 1), (randn(2, 3, 4).half(),), op, rtol=1e-3),
        Case(f"{name}_half_float", lambda x, fn=fn: fn(x, 1, dtype=torch.float32),
             (randn(2, 3).half(),), op),
        Case(f"{name}_int", lambda x, fn=fn: fn(x, 1, dtype=torch.float32), (INTS,), op),
        Case(f"{name}_rank0", lambda x, fn=fn: fn(x, 0), (torch.tensor(3.0),), op),
        Case(f"{name}_large", lambda x, fn=fn: fn(x, -1), (randn(2, 8, scale=2000.0),), op),
        Case(f"{name}_masked", lambda x, fn=fn: fn(x, -1), (MASKED,), op),
        Case(f"{name}_even", lambda x, fn=fn: fn(x, -1), (torch.zeros(1, 40000),), op,
             half_atol=1e-6),
    ]
]  # fmt: skip

BIG = 2**40

RANDOM = [
    Case("rrelu", torch.nn.RReLU().eval(), (X,), aten.rrelu_with_noise_functional.default),
    Reject(
        "rrelu_training",
        lambda x: F.rrelu(x, training=True),
        (X,),
        aten.rrelu_with_noise_functional.default,
        "training must be one of False",
    ),
]

REJECTED = [
    Reject("hardtanh_wide_min", lambda x: F.hardtanh(x, -BIG, 3), (torch.tensor([1, 2]),),
           aten.hardtanh.default, "min_val is"),
    Reject("hardtanh_wide_max", lambda x: F.hardtanh(x, 0, BIG), (torch.tensor([1, 2]),),
           aten.hardtanh.default, "max_val is"),
    Reject("relu_double", F.relu, (X.double(),), aten.relu.default, "float64"),
]  # fmt: skip

ROWS = joined([*ACTIVATIONS, *ARGUMENTS, *SOFTMAX, *MASKS, *RANDOM, *REJECTED])
