"""One function of an ML Program -> one compiled OpenVINO model.

Every op is looked up in TABLE 2 before anything is built, so all that is missing is reported at
once; :mod:`executorch_coreml.engine.translate` builds the ops. States are extra inputs, and extra
outputs where the function writes them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import openvino as ov
from openvino import opset15 as ops

from executorch_coreml.engine.bounds import without_idle_guards
from executorch_coreml.engine.cache import Entry, Facts
from executorch_coreml.engine.half import keep_half
from executorch_coreml.engine.kernels import TABLE
from executorch_coreml.engine.kernels.absent import ABSENT
from executorch_coreml.engine.kernels.operand import (
    ELEMENT_TYPES,
    Bound,
    StateCell,
    apart,
    cast,
    node,
    shared_arrays,
    shared_nodes,
)
from executorch_coreml.engine.kernels.violations import RECORD, empty_record
from executorch_coreml.engine.pages import given_back
from executorch_coreml.engine.port import tensor_type
from executorch_coreml.engine.precision import Precision, configuration
from executorch_coreml.engine.profile import MEASURED, Labels, Profile
from executorch_coreml.engine.snippets import compile_model
from executorch_coreml.engine.translate import Setting, Translation
from executorch_coreml.errors import MissingKernel, ProgramError
from executorch_coreml.mil.types import (
    Block,
    Function,
    Op,
    StateType,
    TensorType,
    UnrankedType,
    Value,
)

# What float32 stands for inside a graph, as inputs and outputs have it.
_AT_THE_BORDER = {"fp16": ov.Type.f16, "fp64": ov.Type.f64}


@dataclass(frozen=True, eq=False)
class CompiledFunction:
    """A function ready to run.

    Attributes:
        model: Inputs are ``inputs`` then ``states``; outputs are ``outputs`` then ``written``.
        inputs: The tensor inputs, in the order of the function.
        outputs: Names and declared types of the results.
        states: The state inputs; their tensors are float32 where fp16 is declared.
        written: Indices in ``states`` of those the function writes.
        recording: Where those ops are that may find a violation in a run. If there are any, the
            model's last output is the record of :mod:`executorch_coreml.engine.kernels.violations`.
        dynamic: Whether some shape in the graph is known in a run only.
        ordinary: Indices in ``inputs`` of those that must be ordinary
            (:mod:`executorch_coreml.engine.bounds`); NaN may get lost of others.
        profile: Tells what each op costs in a run, if that is measured.
    """

    model: ov.CompiledModel
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    states: tuple[Value, ...]
    written: tuple[int, ...]
    recording: tuple[str, ...]
    dynamic: bool
    ordinary: tuple[int, ...]
    profile: Profile | None = None


def compile_function(
    function: Function,
    *,
    shapes: Mapping[str, tuple[int, ...]] = MappingProxyType({}),
    ordinary: bool = False,
    precision: Precision = "faithful",
    device: str = "CPU",
    threads: int | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    profile: bool = False,
) -> CompiledFunction:
    """Build and compile ``function``, or take it from a cache of compiled models.

    Args:
        shapes: Input -> the one shape that it will have. A function with tensors of unknown rank
            (:func:`has_unknown_ranks`) is compiled for given shapes, which decide the ranks.
        ordinary: Inputs may be required to be ordinary.
        profile: Runs measure what each op costs; such models are not cached.

    Raises:
        MissingKernel: ops without a kernel, all of them.
        ProgramError: an op whose inputs or results are not what its kernel or the program says.
    """
    _require_kernels(function)
    properties = configuration(threads, device, precision) | (MEASURED if profile else {})

    def build() -> CompiledFunction:
        with shared_nodes():
            graph = _Graph(function, precision, shapes, Labels() if profile else None)
            return graph.compile(device, properties, ordinary)

    if cache_dir is None or profile:
        return build()
    how = {
        "precision": precision,
        "shapes": dict(shapes),
        "ordinary": ordinary,
        "device": device,
        "properties": properties,
    }
    entry = Entry(cache_dir, function, how)
    if (found := entry.load()) is not None:
        return _restored(function, *found)
    made = build()
    entry.store(made.model, _facts(made))
    return made


def _facts(made: CompiledFunction) -> Facts:
    """What :func:`_restored` has to know beside the function."""
    types = [(value.name, tensor_type(value)) for value in made.outputs]
    return {
        "outputs": [(name, tensor.dtype, tensor.shape) for name, tensor in types],
        "written": made.written,
        "recording": made.recording,
        "dynamic": made.dynamic,
        "ordinary": made.ordinary,
    }


def _restored(function: Function, model: ov.CompiledModel, facts: Facts) -> CompiledFunction:
    outputs = tuple(
        Value(name, TensorType(dtype, tuple(shape))) for name, dtype, shape in facts["outputs"]
    )
    inputs, states = _inputs(function)
    names = ("written", "recording", "ordinary")
    written, recording, ordinary = (tuple(facts[name]) for name in names)
    dynamic = facts["dynamic"]
    return CompiledFunction(model, inputs, outputs, states, written, recording, dynamic, ordinary)


def _inputs(function: Function) -> tuple[tuple[Value, ...], tuple[Value, ...]]:
    """The tensor inputs, and the states."""
    states = tuple(v for v in function.inputs if isinstance(v.type, StateType))
    return tuple(v for v in function.inputs if v not in states), states


def has_unknown_ranks(function: Function) -> bool:
    """Whether the ranks of some tensors follow from the shapes of the inputs, or from nothing."""
    return any(
        isinstance(value.type, UnrankedType)
        for op in _all_operations(function.body)
        for value in op.outputs
    )


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
        raise MissingKernel(missing, location=f"function {function.name!r}")


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

    def __init__(
        self,
        function: Function,
        precision: Precision,
        shapes: Mapping[str, tuple[int, ...]],
        labels: Labels | None,
    ):
        self.function = function
        self.labels = labels
        self.shapes = shapes
        setting = Setting(function.name, opset_number(function.opset), precision == "faithful")
        self.body = Translation(setting)
        self.record = empty_record()
        self.body.values[RECORD] = Bound(self.record, True)
        self.parameters: dict[str, Any] = {}
        self.cells: dict[str, StateCell] = {}

    def compile(
        self, device: str, properties: Mapping[str, Any], ordinary: bool
    ) -> CompiledFunction:
        for value in self.function.inputs:
            self._add_input(value)
        for op in self.function.body.operations:
            self.body.add(op)
            if self.labels is not None:
                self.labels.add(op, self.body.values)
        inputs, states = _inputs(self.function)
        written = tuple(i for i, v in enumerate(states) if self.cells[v.name].written)
        outputs = tuple(self._output(name) for name in self.function.body.outputs)
        results = [ops.result(self._border(value)) for value in outputs]
        results += [ops.result(self.cells[states[i].name].current) for i in written]
        recording = tuple(self.body.setting.recording) if self.record.written else ()
        results += [ops.result(self.record.current)] if recording else []
        ordered = [self.parameters[value.name] for value in (*inputs, *states)]
        model = ov.Model(results, ordered, self.function.name)
        checked = [i for i in range(len(inputs)) if ordered[i].get_element_type().is_real()]
        if not (ordinary and without_idle_guards(model, [ordered[i] for i in checked])):
            checked = []
        arrays = shared_arrays()
        keep_half(model, arrays)
        try:
            with given_back(arrays):
                compiled = compile_model(model, device, properties)
                if _write_what_passes_through(model, compiled):
                    compiled = compile_model(model, device, properties)
        except (RuntimeError, MemoryError) as error:
            raise ProgramError(
                f"OpenVINO cannot compile it: {str(error).strip() or type(error).__name__}",
                location=f"function {self.function.name}",
            ) from error
        profile = None if self.labels is None else Profile(compiled, self.labels.ops)
        return CompiledFunction(
            compiled,
            inputs,
            outputs,
            states,
            written,
            recording,
            model.is_dynamic(),
            tuple(checked),
            profile,
        )

    def _add_input(self, value: Value) -> None:
        is_state = isinstance(value.type, StateType)
        tensor = value.type.tensor if isinstance(value.type, StateType) else value.type
        if isinstance(tensor, UnrankedType):
            raise ProgramError(
                f"input {value.name} is of unknown rank",
                location=f"function {self.function.name}",
                hint="convert the model with a shape for it, whose extents may be unknown",
            )
        if not isinstance(tensor, TensorType) or tensor.dtype not in ELEMENT_TYPES:
            raise ProgramError(
                f"input {value.name} is a {value.type}, and only tensors can be fed",
                location=f"function {self.function.name}",
            )
        inside = ELEMENT_TYPES[tensor.dtype]
        fed = inside if is_state else _AT_THE_BORDER.get(tensor.dtype, inside)
        shape = self.shapes.get(value.name, tensor.shape)
        extents = [-1 if extent is None else extent for extent in shape]
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
        if isinstance(value.type, TensorType) and value.type.dtype in _AT_THE_BORDER:
            leaving = cast(leaving, _AT_THE_BORDER[value.type.dtype])
        return leaving


def _write_what_passes_through(model: ov.Model, compiled: ov.CompiledModel) -> bool:
    """Put an op in front of the results of ``model`` that are parameters once OpenVINO has
    simplified it: it does not write those to the memory set for them (CPU plugin, 2026.4).

    Returns:
        Whether there were any, so that ``model`` is to be compiled again.
    """
    passed = {
        result.get_friendly_name()
        for result in compiled.get_runtime_model().get_results()
        if result.input_value(0).get_node().get_rt_info()["layerType"].astype(str) == "Input"
    }
    found = [result for result in model.get_results() if result.get_friendly_name() in passed]
    for result in found:
        end = result.input(0)
        end.replace_source_output(apart(end.get_source_output()))
    return bool(found)


__all__ = ["CompiledFunction", "compile_function", "has_unknown_ranks", "opset_number"]
