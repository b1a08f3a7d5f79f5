"""Quantized and masked weights that a program makes before use -> the resulting weights.

``transpose(int8 weight)``, ``int32(codes)`` and ``quantize(float weight)`` have values that are
known now. Core ML has no such ops on 8-bit integers, and needs none: the result is stored.
So has ``weight * mask``, which is what pruning leaves (``torch.nn.utils.prune`` before ``remove``,
torchao's sparsifiers before ``squash_mask``): without it weight and mask would both be stored.
What would grow by being stored is left alone, such as a weight made float.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import torch
from torch.fx import Node

from executorch_coreml.compiler.graph import DelegatedGraph
from executorch_coreml.ops import TABLE
from executorch_coreml.ops.call import normalise
from executorch_coreml.ops.convert import to_copy
from executorch_coreml.ops.quant import QUANTIZES
from executorch_coreml.options import CompileOptions

_STORED = (torch.int8, torch.uint8)
_MASKED = torch.ops.aten.mul.Tensor


def computed_now(nodes: Iterable[Node], weights: Collection[Node]) -> set[Node]:
    """The nodes, given in order, whose results :func:`fold_quantized` stores as weights."""
    found: set[Node] = set()
    for node in nodes:
        if node.op != "call_function" or not node.all_input_nodes:
            continue
        known = all(s in weights or s in found for s in node.all_input_nodes)
        if known and (_is_foldable(node) or _is_masked(node) or _is_mask(node)):
            found.add(node)
    return found


def _is_foldable(node: Node) -> bool:
    op, made = normalise(node.target), _dtype(node)
    if op in QUANTIZES:
        return made in _STORED
    rule = TABLE.get(op)
    moved = rule is not None and (rule.moves_data or rule.lower is to_copy)
    first = _dtype(node.all_input_nodes[0])
    return moved and first in _STORED and made is not None and not made.is_floating_point


def _is_masked(node: Node) -> bool:
    """A product that takes the place of a factor which nothing else reads."""
    made: Any = node.meta.get("val")
    sources: list[Any] = [source.meta.get("val") for source in node.all_input_nodes]
    if normalise(node.target) is not _MASKED or not all(map(_is_fixed, (made, *sources))):
        return False
    replaced = [s.meta["val"] for s in node.all_input_nodes if len(s.users) == 1]
    return (
        made.dtype.is_floating_point
        and len(sources) == 2
        and all(source.numel() <= made.numel() for source in sources)
        and any(s.shape == made.shape and s.dtype is made.dtype for s in replaced)
    )


def _is_fixed(value: Any) -> bool:
    """Whether it is a tensor of known size."""
    return isinstance(value, torch.Tensor) and all(isinstance(n, int) for n in value.shape)


def _is_mask(node: Node) -> bool:
    """Bools as numbers, for such products alone."""
    rule = TABLE.get(normalise(node.target))
    converted = rule is not None and rule.lower is to_copy
    source = _dtype(node.all_input_nodes[0])
    return converted and source is torch.bool and all(_is_masked(user) for user in node.users)


def _dtype(node: Node) -> torch.dtype | None:
    value = node.meta.get("val")
    return value.dtype if isinstance(value, torch.Tensor) else None


def fold_quantized(graph: DelegatedGraph, options: CompileOptions) -> None:
    """Computes those nodes with PyTorch itself."""
    found = computed_now(graph.graph.nodes, graph.weights)
    for node in [node for node in graph.graph.nodes if node in found]:
        call: Any = normalise(node.target)
        args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), graph.weights.__getitem__)
        with torch.no_grad():
            value = call(*args, **kwargs).contiguous()
        weight = graph.constant(f"{node.name}_folded", value, node.meta["val"])
        node.replace_all_uses_with(weight)
        graph.graph.erase_node(node)
