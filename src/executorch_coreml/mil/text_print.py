"""A :class:`~executorch_coreml.mil.types.Program` -> MIL text, laid out as Apple does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from executorch_coreml.errors import ProgramError
from executorch_coreml.mil.text import OPSETS
from executorch_coreml.mil.text_lexer import is_name, quoted
from executorch_coreml.mil.text_values import STRING
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
from executorch_coreml.mil.weights import BLOB_DTYPES, WeightWriter

Version: TypeAlias = Literal["1.0", "1.3"]

WEIGHTS = "weights/weight.bin"
"""Where a compiled model keeps its weights."""

_SMALL = 10  # elements; what is larger goes to the weight file, as with coremltools
_WRITTEN = {opset: name for name, opset in OPSETS.items()}


def to_text(
    program: Program, weights: WeightWriter | None = None, *, version: Version | None = None
) -> str:
    """The program as text that :func:`~executorch_coreml.mil.text.parse` reads back.

    Args:
        program: The program. NaNs lose sign and payload; names must be identifiers.
        weights: Gets every array of ten elements and more, the same array once; the text refers to
            it as ``@model_path/weights/weight.bin``. If None, all values are in the text.
        version: ``"1.0"`` writes scalars as tensors, ``"1.3"`` by their dtype. If None, 1.3 for
            programs that use iOS18 or newer, as Apple's compiler did when that was new.

    Raises:
        ProgramError: A name cannot be written.
    """
    if version is None:
        new = any(function.opset >= "CoreML8" for function in program.functions.values())
        version = "1.3" if new else "1.0"
    printer = _Printer(weights, version)
    return "".join(printer.program(program))


class _Printer:
    def __init__(self, weights: WeightWriter | None, version: Version):
        self._weights = weights
        self._version = version
        # Where an array lies, as what -> its offset in the weight file. The arrays are kept, so
        # that no other comes to lie there.
        self._offsets: dict[tuple[int, str, int], tuple[int, Any]] = {}

    def program(self, program: Program) -> Iterator[str]:
        yield f"program({self._version})\n"
        if program.attributes:
            yield f"{self.attributes(program.attributes)}\n"
        yield "{\n"
        for function in program.functions.values():
            yield from self.function(function)
        yield "}"

    def function(self, function: Function) -> Iterator[str]:
        if function.opset not in _WRITTEN:
            raise ProgramError(
                f"opset {function.opset!r} has no name in MIL text",
                location=f"function {function.name!r}",
            )
        attributes = f" {self.attributes(function.attributes)}" if function.attributes else ""
        yield f"    func {_name(function.name)}<{_WRITTEN[function.opset]}>"
        yield f"({self.values(function.inputs)}){attributes} "
        yield from self.block(function.body, 8)
        yield ";\n"

    def block(self, block: Block, indent: int) -> Iterator[str]:
        yield "{\n"
        for op in block.operations:
            yield from self.op(op, indent + 4)
        yield f"{' ' * indent}}} -> ({', '.join(map(_name, block.outputs))})"

    def op(self, op: Op, indent: int) -> Iterator[str]:
        outputs = f"{self.values(op.outputs)} = " if op.outputs else ""
        inputs = (f"{_name(n)} = {self.arguments(given)}" for n, given in _sorted(op.inputs))
        yield f"{' ' * indent}{outputs}{_name(op.type)}({', '.join(inputs)})"
        if op.attributes:
            yield self.attributes(op.attributes)
        for number, block in enumerate(op.blocks):
            yield f"{',' if number else ''} block{number}({self.values(block.inputs)}) "
            yield from self.block(block, indent)
        yield ";\n"

    def values(self, values: Iterable[Value]) -> str:
        return ", ".join(f"{self.type(value.type)} {_name(value.name)}" for value in values)

    def arguments(self, given: Sequence[Argument]) -> str:
        printed = [_name(a.name) if isinstance(a, Ref) else self.literal(a) for a in given]
        return printed[0] if len(printed) == 1 else f"({', '.join(printed)})"

    def attributes(self, attributes: Mapping[str, Constant]) -> str:
        printed = (f"{_name(name)} = {self.literal(value)}" for name, value in _sorted(attributes))
        return f"[{', '.join(printed)}]"

    def type(self, kind: Type) -> str:
        match kind:
            case TensorType(dtype=dtype, shape=()) if self._version != "1.0":
                return dtype
            case TensorType(dtype=dtype, shape=shape):
                return f"tensor<{dtype}, [{', '.join(map(_extent, shape))}]>"
            case UnrankedType():
                raise ProgramError(f"a {kind}, of unknown rank, has no form in MIL text")
            case StateType(tensor=tensor):
                return f"state<{self.type(tensor)}>"
            case ListType(element=element, length=length):
                return f"list<{self.type(element)}, {_extent(length)}>"
            case TupleType(elements=elements):
                return f"tuple<{', '.join(map(self.type, elements))}>"
            case DictType(key=key, value=value):
                return f"dict<{self.type(key)}, {self.type(value)}>"

    def literal(self, value: Constant) -> str:
        kind = value.type
        printed = ""
        if self._weights is not None and isinstance(kind, TensorType):
            printed = self.blob(kind, value.data, self._weights)
        return f"{self.type(kind)}({printed or _value(kind, value.data)})"

    def blob(self, kind: TensorType, data: Any, weights: WeightWriter) -> str:
        """Puts an array into the weight file and refers to it; empty for what stays in the text."""
        if kind.dtype not in BLOB_DTYPES or data.size < _SMALL:
            return ""
        place = (data.__array_interface__["data"][0], kind.dtype, data.size)
        if place not in self._offsets:
            self._offsets[place] = (weights.add(data, kind.dtype), data)
        path = f'{self.type(TensorType(STRING, ()))}("@model_path/{WEIGHTS}")'
        offset = f"{self.type(TensorType('uint64', ()))}({self._offsets[place][0]})"
        return f"BLOBFILE(path = {path}, offset = {offset})"


def _value(kind: Type, data: Any) -> str:
    """A value without its type."""
    match kind:
        case TensorType(dtype=dtype):
            return _elements(dtype, data)
        case ListType(element=element):
            return f"[{', '.join(_value(element, item) for item in data)}]"
        case TupleType(elements=elements):
            printed = (_value(*pair) for pair in zip(elements, data, strict=True))
            return f"({', '.join(printed)})"
        case DictType(key=key, value=value):
            pairs = (f"{{{_value(key, k)}, {_value(value, v)}}}" for k, v in data.items())
            return f"{{{', '.join(pairs)}}}"
        case _:
            raise ProgramError("a state has no literal")


def _elements(dtype: str, data: Any) -> str:
    if isinstance(data, np.ndarray) and data.ndim:
        return f"[{', '.join(_elements(dtype, item) for item in data)}]"
    if dtype == STRING:
        return quoted(str(data))
    if dtype == "bool":
        return "true" if data else "false"
    return _hex(float(data)) if NUMPY_DTYPES[dtype].kind == "f" else str(int(data))


def _hex(value: float) -> str:
    """As C's ``%a`` prints it: no trailing zeros in the fraction."""
    mantissa, mark, exponent = value.hex().partition("p")
    if not mark:
        return mantissa  # inf, -inf, nan
    return f"{mantissa.rstrip('0').removesuffix('.') if '.' in mantissa else mantissa}p{exponent}"


def _extent(extent: int | None) -> str:
    return "?" if extent is None else str(extent)


def _name(name: str) -> str:
    if not is_name(name):
        raise ProgramError(f"{name!r} cannot be a name in MIL text")
    return name


def _sorted(items: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return sorted(items.items())
