"""A delegated program as the compiler works on it: a graph of its own, its weights, its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.fx import Graph, Node

from executorch_coreml.errors import CompileError, UnsupportedOp
from executorch_coreml.location import locate
from executorch_coreml.ops.sizes import is_assertion


@dataclass(frozen=True, slots=True)
class DelegatedGraph:
    """What graph passes rewrite and what is lowered.

    Attributes:
        graph: A copy: the program's own graph stays as ExecuTorch gave it.
        weights: Placeholders of fixed value -> that value.
        inputs: The placeholders fed at run time, in the delegate's argument order.
        ranges: Symbol of a dynamic extent -> torch's ``ValueRanges`` of it.
        states: Placeholders of mutable buffers that the delegate owns -> their first value.
        places: State -> where in the graph's results its new value stands.
    """

    graph: Graph
    weights: dict[Node, torch.Tensor]
    inputs: list[Node]
    ranges: Mapping[Any, Any] = field(default_factory=dict)
    states: dict[Node, torch.Tensor] = field(default_factory=dict)
    places: dict[Node, int] = field(default_factory=dict)

    @property
    def outputs(self) -> tuple[object, ...]:
        """What the delegate returns, in order."""
        kept = set(self.places.values())
        return tuple(one for place, one in enumerate(self._results) if place not in kept)

    def written(self, state: Node) -> object:
        """The node whose value a state takes."""
        return self._results[self.places[state]]

    @property
    def _results(self) -> tuple[object, ...]:
        returned = self.graph.output_node().args[0]
        return tuple(returned) if isinstance(returned, (tuple, list)) else (returned,)

    def constant(self, name: str, value: torch.Tensor, fake: torch.Tensor) -> Node:
        """A new weight. ``fake`` is what PyTorch's metadata say of it."""
        with self.graph.inserting_before(next(iter(self.graph.nodes))):
            node = self.graph.placeholder(name)
        node.meta["val"] = fake
        self.weights[node] = value
        return node


def delegated_graph(program: ExportedProgram) -> DelegatedGraph:
    """Copies the graph of a program, without assertions, and sorts its placeholders.

    Raises:
        UnsupportedOp: An input that is neither a weight nor fed by the caller.
        CompileError: A weight without a value.
    """
    copied: dict[Node, Node] = {}
    graph = Graph()
    graph.output(graph.graph_copy(program.graph, copied))
    for node in reversed([node for node in graph.nodes if is_assertion(node)]):
        graph.erase_node(node)
    nodes = {old.name: new for old, new in copied.items() if old.op == "placeholder"}
    weights: dict[Node, torch.Tensor] = {}
    inputs: list[Node] = []
    states: dict[Node, torch.Tensor] = {}
    places: dict[Node, int] = {}
    mutated = {
        str(spec.target): place
        for place, spec in enumerate(program.graph_signature.output_specs)
        if spec.kind is OutputKind.BUFFER_MUTATION
    }
    for spec in program.graph_signature.input_specs:
        node = nodes[spec.arg.name]
        if spec.kind is InputKind.USER_INPUT:
            inputs.append(node)
        elif spec.kind is InputKind.BUFFER and spec.target in mutated:
            states[node] = _value(program, str(spec.target))
            places[node] = mutated[str(spec.target)]
        elif spec.kind in (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR):
            weights[node] = _value(program, str(spec.target))
        else:
            raise UnsupportedOp(
                f"inputs of kind {spec.kind.name} are not supported", location=str(locate(node))
            )
    return DelegatedGraph(graph, weights, inputs, program.range_constraints, states, places)


def _value(program: ExportedProgram, name: str) -> torch.Tensor:
    found = program.state_dict.get(name, program.constants.get(name))
    if not isinstance(found, torch.Tensor):
        raise CompileError(f"the program holds no value for weight {name!r}")
    return found
