"""The oldest OS that a delegate runs on, and what decides it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch.fx import Node

from executorch_coreml.compiler.graph import DelegatedGraph
from executorch_coreml.location import locate
from executorch_coreml.ops import TABLE
from executorch_coreml.ops.call import normalise
from executorch_coreml.options import CompileOptions, Target

LOWEST = min(Target)


@dataclass(frozen=True, slots=True, order=True)
class Need:
    """Something in a model, and the oldest target that has it."""

    target: Target
    reason: str

    def __str__(self) -> str:
        return f"{self.target.name} because: {self.reason}"


def ops_need(nodes: Iterable[Node]) -> list[Need]:
    """What ops need beyond the lowest target; the file is named without its folder, so that where
    a model was built does not show in what was built."""
    found = []
    for node in nodes:
        rule = TABLE.get(normalise(node.target)) if node.op == "call_function" else None
        if rule is not None and rule.since > LOWEST:
            place = locate(node)
            file = (place.file or "").replace("\\", "/").rpartition("/")[2]
            at = f" at {file}:{place.line}" if file else f" (node {place.node})"
            found.append(Need(rule.since, f"{place.op}{at}"))
    return list(dict.fromkeys(found))


def needs(graph: DelegatedGraph) -> list[Need]:
    """What a whole delegate needs beyond the lowest target."""
    found = ops_need(graph.graph.nodes)
    found += [Need(Target.iOS18, f"state {node.name}") for node in graph.states]
    if not graph.inputs:
        found.append(Need(Target.iOS18, "a model without inputs"))
    return found


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
