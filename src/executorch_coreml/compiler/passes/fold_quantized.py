"""Quantized weights that a program moves, converts or makes before use -> the resulting weights.

``transpose(int8 weight)``, ``int32(codes)`` and ``quantize(float weight)`` have values that are
known now. Core ML has no such ops on 8-bit integers, and needs none: the result is stored.
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


def computed_now(nodes: Iterable[Node], weights: Collection[Node]) -> set[Node]:
    """The nodes, given in order, whose results :func:`fold_quantized` stores as weights."""
    found: set[Node] = set()
    for node in nodes:
        if node.op == "call_function" and node.all_input_nodes and _is_foldable(node):
            sources = node.all_input_nodes
            found |= {node} if all(s in weights or s in found for s in sources) else set()
    return found


def _is_foldable(node: Node) -> bool:
    op, made = normalise(node.target), _dtype(node)
    if op in QUANTIZES:
        return made in _STORED
    rule = TABLE.get(op)
    moved = rule is not None and (rule.moves_data or rule.lower is to_copy)
    first = _dtype(node.all_input_nodes[0])
    return moved and first in _STORED and made is not None and not made.is_floating_point


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
