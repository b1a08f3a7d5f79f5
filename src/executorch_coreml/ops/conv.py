"""Convolutions and transposed convolutions in one to three spatial dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from executorch_coreml.errors import UnsupportedOp
from executorch_coreml.ops.axes import along_axis, batched, placement, unbatched
from executorch_coreml.ops.call import Call
from executorch_coreml.ops.emit import Emit, Var, mil_type
from executorch_coreml.ops.rule import FLOAT, Family
from executorch_coreml.ops.sizes import fixed_extent
from executorch_coreml.ops.weights import fixed, layer_type, scale_channels

aten = torch.ops.aten
rules = Family()


@dataclass(frozen=True, slots=True)
class Geometry:
    """Per spatial axis: kernel extent, stride, dilation, and padding (before, after)."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    groups: int

    @property
    def reach(self) -> tuple[int, ...]:
        """The extent that a dilated kernel covers."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True))

    @property
    def flat_pads(self) -> list[int]:
        return [amount for pair in self.pads for amount in pair]


def _per_axis(given: int | Sequence[int], count: int) -> tuple[int, ...]:
    """One number per spatial axis; a single one stands for all."""
    values = (given,) if isinstance(given, int) else tuple(given)
    return values * count if len(values) == 1 else values


def _geometry(call: Call) -> Geometry:
    kernel = call.shape("weight")[2:]
    count = len(kernel)
    dilation = _per_axis(call["dilation"], count)
    given = call["padding"]
    if given == "same":
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        pads = tuple((t // 2, t - t // 2) for t in total)
    else:
        pads = tuple((p, p) for p in _per_axis(0 if given == "valid" else given, count))
    stride = _per_axis(call["stride"], count)
    return Geometry(kernel, stride, dilation, pads, call["groups"])


@rules(
    aten.conv1d.default,
    aten.conv2d.default,
    aten.conv3d.default,
    aten.conv1d.padding,
    aten.conv2d.padding,
    aten.conv3d.padding,
    types=FLOAT,
    dynamic=True,
)
def conv(mb: Emit, call: Call) -> Var:
    mil = layer_type(mb, call, "weight", "bias")
    shape = _geometry(call)
    x, added = batched(mb, mb.var(call["input"], mil), len(shape.kernel))
    weight, bias = fixed(mb, call["weight"], mil), fixed(mb, call["bias"], mil)
    if weight is None:
        weight, shape = _spread(mb, mb.var(call["weight"], mil), shape)
    out = mb.conv(
        x=x,
        weight=weight,
        bias=bias,
        strides=list(shape.stride),
        pad_type="custom",
        pad=shape.flat_pads,
        dilations=list(shape.dilation),
        groups=shape.groups,
    )
    if bias is None:
        out = scale_channels(mb, out, None, call["bias"])
    return mb.cast(unbatched(mb, out, added), mb.type_of(call.out.dtype))


def _spread(mb: Emit, weight: Var, shape: Geometry) -> tuple[Var, Geometry]:
    """A weight given at run time with zeros in place of dilation, which MIL refuses for it."""
    for axis, (size, step, reach) in enumerate(
        zip(shape.kernel, shape.dilation, shape.reach, strict=True)
    ):
        if step > 1:
            weight = along_axis(mb, weight, placement(size, step, 0, reach), 2 + axis)
    ones = (1,) * len(shape.kernel)
    return weight, Geometry(shape.reach, shape.stride, ones, shape.pads, shape.groups)


@rules(
    aten.conv_transpose1d.default,
    aten.conv_transpose2d.input,
    aten.conv_transpose3d.input,
    types=FLOAT,
    dynamic=True,
)
def conv_transpose(mb: Emit, call: Call) -> Var:
    mil = layer_type(mb, call, "weight", "bias")
    shape = _geometry(call)
    x, added = batched(mb, mb.var(call["input"], mil), len(shape.kernel))
    extra = _per_axis(call["output_padding"], len(shape.kernel))
    weight = fixed(mb, call["weight"], mil)
    if weight is None:
        out = _transposed_by_conv(mb, x, mb.var(call["weight"], mil), shape, extra)
        out = scale_channels(mb, out, None, call["bias"])
    else:
        out = _transposed(mb, x, weight, call["bias"], shape, extra)
    return mb.cast(unbatched(mb, out, added), mb.type_of(call.out.dtype))


def _transposed(
    mb: Emit, x: Var, weight: Var, bias: Any, shape: Geometry, extra: tuple[int, ...]
) -> Var:
    """MIL ``conv_transpose``: output padding crops less at the end, and adds zeros beyond that."""
    crops: list[int] = []
    missing: list[int] = []
    for (before, after), more in zip(shape.pads, extra, strict=True):
        crops += [before, max(after - more, 0)]
        missing += [0, max(more - after, 0)]
    constant = None if any(missing) else fixed(mb, bias, mil_type(x))
    out = mb.conv_transpose(
        x=x,
        weight=weight,
        bias=constant,
        strides=list(shape.stride),
        pad_type="custom",
        pad=crops,
        dilations=list(shape.dilation),
        groups=shape.groups,
    )
    if any(missing):
        out = mb.pad(x=out, pad=missing, mode="constant", constant_val=0.0)
    return out if constant is not None else scale_channels(mb, out, None, bias)


def _transposed_by_conv(
    mb: Emit, x: Var, weight: Var, shape: Geometry, extra: tuple[int, ...]
) -> Var:
    """A transposed convolution with a weight given at run time, which iOS15 has no op for.

    It is the convolution of the input, with zeros for stride and padding, and the flipped kernel
    whose in and out channels trade places within each group.
    """
    if any(fixed_extent(extent) is None for extent in x.shape[2:]):
        raise UnsupportedOp(
            "a transposed convolution with a weight given at run time needs fixed spatial extents",
            hint="set take_over_constant_data=True, or export it with a fixed height and width",
        )
    channels, per_group = int(weight.shape[0]), int(weight.shape[1])
    inner = channels // shape.groups
    size = int(np.prod(shape.kernel))
    folded = mb.reshape(x=weight, shape=[shape.groups, inner, per_group, size])
    swapped = mb.transpose(x=folded, perm=[0, 2, 1, 3])
    weight = mb.reshape(x=swapped, shape=[shape.groups * per_group, inner, *shape.kernel])
    for axis, reach in enumerate(shape.reach):
        before, after = shape.pads[axis]
        step, length = shape.stride[axis], int(x.shape[2 + axis])
        kernel, spread = shape.kernel[axis], shape.dilation[axis]
        weight = along_axis(mb, weight, placement(kernel, -spread, reach - 1, reach), 2 + axis)
        stretched = (length - 1) * step + 1 + 2 * (reach - 1) - before - after + extra[axis]
        x = along_axis(mb, x, placement(length, step, reach - 1 - before, stretched), 2 + axis)
    return mb.conv(x=x, weight=weight, pad_type="valid", groups=shape.groups)


@rules(aten.convolution.default, types=FLOAT, dynamic=True)
def convolution(mb: Emit, call: Call) -> Var:
    return conv_transpose(mb, call) if call["transposed"] else conv(mb, call)
