"""Scales and zero points that are computed from a tensor at run time: dynamic quantization.

The formulas are those of ``torch.ao.quantization`` and of torchao, step by step, in fp32 under
either precision: fp16 scales would be 0 for tensors of small values.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence

import torch
import torch.ao.quantization.fx._decomposed  # defines quantized_decomposed
import torchao.quantization  # noqa: F401  (defines torchao)
from torch.fx import Node

from executorch_coreml.ops.call import Call, normalise
from executorch_coreml.ops.checks import one_of
from executorch_coreml.ops.emit import Emit, Var
from executorch_coreml.ops.quant_arithmetic import split_axes
from executorch_coreml.ops.rule import FLOAT, INT, Family

quantized = torch.ops.quantized_decomposed
ao = torch.ops.torchao
rules = Family()

TYPES = FLOAT | INT | {torch.float64}  # PyTorch has some of the scales in float64
KEPT = "scales that are computed at run time: kept in fp32"
CHOOSE = {
    quantized.choose_qparams.tensor,
    quantized.choose_qparams_symmetric.tensor,
    quantized.choose_qparams_per_token.default,
    quantized.choose_qparams_per_token_asymmetric.default,
    ao.choose_qparams_affine.default,
}


def _results(mb: Emit, call: Call, scale: Var, zero: Var | float) -> tuple[Var, Var]:
    """In the shapes and dtypes of the results; ``zero`` may be one number for all."""
    made = []
    for value, out in zip((scale, zero), call.outs, strict=True):
        mil = mb.type_of(out.dtype)
        if isinstance(value, float):
            value = mb.mul(x=scale, y=0.0)
            value = mb.add(x=value, y=float(zero)) if zero else value
        if tuple(value.shape) != tuple(out.shape):
            value = mb.reshape(x=value, shape=list(out.shape))
        made.append(mb.cast(value, mil))
    return made[0], made[1]


def _range(mb: Emit, x: Var, axes: Sequence[int]) -> tuple[Var, Var]:
    """The least and the greatest value along the axes, and zero."""
    low = mb.reduce_min(x=x, axes=list(axes), keep_dims=True)
    high = mb.reduce_max(x=x, axes=list(axes), keep_dims=True)
    return mb.minimum(x=low, y=0.0), mb.maximum(x=high, y=0.0)


def _affine(mb: Emit, bounds: tuple[Var, Var], ints: tuple[int, int], eps: float) -> list[Var]:
    """[scale, zero point] that use the whole range of the integers."""
    (low, high), (least, most) = bounds, ints
    scale = mb.real_div(x=mb.sub(x=high, y=low), y=float(most - least))
    scale = mb.maximum(x=scale, y=eps)
    zero = mb.sub(x=float(least), y=mb.round(x=mb.real_div(x=low, y=scale)))
    return [scale, mb.minimum(x=mb.maximum(x=zero, y=float(least)), y=float(most))]


def _symmetric(mb: Emit, bounds: tuple[Var, Var], ints: tuple[int, int], eps: float) -> Var:
    largest = mb.maximum(x=mb.sub(x=0.0, y=bounds[0]), y=bounds[1])
    return mb.maximum(x=mb.real_div(x=largest, y=float(ints[1] - ints[0]) / 2), y=eps)


@rules(quantized.choose_qparams.tensor, quantized.choose_qparams_symmetric.tensor, types=TYPES)
def choose_qparams(mb: Emit, call: Call) -> tuple[Var, Var]:
    bounds = _range(mb, mb.var(call["input"], "fp32"), range(call.rank("input")))
    ints = int(call["quant_min"]), int(call["quant_max"])
    if call.op is quantized.choose_qparams.tensor:
        scale, zero = _affine(mb, bounds, ints, call["eps"])
        return _results(mb, call, scale, zero)
    middle = 128.0 if call["dtype"] is torch.uint8 else 0.0
    return _results(mb, call, _symmetric(mb, bounds, ints, call["eps"]), middle)


@rules(quantized.choose_qparams_per_token.default, types=TYPES)
def per_token(mb: Emit, call: Call) -> tuple[Var, Var]:
    low, high = _range(mb, mb.var(call["input"], "fp32"), [-1])
    largest = mb.maximum(x=mb.sub(x=0.0, y=low), y=high)
    return _results(mb, call, mb.real_div(x=mb.maximum(x=largest, y=1e-5), y=127.0), 0.0)


@rules(quantized.choose_qparams_per_token_asymmetric.default, types=TYPES)
def per_token_asymmetric(mb: Emit, call: Call) -> tuple[Var, Var]:
    """The zero point errs on the side where less is lost, as in XNNPACK."""
    low, high = _range(mb, mb.var(call["input"], "fp32"), [-1])
    scale = mb.real_div(x=mb.sub(x=high, y=low), y=255.0)
    scale = mb.maximum(x=scale, y=torch.finfo(torch.float32).eps)
    below, above = mb.real_div(x=low, y=scale), mb.real_div(x=high, y=scale)
    error = mb.add(x=mb.add(x=below, y=-128.0), y=mb.add(x=above, y=127.0))
    zero = mb.select(
        cond=mb.greater(x=error, y=0.0),
        a=mb.sub(x=-128.0, y=below),
        b=mb.sub(x=127.0, y=above),
    )
    zero = mb.minimum(x=mb.maximum(x=zero, y=-128.0), y=127.0)
    return _results(mb, call, scale, mb.round(x=zero))


@rules(
    ao.choose_qparams_affine.default,
    types=TYPES,
    checks=[one_of("mapping_type", "SYMMETRIC", "ASYMMETRIC")],
)
def choose_affine(mb: Emit, call: Call) -> tuple[Var, Var]:
    shape = call.shape("input")
    blocks = [n // b for n, b in zip(shape, call["block_size"], strict=True)]
    split, kept = split_axes(shape, blocks)
    x = mb.var(call["input"], "fp32")
    x = x if len(split) == len(shape) else mb.reshape(x=x, shape=split)
    axes = [axis for axis, (n, k) in enumerate(zip(split, kept, strict=True)) if n != k]
    bounds = _range(mb, x, axes) if axes else (mb.minimum(x=x, y=0.0), mb.maximum(x=x, y=0.0))
    info = torch.iinfo(call["target_dtype"])
    low, high = call["quant_min"], call["quant_max"]
    ints = int(info.min if low is None else low), int(info.max if high is None else high)
    eps = call["eps"]
    if eps is None:
        eps = torch.finfo(call.dtype("input")).smallest_normal
    if call["mapping_type"] == "ASYMMETRIC":
        scale, zero = _affine(mb, bounds, ints, eps)
        return _results(mb, call, scale, zero)
    return _results(mb, call, _symmetric(mb, bounds, ints, eps), float(int((sum(ints) + 1) / 2)))


def chosen(nodes: Iterable[Node]) -> dict[Node, str]:
    """Those that stand for computed scales and zero points -> why they are kept in fp32."""
    found: dict[Node, str] = {}
    for node in nodes:
        if node.op == "call_function" and normalise(node.target) in CHOOSE:
            read = [user for user in node.users if user.target is operator.getitem]
            found |= dict.fromkeys((node, *read), KEPT)
    return found
