"""A program, lowered as for a ``.pte``, with what each delegate was lowered from."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from executorch.exir import to_edge_transform_and_lower
from executorch.exir.lowered_backend_module import LoweredBackendModule
from torch.export import ExportedProgram
from torch.fx import Node

from executorch_coreml.compiler.graph import DelegatedGraph, delegated_graph
from executorch_coreml.compiler.passes import run_passes
from executorch_coreml.compiler.values import Values, found
from executorch_coreml.errors import CompileError
from executorch_coreml.mil.bundle import read_payload
from executorch_coreml.mil.types import Bundle, TensorType
from executorch_coreml.options import CompileOptions
from executorch_coreml.partition import CoreMLPartitioner, edge_compile_config
from executorch_coreml.partition.edge import refusals_of_executorch
from executorch_coreml.partition.report import Report


@dataclass(frozen=True, slots=True, eq=False)
class Delegate:
    """One delegate.

    Attributes:
        graph: What the rules lowered, node for node, runnable in PyTorch.
        bundle: What became of it.
        values: Which value of the bundle each node is.
    """

    graph: DelegatedGraph
    bundle: Bundle
    values: Values

    def shown(self) -> dict[str, Node]:
        """MIL value -> the node that it is, in order; nodes that are another's value left out."""
        owned = {}
        for node in self.graph.graph.nodes:
            value = self.values.of.get(node.name)
            maker = node.args[0].name if _takes_one(node) else node.name
            made_here = value is not None and self.values.owner.get(value) == maker
            if node.op == "call_function" and value is not None and made_here:
                owned[value] = node
        return owned

    def types(self) -> dict[str, str]:
        """MIL value -> its dtype."""
        function = self.bundle.program.functions[self.bundle.default_function]
        outputs = [value for op in function.body.operations for value in op.outputs]
        return {v.name: v.type.dtype for v in outputs if isinstance(v.type, TensorType)}

    def as_returned(self, arrays: Sequence[Any]) -> list[torch.Tensor]:
        """What the engine gave as the tensors that the program goes on with."""
        fakes = [node.meta["val"] for node in self.graph.outputs if isinstance(node, Node)]
        return [
            torch.from_numpy(array).to(fake.dtype).reshape(array.shape if fake.dim() else ())
            for array, fake in zip(arrays, fakes, strict=True)
        ]


@dataclass(frozen=True, slots=True, eq=False)
class LoweredProgram:
    """An edge program, its delegates in order, and the partitioner's report."""

    program: ExportedProgram
    delegates: Mapping[LoweredBackendModule, Delegate]
    report: Report


def lowered(program: ExportedProgram, compile_specs: list[Any]) -> LoweredProgram:
    """Lowers a program.

    Raises:
        CompileError: It cannot be lowered, or nothing of it is delegated.
        OptionsError: The specs hold something unknown.
    """
    partitioner = CoreMLPartitioner(compile_specs=compile_specs)
    with warnings.catch_warnings(), refusals_of_executorch([program]):
        warnings.simplefilter("ignore")
        edge = to_edge_transform_and_lower(
            program, partitioner=[partitioner], compile_config=edge_compile_config()
        )
    made = edge.exported_program()
    delegates = {
        module: delegate_of(name, module)
        for name, module in made.graph_module.named_children()
        if isinstance(module, LoweredBackendModule)
    }
    if not delegates:
        raise CompileError(
            f"nothing of the program is delegated, so there is nothing to compare: "
            f"{partitioner.report}"
        )
    return LoweredProgram(made, delegates, partitioner.report)


def delegate_of(name: str, module: LoweredBackendModule, bundle: Bundle | None = None) -> Delegate:
    """What ``module`` was lowered from and to.

    Args:
        name: For messages.
        module: As ``to_edge_transform_and_lower`` leaves it in a program.
        bundle: The model, where several methods share it and ``module`` has a reference only.

    Raises:
        CompileError: Another backend compiled it.
    """
    values = found(module.original_module)
    if values is None:
        raise CompileError(f"{name} was compiled by another backend")
    graph = delegated_graph(module.original_module)
    run_passes(graph, CompileOptions.from_specs(module.compile_specs))
    if bundle is None:
        bundle = read_payload(module.processed_bytes, source=name)
    return Delegate(graph, bundle, values)


def _takes_one(node: Node) -> bool:
    """Whether it takes one of several results."""
    return getattr(node.target, "__name__", "") == "getitem"
