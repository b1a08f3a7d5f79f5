"""Batch norms folded into convolutions before ExecuTorch traces the program.

ExecuTorch (1.5.1) traces a program eight times before it asks for a delegate, in time that grows
with the number of its nodes; in a convolutional network a third of them go away here. What cannot
be folded here, or comes another way than through ``to_edge_transform_and_lower``, meets
:mod:`executorch_coreml.compiler.passes.fold_batch_norm`, which decides what may be folded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.export import ExportedProgram
from torch.export.graph_signature import TensorArgument
from torch.fx import Graph, Node

from executorch_coreml.compiler.graph import DelegatedGraph
from executorch_coreml.compiler.passes.fold_batch_norm import (
    BATCH_NORMS,
    folded_weights,
    follows_convolution,
)
from executorch_coreml.ops.call import Call, normalise
from executorch_coreml.options import CompileOptions


def fold_before_export(program: ExportedProgram, options: CompileOptions) -> ExportedProgram:
    """The program with folded weights in place of the given ones, or itself if none is folded.

    The given program stays as it is, and shares the weights that do not change.
    """
    if not any(normalise(node.target) in BATCH_NORMS for node in program.graph.nodes):
        return program
    graph, weights, targets = _copied(program)
    state = dict(program.state_dict)
    view = DelegatedGraph(graph, weights, [])
    folded = [node for node in graph.nodes if _fold(node, view, targets, state, options)]
    for node in folded:
        node.replace_all_uses_with(Call(node)["input"])
        graph.erase_node(node)
    return _rebuilt(program, graph, state, set(weights)) if folded else program


def _fold(
    node: Node,
    graph: DelegatedGraph,
    targets: Mapping[Node, str],
    state: dict[str, torch.Tensor],
    options: CompileOptions,
) -> bool:
    """Gives the convolution before ``node`` the weights that make ``node`` superfluous, if it can.

    They go where the weight of the convolution was and where one of the two biases was.
    """
    if node.op != "call_function" or normalise(node.target) not in BATCH_NORMS:
        return False
    norm = Call(node)
    if not follows_convolution(norm) or isinstance(norm.out, (tuple, list)):
        return False
    if any(user.op == "output" for user in node.users):
        return False  # the signature calls outputs by the names of their nodes
    conv = Call(norm["input"])
    bias = conv["bias"] or norm["bias"]
    if not _alone(conv, norm, bias):
        return False
    made = folded_weights(graph, conv, norm, options.half)
    for place, tensor in zip((conv["weight"], bias), made or (), strict=made is not None):
        given = state[targets[place]]
        is_parameter = isinstance(given, torch.nn.Parameter)
        state[targets[place]] = torch.nn.Parameter(tensor, False) if is_parameter else tensor
    if made is not None:
        conv.node.args = tuple((dict(conv.args) | {"bias": bias}).values())
        conv.node.kwargs = {}
    return made is not None


def _copied(program: ExportedProgram) -> tuple[Graph, dict[Node, torch.Tensor], dict[Node, str]]:
    """A copy of the graph, its parameters and buffers, and what the program calls those."""
    copied: dict[Node, Node] = {}
    graph = Graph()
    returned = graph.graph_copy(program.graph, copied)
    graph.output(returned).meta = dict(program.graph.output_node().meta)
    for old, new in copied.items():
        new.name = old.name  # a copy avoids the names of Python's own functions, as "input"
    nodes = {old.name: new for old, new in copied.items() if old.op == "placeholder"}
    signature = program.graph_signature
    named = signature.inputs_to_parameters | signature.inputs_to_buffers
    mutated = set(signature.buffers_to_mutate.values())
    targets = {
        nodes[name]: target
        for name, target in named.items()
        if target not in mutated and _has_value(program.state_dict.get(target))
    }
    return graph, {node: program.state_dict[name] for node, name in targets.items()}, targets


def _has_value(tensor: torch.Tensor | None) -> bool:
    return tensor is not None and not isinstance(tensor, FakeTensor)


def _alone(conv: Call, norm: Call, bias: Node | None) -> bool:
    """Whether nothing else reads, or writes, the tensors, and the bias is one of the weight's."""
    given = [conv["weight"], conv["bias"]]
    given += [norm[name] for name in ("weight", "bias", "running_mean", "running_var")]
    nodes = [node for node in given if isinstance(node, Node)]
    fits = bias is not None and bias.meta["val"].dtype is conv.dtype("weight")
    return fits and all(len(node.users) == 1 for node in nodes)


def _rebuilt(
    program: ExportedProgram, graph: Graph, state: dict[str, Any], weights: set[Node]
) -> ExportedProgram:
    """A program of the graph, without the weights that nothing reads any more."""
    read = {node.name for node in program.graph.nodes if node.op == "placeholder" and node.users}
    for node in list(graph.nodes):
        if node in weights and not node.users and node.name in read:
            graph.erase_node(node)
    kept = {node.name for node in graph.nodes if node.op == "placeholder"}
    signature = program.graph_signature
    specs = []
    for spec in signature.input_specs:
        if isinstance(spec.arg, TensorArgument) and spec.arg.name not in kept:
            state.pop(spec.target, None)
        else:
            specs.append(spec)
    return ExportedProgram(
        root=torch.fx.GraphModule(program.graph_module, graph),
        graph=graph,
        graph_signature=replace(signature, input_specs=specs),
        state_dict=state,
        range_constraints=program.range_constraints,
        module_call_graph=program.module_call_graph,
        example_inputs=program.example_inputs,
        constants=program.constants,
        verifiers=program.verifiers,
    )
