"""Types and literals of MIL text.

A type is ``tensor<fp16, [1, ?]>``, ``state<TYPE>``, ``list<TYPE, LENGTH>``, ``tuple<TYPE, ...>`` or
``dict<TYPE, TYPE>``; a bare ``int32`` is ``tensor<int32, []>``, as version 1.3 writes it.
A literal is a type and a value in parentheses; values inside others go without their types::

    tensor<fp32, [2, 2]>([[0x1p+0, 0x1.8p-3], [-inf, nan]])
    dict<string, tensor<int32, [?]>>({{"x", [1, 4]}, {"y", [2]}})
    tuple<string, list<bool, 2>>(("name", [true, false]))
    fp16(BLOBFILE(path = string("@model_path/weights/weight.bin"), offset = uint64(64)))

Floats are hexadecimal, as C's ``%a`` prints them; decimal ones are read too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any, Final

import numpy as np

from executorch_coreml.errors import ProgramError
from executorch_coreml.mil.invariants import (
    constant_shape,
    integer_range,
    require_extent,
    require_length,
)
from executorch_coreml.mil.text_lexer import Tokens
from executorch_coreml.mil.types import (
    NUMPY_DTYPES,
    Constant,
    DictType,
    ListType,
    StateType,
    TensorType,
    TupleType,
    Type,
)
from executorch_coreml.mil.weights import WeightFile

MAX_DEPTH: Final = 64
"""How deep types, values and blocks may nest. Compilers of models stay below ten."""

STRING: Final = "string"
_SCALARS = frozenset((*NUMPY_DTYPES, STRING))
_COMPOUND = frozenset(("tensor", "state", "list", "tuple", "dict"))
_BOOLS = {"true": True, "false": False}

Weights = Callable[[str], WeightFile]


class ValueReader:
    """Reads types and literals at the cursor.

    Args:
        tokens: The cursor.
        weights: Opens a weight file by the name that the text calls it.
    """

    def __init__(self, tokens: Tokens, weights: Weights):
        self._tokens = tokens
        self._weights = weights

    def at_literal(self) -> bool:
        """Whether a literal starts here rather than the name of a value."""
        tokens = self._tokens
        if tokens.kind != "name":
            return False
        if tokens.text in _COMPOUND:
            return tokens.peek() == "<"
        return tokens.text in _SCALARS and tokens.peek() == "("

    def type(self, depth: int = 0) -> Type:
        """
        Raises:
            ProgramError: No type starts here, or none that is known.
        """
        tokens = self._tokens
        self.require_depth(depth)
        start, name = tokens.start, tokens.name("a type")
        if name in _SCALARS:
            return TensorType(name, ())
        if name not in _COMPOUND:
            tokens.fail(f"no type is called {name!r}", start)
        tokens.expect("<")
        found: Type
        match name:
            case "tensor":
                found = self._tensor_type()
            case "state":
                place = tokens.start
                wrapped = self.type(depth + 1)
                if not isinstance(wrapped, TensorType):
                    tokens.fail("a state must be a tensor", place)
                found = StateType(wrapped)
            case "list":
                element = self.type(depth + 1)
                found = ListType(element, self._extent() if tokens.take(",") else None)
            case "tuple":
                found = TupleType(tuple(self._types(depth + 1)))
            case _:
                key = self.type(depth + 1)
                tokens.expect(",")
                found = DictType(key, self.type(depth + 1))
        tokens.expect(">")
        return found

    def _types(self, depth: int) -> list[Type]:
        found: list[Type] = []
        while self._tokens.text != ">":
            if found:
                self._tokens.expect(",")
            found.append(self.type(depth))
        return found

    def _tensor_type(self) -> TensorType:
        tokens = self._tokens
        start, dtype = tokens.start, tokens.name("an element type")
        if dtype not in _SCALARS:
            tokens.fail(f"element type {dtype!r} is not supported", start)
        tokens.expect(",")
        tokens.expect("[")
        shape: list[int | None] = []
        while not tokens.take("]"):
            if shape:
                tokens.expect(",")
            shape.append(self._extent())
        return TensorType(dtype, tuple(shape))

    def _extent(self) -> int | None:
        tokens, start = self._tokens, self._tokens.start
        if tokens.take("?"):
            return None
        extent = tokens.integer("an extent")
        return require_extent(extent, lambda message: tokens.error(message, start))

    def literal(self) -> Constant:
        """
        Raises:
            ProgramError: No literal starts here, or its value is not of its type.
            PayloadError: It refers to a weight file that is missing or malformed.
        """
        tokens, start = self._tokens, self._tokens.start
        kind = self.type()
        tokens.expect("(")
        data: Any
        if tokens.text == "BLOBFILE" and tokens.kind == "name":
            data = self._blob(kind, start)
        else:
            if isinstance(kind, TensorType):
                constant_shape(kind, lambda message: tokens.error(message, start))
            data = self._value(kind, 0)
        tokens.expect(")")
        return Constant(kind, data)

    def _blob(self, kind: Type, start: int) -> Any:
        tokens = self._tokens
        if not isinstance(kind, TensorType) or kind.dtype == STRING:
            tokens.fail("only numbers can be in a weight file", start)
        shape = constant_shape(kind, lambda message: tokens.error(message, start))
        tokens.advance()
        tokens.expect("(")
        path = self._argument("path", TensorType(STRING, ()))
        tokens.expect(",")
        offset = self._argument("offset", TensorType("uint64", ()))
        tokens.expect(")")
        data = self._weights(path).read(int(offset), kind.dtype, prod(shape))
        return data.reshape(shape)

    def _argument(self, name: str, kind: TensorType) -> Any:
        tokens = self._tokens
        tokens.expect(name)
        tokens.expect("=")
        start, found = tokens.start, self.literal()
        if found.type != kind:
            tokens.fail(f"the {name} of a blob is a {kind.dtype}", start)
        return found.data

    def _value(self, kind: Type, depth: int) -> Any:
        tokens, start = self._tokens, self._tokens.start
        self.require_depth(depth)

        def fail(message: str) -> ProgramError:
            return tokens.error(message, start)

        match kind:
            case TensorType():
                return self._tensor(kind)
            case ListType():
                data = self._sequence("[", "]", lambda _: kind.element, depth)
                require_length("list", kind.length, len(data), fail)
                return data
            case TupleType():
                data = self._sequence("(", ")", partial(self._at, kind), depth)
                require_length("tuple", len(kind.elements), len(data), fail)
                return data
            case DictType():
                return self._dictionary(kind, depth)
            case _:
                raise fail("a state has no literal")

    def _at(self, kind: TupleType, position: int) -> Type:
        if position >= len(kind.elements):
            self._tokens.fail(f"a tuple of {len(kind.elements)} elements has more values")
        return kind.elements[position]

    def _sequence(
        self, opening: str, closing: str, kind: Callable[[int], Type], depth: int
    ) -> tuple[Any, ...]:
        tokens = self._tokens
        tokens.expect(opening)
        data: list[Any] = []
        while not tokens.take(closing):
            if data:
                tokens.expect(",")
            data.append(self._value(kind(len(data)), depth + 1))
        return tuple(data)

    def _dictionary(self, kind: DictType, depth: int) -> dict[Any, Any]:
        tokens = self._tokens
        if not isinstance(kind.key, TensorType) or kind.key.shape != ():
            tokens.fail("a dictionary's key must be a scalar")
        tokens.expect("{")
        data: dict[Any, Any] = {}
        while not tokens.take("}"):
            if data:
                tokens.expect(",")
            tokens.expect("{")
            start, key = tokens.start, self._tensor(kind.key)
            key = key if isinstance(key, str) else key.item()
            if key in data:
                tokens.fail("the key is given twice", start)
            tokens.expect(",")
            data[key] = self._value(kind.value, depth + 1)
            tokens.expect("}")
        return data

    def _tensor(self, kind: TensorType) -> Any:
        """An array, or a ``str`` for a scalar string; unknown extents are those of the value."""
        start = self._tokens.start
        extents = list(kind.shape)
        found = self._elements(kind.dtype, extents) if extents else [self._element(kind.dtype)]
        if kind.dtype == STRING and not extents:
            return found[0]
        known = TensorType(kind.dtype, tuple(extents))
        shape = constant_shape(known, lambda message: self._tokens.error(message, start))
        with np.errstate(over="ignore"):  # rounded once; infinite beyond the range of the dtype
            data = np.array(found, NUMPY_DTYPES.get(kind.dtype, np.dtype(object)))
        data.setflags(write=False)
        return data.reshape(shape)

    def _elements(self, dtype: str, extents: list[int | None]) -> list[Any]:
        """Elements in nested brackets, which must be nested as ``extents`` say. Extents that are
        None are put in. Brackets are counted, so that no depth of them costs stack."""
        tokens = self._tokens
        counts: list[int] = []  # of what each open bracket holds so far
        found: list[Any] = []
        while True:
            if counts and tokens.text == "]":
                closed = counts.pop()
                extent = extents[len(counts)]
                if extent is None:
                    extents[len(counts)] = closed
                elif extent != closed:
                    tokens.fail(f"{closed} values where the type says {extent}")
                tokens.advance()
                if not counts:
                    return found
                continue
            if counts and counts[-1]:
                tokens.expect(",")
            if counts:
                counts[-1] += 1
            if len(counts) < len(extents):
                tokens.expect("[")
                counts.append(0)
            else:
                found.append(self._element(dtype))

    def _element(self, dtype: str) -> Any:
        tokens = self._tokens
        if dtype == STRING:
            return tokens.string()
        text, start = tokens.text, tokens.start
        if tokens.kind not in ("number", "name"):
            tokens.fail(f"expected a {dtype}, got {tokens.shown()}")
        kind = NUMPY_DTYPES[dtype].kind
        try:
            value = _float(text) if kind == "f" else _integer(text, kind)
        except (ValueError, KeyError, OverflowError):
            tokens.fail(f"{tokens.shown()} is no value of {dtype}")
        if kind in "iu":
            low, high = integer_range(dtype)
            if not low <= value < high:
                tokens.fail(f"{tokens.shown()} is no value of {dtype}", start)
        tokens.advance()
        return value

    def require_depth(self, depth: int) -> None:
        """
        Raises:
            ProgramError: What is read nests deeper than any model's.
        """
        if depth > MAX_DEPTH:
            self._tokens.fail(f"nested deeper than {MAX_DEPTH} levels")


def _float(text: str) -> float:
    return float.fromhex(text) if "x" in text.lower() else float(text)


def _integer(text: str, kind: str) -> int | bool:
    if kind == "b":
        return _BOOLS[text]
    return int(text, 16 if "x" in text.lower() else 10)
