"""``conv`` and ``conv_transpose`` in one, two and three spatial dimensions.

Semantics: coremltools ``mil/ops/defs/iOS15/conv.py`` and ``iOS17/conv.py``. ``same`` padding puts
the odd element at the end, ``same_lower`` at the start: what OpenVINO calls SAME_UPPER and
SAME_LOWER (the op's docstring says otherwise for even kernels; its tests against PyTorch do not).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import openvino as ov
from openvino import opset15 as ops

from executorch_coreml.engine.kernels.operand import (
    Operand,
    apart,
    cast,
    constant,
    f32,
    i64,
    integers,
    rank,
    scalar,
    shape,
    text,
)
from executorch_coreml.engine.kernels.table import Family
from executorch_coreml.errors import ProgramError

kernels = Family()

AUTO_PAD = {
    "valid": "valid",
    "custom": "explicit",
    "same": "same_upper",
    "same_lower": "same_lower",
}


def auto_pad(pad_type: Operand | str) -> str:
    """OpenVINO's name of a MIL ``pad_type``.

    Raises:
        ProgramError: MIL has no such padding.
    """
    name = text(pad_type, "pad_type").lower()
    if name not in AUTO_PAD:
        raise ProgramError(f"pad_type must be one of {sorted(AUTO_PAD)}, got {name!r}")
    return AUTO_PAD[name]


def per_dimension(x: Operand | None, count: int, default: int, what: str) -> list[int]:
    """The ``count`` numbers of ``x``, or ``default`` for each where the program gives none."""
    values = [default] * count if x is None else integers(x, what)
    if len(values) != count:
        raise ProgramError(f"{what} needs {count} numbers, got {values}")
    return values


@dataclass(frozen=True)
class _Sliding:
    """How a kernel slides over the spatial dimensions, one entry each."""

    strides: list[int]
    dilations: list[int]
    begin: list[int]
    end: list[int]
    auto_pad: str
    groups: int

    @classmethod
    def read(
        cls,
        spatial: int,
        strides: Operand | None,
        pad_type: Operand | str,
        pad: Operand | None,
        dilations: Operand | None,
        groups: Operand | int,
    ) -> _Sliding:
        mode = auto_pad(pad_type)
        amounts = per_dimension(pad if mode == "explicit" else None, 2 * spatial, 0, "pad")
        return cls(
            strides=per_dimension(strides, spatial, 1, "strides"),
            dilations=per_dimension(dilations, spatial, 1, "dilations"),
            begin=amounts[::2],
            end=amounts[1::2],
            auto_pad=mode,
            groups=int(scalar(groups, "groups")),
        )


def _grouped(weight: Operand, groups: int) -> ov.Output:
    """The weight with its first dimension split into groups, as OpenVINO wants it."""
    first, *rest = shape(weight)
    if first is None or None in rest or first % groups:
        raise ProgramError(f"weight {shape(weight)} cannot be split into {groups} groups")
    extents = [groups, first // groups, *(extent for extent in rest if extent is not None)]
    return ops.reshape(cast(weight, ov.Type.f32), i64(extents), False).output(0)


def _with_bias(result: ov.Node, bias: Operand | None) -> ov.Node:
    if bias is None:
        return result
    spread = [1, -1] + [1] * (rank(result.output(0)) - 2)
    return ops.add(result, ops.reshape(cast(bias, ov.Type.f32), i64(spread), False))


@kernels("conv")
def conv(
    x: Operand,
    weight: Operand,
    bias: Operand | None = None,
    strides: Operand | None = None,
    pad_type: Operand | str = "valid",
    pad: Operand | None = None,
    dilations: Operand | None = None,
    groups: Operand | int = 1,
) -> ov.Node:
    how = _Sliding.read(rank(x) - 2, strides, pad_type, pad, dilations, groups)
    value = cast(x, ov.Type.f32)
    strided = any(step > 1 for step in how.strides) and any([*how.begin, *how.end])
    if strided and all(extent == 1 for extent in shape(weight)[2:]):
        value, how = _picked(value, how)
    place = (how.strides, how.begin, how.end, how.dilations, how.auto_pad)
    if how.groups == 1:
        return _with_bias(ops.convolution(value, cast(weight, ov.Type.f32), *place), bias)
    return _with_bias(ops.group_convolution(value, _grouped(weight, how.groups), *place), bias)


@kernels("conv_quantized")
def conv_quantized(
    x: Operand,
    weight: Operand,
    quantization_type: Operand | str,
    quant_scale: Operand,
    quant_bias: Operand,
    bias: Operand | None = None,
    nbits: Operand | int = 8,
    strides: Operand | None = None,
    pad_type: Operand | str = "valid",
    pad: Operand | None = None,
    dilations: Operand | None = None,
    groups: Operand | int = 1,
) -> ov.Node:
    """``conv`` whose weight is ``weight * quant_scale + quant_bias``, by channel or as a whole."""
    kind = text(quantization_type, "quantization_type")
    if kind != "linear":
        raise ProgramError(f"quantization_type {kind!r}: only 'linear' says what the weights are")
    codes = constant(weight, "weight").astype(np.float32)
    if codes.size and codes.max() >= 2 ** int(scalar(nbits, "nbits")):
        raise ProgramError(f"a weight of {codes.max():.0f} has more than nbits")
    spread = [-1] + [1] * (codes.ndim - 1)
    scale, shift = (
        constant(value, what).astype(np.float32).reshape(spread)
        for value, what in ((quant_scale, "quant_scale"), (quant_bias, "quant_bias"))
    )
    wide = codes * scale + shift
    return conv(x, wide, bias, strides, pad_type, pad, dilations, groups)


def _picked(value: ov.Output, how: _Sliding) -> tuple[ov.Output, _Sliding]:
    """The places that a 1x1 convolution reads, and how it slides over those.

    OpenVINO 2026.4 moves the strides of such a convolution to the elementwise ops before it and
    forgets the padding: the result has the wrong shape.
    """
    spatial = len(how.strides)
    padded = ops.pad(value, i64([0, 0, *how.begin]), i64([0, 0, *how.end]), "constant", f32(0.0))
    start, stop = i64([0] * spatial), i64([2**31 - 1] * spatial)
    picked = ops.slice(padded, start, stop, i64(how.strides), i64(list(range(2, 2 + spatial))))
    plain = replace(how, strides=[1] * spatial, begin=[0] * spatial, end=[0] * spatial)
    return picked.output(0), plain


@kernels("conv_transpose")
def conv_transpose(
    x: Operand,
    weight: Operand,
    bias: Operand | None = None,
    pad: Operand | None = None,
    output_shape: Operand | None = None,
    pad_type: Operand | str = "valid",
    strides: Operand | None = None,
    dilations: Operand | None = None,
    groups: Operand | int = 1,
) -> ov.Node:
    """The gradient of ``conv`` by its input; ``output_shape`` picks one of the possible sizes.

    OpenVINO 2026.4 merges a Pad in front as if the strides were 1: the result has the wrong shape.
    """
    how = _Sliding.read(rank(x) - 2, strides, pad_type, pad, dilations, groups)
    target = None if output_shape is None else integers(output_shape, "output_shape")[2:]
    begin, end, extra = _transposed_padding(how, shape(x)[2:], shape(weight)[2:], target)
    place = (how.strides, None, begin, end, how.dilations, "explicit", extra)
    value = cast(x, ov.Type.f32)
    if value.get_node().get_type_name() == "Pad":
        value = apart(value)
    if how.groups == 1:
        kernel = cast(weight, ov.Type.f32)
        return _with_bias(ops.convolution_backprop_data(value, kernel, *place), bias)
    kernel = _grouped(weight, how.groups)
    return _with_bias(ops.group_convolution_backprop_data(value, kernel, *place), bias)


def _transposed_padding(
    how: _Sliding,
    sizes: Sequence[int | None],
    kernel: Sequence[int | None],
    target: list[int] | None,
) -> tuple[list[int], list[int], list[int]]:
    """What to cut off at the begin and the end of the full result, and what to append.

    The full result of n elements has stride * (n - 1) + (kernel - 1) * dilation + 1. ``same`` cuts
    it down to ``target`` (stride * n by default) as the forward convolution pads, the odd element
    at the end; the others keep ``pad`` at the begin. A target beyond the full result is appended
    zeros.
    """
    begin, end, extra = [], [], []
    for d, (size, taps) in enumerate(zip(sizes, kernel, strict=True)):
        if taps is None or (target is not None and size is None):
            raise ProgramError("the extents of x and weight must be known with output_shape")
        reach = (taps - 1) * how.dilations[d] + 1
        surplus = reach - how.strides[d]  # how much longer than stride * n the full result is
        if target is not None and size is not None:
            surplus += how.strides[d] * size - target[d]
        if how.auto_pad.startswith("same"):
            total = max(surplus, 0)
            cut = (total + 1) // 2 if how.auto_pad == "same_lower" else total // 2
        else:
            cut = how.begin[d]
            surplus = surplus if target is not None else cut + how.end[d]
        begin.append(cut)
        end.append(max(surplus - cut, 0))
        extra.append(max(cut - surplus, 0))
    return begin, end, extra
