"""Normalisation: batch, layer, RMS, group and instance norm."""

from __future__ import annotations

import math
from math import prod
from typing import Any

import numpy as np
import torch

from executorch_coreml.ops.call import Call
from executorch_coreml.ops.checks import one_of, only_first_result
from executorch_coreml.ops.emit import Emit, Var, mil_type
from executorch_coreml.ops.half import FP16_MAX
from executorch_coreml.ops.moves import reshape
from executorch_coreml.ops.precision import keep_fp32
from executorch_coreml.ops.ranks import last
from executorch_coreml.ops.rule import FLOAT, Family
from executorch_coreml.ops.weights import (
    fixed,
    floor_epsilon,
    layer_type,
    per_channel,
    scale_channels,
)

aten = torch.ops.aten
rules = Family(dynamic=True, empty=True)

AFFINE = ("weight", "bias")


def _results(call: Call, first: Var) -> Any:
    """``first``, with None for the further results, which nobody reads."""
    return (first, *[None] * (len(call.outs) - 1)) if isinstance(call.out, (tuple, list)) else first


# -- batch norm ----------------------------------------------------------------------------------


@rules(
    aten._native_batch_norm_legit_no_training.default,
    types=FLOAT,
    checks=[only_first_result],
)
def batch_norm(mb: Emit, call: Call) -> Any:
    mil = mb.type_of(call.outs[0].dtype)
    mean, variance = mb.array(call["running_mean"]), mb.array(call["running_var"])
    weight, bias = mb.array(call["weight"]), mb.array(call["bias"])
    unknown = (weight is None and call["weight"] is not None) or (
        bias is None and call["bias"] is not None
    )
    if mean is None or variance is None or unknown:
        out = _batch_norm_at_run_time(mb, call)
    else:
        out = _batch_norm(mb, call, mean, variance, weight, bias)
    return _results(call, mb.cast(out, mil))


def _batch_norm(
    mb: Emit,
    call: Call,
    mean: np.ndarray[Any, Any],
    variance: np.ndarray[Any, Any],
    weight: np.ndarray[Any, Any] | None,
    bias: np.ndarray[Any, Any] | None,
) -> Var:
    """MIL ``batch_norm`` on constants.

    In fp16 the variance and eps are folded into gamma beforehand: they may be far smaller than
    what fp16 resolves, gamma / sqrt(variance + eps) rarely is. The op then divides by exactly
    sqrt(1 - 2^-11 + 2^-11).
    """
    mil = layer_type(mb, call, "running_mean", "bias")
    epsilon = float(call["eps"])
    if mil == "fp16":
        gamma = np.ones(mean.shape) if weight is None else weight.astype(np.float64)
        gamma = gamma / np.sqrt(variance.astype(np.float64) + epsilon)
        if np.abs(gamma).max() < 1e4:
            weight, epsilon = gamma, 2.0**-11
            variance = np.full(mean.shape, 1 - epsilon)
        else:
            mb.note("computed in fp32: 1 / sqrt(running_var + eps) is too large for fp16")
            mil = "fp32"
    x = mb.var(call["input"], mil)
    flat = len(x.shape) == 2
    x = mb.expand_dims(x=x, axes=[2]) if flat else x
    out = mb.batch_norm(
        x=x,
        mean=mb.const(mean, mil),
        variance=mb.const(variance, mil),
        gamma=None if weight is None else mb.const(weight, mil),
        beta=None if bias is None else mb.const(bias, mil),
        epsilon=epsilon,
    )
    return mb.squeeze(x=out, axes=[2]) if flat else out


def _batch_norm_at_run_time(mb: Emit, call: Call) -> Var:
    """The formula, in fp32, for statistics or weights given at run time."""
    x = mb.var(call["input"], "fp32")
    rank = len(x.shape)
    variance = per_channel(mb, call["running_var"], rank, "fp32")
    deviation = mb.sqrt(x=mb.add(x=variance, y=mb.const(float(call["eps"]), "fp32")))
    centred = mb.sub(x=x, y=per_channel(mb, call["running_mean"], rank, "fp32"))
    out = mb.real_div(x=centred, y=deviation)
    return scale_channels(mb, out, call["weight"], call["bias"])


@rules(
    aten._native_batch_norm_legit_functional.default,
    types=FLOAT,
    checks=[one_of("training", True)],
)
def batch_norm_in_training(mb: Emit, call: Call) -> tuple[Var, ...]:
    """(result, mean, 1 / deviation, new running mean, new running variance), in fp32.

    The batch's own statistics are used; the running ones move towards them by ``momentum``.
    """
    keep_fp32(mb, call.outs[0].dtype, "a variance")
    x = mb.var(call["input"], "fp32")
    rank, channels = len(x.shape), int(x.shape[1])
    axes = [axis for axis in range(rank) if axis != 1]
    along = [1, channels] + [1] * (rank - 2)
    count = int(np.prod(x.shape)) // channels
    mean = mb.reduce_mean(x=x, axes=axes, keep_dims=False)
    apart = mb.sub(x=x, y=mb.reshape(x=mean, shape=along))
    variance = mb.reduce_mean(x=mb.mul(x=apart, y=apart), axes=axes, keep_dims=False)
    scale = mb.rsqrt(x=mb.add(x=variance, y=float(call["eps"])), epsilon=0.0)
    out = mb.mul(x=apart, y=mb.reshape(x=scale, shape=along))
    out = scale_channels(mb, out, call["weight"], call["bias"])
    unbiased = mb.mul(x=variance, y=count / max(count - 1, 1))
    values = (out, mean, scale, _moved(mb, call, "mean", mean), _moved(mb, call, "var", unbiased))
    return tuple(
        mb.cast(value, mb.type_of(expected.dtype))
        for value, expected in zip(values, call.outs, strict=True)
    )


def _moved(mb: Emit, call: Call, name: str, value: Var) -> Var:
    momentum = float(call["momentum"])
    old = mb.mul(x=mb.var(call[f"running_{name}"], "fp32"), y=1 - momentum)
    return mb.add(x=old, y=mb.mul(x=value, y=momentum))


# -- norms over each sample's own values ---------------------------------------------------------


@rules(aten.layer_norm.default, types=FLOAT, fewer=last)
@rules(aten.native_layer_norm.default, types=FLOAT, checks=[only_first_result], fewer=last)
def layer_norm(mb: Emit, call: Call) -> Any:
    mil = layer_type(mb, call, *AFFINE)
    x = mb.var(call["input"], mil)
    count = len(call["normalized_shape"])
    gamma, beta = (fixed(mb, call[name], mil) for name in AFFINE)
    # coremltools 9.0 cannot build a layer_norm that has beta alone.
    apart = (gamma is None) != (call["weight"] is None) or (beta is None) != (call["bias"] is None)
    apart = apart or (gamma is None and beta is not None)
    out = mb.layer_norm(
        x=x,
        axes=list(range(len(x.shape) - count, len(x.shape))),
        gamma=None if apart else gamma,
        beta=None if apart else beta,
        epsilon=floor_epsilon(mb, float(call["eps"]), mil),
    )
    if apart and call["weight"] is not None:
        out = mb.mul(x=out, y=mb.var(call["weight"], mil))
    if apart and call["bias"] is not None:
        out = mb.add(x=out, y=mb.var(call["bias"], mil))
    return _results(call, mb.cast(out, mb.type_of(call.outs[0].dtype)))


@rules(aten.rms_norm.default, types=FLOAT, fewer=last)
@rules(aten._fused_rms_norm.default, types=FLOAT, checks=[only_first_result], fewer=last)
def rms_norm(mb: Emit, call: Call) -> Any:
    mil = layer_type(mb, call, "weight")
    x = mb.var(call["input"], mil)
    rank = len(x.shape)
    axes = list(range(rank - len(call["normalized_shape"]), rank))
    # Left out, eps is float32's resolution whatever the dtype: torch computes fp16 in float32.
    given = call["eps"]
    epsilon = torch.finfo(torch.float32).eps if given is None else float(given)
    out = _rms_scaled(mb, x, axes, epsilon) if mil == "fp16" else _rms(mb, x, axes, epsilon)
    if call["weight"] is not None:
        out = mb.mul(x=out, y=mb.var(call["weight"], mil))
    return _results(call, mb.cast(out, mb.type_of(call.outs[0].dtype)))


def _rms(mb: Emit, x: Var, axes: list[int], epsilon: float) -> Var:
    mean = mb.reduce_mean(x=mb.mul(x=x, y=x), axes=axes, keep_dims=True)
    mean = mb.add(x=mean, y=mb.const(epsilon, mil_type(x)))
    return mb.real_div(x=x, y=mb.sqrt(x=mean))


def _rms_scaled(mb: Emit, x: Var, axes: list[int], epsilon: float) -> Var:
    """RMS norm within fp16: squares overflow from 256 on and vanish below 2^-12.

    With s = max(max|x|, sqrt(eps)) and y = x / s, the result is y / sqrt(mean(y^2) + eps / s^2):
    the same value, with every term between 0 and 1 and the sum at least 1 / n.
    """
    root = max(math.sqrt(epsilon), 2.0**-14)
    top = mb.reduce_max(x=mb.abs(x=x), axes=axes, keep_dims=True)
    scale = mb.clip(x=top, alpha=root, beta=FP16_MAX)  # finite: x / inf would lose an infinite x
    y = mb.real_div(x=x, y=scale)
    ratio = mb.real_div(x=mb.const(math.sqrt(epsilon), mil_type(x)), y=scale)
    mean = mb.reduce_mean(x=mb.mul(x=y, y=y), axes=axes, keep_dims=True)
    mean = mb.add(x=mean, y=mb.mul(x=ratio, y=ratio))
    return mb.real_div(x=y, y=mb.sqrt(x=mean))


@rules(aten.group_norm.default, types=FLOAT)
@rules(aten.native_group_norm.default, types=FLOAT, checks=[only_first_result])
def group_norm(mb: Emit, call: Call) -> Any:
    mil = layer_type(mb, call, *AFFINE)
    groups = call["group"] if "group" in call.args else call["num_groups"]
    x = mb.var(call["input"], mil)
    shape = call.shape("input")
    split = reshape(mb, x, [shape[0], groups, prod(shape[1:]) // groups])
    epsilon = floor_epsilon(mb, float(call["eps"]), mil)
    out = reshape(mb, mb.layer_norm(x=split, axes=[2], epsilon=epsilon), shape)
    out = scale_channels(mb, out, call["weight"], call["bias"])
    return _results(call, mb.cast(out, mb.type_of(call.outs[0].dtype)))


@rules(aten.instance_norm.default, types=FLOAT, dynamic=False)
def instance_norm(mb: Emit, call: Call) -> Any:
    return own_statistics(mb, call) if call["use_input_stats"] else batch_norm(mb, call)


@rules(
    aten._native_batch_norm_legit.no_stats,
    types=FLOAT,
    checks=[one_of("training", True), only_first_result],
    dynamic=False,
)
def own_statistics(mb: Emit, call: Call) -> Any:
    """Instance norm, and batch norm that has no running statistics.

    The second takes its statistics over the whole batch: the batch moves behind the channels.
    """
    mil = layer_type(mb, call, *AFFINE)
    x = mb.var(call["input"], mil)
    shape = [int(extent) for extent in x.shape]
    over_batch = call.op is not aten.instance_norm.default and shape[0] > 1
    flat = mb.reshape(x=x, shape=[*shape[:2], int(np.prod(shape[2:]))])
    if over_batch:
        flat = mb.reshape(x=mb.transpose(x=flat, perm=[1, 0, 2]), shape=[1, shape[1], -1])
    gamma, beta = (fixed(mb, call[name], mil) for name in AFFINE)
    inside = gamma is not None and beta is not None
    out = mb.instance_norm(
        x=flat,
        gamma=gamma if inside else None,
        beta=beta if inside else None,
        epsilon=floor_epsilon(mb, float(call["eps"]), mil),
    )
    if over_batch:
        out = mb.reshape(x=out, shape=[shape[1], shape[0], -1])
        out = mb.transpose(x=out, perm=[1, 0, 2])
    out = mb.reshape(x=out, shape=shape)
    out = out if inside else scale_channels(mb, out, call["weight"], call["bias"])
    return _results(call, mb.cast(out, mb.type_of(call.outs[0].dtype)))
