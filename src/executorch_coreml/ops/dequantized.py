"""Weights that a program dequantizes by arithmetic: ``(integers - zero) * scale``.

So torchao's ``dequantize_affine`` looks after ``run_decompositions()``::

    blocks = view(weight, [64, 4, 32])
    floats = _to_copy(blocks, dtype=float32) - _to_copy(view(zero, [64, 4, 1]), dtype=float32)
    view(floats * view(scale, [64, 4, 1]), [64, 128])

The values are known; what matters is that they stay integers in the file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import torch
from executorch.exir.passes import dim_order_ops_registry  # noqa: F401  (defines dim_order_ops)
from torch.fx import Node

from executorch_coreml.ops.call import Call, normalise
from executorch_coreml.ops.compressed import affine_target
from executorch_coreml.ops.rule import BYTES
from executorch_coreml.options import Target

aten = torch.ops.aten
_CONVERSIONS = {
    aten._to_copy.default,
    torch.ops.dim_order_ops._to_dim_order_copy.default,
}
_VIEWS = {
    aten.view.default,
    aten.view_copy.default,
    aten.reshape.default,
    aten.unsqueeze.default,
    aten.unsqueeze_copy.default,
    aten.squeeze.dims,
    aten.squeeze_copy.dims,
}


@dataclass(frozen=True, slots=True)
class Dequantized:
    """A float weight that a program computes from integers.

    Attributes:
        result: The node that is the weight.
        data, scale, zero: Nodes of known value, the first of integers; no zero stands for 0.
        shape: Of the weight.
        blocks: How many scales, and zeros, there are along each axis.
    """

    result: Node
    data: Node
    scale: Node
    zero: Node | None
    shape: tuple[int, ...]
    blocks: tuple[int, ...]

    @property
    def target(self) -> Target:
        """The oldest target that can hold the weight as 8-bit integers."""
        info = torch.iinfo(self.data.meta["val"].dtype)
        return affine_target(self.shape, self.blocks, info.min, info.max)


def dequantized(nodes: Iterable[Node], weights: Collection[Node]) -> list[Dequantized]:
    """All of them, given the nodes of known value. Shapes alone are read."""
    multiplied = [node for node in nodes if normalise(node.target) is aten.mul.Tensor]
    found = (_match(Call(node), weights) for node in multiplied)
    return [one for one in found if one is not None]


def known(node: object, weights: Collection[Node]) -> bool:
    """Whether a node is a weight, or one in another shape or dtype."""
    while isinstance(node, Node) and node not in weights:
        if normalise(node.target) not in _VIEWS | _CONVERSIONS:
            return False
        node = node.all_input_nodes[0]
    return isinstance(node, Node)


def _match(mul: Call, weights: Collection[Node]) -> Dequantized | None:
    for floats, scale in ((mul["self"], mul["other"]), (mul["other"], mul["self"])):
        if not (isinstance(floats, Node) and known(scale, weights)):
            continue
        zero = None
        if normalise(floats.target) is aten.sub.Tensor and Call(floats)["alpha"] == 1:
            floats, zero = Call(floats)["self"], Call(floats)["other"]
            if not known(zero, weights):
                continue
        if _made_float(floats, weights):
            return _found(mul.node, floats, scale, zero)
    return None


def _made_float(node: object, weights: Collection[Node]) -> bool:
    """Whether it is 8-bit integers of known value, as floats."""
    if not isinstance(node, Node) or normalise(node.target) not in _CONVERSIONS:
        return False
    source = node.all_input_nodes[0]
    floating = node.meta["val"].dtype in (torch.float32, torch.float16)
    return floating and source.meta["val"].dtype in BYTES and known(source, weights)


def _found(mul: Node, floats: Node, scale: Node, zero: Node | None) -> Dequantized | None:
    result = _other_shape(mul)
    split, shape = tuple(mul.meta["val"].shape), tuple(result.meta["val"].shape)
    divided = _broadcast(scale, split)
    same = zero is None or _broadcast(zero, split) == divided
    if tuple(floats.meta["val"].shape) != split or divided is None or not same or not split:
        return None
    if mul.meta["val"].dtype is not floats.meta["val"].dtype:
        return None
    blocks, data = _blocks(split, divided, shape), floats.all_input_nodes[0]
    return None if blocks is None else Dequantized(result, data, scale, zero, shape, blocks)


def _other_shape(mul: Node) -> Node:
    """The product, or the only reader of it if that just gives it another shape."""
    reader = next(iter(mul.users)) if len(mul.users) == 1 else mul
    return reader if normalise(reader.target) in _VIEWS else mul


def _broadcast(node: Node, shape: Sequence[int]) -> tuple[int, ...] | None:
    """The extents of ``node`` beside those of ``shape``; None if they do not broadcast to it."""
    extents = tuple(node.meta["val"].shape)
    extents = (1,) * (len(shape) - len(extents)) + extents
    fits = len(extents) == len(shape) and all(
        extent in (1, whole) for extent, whole in zip(extents, shape, strict=True)
    )
    return extents if fits else None


def _blocks(
    split: Sequence[int], divided: Sequence[int], shape: Sequence[int]
) -> tuple[int, ...] | None:
    """How many values of shape ``divided`` there are along each axis of ``shape``.

    Args:
        split: ``shape`` with axes cut in two: first the blocks, then what is in each.
    """
    blocks: list[int] = []
    waiting = list(zip(split, divided, strict=True))
    for extent in shape:
        taken, count, whole = 1, 1, True
        while waiting and taken < extent:
            size, values = waiting.pop(0)
            if size > 1 and values > 1 and not whole:
                return None  # values differ inside of what should be one block
            whole = whole and (size == 1 or values == size)
            taken, count = taken * size, count * values
        if taken != extent:
            return None
        blocks.append(count)
    return None if any(size > 1 for size, _ in waiting) else tuple(blocks)
