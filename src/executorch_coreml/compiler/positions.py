"""Which nodes must stay in float32 when a model computes in fp16: positions and angles.

fp16 has 11 significant bits. That is enough for activations, but not for a float that counts: a
coordinate of 300.5, or a rotary angle of 2000 radians, is off by 0.125 or 1. Such values are known
by what becomes of them: they are converted to integers (indices), go into a sine or cosine, or are
cut into a whole number and a fraction.

Found are the pointwise ops and data movements that lead there, and those computed from nothing
else (the fraction ``x - floor(x)`` of a coordinate is a position too). Other ops, such as
convolutions, end the search: what they compute are activations.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable

import torch
from executorch.exir.passes import dim_order_ops_registry  # noqa: F401  (defines dim_order_ops)
from torch.fx import Node

from executorch_coreml.compiler.graph import DelegatedGraph
from executorch_coreml.ops import TABLE
from executorch_coreml.ops.call import normalise
from executorch_coreml.ops.rule import INT

aten = torch.ops.aten
_CALL = "call_function"
CONVERSIONS = {
    aten._to_copy.default,
    torch.ops.dim_order_ops._to_dim_order_copy.default,
}
_ANGLES = {aten.sin.default, aten.cos.default, aten.tan.default}
# What tells whole numbers from fractions; a large float16 has no fraction left.
_CUTS = {
    aten.floor.default,
    aten.ceil.default,
    aten.round.default,
    aten.trunc.default,
    aten.fmod.Scalar,
    aten.fmod.Tensor,
    aten.remainder.Scalar,
    aten.remainder.Tensor,
    aten.div.Scalar_mode,
    aten.div.Tensor_mode,
    aten.floor_divide.Scalar,
}


def positions(graph: DelegatedGraph) -> frozenset[Node]:
    """The nodes whose float32 must stay float32, inputs and weights among them."""
    found = leading_to(node for node in graph.graph.nodes if _ends_a_position(node))
    for node in graph.graph.nodes:  # in order, so that one sweep reaches everything
        floats = [source for source in node.all_input_nodes if _is_float32(source)]
        if floats and found.issuperset(floats) and _passes_on(node):
            found.add(node)
    return frozenset(found)


def leading_to(nodes: Iterable[Node]) -> set[Node]:
    """``nodes`` and the float32 values they come from by pointwise ops and data movement alone."""
    found: set[Node] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node not in found and _is_float32(node) and (_passes_on(node) or node.op != _CALL):
            found.add(node)
            waiting += node.all_input_nodes
    return found


def _ends_a_position(node: Node) -> bool:
    """A sine or cosine, a cut, or a float that becomes an integer."""
    op = normalise(node.target)
    if op in _ANGLES:
        return True
    if op in _CUTS:  # nothing is gained where a convolution made the value: it is fp16 already
        first = node.all_input_nodes[0]
        return first.op != _CALL or _passes_on(first)
    return _is_float32(node) and any(
        _passes_on(user) and _dtype(user) in INT for user in node.users
    )


def _passes_on(node: Node) -> bool:
    """Pointwise, or data movement: the result is as much a position as the arguments are."""
    op = normalise(node.target)
    if node.op != _CALL or op is operator.getitem:
        return op is operator.getitem
    rule = TABLE.get(op)
    return rule is not None and (
        rule.moves_data or op in CONVERSIONS or torch.Tag.pointwise in op.tags
    )


def _dtype(node: Node) -> torch.dtype | None:
    value = node.meta.get("val")
    if isinstance(value, (tuple, list)) and value:
        value = value[0]
    return value.dtype if isinstance(value, torch.Tensor) else None


def _is_float32(node: Node) -> bool:
    return _dtype(node) is torch.float32
