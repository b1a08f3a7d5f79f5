"""The public :class:`Model`: any form of Core ML model, run here with Core ML's numerics."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, overload

import numpy as np
import openvino as ov

from executorch_coreml.engine.classifier import split_classifier
from executorch_coreml.engine.compile import compile_function
from executorch_coreml.engine.image import from_array
from executorch_coreml.engine.kernels.operand import shareable
from executorch_coreml.engine.port import Array, Port, tensor_type
from executorch_coreml.engine.precision import Precision, core
from executorch_coreml.engine.state import State
from executorch_coreml.errors import InputError, RunError
from executorch_coreml.mil.bundle import read
from executorch_coreml.mil.types import NUMPY_DTYPES, Bundle, Feature, Value

_log = logging.getLogger(__name__)

# Core ML compute unit (compile spec or Swift spelling) -> OpenVINO devices that come near it.
_DEVICES = {
    "cpu_only": (),
    "cpu_and_gpu": ("GPU",),
    "cpu_and_ne": ("NPU",),
    "all": ("NPU", "GPU"),
}


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
        input_description, output_description: Name -> the author's sentence about it.

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
        function, self._classifier = split_classifier(functions[self.function_name])
        self._compiled = compile_function(
            function,
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
        self.input_description = {each.name: each.description for each in self.inputs}
        self.output_description = {each.name: each.description for each in self.outputs}
        # Where the features, in delegate order, stand in the graph.
        places = _places(self.inputs, compiled.inputs, "input", self.bundle.source)
        self._input_slots = [places[each.name] for each in self.inputs]
        self._ports = [Port(f, compiled.inputs[places[f.name]]) for f in self.inputs]
        self._output_slots = _places(
            self._computed(), compiled.outputs, "output", self.bundle.source
        )
        self._enumerated = [i for i, f in enumerate(self.inputs) if f.enumerated]
        self._results = [_result(value) for value in compiled.outputs]

    def _computed(self) -> tuple[Feature, ...]:
        """The outputs that the graph gives: for those of a classifier, the probabilities."""
        if self._classifier is None:
            return self.outputs
        named = self._classifier.label, self._classifier.probabilities
        source = Feature(self._classifier.source, "fp32", ())
        tensors = [each for each in self.outputs if each.name not in named]
        return (*tensors, source) if source.name not in self.output_description else (*tensors,)

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

    @overload
    def predict(self, inputs: Mapping[str, Any], state: State | None = None) -> dict[str, Any]: ...

    @overload
    def predict(self, inputs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]: ...

    def predict(
        self, inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]], state: State | None = None
    ) -> dict[str, Any] | list[dict[str, Any]]:
        """Run with inputs by name; outputs by name. As ``predict`` of coremltools' ``MLModel``.

        Args:
            inputs: Arrays, or what numpy and torch make arrays of; for images also Pillow images of
                the declared size, of mode RGB, L or (``Grayscale16Half``) F. Optional inputs with a
                default may be absent. A sequence of such mappings runs one after the other.
            state: From :meth:`make_state`, for a model with states.

        Returns:
            New arrays of the declared dtype. Images come as Pillow images of mode RGBA, L or F; the
            label of a classifier as a text or an integer, its probabilities as label -> float.

        Numbers are converted to the declared dtype where that is safe: between float widths,
        between integer widths when every value fits, from bool, from integer to float.

        Raises:
            InputError: A name, dtype, shape, image or value that is not allowed, or a missing
                state.
            RunError: An output is an image, and Pillow is not installed.
        """
        if not isinstance(inputs, Mapping):
            if state is not None:
                raise InputError("a state serves single runs, not sequences of them")
            return [self.predict(each) for each in inputs]
        names = [feature.name for feature in self.inputs]
        given = {f.name: f.default for f in self.inputs if f.optional and f.default is not None}
        given = {n: np.full(self._default_shape(n), v) for n, v in given.items()} | dict(inputs)
        missing = [name for name in names if name not in given]
        unknown = [name for name in given if name not in names]
        if missing or unknown:
            raise InputError(f"inputs {missing} are missing, {unknown} unknown; it takes {names}")
        results = self.run([given[name] for name in names], state)
        return {
            feature.name: from_array(feature, result) if feature.kind == "image" else result
            for feature, result in zip(self.outputs, results, strict=True)
        }

    def _default_shape(self, name: str) -> tuple[int, ...]:
        return next(feature.shape for feature in self.inputs if feature.name == name)

    def run(self, arrays: Sequence[Any], state: State | None = None) -> list[Any]:
        """Run with inputs by position, in the order of :attr:`inputs`; outputs likewise, as new
        arrays; images too, as [1, channels, height, width]. Inputs of the declared dtype that lie
        contiguous in memory are not copied, and must not change during the call.

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
        found: dict[str, Any] = {name: results[i] for name, i in self._output_slots.items()}
        if self._classifier is not None:
            found |= self._classifier.results(found[self._classifier.source])
        return [found[feature.name] for feature in self.outputs]

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


def _result(value: Value) -> tuple[tuple[int, ...], np.dtype[Any]] | None:
    """Shape and dtype of an output whose shape is known before the run."""
    tensor = tensor_type(value)
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


def _places(
    features: Sequence[Feature], values: tuple[Value, ...], kind: str, source: str
) -> dict[str, int]:
    """Name -> where it stands in the graph."""
    places = {value.name: i for i, value in enumerate(values)}
    unlike = sorted({feature.name for feature in features} ^ set(places))
    if unlike:
        raise InputError(f"{source}: {kind}s {unlike} are either undescribed or uncomputed")
    return places


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
