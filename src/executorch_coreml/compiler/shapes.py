"""Dynamic extents at the border: how inputs of flexible shape are declared to Core ML.

An extent that torch.export made dynamic becomes a ``RangeDim`` with the exported bounds; an input
with enumerated shapes has those and no others. Inside the program a symbol of MIL, named after
PyTorch's expression, stands for the extent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.fx import Node
from torch.fx.graph import _Namespace
from torch.utils._sympy.value_ranges import ValueRanges, bound_sympy

from executorch_coreml.errors import CompileError, UnsupportedOp
from executorch_coreml.location import locate
from executorch_coreml.ops.sizes import INT32_MAX, Extent, expression, fixed_extent, mil_extent
from executorch_coreml.options import Shapes


def mil_shape(value: torch.Tensor) -> tuple[Any, ...]:
    """The shape an input is declared with; rank 0 crosses as shape [1]."""
    return tuple(mil_extent(extent) for extent in value.shape) or (1,)


def for_inputs(enumerated: Mapping[str, Shapes], inputs: Sequence[Node]) -> Mapping[str, Shapes]:
    """The enumerated shapes, by the names that inputs have in a graph cut out of the program.

    torch.fx names an argument anew that is called like something of Python's: ``input`` becomes
    ``input_1``.

    Raises:
        CompileError: A dynamic input has no enumerated shapes.
    """
    names = {node.name for node in inputs}
    found = {
        name if name in names else _Namespace().create_name(name, None): shapes
        for name, shapes in enumerated.items()
    }
    for node in inputs if enumerated else ():
        if node.name not in found and _is_dynamic(node):
            raise CompileError(
                f"dynamic input {node.name} has no enumerated shapes; there are some for "
                + ", ".join(enumerated),
                location=str(locate(node)),
                hint="make the compile spec from the program that is lowered",
            )
    return found


def _is_dynamic(node: Node) -> bool:
    return any(fixed_extent(extent) is None for extent in node.meta["val"].shape)


def flexible(node: Node, ranges: Mapping[Any, Any], enumerated: Mapping[str, Shapes]) -> Any | None:
    """The input as coremltools' ``TensorType`` if it has a dynamic extent.

    Args:
        node: The input.
        ranges: Symbol -> its ``ValueRanges``.
        enumerated: Input -> the only shapes it may have, from :func:`for_inputs`.

    Raises:
        UnsupportedOp: An extent has no upper bound, which Core ML and ExecuTorch's memory planning
            both need.
    """
    import coremltools as ct

    if not _is_dynamic(node):
        return None
    shape = node.meta["val"].shape
    if node.name in enumerated:
        return ct.TensorType(name=node.name, shape=ct.EnumeratedShapes(enumerated[node.name]))
    dims = [_dim(node, axis, extent, ranges) for axis, extent in enumerate(shape)]
    return ct.TensorType(name=node.name, shape=ct.Shape(dims))


def _dim(node: Node, axis: int, extent: Extent, ranges: Mapping[Any, Any]) -> Any:
    import coremltools as ct

    if (number := fixed_extent(extent)) is not None:
        return number
    low, high = bounds(extent, ranges)
    if high is None:
        raise UnsupportedOp(
            f"axis {axis} of input {node.name} has no upper bound",
            location=str(locate(node)),
            hint=f"export it with torch.export.Dim(name, min={low}, max=...)",
        )
    return ct.RangeDim(low, high, default=min(max(_example(extent), low), high))


def _example(extent: Extent) -> int:
    """The extent of the example input that the model was exported with."""
    hint = extent.node.hint if isinstance(extent, torch.SymInt) else extent
    return 1 if hint is None else int(hint)


def bounds(extent: Extent, ranges: Mapping[Any, Any]) -> tuple[int, int | None]:
    """Smallest and largest value of an extent; None if it has no upper bound.

    Decomposing a program turns a minimum of 1 into 2 (torch 2.13, its specialisation of 0 and 1),
    so a symbol that starts at 2 is taken to start at 1.
    """
    given = {
        symbol: ValueRanges(1, known.upper) if known.lower == 2 else known
        for symbol, known in ranges.items()
    }
    found = bound_sympy(expression(extent), given)
    high = int(found.upper) if found.upper.is_Integer and found.upper <= INT32_MAX else None
    return max(int(found.lower), 1), high


def tie(description: Any, enumerated: Mapping[str, Shapes]) -> None:
    """Puts the enumerated shapes of several inputs back in order, in a model's description.

    Their places tie them together. coremltools (9.0) moves every shape that equals the first one
    to the front, which breaks the tie where an input has one shape twice.
    """
    if len(enumerated) < 2:
        return
    for feature in description.input:
        flexible = feature.type.multiArrayType.enumeratedShapes
        for shape, wanted in zip(flexible.shapes, enumerated.get(feature.name, ()), strict=False):
            shape.shape[:] = wanted
