"""Graphs inside a node: the bodies of ``cond`` and ``while_loop``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import openvino as ov
from openvino import opset15 as ops

from executorch_coreml.engine.kernels.operand import (
    ELEMENT_TYPES,
    Bound,
    ListValue,
    StateCell,
    apart,
    node,
)
from executorch_coreml.errors import ProgramError
from executorch_coreml.mil.types import ListType, TensorType, Type, UnrankedType, Value


@dataclass(frozen=True, slots=True)
class Entry:
    """A parameter of the graph, and its value for the ops inside.

    OpenVINO 2026.4 computes in place within such a graph: a product to which a reshaped parameter
    is added is written over the parameter, which is read again in the next iteration, or outside.
    So an op that changes nothing stands behind each parameter.
    """

    parameter: ov.Node
    value: ov.Output


@dataclass(frozen=True, slots=True)
class Taken:
    """A value from outside: where it comes from, and how it enters."""

    source: ov.Output
    entry: Entry


class Subgraph:
    """What one graph inside a node takes from the graph around it.

    Attributes:
        parameters: Of the graph, in the order made.
    """

    def __init__(self) -> None:
        self.parameters: list[ov.Node] = []
        # Node name and output number -> what is taken; for states, their name.
        self._taken: dict[tuple[str, int] | str, Taken] = {}
        self._states: dict[str, tuple[StateCell, StateCell]] = {}

    def enter(self, shape: ov.PartialShape, element_type: ov.Type) -> Entry:
        made = ops.parameter(shape, element_type)
        self.parameters.append(made)
        return Entry(made, apart(made.output(0)))

    def enter_like(self, source: ov.Output) -> Entry:
        return self.enter(source.get_partial_shape(), source.get_element_type())

    def variable(self, declared: Type, grows: bool) -> Entry:
        """For a loop variable of the ``declared`` type; ``grows`` as of a list."""
        kind, extents = tensor_of(declared, grows)
        shape = ov.PartialShape([-1 if extent is None else extent for extent in extents])
        return self.enter(shape, ELEMENT_TYPES[kind.dtype])

    def take(self, bound: Bound) -> Bound:
        """A value of the graph around it, for use inside: constants as they are."""
        operand = bound.operand
        if isinstance(operand, ov.Output):
            return Bound(self._inside(operand), bound.exact)
        if isinstance(operand, ListValue):
            return Bound(replace(operand, elements=self._inside(operand.elements)), bound.exact)
        if isinstance(operand, StateCell):
            return Bound(self.state(operand), bound.exact)
        return bound

    def _inside(self, source: ov.Output) -> ov.Output:
        return self._take((source.get_node().get_name(), source.get_index()), source)

    def _take(self, place: tuple[str, int] | str, source: ov.Output) -> ov.Output:
        if place not in self._taken:
            self._taken[place] = Taken(source, self.enter_like(source))
        return self._taken[place].entry.value

    def state(self, outside: StateCell) -> StateCell:
        """The cell that stands for a state inside."""
        name = outside.name
        if name not in self._states:
            inside = StateCell(name, self._take(name, outside.current))
            self._states[name] = outside, inside
        return self._states[name][1]

    def written(self) -> dict[str, StateCell]:
        """The cells outside of the states that are written inside, by name."""
        return {name: outside for name, (outside, inside) in self._states.items() if inside.written}

    def inputs(self) -> dict[tuple[str, int] | str, Taken]:
        """All that is taken from outside and no loop variable; a state by its name."""
        return self._taken


class NestedBlock(Protocol):
    """A block of an op, as a kernel gets it."""

    @property
    def inputs(self) -> tuple[Value, ...]: ...

    def build(self, operands: Sequence[Bound], graph: Subgraph | None = None) -> list[Bound]:
        """The results of the block for these inputs, as nodes of ``graph``; without one, of the
        graph that the op is in. May be called several times."""


def tensor_of(declared: Type, grows: bool = False) -> tuple[TensorType, tuple[int | None, ...]]:
    """The tensor that carries a value of a type through a graph: its elements, and its shape.

    Raises:
        ProgramError: Values of that type cannot enter or leave a nested block.
    """
    if isinstance(declared, TensorType) and declared.dtype in ELEMENT_TYPES:
        return declared, declared.shape
    element = declared.element if isinstance(declared, ListType) else None
    if isinstance(element, TensorType) and element.dtype in ELEMENT_TYPES:
        assert isinstance(declared, ListType)
        length = None if grows else declared.length
        return element, (length, *element.shape)
    raise ProgramError(f"a {declared} cannot enter or leave a nested block")


def dtype_of(declared: Type) -> str:
    """The MIL dtype of the tensor that carries a value of a type, whose rank may be unknown.

    Raises:
        ProgramError: As :func:`tensor_of`.
    """
    if isinstance(declared, UnrankedType) and declared.dtype in ELEMENT_TYPES:
        return declared.dtype
    return tensor_of(declared)[0].dtype


def is_growing(operand: object) -> bool:
    return isinstance(operand, ListValue) and operand.grows


def carried(operand: Any) -> ov.Output:
    """The node that carries a value through a graph."""
    return operand.elements if isinstance(operand, ListValue) else node(operand)


def wrapped(declared: Type, value: ov.Output, grows: bool) -> Bound:
    """What :func:`carried` undoes. In a faithful graph a value declared fp16 is an fp16 number."""
    operand = ListValue(value, grows) if isinstance(declared, ListType) else value
    return Bound(operand, dtype_of(declared) not in ("fp32", "fp64"))
