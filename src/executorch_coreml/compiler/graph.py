"""A delegated program as the compiler works on it: a graph of its own, its weights, its inputs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx import Graph, Node

from executorch_coreml.errors import CompileError, UnsupportedOp
from executorch_coreml.location import locate


@dataclass(frozen=True, slots=True)
class DelegatedGraph:
    """What graph passes rewrite and what is lowered.

    Attributes:
        graph: A copy: the program's own graph stays as ExecuTorch gave it.
        weights: Placeholders of fixed value -> that value.
        inputs: The placeholders fed at run time, in the delegate's argument order.
    """

    graph: Graph
    weights: dict[Node, torch.Tensor]
    inputs: list[Node]

    @property
    def outputs(self) -> tuple[object, ...]:
        """What the delegate returns, in order."""
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
    """Copies the graph of a program and sorts its placeholders.

    Raises:
        UnsupportedOp: An input that is neither a weight nor fed by the caller.
        CompileError: A weight without a value.
    """
    copied: dict[Node, Node] = {}
    graph = Graph()
    graph.output(graph.graph_copy(program.graph, copied))
    nodes = {old.name: new for old, new in copied.items() if old.op == "placeholder"}
    weights: dict[Node, torch.Tensor] = {}
    inputs: list[Node] = []
    for spec in program.graph_signature.input_specs:
        node = nodes[spec.arg.name]
        if spec.kind is InputKind.USER_INPUT:
            inputs.append(node)
        elif spec.kind in (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR):
            weights[node] = _value(program, str(spec.target))
        else:
            raise UnsupportedOp(
                f"inputs of kind {spec.kind.name} are not supported", location=str(locate(node))
            )
    return DelegatedGraph(graph, weights, inputs)


def _value(program: ExportedProgram, name: str) -> torch.Tensor:
    found = program.state_dict.get(name, program.constants.get(name))
    if not isinstance(found, torch.Tensor):
        raise CompileError(f"the program holds no value for weight {name!r}")
    return found
