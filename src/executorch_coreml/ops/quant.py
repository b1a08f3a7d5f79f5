"""Quantized tensors: weights stored in few bits, activations rounded to 8-bit integers.

Weights become ``constexpr_*`` ops (see :mod:`.compressed`): they stay in few bits in the file.
Activations become ``quantize`` and ``dequantize``, which Core ML fuses with the layers between.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.ao.quantization.fx._decomposed  # defines quantized_decomposed
from torch.fx import Node
from torchao.prototype.quantization.codebook_coreml import (
    codebook_ops,  # noqa: F401  (defines quant and torchao)
)

from executorch_coreml.ops.call import Call
from executorch_coreml.ops.checks import says
from executorch_coreml.ops.compressed import (
    Affine,
    Array,
    affine,
    affine_target,
    channel_axis,
    half_suits,
    table,
    table_target,
)
from executorch_coreml.ops.emit import Emit, Var
from executorch_coreml.ops.precision import FP16_NORMAL
from executorch_coreml.ops.quant_arithmetic import back_by_hand, by_hand, split_axes
from executorch_coreml.ops.ranks import MAX_RANK
from executorch_coreml.ops.rule import BYTES, FLOAT, INT, Check, Family
from executorch_coreml.options import Target

quantized = torch.ops.quantized_decomposed
ao = torch.ops.torchao
quant = torch.ops.quant
rules = Family()

TYPES = FLOAT | INT | {torch.float64}  # scales may be float64
_NAMES = {torch.int8: "int8", torch.uint8: "uint8"}

QUANTIZES = {
    quantized.quantize_per_tensor.default,
    quantized.quantize_per_tensor.tensor,
    quantized.quantize_per_channel.default,
    quantized.quantize_per_channel_group.default,
    quantized.quantize_per_token.default,
    ao.quantize_affine.default,
}
_ZERO_FIRST = {
    quantized.quantize_per_channel_group.default,
    quantized.quantize_per_token.default,
}


def _fixed_steps(call: Call) -> bool:
    """Whether the scale and zero point are constants."""
    names = ("scale", "scales", "zero_point", "zero_points")
    return all(call.known(name) for name in names if name in call.args)


def half_or_float(call: Call) -> str | None:
    """What is quantized has dtype float32 or float16"""
    for dtype in (call.dtype("input"), call.out.dtype):
        if dtype is torch.float64:
            return "the tensor has dtype float64; Core ML quantizes float32 and float16"
    return None


def byte(name: str) -> Check:
    """The tensor argument, or the result for ``"result"``, is of 8-bit integers."""

    @says(f"{name} has dtype int8 or uint8")
    def check(call: Call) -> str | None:
        tensor = call.out if name == "result" else call.meta(name)
        if tensor.dtype in BYTES:
            return None
        return f"{name} has dtype {str(tensor.dtype).removeprefix('torch.')}; Core ML has 8 bits"

    return check


def placed_steps(call: Call) -> str | None:
    """A weight, or a tensor of rank 1 or more that has at most 5 axes with its blocks counted"""
    if call.known("input") and _fixed_steps(call) and call.op not in QUANTIZES:
        return None
    if call.rank("input") == 0:
        return "input has rank 0; Core ML quantizes tensors of rank 1 and more"
    axes = len(split_axes(call.shape("input"), blocks_of(call))[0])
    if axes > MAX_RANK:
        return f"input in blocks has {axes} axes; Core ML allows at most {MAX_RANK}"
    return None


def by_hand_only(call: Call) -> bool:
    """Whether Core ML's own ops do not take the scales."""
    if not _fixed_steps(call):
        return True
    if call.known("input") and call.op not in QUANTIZES:
        return False
    return channel_axis(call.shape("input"), blocks_of(call)) is None


def blocks_of(call: Call) -> tuple[int, ...]:
    """How many scales there are along each axis of ``input``."""
    shape = call.shape("input")
    if "block_size" in call.args:
        return tuple(n // b for n, b in zip(shape, call["block_size"], strict=True))
    if "group_size" in call.args:
        return (*shape[:-1], shape[-1] // call["group_size"])
    if "scales" in call.args and "axis" not in call.args:
        return (*shape[:-1], 1)  # per token
    blocks = [1] * len(shape)
    if "axis" in call.args:
        blocks[call["axis"] % len(shape)] = shape[call["axis"]]
    return tuple(blocks)


def integers_of(call: Call) -> tuple[int, int]:
    """The range of the integers."""
    low, high = call["quant_min"], call["quant_max"]
    dtype = call.dtype("input") if call.dtype("input") in BYTES else call.out.dtype
    info = torch.iinfo(dtype)
    return (info.min if low is None else int(low)), (info.max if high is None else int(high))


def _steps(mb: Emit, call: Call) -> tuple[Array, Array | None]:
    """Scales in float64 and zero points, one per block; None where all are 0."""
    blocks = blocks_of(call)
    plural = "scales" in call.args
    scale = mb.array(call["scales" if plural else "scale"])
    zero = mb.array(call["zero_points" if plural else "zero_point"])
    assert scale is not None
    scale = np.asarray(scale, np.float64).reshape(blocks)
    if zero is None or not np.any(zero):
        return scale, None
    return scale, np.broadcast_to(np.asarray(zero).reshape(-1), scale.size).reshape(blocks)


def _computed(mb: Emit, call: Call) -> Array:
    """What PyTorch computes for a call whose arguments are all known."""

    def tensor(value: Any) -> Any:
        return torch.from_numpy(np.array(mb.array(value))) if isinstance(value, Node) else value

    with torch.no_grad():
        made: torch.Tensor = call.op(**{name: tensor(value) for name, value in call.args.items()})
    return made.numpy()


@rules(
    quantized.quantize_per_tensor.default,
    quantized.quantize_per_tensor.tensor,
    quantized.quantize_per_channel.default,
    quantized.quantize_per_channel_group.default,
    quantized.quantize_per_token.default,
    ao.quantize_affine.default,
    types=TYPES,
    since=Target.iOS17,
    since_of=lambda call: Target.iOS15 if by_hand_only(call) else Target.iOS17,
    checks=[byte("result"), half_or_float, placed_steps],
)
def quantize(mb: Emit, call: Call) -> Var:
    if by_hand_only(call):
        first = call.op in _ZERO_FIRST
        return by_hand(mb, call, blocks_of(call), *integers_of(call), zero_first=first)
    scale, zero = _steps(mb, call)
    kind = _kind(mb, call.dtype("input"), scale)
    x = _limited(mb, mb.var(call["input"], kind), call, scale, zero)
    return mb.quantize(
        input=x,
        output_dtype=_NAMES[call.out.dtype],
        **_parameters(call, scale, zero, call.out.dtype, kind),
    )


def _kind(mb: Emit, dtype: torch.dtype, scale: Array) -> str:
    """The float type of an activation on the side where it is float."""
    mil = mb.type_of(dtype)
    if mil == "fp16" and not (scale.min() >= FP16_NORMAL and half_suits(scale, 0.0)):
        mb.note("the scale is beyond fp16: quantized in fp32")
        return "fp32"
    return mil


def _limited(mb: Emit, x: Var, call: Call, scale: Array, zero: Array | None) -> Var:
    """``x`` within what the integers can hold where they are not all that the dtype has."""
    low, high = integers_of(call)
    info = torch.iinfo(call.out.dtype)
    if (low, high) == (info.min, info.max):
        return x
    centre = 0 if zero is None else zero
    x = mb.maximum(x=x, y=(low - centre) * scale)
    return mb.minimum(x=x, y=(high - centre) * scale)


def _parameters(
    call: Call, scale: Array, zero: Array | None, dtype: torch.dtype, kind: str
) -> dict[str, Any]:
    """scale, zero_point and axis as MIL's quantize and dequantize take them."""
    axis = channel_axis(call.shape("input"), scale.shape)
    flat = scale.reshape(-1).astype(np.float16 if kind == "fp16" else np.float32)
    zeros = None if zero is None else zero.reshape(-1).astype(_NAMES[dtype])
    if axis == -1:
        return {"scale": flat[0], "zero_point": None if zeros is None else zeros[0]}
    return {"scale": flat, "zero_point": zeros, "axis": axis}


def _weight_form(call: Call) -> Target:
    if by_hand_only(call):
        return Target.iOS15
    if not call.known("input"):
        return Target.iOS17
    if call.rank("input") == 0:
        return Target.iOS15
    return affine_target(call.shape("input"), blocks_of(call), *integers_of(call))


@rules(
    quantized.dequantize_per_tensor.default,
    quantized.dequantize_per_tensor.tensor,
    quantized.dequantize_per_channel.default,
    quantized.dequantize_per_channel_group.default,
    quantized.dequantize_per_token.default,
    ao.dequantize_affine.default,
    types=TYPES,
    since=Target.iOS16,
    since_of=_weight_form,
    checks=[byte("input"), half_or_float, placed_steps],
    moves_data=True,
)
def dequantize(mb: Emit, call: Call) -> Var:
    mil = mb.type_of(call.out.dtype)
    if by_hand_only(call):
        return mb.cast(back_by_hand(mb, call, blocks_of(call)), mil)
    scale, zero = _steps(mb, call)
    data = mb.array(call["input"]) if call.known("input") else None
    if data is not None:
        reference = _computed(mb, call)
        if data.ndim == 0:
            return mb.const(reference, mil)
        low, high = integers_of(call)
        return mb.cast(affine(mb, Affine(data, scale, zero, low, high), reference, mil), mil)
    dtype = call.dtype("input")
    kind = _kind(mb, call.out.dtype, scale)
    x = mb.dequantize(
        input=mb.var(call["input"], _NAMES[dtype]), **_parameters(call, scale, zero, dtype, kind)
    )
    return mb.cast(x, mil)


def _tables(call: Call) -> tuple[int, ...]:
    return call.shape("codebook")[:-2]


def scalar_tables(call: Call) -> str | None:
    """The codes and tables are weights, and the entries of tables are numbers"""
    if not (call.known("codes") and call.known("codebook")):
        return "codes or codebook are computed at run time; Core ML needs weights"
    length = call.shape("codebook")[-1]
    return None if length == 1 else f"the entries of codebook are vectors of {length}"


@rules(
    quant.dequantize_codebook.default,
    types=TYPES | {torch.float64},
    since=Target.iOS16,
    since_of=lambda call: table_target(_tables(call), call["nbits"]),
    checks=[scalar_tables],
    moves_data=True,
    any_rank=True,
)
def dequantize_codebook(mb: Emit, call: Call) -> Var:
    mil = mb.type_of(call.out.dtype)
    codes, tables = mb.array(call["codes"]), mb.array(call["codebook"])
    assert codes is not None
    assert tables is not None
    assert call.target is not None
    reference = _computed(mb, call)
    made = table(mb, codes, tables, call["nbits"], call.target, reference, mil)
    return mb.cast(made, mil)
