"""Activation functions.

Formulas: coremltools ``mil/ops/defs/iOS15/activation.py``; the iOS17 versions only let the
parameters have another float type than ``x``.
"""

from __future__ import annotations

import openvino as ov
from openvino import opset15 as ops

from executorch_coreml.engine.kernels.operand import (
    Operand,
    axis_of,
    constant,
    f32,
    keeping_nan,
    like,
    node,
    rank,
    scalar,
    text,
)
from executorch_coreml.engine.kernels.table import Family
from executorch_coreml.errors import ProgramError

kernels = Family()


@kernels("relu", exact=True)
def relu(x: Operand) -> ov.Output:
    value = node(x)
    return keeping_nan(value, ops.relu(value))


@kernels("relu6", exact=True)
def relu6(x: Operand) -> ov.Output:
    value = node(x)
    return keeping_nan(value, ops.clamp(value, 0.0, 6.0))


@kernels("leaky_relu")
def leaky_relu(x: Operand, alpha: Operand) -> ov.Node:
    return ops.prelu(node(x), f32([scalar(alpha, "alpha")]))


@kernels("prelu")
def prelu(x: Operand, alpha: Operand) -> ov.Node:
    return ops.prelu(node(x), _per_channel(alpha, x, "alpha"))


@kernels("clamped_relu")
def clamped_relu(x: Operand, alpha: Operand, beta: Operand) -> ov.Output:
    value = leaky_relu(x, alpha).output(0)
    return keeping_nan(value, ops.minimum(value, f32(scalar(beta, "beta"))))


@kernels("thresholded_relu", exact=True)
def thresholded_relu(x: Operand, alpha: Operand) -> ov.Output:
    value = node(x)
    keep = ops.greater_equal(value, f32(scalar(alpha, "alpha")))
    return keeping_nan(value, ops.select(keep, value, like(0.0, value)))


@kernels("elu")
def elu(x: Operand, alpha: Operand) -> ov.Node:
    return ops.elu(node(x), float(scalar(alpha, "alpha")))


@kernels("gelu")
def gelu(x: Operand, mode: str = "EXACT") -> ov.Node:
    value, chosen = node(x), text(mode, "mode")
    if chosen == "EXACT":
        return ops.gelu(value, "erf")
    if chosen == "TANH_APPROXIMATION":
        return ops.gelu(value, "tanh")
    if chosen == "SIGMOID_APPROXIMATION":
        return ops.multiply(value, ops.sigmoid(ops.multiply(value, f32(1.702))))
    raise ProgramError(f"unknown gelu mode {chosen!r}")


@kernels("sigmoid")
def sigmoid(x: Operand) -> ov.Node:
    return ops.sigmoid(node(x))


@kernels("sigmoid_hard")
def sigmoid_hard(x: Operand, alpha: Operand, beta: Operand) -> ov.Output:
    line = linear_activation(x, alpha, beta)
    return keeping_nan(node(x), ops.clamp(line, 0.0, 1.0))


@kernels("silu")
def silu(x: Operand) -> ov.Node:
    return ops.swish(node(x))


@kernels("scaled_tanh")
def scaled_tanh(x: Operand, alpha: Operand, beta: Operand) -> ov.Node:
    inner = ops.tanh(ops.multiply(node(x), f32(scalar(beta, "beta"))))
    return ops.multiply(inner, f32(scalar(alpha, "alpha")))


@kernels("softplus")
def softplus(x: Operand) -> ov.Node:
    return ops.softplus(node(x))


@kernels("softplus_parametric")
def softplus_parametric(x: Operand, alpha: Operand, beta: Operand) -> ov.Node:
    inner = ops.multiply(node(x), _per_channel(beta, x, "beta"))
    return ops.multiply(ops.softplus(inner), _per_channel(alpha, x, "alpha"))


@kernels("softsign")
def softsign(x: Operand) -> ov.Node:
    return ops.softsign(node(x))


@kernels("linear_activation")
def linear_activation(x: Operand, alpha: Operand, beta: Operand) -> ov.Node:
    scaled = ops.multiply(node(x), f32(scalar(alpha, "alpha")))
    return ops.add(scaled, f32(scalar(beta, "beta")))


@kernels("softmax")
def softmax(x: Operand, axis: Operand | int = -1) -> ov.Node:
    """Of values with a NaN among them OpenVINO 2026.4 makes one NaN and the others 0.

    Not mended: more than this op would keep OpenVINO from fusing attention.
    """
    return ops.softmax(node(x), axis_of(axis, rank(x)))


def _per_channel(values: Operand, x: Operand, what: str) -> ov.Output:
    """A constant of one value per channel (dimension 1 of ``x``), shaped to broadcast."""
    array = constant(values, what)
    return f32(array.reshape(1, -1, *[1] * (rank(x) - 2)))
