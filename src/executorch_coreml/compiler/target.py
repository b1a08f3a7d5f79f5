"""The oldest OS that a delegate runs on, and what decides it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from torch.fx import Node

from executorch_coreml.compiler.graph import DelegatedGraph
from executorch_coreml.compiler.weight_pruning import oldest_sparse_target
from executorch_coreml.compiler.weight_quantization import oldest_target
from executorch_coreml.location import locate
from executorch_coreml.ops import TABLE
from executorch_coreml.ops.call import Call, normalise
from executorch_coreml.ops.dequantized import dequantized
from executorch_coreml.ops.rule import Rule
from executorch_coreml.options import CompileOptions, Target

LOWEST = min(Target)


@dataclass(frozen=True, slots=True, order=True)
class Need:
    """Something in a model, and the oldest target that has it."""

    target: Target
    reason: str

    def __str__(self) -> str:
        return f"{self.target.name} because: {self.reason}"


def ops_need(nodes: Iterable[Node], fixed: Collection[Node]) -> list[Need]:
    """What ops need beyond the lowest target; ``fixed`` are the nodes of known value."""
    given = list(nodes)
    found = [(rule.oldest(Call(node, fixed=fixed)), node) for node, rule in _rules(given)]
    found += [(weight.target, weight.result) for weight in dequantized(given, fixed)]
    return _listed((target, node) for target, node in found if target > LOWEST)


def ops_better(nodes: Iterable[Node], target: Target) -> list[Need]:
    """The ops for which a newer target than ``target`` has a better form."""
    better = ((rule.better, node) for node, rule in _rules(nodes) if rule.better)
    return _listed((newer, node) for newer, node in better if newer > target)


def _rules(nodes: Iterable[Node]) -> Iterator[tuple[Node, Rule]]:
    for node in nodes:
        rule = TABLE.get(normalise(node.target)) if node.op == "call_function" else None
        if rule is not None:
            yield node, rule


def _listed(found: Iterable[tuple[Target, Node]]) -> list[Need]:
    """Files are named without their folder: where a model was built shall not show in it."""
    listed: dict[Need, None] = {}
    for target, node in found:
        place = locate(node)
        file = (place.file or "").replace("\\", "/").rpartition("/")[2]
        at = f"at {file}:{place.line}" if file else f"(node {place.node})"
        listed[Need(target, f"{place.op} {at}")] = None
    return list(listed)


def options_need(options: CompileOptions) -> list[Need]:
    """What the options need beyond the lowest target."""
    found = []
    if len(options.enumerated_shapes or ()) > 1:
        found.append(Need(Target.iOS18, "enumerated shapes of several inputs"))
    if options.op_linear_quantizer_config is not None:
        found.append(Need(*oldest_target(options.op_linear_quantizer_config)))
    if options.op_pruner_config is not None:
        found.append(Need(*oldest_sparse_target(options.op_pruner_config)))
    return found


def needs(graph: DelegatedGraph, options: CompileOptions) -> list[Need]:
    """What a whole delegate needs beyond the lowest target."""
    found = ops_need(graph.graph.nodes, graph.weights)
    found += [Need(Target.iOS18, f"state {node.name}") for node in graph.states]
    if not graph.inputs:
        found.append(Need(Target.iOS18, "a model without inputs"))
    return found + options_need(options)


def choose(found: Iterable[Need], options: CompileOptions) -> Target:
    """The target asked for, else the lowest that meets every need."""
    if options.minimum_deployment_target is not None:
        return options.minimum_deployment_target
    return max((need.target for need in found), default=LOWEST)


def deciding(found: Iterable[Need], target: Target) -> tuple[str, ...]:
    """Why not an older target: the needs that only this one meets, or that it was asked for."""
    reasons = [need.reason for need in found if need.target == target]
    asked = () if target == LOWEST else ("minimum_deployment_target asks for it",)
    return tuple(dict.fromkeys(reasons)) or asked
