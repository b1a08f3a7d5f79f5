"""Quantization as arithmetic, for what MIL's ``quantize`` and ``dequantize`` do not take.

Those need constant scales, one for the tensor or one per extent of one axis. Scales that are
computed at run time (dynamic quantization) and scales per token or block are multiplied by hand,
as PyTorch does, and always in fp32: 1 / scale overflows fp16 for scales below 1.5e-5.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from executorch_coreml.ops.call import Call
from executorch_coreml.ops.emit import Emit, Var, mil_type
from executorch_coreml.ops.precision import keep_fp32

WIDE = "scales that are computed at run time or lie in blocks"


def split_axes(shape: Sequence[int], blocks: Sequence[int]) -> tuple[list[int], list[int]]:
    """Shapes of the tensor and of its scales that broadcast: an axis in blocks becomes two."""
    tensor: list[int] = []
    scales: list[int] = []
    for extent, count in zip(shape, blocks, strict=True):
        whole = count in (1, extent)
        tensor += [extent] if whole else [count, extent // count]
        scales += [count] if whole else [count, 1]
    return tensor, scales


def by_hand(
    mb: Emit, call: Call, blocks: Sequence[int], low: int, high: int, zero_first: bool
) -> Var:
    """The integers of a quantize call, as MIL int32.

    Args:
        blocks: How many scales there are along each axis.
        zero_first: PyTorch adds the zero point before it rounds.
    """
    keep_fp32(mb, torch.float32, WIDE)
    x, scale, zero = _operands(mb, call, blocks)
    x = mb.mul(x=x, y=mb.real_div(x=1.0, y=scale))
    if zero_first and zero is not None:
        x = mb.add(x=x, y=zero)
    x = mb.round(x=x)
    if not zero_first and zero is not None:
        x = mb.add(x=x, y=zero)
    x = mb.minimum(x=mb.maximum(x=x, y=float(low)), y=float(high))
    return mb.cast(_shaped(mb, x, call.shape("input")), "int32")


def back_by_hand(mb: Emit, call: Call, blocks: Sequence[int]) -> Var:
    """The floats of a dequantize call, as fp32."""
    keep_fp32(mb, torch.float32, WIDE)
    x, scale, zero = _operands(mb, call, blocks)
    if zero is not None:
        x = mb.sub(x=x, y=zero)
    return _shaped(mb, mb.mul(x=x, y=scale), call.shape("input"))


def _operands(mb: Emit, call: Call, blocks: Sequence[int]) -> tuple[Var, Var, Var | None]:
    tensor, scales = split_axes(call.shape("input"), blocks)
    plural = "scales" in call.args
    x = _shaped(mb, mb.var(call["input"], "fp32"), tensor)
    scale = _shaped(mb, mb.var(call["scales" if plural else "scale"], "fp32"), scales)
    zero = call["zero_points" if plural else "zero_point"]
    if zero is None:
        return x, scale, None
    return x, scale, _shaped(mb, mb.var(zero, "fp32"), scales)


def _shaped(mb: Emit, x: Var, shape: Sequence[int]) -> Var:
    if tuple(x.shape) == tuple(shape):
        return x
    return (
        mb.const(x.val.reshape(shape), mil_type(x))
        if x.val is not None
        else mb.reshape(x=x, shape=list(shape))
    )
