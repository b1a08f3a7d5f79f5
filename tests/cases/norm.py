"""Rows for ops/norm.py."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from case import Case, Reject, randn, uniform

aten = torch.ops.aten

CORE_BATCH_NORM = aten._native_batch_norm_legit_no_training.default


def _trained(layer):
    """The layer with other weights and statistics than it starts with."""
    torch.manual_seed(0)
    for name, value in [*layer.named_parameters(), *layer.named_buffers()]:
        if value.is_floating_point():
            spread = torch.rand_like(value) if "var" in name else torch.randn_like(value)
            value.data = spread + (0.5 if "var" in name else 0.0)
    return layer


def _statistics(mean, variance, eps=1e-5):
    layer = nn.BatchNorm2d(4, eps=eps)
    layer.running_mean.fill_(mean)
    layer.running_var.fill_(variance)
    return layer


class Core(nn.Module):
    """The first result of an op that has several."""

    def __init__(self, fn, *shapes):
        super().__init__()
        self.fn = fn
        self.weights = nn.ParameterList(randn(*shape) for shape in shapes)

    def forward(self, *inputs):
        return self.fn(*inputs, *self.weights)[0]


LARGE = randn(2, 3, 8, scale=2000.0)  # squares overflow fp16
SMALL = randn(2, 3, 8, scale=1e-3)  # squares underflow fp16
SPIKE = torch.cat([randn(1, 7, scale=1e-2), torch.full((1, 1), 3e4)], 1)
ZEROS = torch.zeros(2, 8)
CONSTANT = torch.full((2, 3, 8), 0.1)

ROWS: list[Case | Reject] = [
    *(
        Case(f"batch_norm rank {len(shape)}", _trained(layer(4)), (randn(*shape),), CORE_BATCH_NORM)
        for layer, shape in [
            (nn.BatchNorm1d, (2, 4)),
            (nn.BatchNorm1d, (2, 4, 5)),
            (nn.BatchNorm2d, (2, 4, 3, 5)),
            (nn.BatchNorm3d, (2, 4, 2, 3, 5)),
        ]
    ),
    Case(
        "batch_norm without weights",
        _trained(nn.BatchNorm2d(4, affine=False)),
        (randn(2, 4, 3, 3),),
        CORE_BATCH_NORM,
    ),
    Case(
        "batch_norm tiny variance",
        _statistics(0.001, 1e-9, eps=1e-8),
        (randn(2, 4, 3, 3, scale=1e-4),),
        CORE_BATCH_NORM,
        half_rtol=1e-2,  # the input minus the mean has few bits left in fp16
    ),
    Case(
        "batch_norm variance and eps below fp16",
        _statistics(0.0, 1e-13, eps=1e-12),
        (randn(2, 4, 3, 3, scale=1e-4),),
        CORE_BATCH_NORM,
    ),
    Case(
        "batch_norm huge variance",
        _statistics(100.0, 1e6),
        (randn(2, 4, 3, 3, scale=2000.0),),
        CORE_BATCH_NORM,
    ),
    Case(
        "batch_norm at run time",
        lambda x, m, v, w, b: F.batch_norm(x, m, v, w, b, eps=1e-12),
        (randn(2, 4, 3), randn(4), uniform(4, low=0.5, high=2.0), randn(4), randn(4)),
        CORE_BATCH_NORM,
    ),
    *(
        Case(
            f"batch_norm of its own statistics, {shape}",
            nn.BatchNorm2d(4, track_running_stats=False)
            if len(shape) == 4
            else nn.BatchNorm1d(4, track_running_stats=False),
            (randn(*shape),),
            aten._native_batch_norm_legit.no_stats,
        )
        for shape in [(3, 4, 2, 5), (1, 4, 2, 5), (5, 4)]
    ),
    *(
        Case(
            f"layer_norm {shape} {affine}",
            _trained(nn.LayerNorm(shape, elementwise_affine=affine)),
            (randn(2, 3, 4, 8),),
            aten.layer_norm.default,
        )
        for shape in [(8,), (4, 8), (2, 3, 4, 8)]
        for affine in (True, False)
    ),
    Case(
        "layer_norm without bias",
        _trained(nn.LayerNorm(8, bias=False)),
        (randn(2, 8),),
        aten.layer_norm.default,
    ),
    *(
        Case(f"layer_norm {id}", _trained(nn.LayerNorm(8, eps=eps)), (x,), aten.layer_norm.default)
        for id, x, eps in [
            ("large", LARGE, 1e-5),
            ("small", SMALL, 1e-5),
            ("constant row, eps below fp16", CONSTANT, 1e-12),
            ("zeros, eps below fp16", ZEROS, 1e-12),
        ]
    ),
    Case(
        "layer_norm with bias alone",
        lambda x: F.layer_norm(x, (8,), None, torch.arange(8.0)),
        (randn(2, 3, 8),),
        aten.layer_norm.default,
    ),
    Case(
        "rms_norm of infinite",
        lambda x: torch.rms_norm(x, (3,)),
        (torch.tensor([[1.0, torch.inf, -2.0], [1.0, 2.0, 3.0]]),),
        aten.rms_norm.default,
    ),
    Case(
        "layer_norm weights at run time",
        lambda x, w, b: F.layer_norm(x, (8,), w, b),
        (randn(2, 8), randn(8), randn(8)),
        aten.layer_norm.default,
    ),
    Case(
        "native_layer_norm",
        Core(lambda x, w, b: torch.native_layer_norm(x, (8,), w, b, 1e-5), (8,), (8,)),
        (randn(2, 3, 8),),
        aten.native_layer_norm.default,
    ),
    *(
        Case(f"rms_norm {id}", _trained(nn.RMSNorm(8, eps=eps)), (x,), aten.rms_norm.default)
        for eps in (None, 1e-6, 1e-12, 1e-2)
        for id, x in [
            (f"eps {eps}", randn(2, 3, 8)),
            (f"large, eps {eps}", LARGE),
            (f"small, eps {eps}", SMALL),
            (f"zeros, eps {eps}", ZEROS),
            (f"spike, eps {eps}", SPIKE),
        ]
    ),
    Case(
        "rms_norm over two axes, without weight",
        lambda x: F.rms_norm(x, (3, 8)),
        (randn(2, 3, 8),),
        aten.rms_norm.default,
    ),
    Case(
        "rms_norm float16",
        lambda x: F.rms_norm(x, (8,)),
        (randn(2, 8, scale=1e-3, dtype=torch.float16),),
        aten.rms_norm.default,
        rtol=2e-3,  # fp16 is the dtype of the model, and each step is rounded to it
    ),
    Case(
        "fused_rms_norm",
        Core(lambda x, w: aten._fused_rms_norm(x, (8,), w, 1e-6), (8,)),
        (randn(2, 3, 8),),
        aten._fused_rms_norm.default,
    ),
    *(
        Case(
            f"group_norm {groups} of rank {len(shape)} {affine}",
            _trained(nn.GroupNorm(groups, 4, affine=affine)),
            (randn(*shape),),
            aten.group_norm.default,
        )
        for groups in (1, 2, 4)
        for affine in (True, False)
        for shape in [(2, 4, 6), (2, 4, 3, 5), (2, 4, 2, 3, 2)]
    ),
    Case(
        "group_norm large",
        nn.GroupNorm(2, 4),
        (randn(2, 4, 6, scale=2e3),),
        aten.group_norm.default,
    ),
    Case(
        "group_norm constant, eps below fp16",
        nn.GroupNorm(2, 4, eps=1e-12),
        (torch.ones(2, 4, 6),),
        aten.group_norm.default,
    ),
    Case(
        "native_group_norm",
        Core(lambda x, w, b: aten.native_group_norm(x, w, b, 2, 4, 6, 2, 1e-5), (4,), (4,)),
        (randn(2, 4, 6),),
        aten.native_group_norm.default,
    ),
    *(
        Case(
            f"instance_norm rank {len(shape)} {affine}",
            _trained(layer(4, affine=affine)),
            (randn(*shape),),
            aten.instance_norm.default,
        )
        for affine in (True, False)
        for layer, shape in [
            (nn.InstanceNorm1d, (2, 4, 5)),
            (nn.InstanceNorm2d, (2, 4, 3, 5)),
            (nn.InstanceNorm3d, (2, 4, 2, 3, 5)),
        ]
    ),
    Case(
        "instance_norm with running statistics",
        _trained(nn.InstanceNorm2d(4, affine=True, track_running_stats=True)),
        (randn(2, 4, 3, 5),),
        aten.instance_norm.default,
    ),
    Reject(
        "layer_norm statistics used",
        lambda x: torch.native_layer_norm(x, (8,), None, None, 1e-5),
        (randn(2, 8),),
        aten.native_layer_norm.default,
        "only the first",
    ),
    *(
        Case(
            f"batch_norm in training {shape}",
            lambda x, w, b, m, v: aten._native_batch_norm_legit_functional(
                x, w, b, m, v, True, 0.1, 1e-5
            ),
            (randn(*shape) * 50 + 300, randn(3), randn(3), randn(3), randn(3).abs()),
            aten._native_batch_norm_legit_functional.default,
        )
        for shape in ((4, 3), (2, 3, 4, 5))
    ),
    Reject(
        "batch_norm functional in eval mode",
        lambda x, m, v: aten._native_batch_norm_legit_functional(
            x, None, None, m, v, False, 0.1, 1e-5
        )[0],
        (randn(4, 3), randn(3), randn(3).abs()),
        aten._native_batch_norm_legit_functional.default,
        "training must be one of True",
    ),
]
