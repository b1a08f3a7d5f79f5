"""The table of what is quantized: ops of exported graphs, and which of their arguments.

One row per kind of layer. Matching is by op alone, so it costs one walk over the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Node

aten = torch.ops.aten


@dataclass(frozen=True, slots=True)
class Pattern:
    """A kind of layer.

    Attributes:
        activations: Positions of arguments to quantize as activations; an argument may be a list.
        weight: Position of the weight.
        channel: The axis of the weight that has one scale per extent.
        result: Whether the result is quantized, the one of a batch norm and an activation that
            follow it and nothing else.
        shared: Arguments and result have one scale: the op moves values or selects among them.
        only: What must hold of a node besides.
    """

    activations: tuple[int, ...] = (0,)
    weight: int | None = None
    channel: int = 0
    result: bool = True
    shared: bool = False
    only: Callable[[Node], bool] = lambda node: True


def _adds_no_value(node: Node) -> bool:
    """A padding with zeros or with what is there."""
    names = ("self", "pad", "value") if node.target is not aten.pad.default else _PAD
    given: dict[str, Any] = dict(zip(names, node.args, strict=False)) | node.kwargs
    return given.get("value") in (None, 0)


_PAD = ("self", "pad", "mode", "value")
_LAYER = Pattern(weight=1)
_TRANSPOSED = Pattern(weight=1, channel=1)
_LOOKUP = Pattern(activations=(), weight=0, result=False)
_PAIR = Pattern(activations=(0, 1))
_MOVED = Pattern(shared=True)
_PADDED = Pattern(shared=True, only=_adds_no_value)


def _rows(pattern: Pattern, ops: Iterable[Any]) -> dict[Any, Pattern]:
    return dict.fromkeys(ops, pattern)


PATTERNS: Mapping[Any, Pattern] = {
    **_rows(
        _LAYER,
        [
            aten.conv1d.default,
            aten.conv2d.default,
            aten.conv3d.default,
            aten.conv1d.padding,
            aten.conv2d.padding,
            aten.conv3d.padding,
            aten.linear.default,
        ],
    ),
    **_rows(
        _TRANSPOSED,
        [aten.conv_transpose1d.default, aten.conv_transpose2d.input, aten.conv_transpose3d.input],
    ),
    **_rows(_LOOKUP, [aten.embedding.default]),
    **_rows(
        _PAIR,
        [
            aten.add.Tensor,
            aten.add_.Tensor,
            aten.mul.Tensor,
            aten.mul_.Tensor,
            aten.matmul.default,
            aten.bmm.default,
            aten.mm.default,
        ],
    ),
    **_rows(
        _MOVED,
        [
            aten.cat.default,
            aten.concat.default,
            aten.stack.default,
            aten.max_pool1d.default,
            aten.max_pool2d.default,
            aten.max_pool3d.default,
            aten.avg_pool1d.default,
            aten.avg_pool2d.default,
            aten.avg_pool3d.default,
            aten.adaptive_avg_pool1d.default,
            aten.adaptive_avg_pool2d.default,
            aten.adaptive_avg_pool3d.default,
            aten.mean.dim,
            aten.mean.default,
            aten.relu.default,
            aten.relu_.default,
            aten.hardtanh.default,
            aten.hardtanh_.default,
            aten.flatten.using_ints,
            aten.unflatten.int,
            aten.reshape.default,
            aten.view.default,
            aten.squeeze.default,
            aten.squeeze.dim,
            aten.squeeze.dims,
            aten.unsqueeze.default,
            aten.permute.default,
            aten.transpose.int,
            aten.t.default,
            aten.contiguous.default,
            aten.clone.default,
            aten.slice.Tensor,
            aten.select.int,
            aten.pixel_shuffle.default,
            aten.pixel_unshuffle.default,
            aten.upsample_nearest2d.vec,
            aten.dropout.default,
        ],
    ),
    **_rows(_PADDED, [aten.pad.default, aten.constant_pad_nd.default]),
}

BATCH_NORMS = {aten.batch_norm.default}

ACTIVATIONS = {
    aten.relu.default,
    aten.relu_.default,
    aten.relu6.default,
    aten.relu6_.default,
    aten.hardtanh.default,
    aten.hardtanh_.default,
    aten.leaky_relu.default,
    aten.leaky_relu_.default,
    aten.silu.default,
    aten.silu_.default,
    aten.elu.default,
    aten.elu_.default,
    aten.celu.default,
    aten.celu_.default,
    aten.selu.default,
    aten.selu_.default,
    aten.mish.default,
    aten.mish_.default,
    aten.hardswish.default,
    aten.hardswish_.default,
    aten.hardsigmoid.default,
    aten.hardsigmoid_.default,
    aten.gelu.default,
    aten.sigmoid.default,
    aten.sigmoid_.default,
    aten.log_sigmoid.default,
    aten.tanh.default,
    aten.tanh_.default,
}

# Their results are never negative: a symmetric range would leave half of the integers unused.
NEVER_NEGATIVE = {
    aten.relu.default,
    aten.relu_.default,
    aten.relu6.default,
    aten.relu6_.default,
    aten.sigmoid.default,
    aten.sigmoid_.default,
    aten.hardsigmoid.default,
    aten.hardsigmoid_.default,
}
CLAMPS = {aten.hardtanh.default, aten.hardtanh_.default}  # ReLU6 is one of 0 and 6
