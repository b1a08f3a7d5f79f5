"""Programs run in eager PyTorch, node by node, with every value remembered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from executorch.exir.lowered_backend_module import LoweredBackendModule
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx import GraphModule, Interpreter, Node
from torch.utils._pytree import tree_leaves

from executorch_coreml.compiler.graph import DelegatedGraph

DelegateCall = Callable[[LoweredBackendModule, Sequence[Any]], Sequence[Any]]


class Recorder(Interpreter):
    """Runs a graph; ``recorded`` is then node name -> value, for all calls in it.

    Args:
        module: The graph; it is not changed.
        delegate: What runs the delegates of it, if it has any.
        copy: Remember copies: a later op may write into a value in place. Programs in the edge
            dialect do not do that.
    """

    def __init__(
        self, module: GraphModule, delegate: DelegateCall | None = None, *, copy: bool = False
    ):
        super().__init__(module)
        self.recorded: dict[str, Any] = {}
        self._delegate = delegate
        self._copy = copy

    def run_node(self, n: Node) -> Any:
        result = super().run_node(n)
        if n.op == "call_function":
            copied = self._copy and isinstance(result, torch.Tensor)
            self.recorded[n.name] = result.clone() if copied else result
        return result

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        if args and isinstance(args[0], LoweredBackendModule) and self._delegate is not None:
            return self._delegate(args[0], args[1:])
        return super().call_function(target, args, kwargs)


def run_program(
    program: ExportedProgram,
    inputs: Sequence[Any],
    delegate: DelegateCall | None = None,
    *,
    copy: bool = False,
) -> tuple[list[Any], dict[str, Any]]:
    """(the results a user sees, flat; node -> value). Buffers and inputs are left as they are."""
    fed = iter(inputs)
    arguments: list[Any] = []
    for spec in program.graph_signature.input_specs:
        if spec.kind is InputKind.USER_INPUT:
            value = next(fed)
        else:
            name = str(spec.target)
            value = program.state_dict.get(name, program.constants.get(name))
        written = spec.kind in (InputKind.USER_INPUT, InputKind.BUFFER)
        arguments.append(value.clone() if written and torch.is_tensor(value) else value)
    recorder = Recorder(program.graph_module, delegate, copy=copy)
    with torch.no_grad():
        returned = tree_leaves(recorder.run(*arguments, enable_io_processing=False))
    signature = program.graph_signature
    seen = set(signature.user_outputs)
    results = [
        value
        for value, spec in zip(returned, signature.output_specs, strict=True)
        if getattr(spec.arg, "name", None) in seen
    ]
    return results, recorder.recorded


def run_graph(graph: DelegatedGraph, inputs: Sequence[Any]) -> tuple[list[Any], dict[str, Any]]:
    """(what the delegate returns; node -> value) of the graph that a delegate is lowered from."""
    values = {**graph.weights, **graph.states, **dict(zip(graph.inputs, inputs, strict=True))}
    arguments = [values[node] for node in graph.graph.nodes if node.op == "placeholder"]
    recorder = Recorder(GraphModule(torch.nn.Module(), graph.graph))
    with torch.no_grad():
        recorder.run(*arguments, enable_io_processing=False)
    by_name = {node.name: value for node, value in values.items()} | recorder.recorded
    returned = [by_name[node.name] for node in graph.outputs if isinstance(node, Node)]
    return returned, recorder.recorded
