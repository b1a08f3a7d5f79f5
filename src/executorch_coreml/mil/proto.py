"""A parsed ML Program message -> :class:`~executorch_coreml.mil.types.Program`.

What every later stage relies on is checked here, once: an argument names a value defined before
it, a name is defined once in its scope, a constant has as many elements as its type says. Messages
name function, op and value. The fields are described in ``mlmodel/format/MIL.proto`` of
apple/coremltools.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from math import prod
from types import MappingProxyType
from typing import Any

import numpy as np

from executorch_coreml.errors import ProgramError
from executorch_coreml.mil.invariants import (
    Scope,
    constant_shape,
    integer_range,
    require_extent,
    require_length,
)
from executorch_coreml.mil.types import (
    NUMPY_DTYPES,
    Argument,
    Block,
    Constant,
    DictType,
    Function,
    ListType,
    Op,
    Program,
    Ref,
    StateType,
    TensorType,
    TupleType,
    Type,
    UnrankedType,
    Value,
)
from executorch_coreml.mil.weights import SUB_BYTE_BITS, WeightFile, from_bytes

# MIL.proto, enum DataType. 13, 40 and 41 are bfloat16 and two kinds of float8, which no op takes.
_DTYPES = {
    1: "bool",
    2: "string",
    10: "fp16",
    11: "fp32",
    12: "fp64",
    21: "int8",
    22: "int16",
    23: "int32",
    24: "int64",
    25: "int4",
    31: "uint8",
    32: "uint16",
    33: "uint32",
    34: "uint64",
    35: "uint4",
    36: "uint2",
    37: "uint1",
    38: "uint6",
    39: "uint3",
}

# The members of TensorValue that hold a dtype; all other dtypes are integers in one of the last.
_MEMBERS = {
    "bool": ("bools",),
    "string": ("strings",),
    "fp16": ("bytes",),
    "fp32": ("floats",),
    "fp64": ("doubles",),
    "int64": ("longInts",),
    "uint64": ("longInts",),
}
_INTEGER_MEMBERS = ("ints", "bytes")


def read_program(message: Any, weights: Callable[[str], WeightFile]) -> Program:
    """Convert a ``Program`` message of :mod:`executorch_coreml.mil.schema`.

    Args:
        message: The message; it is not kept.
        weights: Opens a weight file by the name that the program calls it.

    Raises:
        ProgramError: The program is malformed.
        PayloadError: A weight file is missing or malformed.
    """
    functions = {
        name: _Reader(weights, name).read_function(function)
        for name, function in _entries(message.functions)
    }
    return Program(MappingProxyType(functions))


def _entries(entries: Any) -> Iterator[tuple[str, Any]]:
    """The entries of a protobuf map by key; its own order is not the same in every process."""
    return ((key, entries[key]) for key in sorted(entries))


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads messages, knowing where in the program they are."""

    weights: Callable[[str], WeightFile]
    function: str
    op: str = ""
    value: str = ""

    def error(self, message: str) -> ProgramError:
        where = f"function {self.function!r}"
        where += f", op {self.op}" if self.op else ""
        where += f", value {self.value!r}" if self.value else ""
        return ProgramError(message, location=where)

    def at(self, value: str) -> _Reader:
        return replace(self, value=value)

    def read_function(self, message: Any) -> Function:
        scope = Scope()
        inputs = self.define(message.inputs, scope)
        opset, blocks = message.opset, message.block_specializations
        if opset not in blocks:
            raise self.error(f"no block for opset {opset!r}; there are blocks for {sorted(blocks)}")
        return Function(self.function, opset, inputs, self.read_block(blocks[opset], scope))

    def read_block(self, message: Any, scope: Scope) -> Block:
        """``scope`` gets the block's own names."""
        inputs = self.define(message.inputs, scope)
        operations = tuple(self.read_op(operation, scope) for operation in message.operations)
        for name in message.outputs:
            scope.require_output(name, self.at(name).error)
        return Block(inputs, operations, tuple(message.outputs))

    def read_op(self, message: Any, scope: Scope) -> Op:
        names = [output.name for output in message.outputs]
        here = replace(self, op=" ".join([message.type or "of no type", *map(repr, names[:1])]))
        if not message.type:
            raise here.error("the op has no type")
        inputs = {
            name: tuple(here.at(name).read_argument(b, scope) for b in argument.arguments)
            for name, argument in _entries(message.inputs)
        }
        attributes = {
            name: here.at(name).read_constant(value) for name, value in _entries(message.attributes)
        }
        blocks = tuple(here.read_block(block, Scope(scope)) for block in message.blocks)
        outputs = here.define(message.outputs, scope)
        return Op(message.type, inputs, outputs, attributes, blocks)

    def define(self, messages: Iterable[Any], scope: Scope) -> tuple[Value, ...]:
        """Read named value types and add their names to ``scope``."""
        values = []
        for message in messages:
            here = self.at(message.name)
            scope.define(message.name, here.error)
            values.append(Value(message.name, here.read_type(message.type)))
        return tuple(values)

    def read_argument(self, message: Any, scope: Scope) -> Argument:
        match message.WhichOneof("binding"):
            case "name":
                scope.require(message.name, self.error)
                return Ref(message.name)
            case "value":
                return self.read_constant(message.value)
            case _:
                raise self.error("an argument is neither a name nor a value")

    def read_type(self, message: Any) -> Type:
        match message.WhichOneof("type"):
            case "tensorType":
                return self.read_tensor_type(message.tensorType)
            case "stateType":
                wrapped = self.read_type(message.stateType.wrappedType)
                if not isinstance(wrapped, TensorType):
                    raise self.error(f"a state must be a tensor, not {wrapped}")
                return StateType(wrapped)
            case "listType":
                length = message.listType.length
                return ListType(self.read_type(message.listType.type), self.read_extent(length))
            case "tupleType":
                return TupleType(tuple(map(self.read_type, message.tupleType.types)))
            case "dictionaryType":
                kind = message.dictionaryType
                return DictType(self.read_type(kind.keyType), self.read_type(kind.valueType))
            case _:
                raise self.error("the value has no known type")

    def read_tensor_type(self, message: Any) -> TensorType | UnrankedType:
        """A rank of -1, or a variadic dimension among others, says that the rank is unknown."""
        if message.dataType not in _DTYPES:
            raise self.error(f"element type {message.dataType} is not supported")
        variadic = any(
            extent.WhichOneof("dimension") == "unknown" and extent.unknown.variadic
            for extent in message.dimensions
        )
        if message.rank == -1 or variadic:
            return UnrankedType(_DTYPES[message.dataType])
        if message.rank != len(message.dimensions):
            raise self.error(f"rank {message.rank}, but {len(message.dimensions)} dimensions")
        return TensorType(
            _DTYPES[message.dataType], tuple(map(self.read_extent, message.dimensions))
        )

    def read_extent(self, message: Any) -> int | None:
        match message.WhichOneof("dimension"):
            case "constant":
                return require_extent(int(message.constant.size), self.error)
            case "unknown":
                return None
            case _:
                raise self.error("a dimension is neither known nor unknown")

    def read_constant(self, message: Any) -> Constant:
        kind = self.read_type(message.type)
        if isinstance(kind, UnrankedType):
            raise self.error(f"a constant cannot be of type {kind}")
        source = message.WhichOneof("value")
        if isinstance(kind, TensorType):
            return Constant(kind, self.read_tensor(kind, message, source))
        value = message.immediateValue
        form = value.WhichOneof("value") if source == "immediateValue" else source
        data: Any
        match kind, form:
            case ListType(), "list" | None:
                data = tuple(self.read_constant(v).data for v in value.list.values)
                require_length("list", kind.length, len(data), self.error)
            case TupleType(), "tuple" | None:
                data = tuple(self.read_constant(v).data for v in value.tuple.values)
                require_length("tuple", len(kind.elements), len(data), self.error)
            case DictType(), "dictionary" | None:
                pairs = value.dictionary.values
                data = {self.read_key(p.key): self.read_constant(p.value).data for p in pairs}
            case _:
                raise self.error(f"a {type(kind).__name__} has a value of form {form!r}")
        return Constant(kind, data)

    def read_key(self, message: Any) -> Any:
        """A dictionary's key: a string or a Python number."""
        key = self.read_constant(message)
        if not isinstance(key.type, TensorType) or key.type.shape != ():
            raise self.error("a dictionary's key must be a scalar")
        return key.data if isinstance(key.data, str) else key.data.item()

    def read_tensor(self, kind: TensorType, message: Any, source: str | None) -> Any:
        shape = constant_shape(kind, self.error)
        count = prod(shape)
        if source == "blobFileValue":
            blob = message.blobFileValue
            data = self.weights(blob.fileName).read(blob.offset, kind.dtype, count)
        else:
            data = self.read_elements(kind.dtype, count, message.immediateValue.tensor)
        if data.size != count:
            raise self.error(f"a constant of type {kind} has {data.size} values")
        if kind.dtype == "string" and not shape:
            return data[0]
        data.setflags(write=False)
        return data.reshape(shape)

    def read_elements(self, dtype: str, count: int, message: Any) -> np.ndarray[Any, Any]:
        """The elements of a ``TensorValue``, in one dimension, as many as there are."""
        member = message.WhichOneof("value")
        storage = NUMPY_DTYPES.get(dtype, np.dtype(object))
        if member is None:
            return np.empty(0, storage)
        if member not in _MEMBERS.get(dtype, _INTEGER_MEMBERS):
            raise self.error(f"elements of {dtype} are stored as {member!r}")
        values = getattr(message, member).values
        if member == "bytes":
            bits = count * SUB_BYTE_BITS.get(dtype, storage.itemsize * 8)
            if len(values) != (bits + 7) // 8:
                raise self.error(f"{count} elements of {dtype} are stored in {len(values)} bytes")
            return from_bytes(memoryview(values), dtype, count)
        if member == "ints":
            return self.narrow(np.array(values, np.int32), dtype)
        if dtype == "uint64":
            return np.array(values, np.int64).view(np.uint64)
        return np.array(values, storage)

    def narrow(self, values: np.ndarray[Any, Any], dtype: str) -> np.ndarray[Any, Any]:
        """int32 values as ``dtype``, which must hold them; uint32 travels in the bits of int32."""
        if dtype == "uint32":
            return values.view(np.uint32)
        low, high = integer_range(dtype)
        outside = values[(values < low) | (values >= high)]
        if outside.size:
            raise self.error(f"{outside[0]} is no value of {dtype}")
        return values.astype(NUMPY_DTYPES[dtype])
