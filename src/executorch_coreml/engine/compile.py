"""One function of an ML Program -> one compiled OpenVINO model.

Every op is looked up in TABLE 2 before anything is built, so all that is missing is reported at
once; :mod:`executorch_coreml.engine.translate` builds the ops. States are extra inputs, and extra
outputs where the function writes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import openvino as ov
from openvino import opset15 as ops

from executorch_coreml.engine.kernels import TABLE
from executorch_coreml.engine.kernels.absent import ABSENT
from executorch_coreml.engine.kernels.operand import (
    ELEMENT_TYPES,
    Bound,
    StateCell,
    apart,
    cast,
    node,
    shared_nodes,
)
from executorch_coreml.engine.precision import Precision, configuration, core
from executorch_coreml.engine.translate import Setting, Translation
from executorch_coreml.errors import MissingKernel, ProgramError
from executorch_coreml.mil.types import Block, Function, Op, StateType, TensorType, Value


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
        f"{function.name}: {op.type} {op.name}{_reason(op)}"
        for op in _all_operations(function.body)
        if op.type != "const" and op.type not in TABLE
    ]
    if missing:
        raise MissingKernel(missing, hint="run the program on an Apple device, or report the op")


def _reason(op: Op) -> str:
    return f" ({ABSENT[op.type]})" if op.type in ABSENT else ""


def opset_number(opset: str) -> int:
    """5 for ``"CoreML5"`` (iOS15) and so on."""
    digits = opset.removeprefix("CoreML")
    if not digits.isdigit():
        raise ProgramError(f"unknown opset {opset!r}")
    return int(digits)


class _Graph:
    """One function on the way: the translation of its body, its parameters and states."""

    def __init__(self, function: Function, precision: Precision):
        self.function = function
        setting = Setting(function.name, opset_number(function.opset), precision == "faithful")
        self.body = Translation(setting)
        self.parameters: dict[str, Any] = {}
        self.cells: dict[str, StateCell] = {}

    def compile(self, device: str, properties: Mapping[str, Any]) -> CompiledFunction:
        for value in self.function.inputs:
            self._add_input(value)
        for op in self.function.body.operations:
            self.body.add(op)
        states = tuple(v for v in self.function.inputs if v.name in self.cells)
        inputs = tuple(v for v in self.function.inputs if v.name not in self.cells)
        written = tuple(i for i, v in enumerate(states) if self.cells[v.name].written)
        outputs = tuple(self._output(name) for name in self.function.body.outputs)
        results = [ops.result(self._border(value)) for value in outputs]
        results += [ops.result(self.cells[states[i].name].current) for i in written]
        ordered = [self.parameters[value.name] for value in (*inputs, *states)]
        model = ov.Model(results, ordered, self.function.name)
        compiled = core().compile_model(model, device, dict(properties))
        if passed := _passed_through(compiled):
            for result in results:
                if result.get_friendly_name() in passed:
                    end = result.input(0)
                    end.replace_source_output(apart(end.get_source_output()))
            compiled = core().compile_model(model, device, dict(properties))
        return CompiledFunction(compiled, inputs, outputs, states, written)

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
        self.body.types[value.name] = tensor
        current = cast(parameter.output(0), inside)
        if is_state:
            self.cells[value.name] = StateCell(value.name, current)
            self.body.values[value.name] = Bound(self.cells[value.name], True)
        else:
            self.body.values[value.name] = Bound(current, tensor.dtype == "fp16")

    def _output(self, name: str) -> Value:
        here = f"function {self.function.name}"
        if name not in self.body.types:
            raise ProgramError(f"output {name} is computed by no op", location=here)
        if not isinstance(self.body.types[name], TensorType):
            raise ProgramError(f"output {name} is a list, and only tensors leave", location=here)
        return Value(name, self.body.types[name])

    def _border(self, value: Value) -> ov.Output:
        """An output as it leaves the graph: in its declared dtype."""
        leaving = node(self.body.values[value.name].operand)
        if isinstance(value.type, TensorType) and value.type.dtype == "fp16":
            leaving = cast(leaving, ov.Type.f16)
        return leaving


def _passed_through(model: ov.CompiledModel) -> set[str]:
    """The results that are parameters when OpenVINO has simplified the graph: it does not write
    those to the memory set for them (CPU plugin, 2026.4)."""
    return {
        result.get_friendly_name()
        for result in model.get_runtime_model().get_results()
        if result.input_value(0).get_node().get_rt_info()["layerType"].astype(str) == "Input"
    }


__all__ = ["CompiledFunction", "compile_function", "opset_number"]
