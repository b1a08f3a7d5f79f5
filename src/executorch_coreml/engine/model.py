"""The public :class:`Model`: any form of Core ML model, run here with Core ML's numerics."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from executorch_coreml.engine.classifier import split_classifier
from executorch_coreml.engine.device import device as chosen
from executorch_coreml.engine.image import from_array
from executorch_coreml.engine.port import Array, Port
from executorch_coreml.engine.precision import Precision
from executorch_coreml.engine.request import Receiver
from executorch_coreml.engine.runners import Runners
from executorch_coreml.engine.settings import PRECISIONS
from executorch_coreml.engine.state import State
from executorch_coreml.errors import InputError, ProgramError
from executorch_coreml.mil.bundle import read
from executorch_coreml.mil.types import Bundle, Description, Feature, Value


class Model:
    """A Core ML model, loaded and compiled for this machine.

    Args:
        source: A ``.mlpackage``, a compiled ``.mlmodelc``, a delegate payload, a ``.pte`` (path or
            bytes), or a bundle.
        function_name: Which function of a multifunction model; the default one if None.
        precision: ``"faithful"`` rounds to fp16 wherever the program says fp16, as Core ML's
            arithmetic does; ``"float32"`` computes everything in float32; ``"bfloat16"`` most of
            it in bfloat16 where the CPU has it; see
            :class:`~executorch_coreml.engine.settings.Settings`.
        compute_unit: ``cpu_only``, ``cpu_and_gpu``, ``cpu_and_ne`` or ``all``. Others than the
            CPU are used if OpenVINO has such a device; ``all`` is the CPU.
        device: A device by OpenVINO's name, in place of the compute unit's; see
            :class:`~executorch_coreml.engine.settings.Settings`.
        threads: CPU threads; OpenVINO's choice if None.
        cache_dir: Where compiled models are kept; see
            :class:`~executorch_coreml.engine.settings.Settings`.
        delegate: Which delegate of a ``.pte`` with several.
        profile: Runs measure what each op costs, and tell an
            :class:`~executorch_coreml.engine.request.Observer`; such models are not cached.

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
        device: str | None = None,
        threads: int | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        delegate: int = 0,
        profile: bool = False,
    ):
        if precision not in PRECISIONS:
            raise InputError(
                f"it is one of {', '.join(map(repr, PRECISIONS))}; got {precision!r}",
                location="precision",
                hint="'faithful' rounds to fp16 as Core ML does",
            )
        self.bundle = source if isinstance(source, Bundle) else read(source, delegate=delegate)
        self.function_name = function_name or self.bundle.default_function
        functions = self.bundle.program.functions
        if self.function_name not in functions:
            raise InputError(
                f"no function {self.function_name!r}; there are {sorted(functions)}",
                location=self.bundle.source,
            )
        function, self._classifier = split_classifier(functions[self.function_name])
        self._runners = Runners(
            function,
            self.bundle.source,
            {each.name: each.shape for each in self._description().inputs},
            precision=precision,
            device=chosen(compute_unit, device),
            threads=threads,
            cache_dir=cache_dir,
            profile=profile,
        )
        self._compiled = self._runners.compiled
        self._describe()

    def _description(self) -> Description:
        """
        Raises:
            ProgramError: The model does not describe the function.
        """
        found = self.bundle.descriptions.get(self.function_name)
        if found is None:
            raise ProgramError(
                "the model does not describe it", location=f"function {self.function_name}"
            )
        return found

    def _describe(self) -> None:
        name, compiled = self.function_name, self._compiled
        description = self._description()
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
        slots = [places[each.name] for each in self.inputs]
        self._order = sorted(range(len(slots)), key=slots.__getitem__)
        self._ports = [Port(f, compiled.inputs[places[f.name]]) for f in self.inputs]
        _places(self._computed(), compiled.outputs, "output", self.bundle.source)
        self._enumerated = [i for i, f in enumerate(self.inputs) if f.enumerated]
        # Where the outputs of the graph stand among the features: behind all of them what a
        # classifier alone reads.
        self._index = {each.name: i for i, each in enumerate(self.outputs)}
        behind = len(self.outputs)
        self._positions = [self._index.get(value.name, behind) for value in compiled.outputs]

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
                f"they cannot have shapes {given} together; "
                f"allowed: {' or '.join(map(str, allowed))}",
                location=f"inputs ({names})",
            )

    @property
    def _where(self) -> str:
        return f"{self.bundle.source}, function {self.function_name!r}"

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
        left_out = [f for f in self.inputs if f.optional and f.name not in inputs]
        given = {f.name: _default(f) for f in left_out if f.default is not None} | dict(inputs)
        missing = [name for name in names if name not in given]
        unknown = [name for name in given if name not in names]
        if missing or unknown:
            raise InputError(
                f"inputs {missing} are missing, {unknown} unknown; it takes {names}",
                location=self._where,
            )
        results = self.run([given[name] for name in names], state)
        return {
            feature.name: from_array(feature, result) if feature.kind == "image" else result
            for feature, result in zip(self.outputs, results, strict=True)
        }

    def run(self, arrays: Sequence[Any], state: State | None = None) -> list[Any]:
        """Run with inputs by position, in the order of :attr:`inputs`; outputs likewise, as new
        arrays; images too, as [1, channels, height, width]. Large inputs of the declared dtype that
        lie contiguous in memory are not copied, and must not change during the call.

        Raises:
            InputError: as for :meth:`predict`.
        """
        found = _Copies(len(self.outputs) + 1)
        self.run_into(arrays, found, state)
        results = found.arrays
        if self._classifier is not None:
            names = [value.name for value in self._compiled.outputs]
            source = self._positions[names.index(self._classifier.source)]
            for name, value in self._classifier.results(results[source]).items():
                results[self._index[name]] = value
        return results[:-1]

    def run_into(
        self, arrays: Sequence[Any], receiver: Receiver, state: State | None = None
    ) -> None:
        """:meth:`run` that makes no arrays of its own: ``receiver`` gets each output as it lies in
        memory, counted as in :attr:`outputs`; the probabilities that a classifier reads come last.

        Raises:
            InputError: as for :meth:`predict`.
        """
        if len(arrays) != len(self._ports):
            raise InputError(
                f"takes {len(self._ports)} inputs, got {len(arrays)}", location=self._where
            )
        fed = [port.accept(array) for port, array in zip(self._ports, arrays, strict=True)]
        if len(self._enumerated) > 1:
            self._require_tied_shapes(fed)
        if not self._compiled.states:
            state = None
        elif state is None:
            raise InputError(
                "the model has states",
                location=self._where,
                hint="pass state=model.make_state()",
            )
        placed = [fed[i] for i in self._order]
        self._runners.runner_for(placed).run(placed, receiver, self._positions, state)


class _Copies:
    """Takes the outputs of a run as arrays of their own."""

    def __init__(self, count: int):
        self.arrays: list[Any] = [None] * count

    def place(self, index: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        made = np.empty(shape, dtype)
        self.arrays[index] = made
        return made

    def take(self, index: int, array: Array) -> None:
        self.arrays[index] = array.copy()


def _default(feature: Feature) -> np.ndarray[Any, Any]:
    """What stands for an optional input that is left out."""
    try:
        return np.full(feature.shape, feature.default)
    except (MemoryError, ValueError) as error:
        raise InputError(
            f"the default of input {feature.name} cannot have shape {feature.shape}"
        ) from error


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


__all__ = ["Model", "State"]
