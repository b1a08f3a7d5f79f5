"""Windows, strided views and pixel shuffles: rearrangements known element by element.

Each is a gather (or its reverse, a scatter) of constant indices, or a reshape and transpose that
stays within Core ML's rank 5 by merging the leading axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from executorch_coreml.ops.call import Call
from executorch_coreml.ops.checks import constant
from executorch_coreml.ops.emit import Var, mil_type
from executorch_coreml.ops.moves import fill, reshape, take, transpose
from executorch_coreml.ops.rule import FLOAT, INT, Family
from executorch_coreml.ops.sizes import product

if TYPE_CHECKING:
    from executorch_coreml.ops.emit import Emit

aten = torch.ops.aten
rules = Family()

Indices = np.ndarray[Any, Any]


# -- strided views -------------------------------------------------------------------------------


def _strided(shape: Sequence[int], strides: Sequence[int], offset: int) -> Indices:
    """Position in the flat tensor of every element of a strided view."""
    return sum(
        (
            np.arange(extent).reshape([-1] + [1] * (len(shape) - axis - 1)) * stride
            for axis, (extent, stride) in enumerate(zip(shape, strides, strict=True))
        ),
        np.asarray(offset),
    )


def _flat_take(mb: Emit, call: Call, positions: Indices) -> Var:
    x = reshape(mb, mb.var(call["self"]), [call.meta("self").numel()])
    return reshape(mb, take(mb, x, np.atleast_1d(positions), 0), call.out.shape)


def _row_by_row(call: Call) -> str | None:
    """The tensor is contiguous."""
    if call.meta("self").is_contiguous():
        return None
    return "self is not contiguous, so its strides mean another layout than Core ML's"


def _within(call: Call) -> str | None:
    """The view reads nothing beyond the tensor it is taken from."""
    last = (call["storage_offset"] or 0) + sum(
        (extent - 1) * stride for extent, stride in zip(call["size"], call["stride"], strict=True)
    )
    extent = call.meta("self").numel()
    return None if last < extent else f"it reads element {last} of a tensor of {extent}"


@rules(
    aten.as_strided.default,
    aten.as_strided_copy.default,
    checks=[
        constant("stride"),
        constant("storage_offset"),
        _row_by_row,
        _within,
    ],
    moves_data=True,
)
def as_strided(mb: Emit, call: Call) -> Var:
    return _flat_take(mb, call, _strided(call["size"], call["stride"], call["storage_offset"] or 0))


@rules(aten.diagonal.default, aten.diagonal_copy.default, moves_data=True)
def diagonal(mb: Emit, call: Call) -> Var:
    shape = call.shape("self")
    positions = np.arange(prod(shape)).reshape(shape)
    axes = call.dim("dim1"), call.dim("dim2")
    return _flat_take(mb, call, np.diagonal(positions, call["offset"], *axes))


# -- windows -------------------------------------------------------------------------------------


@rules(aten.unfold.default, aten.unfold_copy.default, moves_data=True)
def unfold(mb: Emit, call: Call) -> Var:
    axis, size = call.dim("dimension"), call["size"]
    x = mb.var(call["self"])
    x = reshape(mb, x, x.shape or [1])
    count = (x.shape[axis] - size) // call["step"] + 1
    windows = take(mb, x, _strided([count, size], [call["step"], 1], 0), axis)
    perm = [other for other in range(len(x.shape) + 1) if other != axis + 1] + [axis + 1]
    return reshape(mb, transpose(mb, windows, perm), call.out.shape)


def _patches(call: Call, height: int, width: int) -> tuple[Indices, list[int]]:
    """([kh * kw * windows] positions in the flat padded image, padded [height, width])."""
    (kh, kw), (dh, dw) = call["kernel_size"], call["dilation"]
    (ph, pw), (sh, sw) = call["padding"], call["stride"]
    padded = [height + 2 * ph, width + 2 * pw]
    down = (padded[0] - dh * (kh - 1) - 1) // sh + 1
    across = (padded[1] - dw * (kw - 1) - 1) // sw + 1
    row = padded[1]
    positions = _strided([kh, kw, down, across], [dh * row, dw, sh * row, sw], 0)
    return positions.reshape(-1), padded


@rules(aten.im2col.default, types=FLOAT, moves_data=True)
def im2col(mb: Emit, call: Call) -> Var:
    *lead, height, width = call.shape("self")
    positions, padded = _patches(call, height, width)
    x = mb.var(call["self"])
    if padded != [height, width]:
        ph, pw = call["padding"]
        x = mb.pad(x=x, pad=[ph, ph, pw, pw], mode="constant", constant_val=0.0)
    x = reshape(mb, x, [prod(lead), prod(padded)])
    return reshape(mb, take(mb, x, positions, 1), call.out.shape)


@rules(aten.col2im.default, types=FLOAT)
def col2im(mb: Emit, call: Call) -> Var:
    *lead, height, width = call.out.shape
    positions, padded = _patches(call, height, width)
    planes = prod(lead)
    columns = reshape(mb, mb.var(call["self"]), [planes, len(positions)])
    zeros = fill(mb, [planes, prod(padded)], 0, mil_type(columns))
    indices = positions.astype(np.int32)
    image = mb.scatter(data=zeros, indices=indices, updates=columns, axis=1, mode="add")
    image = reshape(mb, image, [planes, *padded])
    if padded != [height, width]:
        ph, pw = call["padding"]
        image = mb.slice_by_index(x=image, begin=[0, ph, pw], end=[planes, ph + height, pw + width])
    return reshape(mb, image, call.out.shape)


# -- pixel and channel shuffles ------------------------------------------------------------------


@rules(aten.pixel_shuffle.default, moves_data=True, dynamic=True)
def pixel_shuffle(mb: Emit, call: Call) -> Var:
    x, factor = mb.var(call["self"]), call["upscale_factor"]
    if len(x.shape) == 4 and mil_type(x).startswith("fp"):
        return mb.pixel_shuffle(x=x, upscale_factor=factor)
    *lead, channels, height, width = call.shape("self")
    groups = product([*lead, channels // factor**2])
    x = reshape(mb, x, [groups, factor, factor, height, width])
    return reshape(mb, transpose(mb, x, [0, 3, 1, 4, 2]), call.out.shape)


@rules(aten.pixel_unshuffle.default, moves_data=True, dynamic=True)
def pixel_unshuffle(mb: Emit, call: Call) -> Var:
    x, factor = mb.var(call["self"]), call["downscale_factor"]
    *lead, height, width = call.shape("self")
    x = reshape(mb, x, [product(lead), height // factor, factor, width // factor, factor])
    return reshape(mb, transpose(mb, x, [0, 2, 4, 1, 3]), call.out.shape)


@rules(aten.channel_shuffle.default, types=FLOAT | INT, moves_data=True, dynamic=True)
def channel_shuffle(mb: Emit, call: Call) -> Var:
    batch, channels, *rest = call.shape("self")
    groups = call["groups"]
    x = reshape(mb, mb.var(call["self"]), [batch, groups, channels // groups, product(rest)])
    return reshape(mb, transpose(mb, x, [0, 2, 1, 3]), call.out.shape)
