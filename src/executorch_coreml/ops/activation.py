"""Activation functions and softmax."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from executorch_coreml.ops.call import Call
from executorch_coreml.ops.checks import fits_int32, one_of, only_first_result
from executorch_coreml.ops.elementwise import limit
from executorch_coreml.ops.emit import Emit, Var, mil_type
from executorch_coreml.ops.moves import reshape
from executorch_coreml.ops.precision import LARGE, compute_type, keep_fp32, result
from executorch_coreml.ops.ranks import along
from executorch_coreml.ops.rule import FLOAT, INT, Family
from executorch_coreml.ops.sizes import largest
from executorch_coreml.ops.transcendental import log, log1p

aten = torch.ops.aten
rules = Family(dynamic=True, empty=True)

rules.unary((aten.silu.default, "silu", FLOAT))


# -- piecewise linear ----------------------------------------------------------------------------


@rules(aten.relu.default, types=FLOAT | INT, in_range=True)
def relu(mb: Emit, call: Call) -> Var:
    x = mb.var(call["self"])
    return mb.maximum(x=x, y=mb.const(0, x)) if mil_type(x) == "int32" else mb.relu(x=x)


@rules(aten.relu6.default, types=FLOAT | INT, in_range=True)
def relu6(mb: Emit, call: Call) -> Var:
    x = mb.var(call["self"])
    return limit(mb, call, 0, 6) if mil_type(x) == "int32" else mb.relu6(x=x)


@rules(
    aten.hardtanh.default,
    types=FLOAT | INT,
    checks=[fits_int32("min_val"), fits_int32("max_val")],
    in_range=True,
)
def hardtanh(mb: Emit, call: Call) -> Var:
    low, high = call["min_val"], call["max_val"]
    if (low, high) == (0, 6) and call.out.dtype in FLOAT:
        return mb.relu6(x=mb.var(call["self"]))
    return limit(mb, call, low, high)


@rules(aten.hardsigmoid.default, types=FLOAT)
def hardsigmoid(mb: Emit, call: Call) -> Var:
    return _hard_sigmoid(mb, mb.var(call["self"]))


@rules(aten.hardswish.default, types=FLOAT)
def hardswish(mb: Emit, call: Call) -> Var:
    x = mb.var(call["self"])
    return mb.mul(x=x, y=_hard_sigmoid(mb, x))


def _hard_sigmoid(mb: Emit, x: Var) -> Var:
    return mb.sigmoid_hard(x=x, alpha=1 / 6, beta=0.5)


@rules(aten.leaky_relu.default, types=FLOAT)
def leaky_relu(mb: Emit, call: Call) -> Var:
    return mb.leaky_relu(x=mb.var(call["self"]), alpha=float(call["negative_slope"]))


@rules(
    aten.rrelu_with_noise.default,
    aten.rrelu_with_noise_functional.default,
    types=FLOAT,
    checks=[one_of("training", False), only_first_result],
)
def rrelu(mb: Emit, call: Call) -> Any:
    """Outside training the slope is the middle of the range it is drawn from."""
    slope = (float(call["lower"]) + float(call["upper"])) / 2
    value = mb.leaky_relu(x=mb.var(call["self"]), alpha=slope)
    return (value, None) if isinstance(call.out, (tuple, list)) else value


@rules(aten.prelu.default, aten._prelu_kernel.default, types=FLOAT)
def prelu(mb: Emit, call: Call) -> Var:
    """x, or weight * x where x is negative.

    The weight has one value, one per channel (dimension 1) in ``prelu``, or a shape that
    broadcasts in ``_prelu_kernel``. MIL's ``prelu`` takes one constant per channel of images.
    """
    x, rank = mb.var(call["self"]), call.rank("self")
    weight = mb.var(call["weight"], call.out.dtype)
    channels = int(np.prod(weight.shape))
    if weight.val is not None and rank == 4 and channels in (1, x.shape[1]):
        values = np.broadcast_to(np.ravel(weight.val), (x.shape[1],))
        return mb.prelu(x=x, alpha=mb.const(values, x))
    if weight.rank != rank:
        weight = reshape(mb, weight, _channel_shape(channels, rank))
    # Not relu(x) + weight * min(x, 0): an infinite weight would make NaN of 0.
    return mb.select(cond=mb.greater(x=x, y=0.0), a=x, b=mb.mul(x=x, y=weight))


def _channel_shape(channels: int, rank: int) -> list[int]:
    """Of one value, or one per channel, to broadcast with a tensor of ``rank``."""
    return [channels if axis == 1 else 1 for axis in range(rank)]


# -- exponential ---------------------------------------------------------------------------------


@rules(aten.gelu.default, types=FLOAT)
def gelu(mb: Emit, call: Call) -> Var:
    mode = "TANH_APPROXIMATION" if call["approximate"] == "tanh" else "EXACT"
    return mb.gelu(x=mb.var(call["self"]), mode=mode)


@rules(aten.elu.default, types=FLOAT)
def elu(mb: Emit, call: Call) -> Var:
    """scale * x, or scale * alpha * (exp(input_scale * x) - 1) where x is negative."""
    x = mb.var(call["self"])
    return _elu(mb, x, call["alpha"], call["scale"], call["input_scale"])


@rules(aten.celu.default, types=FLOAT)
def celu(mb: Emit, call: Call) -> Var:
    alpha = float(call["alpha"])
    return _elu(mb, mb.var(call["self"]), alpha, 1.0, 1 / alpha)


@rules(aten.selu.default, types=FLOAT)
def selu(mb: Emit, call: Call) -> Var:
    """The two constants are those of Klambauer et al., "Self-Normalizing Neural Networks"."""
    return _elu(mb, mb.var(call["self"]), 1.6732632423543772, 1.0507009873554805, 1.0)


def _elu(mb: Emit, x: Var, alpha: float, scale: float, input_scale: float) -> Var:
    if input_scale == 1:
        value = mb.elu(x=x, alpha=float(alpha))
    else:
        negative = mb.mul(x=mb.minimum(x=x, y=mb.const(0, x)), y=float(input_scale))
        value = mb.add(x=mb.relu(x=x), y=mb.elu(x=negative, alpha=float(alpha)))
    return value if scale == 1 else mb.mul(x=value, y=float(scale))


@rules(aten.glu.default, types=FLOAT)
def glu(mb: Emit, call: Call) -> Var:
    value, gate = mb.split(x=mb.var(call["self"]), num_splits=2, axis=call.dim())
    return mb.mul(x=value, y=mb.sigmoid(x=gate))


def softplus_of(mb: Emit, x: Var) -> Var:
    """log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|)).

    MIL's ``softplus`` is not used: in fp16 it drops to 0 beyond x = 10.4 on the Neural Engine
    (apple/coremltools#2687).
    """
    decay = mb.exp(x=mb.mul(x=mb.abs(x=x), y=-1.0))
    return mb.add(x=mb.relu(x=x), y=log1p(mb, decay))


# From here on log(1 + exp(x)) is x in float32.
SOFTPLUS_LINEAR = 18


@rules(aten.softplus.default, types=FLOAT)
def softplus(mb: Emit, call: Call) -> Var:
    """softplus(beta * x) / beta, and x itself where beta * x exceeds the threshold."""
    beta, threshold = float(call["beta"]), float(call["threshold"])
    kind = compute_type(mb, call, call.out.dtype, "beta")
    x = mb.var(call["self"], kind)
    if beta == 1 and threshold >= SOFTPLUS_LINEAR:
        return result(mb, call, softplus_of(mb, x))
    scaled = mb.mul(x=x, y=beta)
    curve = mb.real_div(x=softplus_of(mb, scaled), y=beta)
    linear = mb.greater(x=scaled, y=threshold)
    return result(mb, call, mb.select(cond=linear, a=x, b=curve))


@rules(aten.log_sigmoid.default, types=FLOAT)
def log_sigmoid(mb: Emit, call: Call) -> Var:
    """-softplus(-x)."""
    negative = mb.mul(x=mb.var(call["self"]), y=-1.0)
    return mb.mul(x=softplus_of(mb, negative), y=-1.0)


@rules(aten.mish.default, types=FLOAT)
def mish(mb: Emit, call: Call) -> Var:
    x = mb.var(call["self"])
    return mb.mul(x=x, y=mb.tanh(x=softplus_of(mb, x)))


# -- softmax -------------------------------------------------------------------------------------


def _scores(mb: Emit, call: Call) -> tuple[Any, int]:
    """The argument in the type to compute in, of rank 1 at least, and the axis."""
    dtype = call.out.dtype
    kind = compute_type(mb, call, dtype, "self")
    shape = call.shape("self")
    if kind == "fp16" and shape and largest(shape[call.dim()]) > LARGE * 32:
        kind = keep_fp32(mb, dtype, "a sum that may exceed fp16's range")
    x = mb.var(call["self"], kind)
    return (x if shape else mb.expand_dims(x=x, axes=[0])), call.dim()


def _finish(mb: Emit, call: Call, value: Var) -> Var:
    value = result(mb, call, value)
    return value if call.rank("self") else mb.squeeze(x=value, axes=[0])


@rules(aten.softmax.int, aten._softmax.default, types=FLOAT | INT, fewer=along)
def softmax(mb: Emit, call: Call) -> Var:
    x, axis = _scores(mb, call)
    return _finish(mb, call, mb.softmax(x=x, axis=axis))


@rules(aten.log_softmax.int, aten._log_softmax.default, types=FLOAT | INT, fewer=along)
def log_softmax(mb: Emit, call: Call) -> Var:
    """x - max - log(sum(exp(x - max))): the logarithm of a softmax would be -inf in fp16."""
    x, axis = _scores(mb, call)
    shifted = mb.sub(x=x, y=mb.reduce_max(x=x, axes=[axis], keep_dims=True))
    total = mb.reduce_sum(x=mb.exp(x=shifted), axes=[axis], keep_dims=True)
    return _finish(mb, call, mb.sub(x=shifted, y=log(mb, total)))
