"""Enumerated shapes against the program they are for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Node

from executorch_coreml.errors import OptionsError
from executorch_coreml.options import Shapes


def fitting(program: ExportedProgram, shapes: Mapping[str, Shapes]) -> Mapping[str, Shapes]:
    """``shapes``, if they fit the inputs of the program.

    Raises:
        OptionsError: An unknown input, a dynamic input without shapes, another rank, or an extent
            that the input cannot have.
    """
    names = program.graph_signature.user_inputs
    inputs = {n.name: n for n in program.graph.nodes if n.op == "placeholder" and n.name in names}
    unknown = sorted(set(shapes) - set(inputs))
    if unknown:
        raise OptionsError(
            f"enumerated_shapes names no inputs of the program: {', '.join(unknown)}",
            hint=f"its inputs are {', '.join(inputs)}",
        )
    for name, node in inputs.items():
        declared = _shape(node)
        dynamic = any(not isinstance(extent, int) for extent in declared)
        if dynamic and name not in shapes:
            raise OptionsError(f"input {name} has a dynamic shape, but no enumerated shapes")
        for shape in shapes.get(name, ()):
            if reason := _unfit(declared, shape, program.range_constraints):
                raise OptionsError(f"enumerated shape {list(shape)} of {name}: {reason}")
    return shapes


def _shape(node: Node) -> tuple[Any, ...]:
    value = node.meta.get("val")
    return tuple(value.shape) if isinstance(value, torch.Tensor) else ()


def _unfit(declared: tuple[Any, ...], shape: tuple[int, ...], ranges: Any) -> str | None:
    if len(shape) != len(declared):
        return f"the input has rank {len(declared)}"
    for axis, (extent, given) in enumerate(zip(declared, shape, strict=True)):
        if isinstance(extent, int):
            if extent != given:
                return f"extent {axis} of the input is always {extent}"
            continue
        bounds = ranges.get(extent.node.expr)
        # torch.export takes 2 for the least extent where it specialises on 0 and 1.
        if bounds is not None and not (
            (bounds.lower <= given or (given == 1 and bounds.lower == 2)) and given <= bounds.upper
        ):
            return f"extent {axis} of the input lies in {bounds.lower}..{bounds.upper}"
    return None
