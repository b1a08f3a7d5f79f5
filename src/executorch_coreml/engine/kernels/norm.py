"""Normalisations: ``batch_norm``, ``instance_norm``, ``layer_norm``, ``l2_norm`` and
``local_response_norm``.

Semantics: coremltools ``mil/ops/defs/iOS15/normalization.py`` and ``iOS17/normalization.py``.
Means and variances are taken in float32 in two passes (MVN), so large means do not cancel.
"""

from __future__ import annotations

import numpy as np
import openvino as ov
from openvino import opset15 as ops

from executorch_coreml.engine.kernels.operand import (
    Array,
    Operand,
    axis_of,
    constant,
    f32,
    i64,
    integers,
    node,
    rank,
    scalar,
    shape_node,
)
from executorch_coreml.engine.kernels.table import Family
from executorch_coreml.errors import ProgramError

kernels = Family()


def _along_channels(values: Array, of: int) -> ov.Output:
    return f32(values.reshape(-1, *[1] * (of - 2)))


@kernels("batch_norm")
def batch_norm(
    x: Operand,
    mean: Operand,
    variance: Operand,
    gamma: Operand | None = None,
    beta: Operand | None = None,
    epsilon: Operand | float = 1e-5,
) -> ov.Node:
    """One multiplication and one addition, which OpenVINO fuses into a convolution before it."""
    exact = [constant(v, n).astype(np.float64) for v, n in ((mean, "mean"), (variance, "variance"))]
    scale = 1.0 / np.sqrt(exact[1] + scalar(epsilon, "epsilon"))
    if gamma is not None:
        scale = scale * constant(gamma, "gamma").astype(np.float64)
    offset = -exact[0] * scale
    if beta is not None:
        offset = offset + constant(beta, "beta").astype(np.float64)
    scaled = ops.multiply(node(x), _along_channels(scale, rank(x)))
    return ops.add(scaled, _along_channels(offset, rank(x)))


def _standardise(x: Operand, axes: list[int], epsilon: Operand | float) -> ov.Node:
    """(x - mean) / sqrt(variance + epsilon) over ``axes``."""
    return ops.mvn(node(x), i64(axes), True, float(scalar(epsilon, "epsilon")), "inside_sqrt")


@kernels("instance_norm")
def instance_norm(
    x: Operand,
    gamma: Operand | None = None,
    beta: Operand | None = None,
    epsilon: Operand | float = 1e-5,
) -> ov.Node:
    result = _standardise(x, list(range(2, rank(x))), epsilon)
    if gamma is not None:
        result = ops.multiply(result, _along_channels(constant(gamma, "gamma"), rank(x)))
    if beta is not None:
        result = ops.add(result, _along_channels(constant(beta, "beta"), rank(x)))
    return result


@kernels("layer_norm")
def layer_norm(
    x: Operand,
    axes: Operand | None = None,
    gamma: Operand | None = None,
    beta: Operand | None = None,
    epsilon: Operand | float = 1e-5,
) -> ov.Node:
    """``gamma`` and ``beta`` have the extents of ``x`` along ``axes``, in the order of ``x``."""
    over = range(rank(x)) if axes is None else integers(axes, "axes")
    over = sorted({axis_of(axis, rank(x), "axes") for axis in over})
    result = _standardise(x, over, epsilon)
    if gamma is not None:
        result = ops.multiply(result, _along(constant(gamma, "gamma"), over, rank(x)))
    if beta is not None:
        result = ops.add(result, _along(constant(beta, "beta"), over, rank(x)))
    return result


def _along(values: Array, axes: list[int], of: int) -> ov.Output:
    """``values``, whose dimensions are ``axes``, shaped to broadcast against ``of`` dimensions."""
    if values.ndim != len(axes):
        raise ProgramError(f"gamma and beta of shape {values.shape} do not match axes {axes}")
    extents = dict(zip(axes, values.shape, strict=True))
    return f32(values.reshape([extents.get(axis, 1) for axis in range(of)]))


@kernels("l2_norm")
def l2_norm(x: Operand, epsilon: Operand | float = 1e-6) -> ov.Node:
    """x / sqrt(sum of squares + epsilon) over the last three dimensions."""
    if rank(x) < 3:
        raise ProgramError(f"l2_norm needs rank 3 or more, got {rank(x)}")
    axes = i64(list(range(rank(x) - 3, rank(x))))
    return ops.normalize_l2(node(x), axes, float(scalar(epsilon, "epsilon")), "add")


@kernels("local_response_norm")
def local_response_norm(
    x: Operand,
    size: Operand | int,
    alpha: Operand | float = 1e-4,
    beta: Operand | float = 0.75,
    k: Operand | float = 1.0,
) -> ov.Node:
    """x / (k + alpha * mean of the squares of ``size`` neighbouring channels) ** beta.

    Zeros outside count. An even window reaches one channel further back than ahead, as in PyTorch.
    Built from an average pool, since OpenVINO 2026.4's LRN ignores its ``bias`` (``k``) on the CPU.
    """
    if rank(x) < 3:
        raise ProgramError(f"local_response_norm needs rank 3 or more, got {rank(x)}")
    window = int(scalar(size, "size"))
    value = node(x)
    squares = ops.reshape(ops.multiply(value, value), i64([0, 0, -1]), True)
    image = ops.unsqueeze(squares, i64([1]))
    begin = [window // 2, 0]
    end = [(window - 1) // 2, 0]
    mean = ops.avg_pool(image, [1, 1], begin, end, [window, 1], False)
    total = ops.add(ops.multiply(mean, f32(scalar(alpha, "alpha"))), f32(scalar(k, "k")))
    divisor = ops.power(total, f32(scalar(beta, "beta")))
    return ops.divide(value, ops.reshape(divisor, shape_node(x), False))
