"""Layers of a quantized model against the same layers of the float model it was made from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Node

from executorch_coreml.debug.execute import Reference
from executorch_coreml.debug.program import LoweredProgram
from executorch_coreml.debug.record import run_program
from executorch_coreml.errors import InputError
from executorch_coreml.location import is_inserted, locate
from executorch_coreml.options import CompileOptions
from executorch_coreml.partition.fold import fold_before_export


def of_float_model(
    program: LoweredProgram,
    reference: Reference,
    model: ExportedProgram,
    inputs: Sequence[Any],
    options: CompileOptions,
) -> tuple[list[Any], Reference]:
    """(results of the float model, ``reference`` with its values in place of the layers' own).

    A layer is a module with ops of its own; compared is the last float that it computes.

    Raises:
        InputError: The two models have no module in common.
    """
    folded = fold_before_export(model, options)  # as the quantized one was
    results, recorded = run_program(folded, inputs, copy=True)
    expected = {name: recorded[n.name] for name, n in _last(folded.graph.nodes).items()}
    found: Reference = {}
    for module, delegate in program.delegates.items():
        values = {node: name for name, node in delegate.shown().items()}
        layers = {
            values[node]: expected[name]
            for name, node in _last(values).items()
            if name in expected and expected[name].shape == node.meta["val"].shape
        }
        found[module] = type(reference[module])(reference[module].inputs, layers)
    if not any(each.values for each in found.values()):
        raise InputError(
            "the reference model has no layer of the names and shapes that the model has",
            hint="give the float model that was quantized, with the same module names",
        )
    return results, found


def _last(nodes: Iterable[Node]) -> dict[str, Node]:
    """Module -> the last of the nodes that is one of its own and computes floats."""
    return {
        locate(node).module: node
        for node in nodes
        if node.op == "call_function" and _is_float(node) and not is_inserted(node)
        if locate(node).module
    }


def _is_float(node: Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.dtype.is_floating_point
