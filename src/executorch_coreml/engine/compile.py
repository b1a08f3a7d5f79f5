"""One function of an ML Program -> one compiled OpenVINO model.

Every op is looked up in TABLE 2 before anything is built, so all that is missing is reported at
once. Constants stay numpy arrays until a kernel turns one into a node. Behind each kernel the
result is compared with the type that the program declares, and rounded to fp16 where the program
says fp16 and the kernel is not exact (:mod:`executorch_coreml.engine.precision`).

States are extra inputs, and extra outputs where the function writes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset15 as ops
from openvino.exceptions import UserInputError

from executorch_coreml.engine.kernels import TABLE
from executorch_coreml.engine.kernels.operand import (
    ELEMENT_TYPES,
    Operand,
    StateCell,
    cast,
    i64,
    node,
    shared_nodes,
)
from executorch_coreml.engine.kernels.table import Kernel
from executorch_coreml.engine.precision import Precision, configuration, core, round_to_fp16
from executorch_coreml.errors import MissingKernel, ProgramError
from executorch_coreml.mil.types import (
    Argument,
    Block,
    Constant,
    Function,
    Op,
    StateType,
    TensorType,
    Value,
)

_FILLED_BY_ENGINE = frozenset({"out", "opset"})


@dataclass(frozen=True, slots=True)
class CompiledFunction:
    """A function ready to run.

    Attributes:
        model: Inputs are ``inputs`` then ``states``; outputs are ``outputs`` then ``written``.
        inputs: The tensor inputs, in the order of the function.
        outputs: Names and declared types of the results.
        states: The state inputs; their tensors are float32 where fp16 is declared.
        written: Indices in ``states`` of those the function writes.
    """

    model: ov.CompiledModel
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    states: tuple[Value, ...]
    written: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Bound:
    """A value of the program as kernels get it. ``exact``: all its elements are fp16 numbers."""

    operand: Any
    exact: bool


def compile_function(
    function: Function,
    *,
    precision: Precision = "faithful",
    device: str = "CPU",
    threads: int | None = None,
) -> CompiledFunction:
    """Build and compile ``function``.

    Raises:
        MissingKernel: ops without a kernel, all of them.
        ProgramError: an op whose inputs or results are not what its kernel or the program says.
    """
    _require_kernels(function)
    with shared_nodes():
        return _Graph(function, precision).compile(device, configuration(threads))


def _all_operations(block: Block) -> Iterator[Op]:
    for op in block.operations:
        yield op
        for inner in op.blocks:
            yield from _all_operations(inner)


def _require_kernels(function: Function) -> None:
    missing = [
        f"{function.name}: {op.type} {op.name}"
        for op in _all_operations(function.body)
        if op.type != "const" and op.type not in TABLE
    ]
    if missing:
        raise MissingKernel(missing, hint="run the program on an Apple device, or report the op")


def opset_number(opset: str) -> int:
    """5 for ``"CoreML5"`` (iOS15) and so on."""
    digits = opset.removeprefix("CoreML")
    if not digits.isdigit():
        raise ProgramError(f"unknown opset {opset!r}")
    return int(digits)


class _Graph:
    """The state of one translation: the values bound so far, parameters and state cells."""

    def __init__(self, function: Function, precision: Precision):
        self.function = function
        self.faithful = precision == "faithful"
        self.opset = opset_number(function.opset)
        self.values: dict[str, _Bound] = {}
        self.types: dict[str, TensorType] = {}
        self.parameters: dict[str, Any] = {}
        self.cells: dict[str, StateCell] = {}

    def compile(self, device: str, properties: Mapping[str, Any]) -> CompiledFunction:
        for value in self.function.inputs:
            self._add_input(value)
        for op in self.function.body.operations:
            self._add(op)
        states = tuple(v for v in self.function.inputs if v.name in self.cells)
        inputs = tuple(v for v in self.function.inputs if v.name not in self.cells)
        written = tuple(i for i, v in enumerate(states) if self.cells[v.name].written)
        outputs = tuple(self._output(name) for name in self.function.body.outputs)
        results = [ops.result(self._border(value)) for value in outputs]
        results += [ops.result(_computed(self.cells[states[i].name].current)) for i in written]
        ordered = [self.parameters[value.name] for value in (*inputs, *states)]
        model = ov.Model(results, ordered, self.function.name)
        compiled = core().compile_model(model, device, dict(properties))
        return CompiledFunction(compiled, inputs, outputs, states, written)

    def _where(self, op: Op) -> str:
        return f"function {self.function.name}, op {op.type} {op.name}"

    def _add_input(self, value: Value) -> None:
        is_state = isinstance(value.type, StateType)
        tensor = value.type.tensor if isinstance(value.type, StateType) else value.type
        if not isinstance(tensor, TensorType) or tensor.dtype not in ELEMENT_TYPES:
            raise ProgramError(
                f"input {value.name} is a {value.type}, and only tensors can be fed",
                location=f"function {self.function.name}",
            )
        inside = ELEMENT_TYPES[tensor.dtype]
        fed = ov.Type.f16 if tensor.dtype == "fp16" and not is_state else inside
        extents = [-1 if extent is None else extent for extent in tensor.shape]
        parameter = ops.parameter(extents, fed, name=value.name)
        self.parameters[value.name] = parameter
        self.types[value.name] = tensor
        current = cast(parameter.output(0), inside)
        if is_state:
            self.cells[value.name] = StateCell(value.name, current)
            self.values[value.name] = _Bound(self.cells[value.name], True)
        else:
            self.values[value.name] = _Bound(current, tensor.dtype == "fp16")

    def _output(self, name: str) -> Value:
        if name not in self.types:
            raise ProgramError(
                f"output {name} is computed by no op", location=f"function {self.function.name}"
            )
        return Value(name, self.types[name])

    def _border(self, value: Value) -> ov.Output:
        """An output as it leaves the graph: in its declared dtype."""
        leaving = node(self.values[value.name].operand)
        if self.types[value.name].dtype == "fp16":
            leaving = cast(leaving, ov.Type.f16)
        return _computed(leaving)

    def _add(self, op: Op) -> None:
        if op.type == "const":
            literal = op.attributes.get("val")
            if literal is None or len(op.outputs) != 1:
                raise ProgramError("a const needs one value", location=self._where(op))
            self._declare(op.outputs[0], op)
            self.values[op.outputs[0].name] = self._constant(literal)
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
            raise ProgramError(error.message, location=self._where(op), hint=error.hint) from error
        except (RuntimeError, UserInputError) as error:
            raise ProgramError(
                f"cannot be built from these inputs: {error}", location=self._where(op)
            ) from error
        results = results if isinstance(results, tuple) else (results,)
        if len(results) != len(op.outputs):
            raise ProgramError(
                f"declares {len(op.outputs)} outputs, has {len(results)}", location=self._where(op)
            )
        inputs = [one for each in bound.values() for one in each]
        for value, result in zip(op.outputs, results, strict=True):
            self._finish(op, kernel, value, result, inputs)

    def _constant(self, literal: Constant) -> _Bound:
        data = literal.data
        if isinstance(data, tuple):
            return _Bound(tuple(self._element(item) for item in data), True)
        return _Bound(data, getattr(data, "dtype", None) != np.float32 or _is_fp16(data))

    def _element(self, item: Any) -> Any:
        return item.data if isinstance(item, Constant) else item

    def _bind(self, op: Op, arguments: tuple[Argument, ...]) -> list[_Bound]:
        bound = []
        for argument in arguments:
            if isinstance(argument, Constant):
                bound.append(self._constant(argument))
            elif argument.name in self.values:
                bound.append(self.values[argument.name])
            else:
                raise ProgramError(f"uses unknown value {argument.name}", location=self._where(op))
        return bound

    def _arguments(
        self, op: Op, kernel: Kernel, bound: Mapping[str, list[_Bound]]
    ) -> dict[str, Any]:
        if self.opset < kernel.since:
            raise ProgramError(
                f"is not in opset {self.function.opset}, but from CoreML{kernel.since} on",
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
            arguments["opset"] = self.opset
        return arguments

    def _declare(self, value: Value, op: Op) -> TensorType:
        """The declared type of an output; strings and lists have a stand-in that is never used."""
        if isinstance(value.type, TensorType):
            self.types[value.name] = value.type
            return value.type
        if op.type == "const":
            return TensorType("string", ())
        raise ProgramError(f"{value.name} is a {value.type}, no tensor", location=self._where(op))

    def _finish(
        self, op: Op, kernel: Kernel, value: Value, result: Any, inputs: list[_Bound]
    ) -> None:
        """Check a result against its declaration, round it where needed, bind it."""
        declared = self._declare(value, op)
        if not isinstance(result, (ov.Output, ov.Node)):
            self.values[value.name] = _Bound(result, True)
            return
        made = self._conform(op, value, declared, node(result))
        exact = kernel.exact and _all_exact(inputs, declared)
        if declared.dtype == "fp16" and self.faithful and not exact:
            made = round_to_fp16(made)
        self.values[value.name] = _Bound(made, exact or declared.dtype == "fp16")

    def _conform(self, op: Op, value: Value, declared: TensorType, made: ov.Output) -> ov.Output:
        """``made`` in the declared element type; refused where rank, extents or kind differ."""
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
        if not fits or _kind(wanted) != _kind(got):
            raise ProgramError(
                f"declares {value.name} as {declared}, computes {got.get_type_name()} {extents}",
                location=self._where(op),
            )
        return cast(made, wanted)


def _computed(leaving: ov.Output) -> ov.Output:
    """A result that is a parameter itself stays unwritten in the memory set for it (OpenVINO CPU
    plugin, 2026.4), so an op is put between that no graph pass removes."""
    if leaving.get_node().get_type_name() != "Parameter":
        return leaving
    if leaving.get_element_type() == ov.Type.boolean:
        return ops.logical_or(leaving, leaving).output(0)
    return ops.maximum(leaving, leaving).output(0)


def _kind(element_type: ov.Type) -> str:
    if element_type == ov.Type.boolean:
        return "bool"
    return "float" if element_type.is_real() else "int"


def _is_fp16(array: Any) -> bool:
    """Whether a float32 array holds fp16 numbers only; not worth finding out for large ones."""
    if array.size > 1024:
        return False
    with np.errstate(over="ignore"):
        return bool(np.array_equal(array, array.astype(np.float16), equal_nan=True))


def _all_exact(inputs: list[_Bound], declared: TensorType) -> bool:
    """Whether an exact kernel got fp16 numbers only, so that its result needs no rounding.

    Integers count as positions, unless they are all there is and the result is a float: then
    they are what becomes one.
    """
    kinds = [(_operand_kind(one.operand), one.exact) for one in inputs]
    if any(kind == "float" and not exact for kind, exact in kinds):
        return False
    return declared.dtype not in ("fp16", "fp32") or any(kind != "int" for kind, _ in kinds)


def _operand_kind(operand: Operand | StateCell | str | tuple[Any, ...]) -> str:
    if isinstance(operand, StateCell):
        return "float"
    if isinstance(operand, ov.Output):
        return _kind(operand.get_element_type())
    if isinstance(operand, np.ndarray) or (np.isscalar(operand) and not isinstance(operand, str)):
        kind = np.asarray(operand).dtype.kind
        return {"f": "float", "b": "bool"}.get(kind, "int")
    return "int"


__all__ = ["CompiledFunction", "compile_function", "opset_number"]
