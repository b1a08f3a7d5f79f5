"""The accepted nodes of a graph, cut into pieces that become one delegate each."""

from __future__ import annotations

import operator
from functools import cache
from typing import Any, TypeAlias

import torch
from torch.fx import Node
from torch.fx.passes.infra.partitioner import CapabilityBasedPartitioner
from torch.fx.passes.operator_support import create_op_support

from executorch_coreml.ops import TABLE
from executorch_coreml.ops.call import normalise
from executorch_coreml.ops.sizes import is_assertion, is_size

Piece: TypeAlias = "list[Node]"


def pieces_of(module: torch.fx.GraphModule, refused: dict[Node, str]) -> list[Piece]:
    """Maximal connected pieces of accepted nodes that can be cut out without a cycle."""
    accepted = [n for n in module.graph.nodes if n.op == "call_function" and n not in refused]
    if not refused:
        return [accepted] if accepted else []
    support = create_op_support(lambda _, n: n.op == "call_function" and n not in refused)
    proposed = CapabilityBasedPartitioner(module, support, allows_single_node_partition=True)
    order = {node: number for number, node in enumerate(accepted)}
    pieces = [sorted(part.nodes, key=order.__getitem__) for part in proposed.propose_partitions()]
    return sorted(pieces, key=lambda piece: order[piece[0]])


def computing(pieces: list[Piece]) -> tuple[list[Piece], dict[Node, str]]:
    """The pieces that compute something, and why the nodes of the others stay outside.

    To enter a delegate only to move data costs more than it saves, for ExecuTorch moves data as
    well. Where one delegate is the whole program there is nothing to enter or leave.
    """
    working: list[Piece] = []
    moving: list[Piece] = []
    for piece in pieces:
        (moving if all(_moves_data(node) for node in piece) else working).append(piece)
    reason = "it only moves data, and no neighbour that computes is delegated"
    return working, {node: reason for piece in moving for node in piece}


def _moves_data(node: Node) -> bool:
    if node.target is operator.getitem or is_size(node) or is_assertion(node):
        return True
    op = normalise(node.target)
    return op in TABLE and TABLE[op].moves_data and op not in _decomposable()


@cache
def _decomposable() -> frozenset[Any]:
    """Ops that are whole only because the partitioner's ``ops_to_not_decompose`` kept them.

    They must not be left outside: ExecuTorch has no kernel for many of them (``aten.pad``), or one
    that takes fewer arguments (``aten.roll`` without dims). Its edge dialect consists of the core
    and the view-copy ops, which it never decomposes.
    """
    whole = (torch.Tag.core, torch.Tag.view_copy)
    table = torch.export.default_decompositions()
    return frozenset(op for op in table if not any(tag in op.tags for tag in whole))
