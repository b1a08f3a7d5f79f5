"""An ML Program as read from disk: frozen, plain, without protobuf and without numpy copies.

A :class:`Program` holds :class:`Function` objects; a function holds one :class:`Block` of
:class:`Op` in SSA form. An op's inputs are named; each is a tuple of arguments (more than one
for ``concat`` and the like), and an argument is either the name of an earlier value
(:class:`Ref`) or a :class:`Constant`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

__all__ = [
    "Block",
    "Bundle",
    "Constant",
    "Description",
    "DictType",
    "Feature",
    "Function",
    "ListType",
    "Op",
    "Program",
    "Ref",
    "StateType",
    "TensorType",
    "TupleType",
    "UnrankedType",
    "Value",
]

# MIL scalar type name -> numpy dtype of its storage once read. Sub-byte integers are unpacked to
# one element per byte.
NUMPY_DTYPES: Mapping[str, np.dtype[Any]] = {
    "bool": np.dtype(np.bool_),
    "fp16": np.dtype(np.float16),
    "fp32": np.dtype(np.float32),
    "fp64": np.dtype(np.float64),
    "int8": np.dtype(np.int8),
    "int16": np.dtype(np.int16),
    "int32": np.dtype(np.int32),
    "int64": np.dtype(np.int64),
    "uint8": np.dtype(np.uint8),
    "uint16": np.dtype(np.uint16),
    "uint32": np.dtype(np.uint32),
    "uint64": np.dtype(np.uint64),
    "int4": np.dtype(np.int8),
    "uint1": np.dtype(np.uint8),
    "uint2": np.dtype(np.uint8),
    "uint3": np.dtype(np.uint8),
    "uint4": np.dtype(np.uint8),
    "uint6": np.dtype(np.uint8),
}


@dataclass(frozen=True, slots=True)
class TensorType:
    """dtype: a key of :data:`NUMPY_DTYPES` or ``"string"``. shape: None marks an unknown extent."""

    dtype: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        dims = ", ".join("?" if d is None else str(d) for d in self.shape)
        return f"{self.dtype}[{dims}]"


STATE_ALIGNMENT = 32
"""Of a state's last extent, in elements: what the Neural Engine takes (coremltools#2631)."""


@dataclass(frozen=True, slots=True)
class UnrankedType:
    """A tensor of unknown rank: that of an op's output whose shape is a value of the program."""

    dtype: str

    def __str__(self) -> str:
        return f"{self.dtype}[...]"


@dataclass(frozen=True, slots=True)
class StateType:
    """A mutable tensor that outlives a run (MLState)."""

    tensor: TensorType


@dataclass(frozen=True, slots=True)
class ListType:
    """A list of ``element``; length None when it grows at run time."""

    element: Type
    length: int | None


@dataclass(frozen=True, slots=True)
class TupleType:
    """Several values in one, such as what a function of several results gives in MIL text."""

    elements: tuple[Type, ...]


@dataclass(frozen=True, slots=True)
class DictType:
    """A dictionary, such as the probabilities of a classifier."""

    key: Type
    value: Type


Type: TypeAlias = TensorType | UnrankedType | StateType | ListType | TupleType | DictType


@dataclass(frozen=True, slots=True)
class Value:
    """A name and its type: a function input, a block input or an op's output."""

    name: str
    type: Type


@dataclass(frozen=True, slots=True)
class Ref:
    """An argument that names an earlier value."""

    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """A literal argument. ``data`` is a numpy array (read-only, maybe mapped from the weight file)
    of ``type``'s shape for tensors, a ``str`` for rank-0 strings, a tuple for lists and tuples,
    and a dict for dictionaries."""

    type: Type
    data: Any


Argument: TypeAlias = Ref | Constant


@dataclass(frozen=True, slots=True, eq=False)
class Op:
    """One operation. ``type`` is the MIL op name (``"conv"``); ``attributes`` hold ``name``, the
    ``val`` of a ``const`` and the like; ``blocks`` are the bodies of control flow."""

    type: str
    inputs: Mapping[str, tuple[Argument, ...]]
    outputs: tuple[Value, ...]
    attributes: Mapping[str, Constant] = field(default_factory=dict)
    blocks: tuple[Block, ...] = ()

    @property
    def name(self) -> str:
        """The name of the first output, which is how MIL identifies an op; else its type."""
        return self.outputs[0].name if self.outputs else self.type


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Ops in the order in which they run; ``outputs`` names the values that it gives."""

    inputs: tuple[Value, ...]
    operations: tuple[Op, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Function:
    """``opset`` is the MIL opset, ``"CoreML5"`` (iOS15) to ``"CoreML9"`` (iOS26). ``attributes``
    are those of MIL text, such as ``FlexibleShapeInformation``; of a protobuf none are read."""

    name: str
    opset: str
    inputs: tuple[Value, ...]
    body: Block
    attributes: Mapping[str, Constant] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """Functions by name."""

    functions: Mapping[str, Function]
    attributes: Mapping[str, Constant] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Feature:
    """One declared input, output or state of a model.

    Attributes:
        name: The name in the ML Program.
        dtype: The element type that crosses the border (``"fp32"``, ``"int32"``, ...).
        shape: The default shape; empty for scalars of unknown rank.
        kind: ``"tensor"``, ``"image"``, ``"state"``, ``"dictionary"``, ``"int64"``, ``"double"``
            or ``"string"``.
        enumerated: The only shapes allowed, if the model lists them.
        ranges: Per dimension (lower, upper), upper None for no bound, if the model gives ranges.
        optional: Whether a caller may leave the input out.
        default: The value of every element of an optional input that is left out.
        color_space: Of an image: a key of :data:`executorch_coreml.mil.description.COLOR_SPACES`.
        description: The author's sentence about it.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    kind: str = "tensor"
    enumerated: tuple[tuple[int, ...], ...] = ()
    ranges: tuple[tuple[int, int | None], ...] = ()
    optional: bool = False
    description: str = ""
    default: float | None = None
    color_space: str | None = None


@dataclass(frozen=True, slots=True)
class Description:
    """The declared border of one function of a model."""

    inputs: tuple[Feature, ...]
    outputs: tuple[Feature, ...]
    states: tuple[Feature, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A model with everything needed to run it.

    Attributes:
        program: The ML Program, weights resolved (mapped where the source allows it).
        descriptions: Function name -> its declared border.
        specification_version: 6 (iOS15) to 10 (iOS26).
        default_function: The function that runs when none is named.
        input_names, output_names: Function name -> the delegate's argument order, from a payload's
            ``metadata.json``; for other sources the order of the description.
        source: Where it came from, for messages.
        precision: What the compiler noted where it did not compute in fp16 as told: reason ->
            places in the user's model.
        outside: What of the program was left outside of all delegates, if the compiler recorded it
            with this one: reason -> places in the user's model.
        facts: What the compiler recorded beside the model: the keys of
            :mod:`executorch_coreml.compiler.payload`.
        debug_handles: Debug symbol of an op (:func:`~executorch_coreml.compiler.payload.symbol`) ->
            ExecuTorch's debug handles of the nodes it came from, if the payload has them.
    """

    program: Program
    descriptions: Mapping[str, Description]
    specification_version: int
    default_function: str
    input_names: Mapping[str, tuple[str, ...]]
    output_names: Mapping[str, tuple[str, ...]]
    source: str
    precision: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    outside: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    debug_handles: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
