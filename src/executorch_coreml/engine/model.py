"""The public :class:`Model`: any form of Core ML model, run here with Core ML's numerics."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import openvino as ov

from executorch_coreml.engine.compile import compile_function
from executorch_coreml.engine.kernels.operand import shareable
from executorch_coreml.engine.precision import Precision, core
from executorch_coreml.errors import InputError, RunError
from executorch_coreml.mil.bundle import read
from executorch_coreml.mil.types import (
    NUMPY_DTYPES,
    Bundle,
    Feature,
    StateType,
    TensorType,
    Value,
)

Array: TypeAlias = "np.ndarray[Any, Any]"

_log = logging.getLogger(__name__)

# Core ML compute unit (compile spec or Swift spelling) -> OpenVINO devices that come near it.
_DEVICES = {
    "cpu_only": (),
    "cpu_and_gpu": ("GPU",),
    "cpu_and_ne": ("NPU",),
    "all": ("NPU", "GPU"),
}


class State:
    """The values of a model's states between runs (Core ML's ``MLState``), zero at first.

    ``state[name]`` copies a value out, in its declared dtype; assignment copies one in. A state
    serves one run at a time; runs that share one wait for each other.
    """

    def __init__(self, values: Sequence[Value]):
        self._types = {value.name: _tensor(value) for value in values}
        self._lock = threading.Lock()
        # Two buffers per state: a run reads the first and writes the second, then they swap.
        self._buffers = [[self._zeros(v.name), self._zeros(v.name)] for v in values]
        self._index = {value.name: i for i, value in enumerate(values)}

    def _zeros(self, name: str) -> Array:
        tensor = self._types[name]
        shape = tuple(extent or 1 for extent in tensor.shape)
        return np.zeros(shape, _inside(tensor))

    def names(self) -> tuple[str, ...]:
        return tuple(self._index)

    def __getitem__(self, name: str) -> Array:
        with self._lock:
            current = self._buffers[self._position(name)][0]
            return current.astype(NUMPY_DTYPES[self._types[name].dtype])

    def __setitem__(self, name: str, value: Array) -> None:
        position, tensor = self._position(name), self._types[name]
        array = _converted(name, tensor.dtype, np.asarray(value))
        with self._lock:
            current = self._buffers[position][0]
            if array.shape != current.shape:
                raise InputError(f"state {name} has shape {current.shape}, got {array.shape}")
            current[...] = array

    def _position(self, name: str) -> int:
        if name not in self._index:
            raise InputError(f"no state {name!r}; the states are {list(self._index)}")
        return self._index[name]


class Model:
    """A Core ML model, loaded and compiled for this machine.

    Args:
        source: A ``.mlpackage``, a compiled ``.mlmodelc``, a delegate payload, a ``.pte`` (path or
            bytes), or a bundle.
        function_name: Which function of a multifunction model; the default one if None.
        precision: ``"faithful"`` rounds to fp16 wherever the program says fp16, as Core ML's
            arithmetic does; ``"float32"`` computes everything in float32.
        compute_unit: ``cpu_only``, ``cpu_and_gpu``, ``cpu_and_ne`` or ``all``. Others than the
            CPU are used if OpenVINO has such a device.
        threads: CPU threads; OpenVINO's choice if None.
        delegate: Which delegate of a ``.pte`` with several.

    Attributes:
        bundle, function_name: What is loaded.
        inputs, outputs, states: The declared border, in the order of :meth:`run` and of Core ML's
            description.

    Raises:
        PayloadError, ProgramError: The source is damaged or malformed.
        MissingKernel: It uses ops that cannot run here.

    Runs may come from several threads at once.
    """

    def __init__(
        self,
        source: str | Path | bytes | Bundle,
        *,
        function_name: str | None = None,
        precision: Precision = "faithful",
        compute_unit: str | None = None,
        threads: int | None = None,
        delegate: int = 0,
    ):
        if precision not in ("faithful", "float32"):
            raise InputError(f"precision is 'faithful' or 'float32', got {precision!r}")
        self.bundle = source if isinstance(source, Bundle) else read(source, delegate=delegate)
        self.function_name = function_name or self.bundle.default_function
        functions = self.bundle.program.functions
        if self.function_name not in functions:
            raise InputError(f"no function {self.function_name!r}; there are {sorted(functions)}")
        self._compiled = compile_function(
            functions[self.function_name],
            precision=precision,
            device=_device(compute_unit),
            threads=threads,
        )
        self._requests: list[ov.InferRequest] = []
        self._lock = threading.Lock()
        self._describe()

    def _describe(self) -> None:
        name, compiled = self.function_name, self._compiled
        description = self.bundle.descriptions[name]
        self.inputs = _in_order(
            description.inputs, self.bundle.input_names.get(name, ()), "input", self.bundle.source
        )
        self.outputs = _in_order(
            description.outputs,
            self.bundle.output_names.get(name, ()),
            "output",
            self.bundle.source,
        )
        self.states = description.states
        # Where the features, in delegate order, stand in the graph.
        self._input_slots = _slots(self.inputs, compiled.inputs, "input", self.bundle.source)
        self._output_slots = _slots(self.outputs, compiled.outputs, "output", self.bundle.source)
        self._ports = [
            _Port(feature, compiled.inputs[slot])
            for feature, slot in zip(self.inputs, self._input_slots, strict=True)
        ]
        self._enumerated = [i for i, f in enumerate(self.inputs) if f.enumerated]
        self._results = [_result(value) for value in compiled.outputs]

    def _require_tied_shapes(self, fed: Sequence[Array]) -> None:
        """Enumerated shapes of several inputs belong together by their place in the lists."""
        lists = [self.inputs[i].enumerated for i in self._enumerated]
        given = tuple(fed[i].shape for i in self._enumerated)
        allowed = list(zip(*lists, strict=False))
        if given not in allowed:
            names = ", ".join(self.inputs[i].name for i in self._enumerated)
            raise InputError(
                f"inputs ({names}) cannot have shapes {given} together; "
                f"allowed: {' or '.join(map(str, allowed))}"
            )

    def make_state(self) -> State:
        """A new state, all zeros."""
        return State(self._compiled.states)

    def predict(self, inputs: Mapping[str, Array], state: State | None = None) -> dict[str, Array]:
        """Run with inputs by name; outputs by name, as new arrays.

        Numbers are converted to the declared dtype where that is safe: between float widths,
        between integer widths when every value fits, from bool, from integer to float.

        Raises:
            InputError: A name, dtype, shape or value that is not allowed, or a missing state.
        """
        names = [feature.name for feature in self.inputs]
        missing = [name for name in names if name not in inputs]
        unknown = [name for name in inputs if name not in names]
        if missing or unknown:
            raise InputError(f"inputs {missing} are missing, {unknown} unknown; it takes {names}")
        results = self.run([inputs[name] for name in names], state)
        return {feature.name: array for feature, array in zip(self.outputs, results, strict=True)}

    def run(self, arrays: Sequence[Array], state: State | None = None) -> list[Array]:
        """Run with inputs by position, in the order of :attr:`inputs`; outputs likewise, as new
        arrays. Inputs of the declared dtype that lie contiguous in memory are not copied, and
        must not change during the call.

        Raises:
            InputError: as for :meth:`predict`.
        """
        if len(arrays) != len(self._ports):
            raise InputError(f"takes {len(self._ports)} inputs, got {len(arrays)}")
        fed = [port.accept(array) for port, array in zip(self._ports, arrays, strict=True)]
        if len(self._enumerated) > 1:
            self._require_tied_shapes(fed)
        if not self._compiled.states:
            results = self._infer(fed, [])
        elif state is None:
            raise InputError("the model has states", hint="pass state=model.make_state()")
        else:
            with state._lock:
                results = self._infer(fed, state._buffers)
        return [results[slot] for slot in self._output_slots]

    @contextmanager
    def _request(self) -> Iterator[ov.InferRequest]:
        """A request that no other run uses, from a pool that grows to the number of threads."""
        with self._lock:
            request = self._requests.pop() if self._requests else None
        request = request or self._compiled.model.create_infer_request()
        yield request
        with self._lock:
            self._requests.append(request)

    def _infer(self, fed: list[Array], states: list[list[Array]]) -> list[Array]:
        """One run: memory of inputs, outputs and states is used in place by OpenVINO."""
        compiled = self._compiled
        with self._request() as request:
            for slot, array in zip(self._input_slots, fed, strict=True):
                request.set_input_tensor(slot, _tensor_over(array))
            for i, (current, _) in enumerate(states):
                request.set_input_tensor(len(fed) + i, _tensor_over(current))
            made = [None if r is None else np.empty(*r) for r in self._results]
            for slot, target in enumerate(made):
                if target is not None:
                    request.set_output_tensor(slot, _tensor_over(target))
            for i, state in enumerate(compiled.written):
                request.set_output_tensor(len(made) + i, _tensor_over(states[state][1]))
            try:
                request.infer(share_outputs=True)
            except RuntimeError as error:
                raise RunError(
                    f"{self.bundle.source} cannot run on these inputs: {error}"
                ) from error
            results = [
                request.get_output_tensor(slot).data.copy() if target is None else target
                for slot, target in enumerate(made)
            ]
        for state in compiled.written:
            states[state].reverse()
        return results


class _Port:
    """What one input accepts."""

    def __init__(self, feature: Feature, value: Value):
        tensor = _tensor(value)
        self.feature = feature
        self.dtype = NUMPY_DTYPES[tensor.dtype]
        self.type = tensor
        self.fixed = None if None in tensor.shape else tensor.shape

    def accept(self, value: Any) -> Array:
        """``value`` as an array of the graph's dtype and an allowed shape.

        Raises:
            InputError: it is neither, and cannot safely be made so.
        """
        array = np.asarray(value)
        if array.dtype != self.dtype:
            array = _converted(self.feature.name, self.type.dtype, array)
        if array.shape == self.fixed and not self.feature.enumerated:
            return array
        if self.fixed is not None and {array.shape, self.fixed} == {(), (1,)}:
            return array.reshape(self.fixed)
        if not self._allows(array.shape):
            raise InputError(
                f"input {self.feature.name} cannot have shape {array.shape}; "
                f"allowed: {self._allowed()}"
            )
        return array

    def _allows(self, shape: tuple[int, ...]) -> bool:
        if len(shape) != len(self.type.shape):
            return False
        declared = zip(self.type.shape, shape, strict=True)
        if any(want is not None and want != got for want, got in declared):
            return False
        if self.feature.enumerated and shape not in self.feature.enumerated:
            return False
        if len(self.feature.ranges) != len(shape):
            return True
        return all(
            low <= got and (high is None or got <= high)
            for got, (low, high) in zip(shape, self.feature.ranges, strict=True)
        )

    def _allowed(self) -> str:
        if self.feature.enumerated:
            return " or ".join(str(shape) for shape in self.feature.enumerated)
        if self.feature.ranges:
            spans = (
                str(low) if low == high else f"{low}..{'' if high is None else high}"
                for low, high in self.feature.ranges
            )
            return f"({', '.join(spans)})"
        return str(self.type)


def _converted(name: str, dtype: str, array: Array) -> Array:
    """``array`` in another dtype, if Core ML would convert it and no value is lost but precision.

    Raises:
        InputError: floats for integers, non-numbers, or integers that do not fit.
    """
    target = NUMPY_DTYPES[dtype]
    if (array.dtype.kind == "f" and target.kind == "f") or array.dtype == target:
        with np.errstate(over="ignore"):
            return array.astype(target)
    if array.dtype.kind not in "iub" or target.kind not in "iuf":
        raise InputError(f"{name} takes {dtype}, got {array.dtype}")
    if target.kind != "f" and array.dtype.kind != "b" and array.size:
        limits = np.iinfo(target)
        low, high = int(array.min()), int(array.max())
        if low < limits.min or high > limits.max:
            raise InputError(f"{name} takes {dtype}, got {array.dtype} values from {low} to {high}")
    return array.astype(target)


def _tensor(value: Value) -> TensorType:
    found = value.type.tensor if isinstance(value.type, StateType) else value.type
    if not isinstance(found, TensorType):
        raise InputError(f"{value.name} is a {found}, no tensor")
    return found


def _inside(tensor: TensorType) -> np.dtype[Any]:
    """The dtype of a state's buffers: a state never leaves the graph's float32."""
    dtype = NUMPY_DTYPES[tensor.dtype]
    return np.dtype(np.float32) if dtype.kind == "f" else dtype


def _result(value: Value) -> tuple[tuple[int, ...], np.dtype[Any]] | None:
    """Shape and dtype of an output whose shape is known before the run."""
    tensor = _tensor(value)
    known = tuple(extent for extent in tensor.shape if extent is not None)
    return (known, NUMPY_DTYPES[tensor.dtype]) if len(known) == len(tensor.shape) else None


def _tensor_over(array: Array) -> ov.Tensor:
    return ov.Tensor(shareable(array), shared_memory=True)


def _in_order(
    features: tuple[Feature, ...], names: tuple[str, ...], kind: str, source: str
) -> tuple[Feature, ...]:
    by_name = {feature.name: feature for feature in features}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise InputError(f"{source}: {kind}s {unknown} are not described")
    return tuple(by_name[name] for name in names or by_name)


def _slots(
    features: tuple[Feature, ...], values: tuple[Value, ...], kind: str, source: str
) -> list[int]:
    places = {value.name: i for i, value in enumerate(values)}
    unlike = sorted({feature.name for feature in features} ^ set(places))
    if unlike:
        raise InputError(f"{source}: {kind}s {unlike} are either undescribed or uncomputed")
    return [places[feature.name] for feature in features]


def _device(compute_unit: str | None) -> str:
    wanted = _DEVICES.get((compute_unit or "cpu_only").lower())
    if wanted is None:
        raise InputError(f"compute unit {compute_unit!r} is none of {list(_DEVICES)}")
    if not wanted:
        return "CPU"
    available = core().available_devices
    found = [name for name in wanted if any(device.startswith(name) for device in available)]
    if found:
        return found[0]
    _log.info("compute unit %s: no such device here, the CPU runs the model", compute_unit)
    return "CPU"


__all__ = ["Model", "State"]
