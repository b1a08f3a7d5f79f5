"""What kernels read and make: operands as OpenVINO nodes, as numpy arrays, as Python scalars.

An operand is a numpy array (or ``str``) while the program gives it as a constant and an
``ov.Output`` once it is computed. Inside a graph floats are float32, whatever the program declares.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import openvino as ov
from openvino import opset15 as ops
from openvino.passes import ConstantFolding, Manager

from executorch_coreml.errors import ProgramError
from executorch_coreml.mil.types import TensorType, UnrankedType

Array: TypeAlias = "np.ndarray[Any, Any]"
Operand: TypeAlias = "np.ndarray[Any, Any] | ov.Output"

# MIL scalar type -> element type of its values inside a graph.
ELEMENT_TYPES = {
    "bool": ov.Type.boolean,
    "fp16": ov.Type.f32,
    "fp32": ov.Type.f32,
    "fp64": ov.Type.f32,
    "int8": ov.Type.i8,
    "int16": ov.Type.i16,
    "int32": ov.Type.i32,
    "int64": ov.Type.i64,
    "uint8": ov.Type.u8,
    "uint16": ov.Type.u16,
    "uint32": ov.Type.u32,
    "uint64": ov.Type.u64,
    "int4": ov.Type.i8,
    "uint1": ov.Type.u8,
    "uint2": ov.Type.u8,
    "uint3": ov.Type.u8,
    "uint4": ov.Type.u8,
    "uint6": ov.Type.u8,
}


# id of an array -> (the array, its node) while one graph is built: a weight that several ops use is
# one node. The array is kept so that its id stays its own.
_NODES: ContextVar[dict[int, tuple[Array, ov.Output]] | None] = ContextVar("nodes", default=None)


# The runtime-info key by which OpenVINO's matrix products and lookups read an fp16 constant itself
# (ov::Decompression), instead of holding it in float32 beside what they repack of it; and from how
# many bytes on that matters.
_DECOMPRESSION, _LARGE = "decompression_0", 1 << 16

_KEEPS_NAN = "executorch_coreml.keeps_nan"  # a key of ours


class StateCell:
    """What an op that reads or writes a state gets as operand: the state's value so far."""

    def __init__(self, name: str, current: ov.Output):
        self.name = name
        self.current = current
        self.written = False

    def write(self, value: ov.Output) -> None:
        self.current = value
        self.written = True


@dataclass(frozen=True, slots=True)
class ListValue:
    """A list: its elements, which all have one shape, along a new first dimension.

    ``grows``: a write beyond its end makes it longer. The type that a program declares does not
    tell; its length is then that at the start.
    """

    elements: ov.Output
    grows: bool


@dataclass(frozen=True, slots=True)
class Bound:
    """A value of the program as kernels get it. ``exact``: all its elements are fp16 numbers."""

    operand: Any
    exact: bool


class _WritableView:
    """Shows a read-only array as writable: OpenVINO shares no other kind, and never writes to it.

    numpy keeps this object, hence the array and the file mapping behind it, alive.
    """

    def __init__(self, array: Array):
        self.array = array

    @property
    def __array_interface__(self) -> dict[str, Any]:
        interface = dict(self.array.__array_interface__)
        interface["data"] = (interface["data"][0], False)
        return interface


def shareable(array: Array) -> Array:
    """``array`` in the form whose memory OpenVINO can use in place: contiguous, "writable"."""
    if not array.flags.c_contiguous:
        array = np.ascontiguousarray(array)
    if array.flags.writeable or not array.size:
        return array
    return np.asarray(_WritableView(array))


@contextmanager
def shared_nodes() -> Iterator[None]:
    """Inside, :func:`node` gives one node per array object: for the building of one graph."""
    token = _NODES.set({})
    try:
        yield
    finally:
        _NODES.reset(token)


def shared_arrays() -> list[Array]:
    """The arrays that are nodes of the graph under construction."""
    return [array for array, _ in (_NODES.get() or {}).values()]


def node(x: Operand | ov.Node | float | int | bool) -> ov.Output:
    """``x`` as a graph node. The memory of arrays is shared, so they must not change afterwards.

    float16 becomes float32, by a Convert that OpenVINO folds at load or fuses into the consumer;
    other dtypes stay.
    """
    if isinstance(x, ov.Output):
        return x
    if isinstance(x, ov.Node):
        return x.output(0)
    known = _NODES.get()
    if known is None or not isinstance(x, np.ndarray):
        return _constant_node(np.asarray(x))
    if id(x) not in known:
        known[id(x)] = (x, _constant_node(x))
    return known[id(x)][1]


def _constant_node(array: Array) -> ov.Output:
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    value = ov.op.Constant(shareable(array), shared_memory=bool(array.size)).output(0)
    if array.dtype == np.float16:
        wide = ops.convert(value, ov.Type.f32)
        if array.nbytes >= _LARGE:
            wide.get_rt_info()[_DECOMPRESSION] = True
        return wide.output(0)
    return value


def constant(x: Operand | str, what: str) -> Array:
    """``x`` as an array.

    Raises:
        ProgramError: its value is not known when the model is loaded.
    """
    found = folded(x)
    if found is None:
        raise ProgramError(f"{what} must be known when the model is loaded, but it is computed")
    return found


def folded(x: Operand | str) -> Array | None:
    """``x`` as an array, or None if its value is not known when the model is loaded."""
    if not isinstance(x, ov.Output):
        return np.asarray(x)
    if not _has_no_inputs(x):
        return None
    model = ov.Model([ops.result(x)], [], "constant")
    folding = Manager()
    folding.register_pass(ConstantFolding())
    folding.run_passes(model)
    source = model.get_results()[0].input_value(0).get_node()
    return np.array(source.data) if source.get_type_name() == "Constant" else None


def _has_no_inputs(x: ov.Output) -> bool:
    """Whether no value that ``x`` is computed from changes from run to run."""
    pending, seen = [x.get_node()], set()
    while pending:
        current = pending.pop()
        if current.get_type_name() in ("Parameter", "RandomUniform", "ReadValue"):
            return False
        for source in current.input_values():
            name = source.get_node().get_name()
            if name not in seen:
                seen.add(name)
                pending.append(source.get_node())
    return True


def is_known(x: Any) -> bool:
    """Whether the program gives ``x`` as a constant."""
    return not isinstance(x, ov.Output)


def scalar(x: Operand | str, what: str) -> Any:
    """The one element of the constant ``x``, as a Python ``int``, ``float`` or ``bool``."""
    array = constant(x, what)
    if array.size != 1:
        raise ProgramError(f"{what} must be one number, got an array of shape {array.shape}")
    return array.reshape(()).item()


def integers(x: Operand, what: str) -> list[int]:
    """The elements of the constant ``x``, flattened."""
    return [int(value) for value in constant(x, what).reshape(-1)]


def text(x: Operand | str, what: str) -> str:
    """The constant string ``x``."""
    return str(scalar(x, what))


def shape(x: Operand) -> tuple[int | None, ...]:
    """The extents of ``x``; None where one is not known at load."""
    if isinstance(x, ov.Output):
        return tuple(
            None if extent.is_dynamic else extent.get_length() for extent in x.get_partial_shape()
        )
    return tuple(np.shape(x))


def each(x: Operand | tuple[Operand, ...]) -> tuple[Operand, ...]:
    """The operands of a variadic input: the program may give it a single one."""
    return x if isinstance(x, tuple) else (x,)


def rank(x: Operand) -> int:
    """The number of dimensions of ``x``; always known in an ML Program."""
    return len(shape(x))


def axis_of(axis: Operand | int, of: int, what: str = "axis") -> int:
    """The constant ``axis``, counted from the front of ``of`` dimensions.

    Raises:
        ProgramError: it is not in ``[-of, of)``.
    """
    value = axis if isinstance(axis, int) else int(scalar(axis, what))
    if not -of <= value < of:
        raise ProgramError(f"{what} {value} is out of range for a value of rank {of}")
    return value % of


def element_type(x: Operand) -> ov.Type:
    """The type of ``x`` inside a graph, where fp16 is float32."""
    return node(x).get_element_type()


def is_float(x: Operand) -> bool:
    return bool(element_type(x).is_real())


def is_bool(x: Operand) -> bool:
    return bool(element_type(x) == ov.Type.boolean)


def cast(x: Operand, to: ov.Type) -> ov.Output:
    """``x`` as a node of type ``to``; ``x`` itself where it already is."""
    value = node(x)
    return value if value.get_element_type() == to else ops.convert(value, to).output(0)


def like(value: float | int | bool | Sequence[Any], x: Operand) -> ov.Output:
    """``value`` as a constant node of the element type of ``x``."""
    return ops.constant(value, element_type(x)).output(0)


def i64(values: int | Sequence[int]) -> ov.Output:
    """A constant for axes, shapes and counts: a scalar for an ``int``, else rank 1."""
    return ops.constant(np.asarray(values, np.int64)).output(0)


def f32(values: float | Sequence[float] | Array) -> ov.Output:
    """A float32 constant."""
    return ops.constant(np.asarray(values, np.float32)).output(0)


def absolute(x: ov.Output) -> ov.Output:
    """The magnitude of a float or integer node.

    Not OpenVINO's Abs: 2026.4 drops it when it follows a product of constants, so that
    ``abs(1 * -0.5)`` is -0.5 in the compiled model. Its maximum of 0 and -0 is the second, hence
    the selection.
    """
    larger = ops.maximum(x, ops.negative(x))
    if not x.get_element_type().is_real():
        return larger.output(0)
    return ops.select(ops.equal(x, like(0, x)), like(0, x), larger).output(0)


def gather(x: ov.Output, indices: ov.Output, axis: int, batch_dims: int = 0) -> ov.Node:
    """``x`` at ``indices`` along ``axis``; the first ``batch_dims`` dimensions belong together.

    OpenVINO 2026.4 reads such a Gather from wrong memory where all known extents in front of
    ``axis`` are 1; there is then nothing that belongs together.
    """
    if batch_dims and all(extent == 1 for extent in shape(x)[:axis]):
        indices, batch_dims = ops.squeeze(indices, i64(list(range(batch_dims)))).output(0), 0
    return ops.gather(x, indices, i64(axis), batch_dims)


def apart(x: ov.Output) -> ov.Output:
    """``x`` by an op that changes nothing and that no graph pass removes."""
    if x.get_element_type() == ov.Type.boolean:
        return ops.logical_or(x, x).output(0)
    return ops.maximum(x, x).output(0)


def keeping_nan(x: ov.Output, value: ov.Output | ov.Node) -> ov.Output:
    """``value``, NaN where ``x`` is.

    OpenVINO 2026.4 computes exp, relu, clamp, minimum, maximum and their reductions with x86
    instructions that drop a NaN operand: exp(NaN) is inf, relu(NaN) is 0. A program whose fp16
    values overflow would look right.
    """
    if not x.get_element_type().is_real():
        return node(value)
    kept = ops.select(ops.not_equal(x, x), x, value)
    kept.get_rt_info()[_KEEPS_NAN] = True
    return kept.output(0)


def keeps_nan(found: ov.Node) -> bool:
    """Whether it is a selection that :func:`keeping_nan` made, of its second and third input."""
    return _KEEPS_NAN in found.get_rt_info()


def shape_node(x: Operand) -> ov.Output:
    """The extents of ``x`` as an int64 node of rank 1; a constant where all are known."""
    extents = shape(x)
    if None not in extents:
        return i64([extent for extent in extents if extent is not None])
    return ops.shape_of(node(x), "i64").output(0)


def output_type(out: tuple[TensorType, ...], index: int = 0) -> ov.Type:
    """The element type inside a graph of a declared output."""
    return ELEMENT_TYPES[out[index].dtype]


def require_extents(made: Sequence[int], out: tuple[TensorType | UnrankedType, ...]) -> None:
    """For what is made at load, in the size that constants say.

    Args:
        made: The last extents of the first output.

    Raises:
        ProgramError: The program declares others.
    """
    (kind, *_) = out
    if isinstance(kind, UnrankedType):
        return
    last = kind.shape[len(kind.shape) - len(made) :]
    if len(last) != len(made) or any(
        want not in (None, got) for want, got in zip(last, made, strict=True)
    ):
        raise ProgramError(f"makes {list(made)}, and declares {kind}")
