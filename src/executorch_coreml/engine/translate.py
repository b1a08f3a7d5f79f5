"""The ops of one block -> OpenVINO nodes.

Constants stay numpy arrays until a kernel turns one into a node. Behind each kernel the result is
compared with the type that the program declares, and rounded to fp16 where the program says fp16
and the kernel is not exact (:mod:`executorch_coreml.engine.precision`).

A block inside an op sees the values of the blocks around it. Where it becomes a graph of its own
(:class:`~executorch_coreml.engine.kernels.subgraph.Subgraph`), each of those it uses comes in
through a parameter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset15 as ops
from openvino.exceptions import UserInputError

from executorch_coreml.engine.kernels import TABLE
from executorch_coreml.engine.kernels.operand import (
    ELEMENT_TYPES,
    Bound,
    ListValue,
    StateCell,
    cast,
    i64,
    node,
    shape,
)
from executorch_coreml.engine.kernels.subgraph import Subgraph
from executorch_coreml.engine.kernels.table import Kernel
from executorch_coreml.engine.kernels.violations import RECORD, Violations
from executorch_coreml.engine.precision import round_to_fp16
from executorch_coreml.errors import ProgramError
from executorch_coreml.mil.types import (
    NUMPY_DTYPES,
    Argument,
    Block,
    Constant,
    ListType,
    Op,
    TensorType,
    Type,
    UnrankedType,
    Value,
)

_NUMPY_KIND = {"b": "bool", "f": "float", "i": "int", "u": "int"}
_FILLED_BY_ENGINE = frozenset({"out", "opset", "blocks", "violations"})


# A kernel expects operands that the op's definition allows, and relies on what they then are. What
# OpenVINO raises when a program gives others; and what numpy and Python do, which may also be a
# mistake in the kernel.
_REFUSED = (RuntimeError, UserInputError)
_FAILED = (
    TypeError,
    ValueError,
    AttributeError,
    LookupError,
    ArithmeticError,
    MemoryError,
)
_PERHAPS_A_BUG = (
    "if Core ML takes this program, this is a bug in executorch-coreml; please report it with the "
    "model"
)


@dataclass(frozen=True, slots=True)
class Setting:
    """What holds of a whole function.

    Attributes:
        function, opset: Its name, and the number of its opset.
        faithful: fp16 is rounded.
        recording: Where those ops are that may find a violation in a run, by number.
    """

    function: str
    opset: int
    faithful: bool
    recording: list[str] = field(default_factory=list)


class Translation:
    """The values of one block that are bound so far.

    Args:
        setting: Of the function.
        outer: The translation of the block around it.
        graph: The graph that the nodes belong to, if it is not the one of ``outer``.
    """

    def __init__(
        self, setting: Setting, outer: Translation | None = None, graph: Subgraph | None = None
    ):
        self.setting = setting
        self.outer = outer
        self.graph = graph
        self.values: dict[str, Bound] = {}
        self.types: dict[str, Type] = {}

    def find(self, name: str) -> Bound | None:
        """The value of that name, as this block's graph has it; None if there is none."""
        if name not in self.values:
            found = self.outer.find(name) if self.outer is not None else None
            if found is None:
                return None
            self.values[name] = found if self.graph is None else self.graph.take(found)
        return self.values[name]

    def add(self, op: Op) -> None:
        """Build ``op`` and bind its outputs.

        Raises:
            ProgramError: its inputs or results are not what its kernel or the program says.
        """
        if op.type == "const":
            literal = op.attributes.get("val")
            if literal is None or len(op.outputs) != 1:
                raise ProgramError("a const needs one value", location=self._where(op))
            self._declare(op.outputs[0], op)
            self.values[op.outputs[0].name] = _literal(literal)
            return
        kernel = TABLE[op.type]
        # The constexpr ops of iOS16 hold their operands as attributes.
        held = {n: (value,) for n, value in op.attributes.items() if n in kernel.parameters}
        operands: dict[str, tuple[Argument, ...]] = {**held, **op.inputs}
        bound = {name: self._bind(op, arguments) for name, arguments in operands.items()}
        arguments = self._arguments(op, kernel, bound)
        try:
            results = kernel.function(**arguments)
        except ProgramError as error:
            # What fails in a nested block says already where.
            where = error.location or self._where(op)
            raise ProgramError(error.message, location=where, hint=error.hint) from error
        except (*_REFUSED, *_FAILED) as error:
            said = str(error) or type(error).__name__
            raise ProgramError(
                f"cannot be built from these inputs: {said}",
                location=self._where(op),
                hint=None if isinstance(error, _REFUSED) else _PERHAPS_A_BUG,
            ) from error
        results = results if isinstance(results, tuple) else (results,)
        if len(results) != len(op.outputs):
            raise ProgramError(
                f"declares {len(op.outputs)} outputs, has {len(results)}", location=self._where(op)
            )
        inputs = [one for each in bound.values() for one in each]
        for value, result in zip(op.outputs, results, strict=True):
            self._finish(op, kernel, value, result, inputs)

    def _where(self, op: Op) -> str:
        return f"function {self.setting.function}, op {op.type} {op.name}"

    def _bind(self, op: Op, arguments: tuple[Argument, ...]) -> list[Bound]:
        bound = []
        for argument in arguments:
            if isinstance(argument, Constant):
                bound.append(_literal(argument))
                continue
            found = self.find(argument.name)
            if found is None:
                raise ProgramError(f"uses unknown value {argument.name}", location=self._where(op))
            bound.append(found)
        return bound

    def _arguments(
        self, op: Op, kernel: Kernel, bound: Mapping[str, list[Bound]]
    ) -> dict[str, Any]:
        if self.setting.opset < kernel.since:
            raise ProgramError(
                f"is not in opset CoreML{self.setting.opset}, but from CoreML{kernel.since} on",
                location=self._where(op),
            )
        allowed = {name for name in kernel.parameters if name not in _FILLED_BY_ENGINE}
        unknown = sorted(set(bound) - allowed)
        absent = sorted(n for n in allowed if kernel.parameters[n] and not bound.get(n))
        if unknown or absent:
            raise ProgramError(
                f"has unknown inputs {unknown} and lacks {absent}; it takes {sorted(allowed)}",
                location=self._where(op),
            )
        arguments = {
            name: values[0].operand if len(values) == 1 else tuple(v.operand for v in values)
            for name, values in bound.items()
            if values
        }
        if "out" in kernel.parameters:
            arguments["out"] = tuple(self._declare(value, op) for value in op.outputs)
        if "opset" in kernel.parameters:
            arguments["opset"] = self.setting.opset
        if "blocks" in kernel.parameters:
            arguments["blocks"] = tuple(_Nested(block, self) for block in op.blocks)
        if "violations" in kernel.parameters:
            arguments["violations"] = self._violations(op)
        return arguments

    def _violations(self, op: Op) -> Violations:
        record = self.find(RECORD)
        assert record is not None  # the graph of a function starts with it
        recording = self.setting.recording
        recording.append(self._where(op))
        return Violations(record.operand, len(recording) - 1)

    def _declare(self, value: Value, op: Op) -> Type:
        """The declared type of an output; strings have a stand-in that is never used."""
        if isinstance(value.type, (TensorType, UnrankedType, ListType)):
            self.types[value.name] = value.type
            return value.type
        if op.type == "const":
            return TensorType("string", ())
        raise ProgramError(f"{value.name} is a {value.type}, no tensor", location=self._where(op))

    def _finish(
        self, op: Op, kernel: Kernel, value: Value, result: Any, inputs: list[Bound]
    ) -> None:
        """Check a result against its declaration, round it where needed, bind it."""
        declared = self._declare(value, op)
        nested = isinstance(result, Bound)
        operand = result.operand if nested else result
        if isinstance(declared, ListType) != isinstance(operand, ListValue):
            raise ProgramError(f"{value.name} is no {declared}", location=self._where(op))
        if isinstance(declared, ListType):
            exact = result.exact if nested else all(one.exact for one in inputs)
            self.values[value.name] = Bound(operand, exact)
            return
        assert isinstance(declared, (TensorType, UnrankedType))
        if isinstance(declared, UnrankedType):
            declared = self._ranked(op, value, declared, operand)
        if not isinstance(operand, (ov.Output, ov.Node)):
            if isinstance(operand, np.ndarray):
                self._require_declared(op, value, declared, operand)
            self.values[value.name] = Bound(operand, True)
            return
        made = self._conform(op, value, declared, node(operand))
        exact = result.exact if nested else kernel.exact and _all_exact(inputs, declared)
        if declared.dtype == "fp16" and self.setting.faithful and not exact:
            made = round_to_fp16(made)
        self.values[value.name] = Bound(made, exact or declared.dtype == "fp16")

    def _ranked(self, op: Op, value: Value, declared: UnrankedType, operand: Any) -> TensorType:
        """The type of a result whose rank the program leaves open."""
        extents = node(operand).get_partial_shape()
        if extents.rank.is_dynamic:
            raise ProgramError(
                f"the rank of {value.name} follows from values that only a run has",
                location=self._where(op),
                hint="give the shape that it follows from a known length",
            )
        found = TensorType(declared.dtype, shape(node(operand)))
        self.types[value.name] = found
        return found

    def _conform(self, op: Op, value: Value, declared: TensorType, made: ov.Output) -> ov.Output:
        """``made`` in the declared element type; refused where rank, extents or kind differ."""
        if declared.dtype not in ELEMENT_TYPES:
            raise ProgramError(f"{value.name} is a {declared}, no tensor", location=self._where(op))
        wanted, got = ELEMENT_TYPES[declared.dtype], made.get_element_type()
        extents = made.get_partial_shape()
        if extents.rank.is_dynamic:
            if declared.shape.count(None) > 1:
                raise ProgramError("has an unknown rank", location=self._where(op))
            target = [-1 if extent is None else extent for extent in declared.shape]
            made = ops.reshape(made, i64(target), special_zero=False).output(0)
            extents = made.get_partial_shape()
        fits = extents.compatible(
            ov.PartialShape([-1 if extent is None else extent for extent in declared.shape])
        )
        if not fits or kind_of(wanted) != kind_of(got):
            raise self._other(op, value, declared, f"{got.get_type_name()} {extents}")
        return cast(made, wanted)

    def _require_declared(
        self, op: Op, value: Value, declared: TensorType, found: np.ndarray[Any, Any]
    ) -> None:
        """The same of a constant."""
        fits = len(found.shape) == len(declared.shape) and all(
            want in (None, got) for want, got in zip(declared.shape, found.shape, strict=True)
        )
        wanted = NUMPY_DTYPES.get(declared.dtype)
        if not fits or wanted is None or _NUMPY_KIND[wanted.kind] != _NUMPY_KIND[found.dtype.kind]:
            raise self._other(op, value, declared, f"{found.dtype} {list(found.shape)}")

    def _other(self, op: Op, value: Value, declared: TensorType, computed: str) -> ProgramError:
        return ProgramError(
            f"declares {value.name} as {declared}, computes {computed}", location=self._where(op)
        )


@dataclass(frozen=True, slots=True)
class _Nested:
    """A block of an op, and the block that the op is in."""

    block: Block
    around: Translation

    @property
    def inputs(self) -> tuple[Value, ...]:
        return self.block.inputs

    def build(self, operands: Sequence[Bound], graph: Subgraph | None = None) -> list[Bound]:
        """See :class:`~executorch_coreml.engine.kernels.subgraph.NestedBlock`."""
        inner = Translation(self.around.setting, self.around, graph)
        for value, operand in zip(self.block.inputs, operands, strict=True):
            inner.values[value.name] = operand
        for op in self.block.operations:
            inner.add(op)
        results = []
        for name in self.block.outputs:
            found = inner.find(name)
            if found is None:
                raise ProgramError(f"a block returns {name}, which no op computes")
            results.append(found)
        return results


def kind_of(element_type: ov.Type) -> str:
    """``"bool"``, ``"float"`` or ``"int"``."""
    if element_type == ov.Type.boolean:
        return "bool"
    return "float" if element_type.is_real() else "int"


def _literal(literal: Constant) -> Bound:
    data = literal.data
    if isinstance(data, tuple):
        return Bound(tuple(_element(item) for item in data), True)
    return Bound(data, getattr(data, "dtype", None) != np.float32 or _is_fp16(data))


def _element(item: Any) -> Any:
    return item.data if isinstance(item, Constant) else item


def _is_fp16(array: Any) -> bool:
    """Whether a float32 array holds fp16 numbers only; not worth finding out for large ones."""
    if array.size > 1024:
        return False
    with np.errstate(over="ignore"):
        return bool(np.array_equal(array, array.astype(np.float16), equal_nan=True))


def _all_exact(inputs: list[Bound], declared: TensorType) -> bool:
    """Whether an exact kernel got fp16 numbers only, so that its result needs no rounding.

    Integers count as positions, unless they are all there is and the result is a float: then
    they are what becomes one.
    """
    kinds = [(_operand_kind(one.operand), one.exact) for one in inputs]
    if any(kind == "float" and not exact for kind, exact in kinds):
        return False
    return declared.dtype not in ("fp16", "fp32") or any(kind != "int" for kind, _ in kinds)


def _operand_kind(operand: Any) -> str:
    if isinstance(operand, StateCell):
        return "float"
    if isinstance(operand, ListValue):
        return kind_of(operand.elements.get_element_type())
    if isinstance(operand, ov.Output):
        return kind_of(operand.get_element_type())
    if isinstance(operand, np.ndarray) or (np.isscalar(operand) and not isinstance(operand, str)):
        kind = np.asarray(operand).dtype.kind
        return {"f": "float", "b": "bool"}.get(kind, "int")
    return "int"


__all__ = ["Setting", "Translation", "kind_of"]
