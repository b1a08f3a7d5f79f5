"""Normalisations, against coremltools' value inference and PyTorch.

coremltools 9.0 cannot build a layer_norm without axes, or with beta and without gamma.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from kernel_case import KernelCase, randn, uniform

EPSILON = 2.0**-10  # an fp16 number


def _half(values: np.ndarray) -> np.ndarray:
    """fp16 numbers, so that both runs have the same parameters."""
    return values.astype(np.float16).astype(np.float32)


def _parameters(t: Any, **arrays: np.ndarray | None) -> dict[str, Any]:
    return {name: t(array) for name, array in arrays.items() if array is not None}


def _batch_norm(*extents: int, gamma: bool = True, beta: bool = True) -> KernelCase:
    channels = extents[1]
    mean, variance = _half(randn(channels)), _half(uniform(channels, low=0.25, high=4))
    scale = _half(randn(channels)) if gamma else None
    offset = _half(randn(channels) + 1) if beta else None

    def build(mb: Any, t: Any, x: Any) -> Any:
        given = _parameters(t, mean=mean, variance=variance, gamma=scale, beta=offset)
        return mb.batch_norm(x=x, epsilon=t(EPSILON), **given)

    def expect(x: np.ndarray) -> np.ndarray:
        given = (None if p is None else torch.tensor(p) for p in (mean, variance, scale, offset))
        return F.batch_norm(torch.tensor(x), *given, eps=EPSILON).numpy()

    case = f"batch_norm-rank-{len(extents)}-gamma-{gamma}-beta-{beta}"
    return KernelCase(case, "batch_norm", build, (randn(*extents),), expect)


def _instance_norm(*extents: int, gamma: bool = True, mean: float = 0.0) -> KernelCase:
    scale = _half(randn(extents[1])) if gamma else None
    offset = _half(randn(extents[1])) if gamma else None

    def build(mb: Any, t: Any, x: Any) -> Any:
        given = _parameters(t, gamma=scale, beta=offset)
        return mb.instance_norm(x=x, epsilon=t(EPSILON), **given)

    def expect(x: np.ndarray) -> np.ndarray:
        given = (None if p is None else torch.tensor(p).double() for p in (scale, offset))
        wide = torch.tensor(x).double()
        return F.instance_norm(wide, None, None, *given, eps=EPSILON).float().numpy()

    case = f"instance_norm-rank-{len(extents)}-gamma-{gamma}-mean-{mean:g}"
    # The mean, subtracted in float32, is uncertain by its last place.
    atol = 1e-5 + abs(mean) * 2**-22
    return KernelCase(
        case, "instance_norm", build, (randn(*extents) + np.float32(mean),), expect, atol=atol
    )


def _layer_norm(
    case: str,
    extents: tuple[int, ...],
    axes: list[int],
    gamma: bool = True,
    beta: bool = True,
    **options: Any,
) -> KernelCase:
    over = sorted(axis % len(extents) for axis in axes)
    inner = tuple(extents[a] for a in over)
    scale, offset = _half(randn(*inner)), _half(randn(*inner))

    def build(mb: Any, t: Any, x: Any) -> Any:
        given = _parameters(t, gamma=scale if gamma else None, beta=offset if beta else None)
        return mb.layer_norm(x=x, axes=axes, epsilon=t(EPSILON), **given)

    return KernelCase(
        f"layer_norm-{case}", "layer_norm", build, (randn(*extents),), atol=1e-5, **options
    )


def _local_response_norm(size: int, *extents: int) -> KernelCase:
    alpha, beta, k = 0.25, 0.75, 1.5

    def build(mb: Any, t: Any, x: Any) -> Any:
        return mb.local_response_norm(x=x, size=size, alpha=t(alpha), beta=t(beta), k=t(k))

    return KernelCase(
        f"local_response_norm-{size}-rank-{len(extents)}",
        "local_response_norm",
        build,
        (randn(*extents, scale=2),),
        lambda x: F.local_response_norm(torch.tensor(x), size, alpha, beta, k).numpy(),
    )


ROWS = [
    _batch_norm(2, 3, 7),
    _batch_norm(2, 3, 4, 5),
    _batch_norm(2, 3, 2, 4, 5),
    _batch_norm(2, 3, 4, 5, gamma=False),
    _batch_norm(2, 3, 4, 5, gamma=False, beta=False),
    _batch_norm(2, 3, 4, 5, beta=False),
    _instance_norm(2, 3, 7),
    _instance_norm(2, 3, 4, 5),
    _instance_norm(2, 3, 4, 5, gamma=False),
    _instance_norm(2, 3, 8, 8, mean=100.0),
    _layer_norm("last", (2, 5, 8), [-1]),
    _layer_norm("last-two", (2, 3, 4, 5), [2, -1]),
    _layer_norm("first", (4, 3, 2), [0]),
    _layer_norm("inner", (2, 6, 3), [1]),
    _layer_norm("scattered", (2, 3, 4, 5), [1, 3]),
    _layer_norm("unordered", (2, 3, 4, 5), [3, 1]),
    _layer_norm("all", (3, 4), [0, 1]),
    _layer_norm("no-beta", (2, 5, 8), [-1], beta=False),
    _layer_norm("plain", (2, 5, 8), [-1], gamma=False, beta=False),
    _layer_norm("ios15", (2, 5, 8), [-1], target="iOS15"),
    *(
        KernelCase(
            f"l2_norm-rank-{len(extents)}",
            "l2_norm",
            lambda mb, t, x: mb.l2_norm(x=x, epsilon=t(EPSILON)),
            (randn(*extents),),
        )
        for extents in ((2, 3, 4), (2, 2, 3, 4), (2, 2, 2, 3, 4))
    ),
    *(
        _local_response_norm(size, *extents)
        for size in (1, 2, 3, 4, 5)
        for extents in ((2, 6, 4), (2, 6, 4, 3))
    ),
]
