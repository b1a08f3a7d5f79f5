"""Activation functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernel_case import KernelCase, randn

X = randn(2, 3, 4, 5, scale=3.0)


def _plain(op: str, **options: Any) -> KernelCase:
    return KernelCase(op, op, lambda mb, t, x: getattr(mb, op)(x=x), (X,), **options)


def _alpha(op: str, alpha: float) -> KernelCase:
    return KernelCase(op, op, lambda mb, t, x: getattr(mb, op)(x=x, alpha=t(alpha)), (X,))


def _alpha_beta(op: str, alpha: float, beta: float) -> KernelCase:
    return KernelCase(
        op, op, lambda mb, t, x: getattr(mb, op)(x=x, alpha=t(alpha), beta=t(beta)), (X,)
    )


def _gelu(mode: str) -> KernelCase:
    return KernelCase(
        f"gelu-{mode}", "gelu", lambda mb, t, x: mb.gelu(x=x, mode=mode), (X,), atol=1e-5
    )


PER_CHANNEL = [0.5, -0.25, 2.0]

ROWS = [
    *(_plain(op) for op in ("relu", "relu6", "sigmoid", "softplus", "softsign")),
    _plain("silu", expect=lambda x: x / (1 + np.exp(-x))),
    *(_alpha(op, 0.3) for op in ("elu", "leaky_relu", "thresholded_relu")),
    _alpha_beta("clamped_relu", 0.2, 1.5),
    _alpha_beta("linear_activation", -1.7, 0.4),
    _alpha_beta("scaled_tanh", 1.7, 0.6),
    _alpha_beta("sigmoid_hard", 0.2, 0.5),
    *(_gelu(mode) for mode in ("EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION")),
    KernelCase("prelu", "prelu", lambda mb, t, x: mb.prelu(x=x, alpha=t(PER_CHANNEL)), (X,)),
    KernelCase(
        "softplus_parametric",
        "softplus_parametric",
        lambda mb, t, x: mb.softplus_parametric(x=x, alpha=t(PER_CHANNEL), beta=t([1.0, 2.0, 0.5])),
        (X,),
    ),
    KernelCase("softmax", "softmax", lambda mb, t, x: mb.softmax(x=x), (X,)),
    KernelCase("softmax-axis", "softmax", lambda mb, t, x: mb.softmax(x=x, axis=1), (X * 20,)),
]
