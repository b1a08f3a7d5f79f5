"""The names of ``coremltools.libcoremlpython`` (coremltools 9.0), with our engine behind them.

What they take and give is that of ``coremlpython/CoreMLPython.mm`` and ``CoreMLPythonUtils.mm`` of
apple/coremltools. They raise ``RuntimeError``, as the native module does: coremltools catches that
when it loads a model, and tells the user.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

import numpy as np

from executorch_coreml.coremltools_bridge import plan
from executorch_coreml.engine.model import Model
from executorch_coreml.engine.settings import initial
from executorch_coreml.engine.state import State
from executorch_coreml.errors import CoreMLError, InputError, RunError
from executorch_coreml.mil.bundle import read, read_model
from executorch_coreml.mil.compiled_print import write_compiled
from executorch_coreml.mil.types import NUMPY_DTYPES, Bundle

NEWEST_SPECIFICATION = 10  # iOS26

settings = initial()
"""Of the models that are loaded from now on."""


@contextmanager
def _as_runtime_errors() -> Iterator[None]:
    try:
        yield
    except CoreMLError as error:
        if isinstance(error, RuntimeError):
            raise
        raise RuntimeError(str(error)) from error


class _MLStateProxy:
    """The values of a model's states."""

    def __init__(self, state: State):
        self.state = state

    def read_state(self, name: str) -> np.ndarray[Any, Any]:
        value: np.ndarray[Any, Any] = _given(self.state[name])
        return value

    def write_state(self, name: str, value: Any) -> None:
        with _as_runtime_errors():
            self.state[name] = np.asarray(value)


class _MLModelAssetProxy:
    """A model in memory."""

    def __init__(self, bundle: Bundle):
        self.bundle = bundle


class _MLModelProxy:
    """A loaded model.

    Args:
        path: A ``.mlpackage``, ``.mlmodel`` or ``.mlmodelc``; of no importance with an asset.
        compute_units: The name of a ``coremltools.ComputeUnit``.
        function_name: Empty for the default function.
        optimization_hints: For devices; not used.
        asset: What to load instead of ``path``.
    """

    def __init__(
        self,
        path: str,
        compute_units: str,
        function_name: str = "",
        optimization_hints: Mapping[str, str] | None = None,
        asset: _MLModelAssetProxy | None = None,
    ):
        start = time.perf_counter_ns()
        with _as_runtime_errors():
            self._model = Model(
                path if asset is None else asset.bundle,
                function_name=function_name or None,
                precision=settings.precision,
                compute_unit=compute_units,
                threads=settings.threads,
                device=settings.device,
                cache_dir=settings.cache_dir,
            )
        self._load_duration = time.perf_counter_ns() - start
        self._predict_duration: int | None = None
        compiled = asset is None and path.rstrip("/").endswith(".mlmodelc")
        self._compiled_path = path if compiled else None

    def predict(
        self, inputs: Mapping[str, Any], state: _MLStateProxy | None = None
    ) -> dict[str, Any]:
        """Outputs by name: arrays (float32 for fp16), images, labels and their dictionaries."""
        given = {name: self._converted(name, value) for name, value in inputs.items()}
        start = time.perf_counter_ns()
        with _as_runtime_errors():
            try:
                results = self._model.predict(given, None if state is None else state.state)
            except InputError as error:
                words = next(filter(None, map(self._refused, given, given.values())), None)
                if words is None:
                    raise
                raise InputError(f"{words}: {error}") from error
            except RunError as error:  # the words of Core ML, which coremltools' tests look for
                raise RunError(
                    f"Unable to compute the prediction using ML Program: {error}"
                ) from error
        self._predict_duration = time.perf_counter_ns() - start
        return {name: _given(value) for name, value in results.items()}

    def batchPredict(self, batch: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        start = time.perf_counter_ns()
        results = [self.predict(inputs) for inputs in batch]
        self._predict_duration = time.perf_counter_ns() - start
        return results

    def newState(self) -> _MLStateProxy:
        return _MLStateProxy(self._model.make_state())

    def get_compiled_model_path(self) -> str:
        """A ``.mlmodelc`` of the model, which lives as long as this object."""
        if self._compiled_path is None:
            with _as_runtime_errors():
                self._compiled_path = _compiled_in_temporary(self._model.bundle, "model")
            weakref.finalize(self, rmtree, Path(self._compiled_path).parent, ignore_errors=True)
        return self._compiled_path

    def get_load_duration_in_nano_seconds(self) -> int:
        return self._load_duration

    def get_last_predict_duration_in_nano_seconds(self) -> int | None:
        return self._predict_duration

    def _converted(self, name: str, value: Any) -> Any:
        """Core ML converts numbers to those declared, fractions are cut; our engine converts only
        what loses nothing, so that is done here."""
        feature = next((each for each in self._model.inputs if each.name == name), None)
        if feature is None or feature.kind != "tensor":
            return value
        array = np.asarray(value)
        wanted = NUMPY_DTYPES[feature.dtype]
        if array.dtype == wanted or array.dtype.kind not in "biuf":
            return array
        with np.errstate(over="ignore", invalid="ignore"):
            return array.astype(wanted)

    def _refused(self, name: str, value: Any) -> str | None:
        """What Core ML says of the shape of an input, which scripts look for in its errors."""
        feature = next((each for each in self._model.inputs if each.name == name), None)
        if feature is None or feature.kind != "tensor":
            return None
        shape = np.shape(value)
        extents = " x ".join(map(str, shape))
        if feature.enumerated:
            allowed = shape in feature.enumerated
            words = f"MultiArray Shape ({extents}) was not in enumerated set of allowed shapes"
            return None if allowed else words
        if len(feature.ranges) != len(shape):
            return None
        for axis, (extent, (low, high)) in enumerate(zip(shape, feature.ranges, strict=True)):
            if extent < low or (high is not None and extent > high):
                limits = f"{low}..{'' if high is None else high}"
                return f"Size ({extent}) of dimension ({axis}) is not in allowed range ({limits})"
        return None

    @staticmethod
    def maximum_supported_specification_version() -> int:
        return NEWEST_SPECIFICATION

    @staticmethod
    def auto_set_specification_version(model: bytes) -> bytes:
        """coremltools goes on with the version that the model says, after a warning."""
        raise RuntimeError("the lowest specification version of a model is known to Core ML only")

    @staticmethod
    def compileModel(path: str) -> str:
        """A new ``.mlmodelc``, in a temporary directory that belongs to the caller.

        It has no ``coremldata.bin``: our engine runs it, a device does not.
        """
        with _as_runtime_errors():
            return _compiled_in_temporary(read(path), Path(path).stem)

    @staticmethod
    def create_model_asset_from_path(path: str) -> Any:
        from coremltools.models.model import MLModelAsset

        with _as_runtime_errors():
            return MLModelAsset(_MLModelAssetProxy(read(path)))

    @staticmethod
    def create_model_asset_from_memory(data: bytes, blobs: Mapping[str, bytes]) -> Any:
        """From the bytes of a specification, and files by their path beside it."""
        from coremltools.models.model import MLModelAsset

        def open_file(name: str) -> memoryview:
            if name not in blobs:
                raise RuntimeError(f"the model needs {name!r}, and the mapping has {list(blobs)}")
            return memoryview(blobs[name])

        with _as_runtime_errors():
            bundle = read_model(memoryview(data), open_file, "model in memory")
        return MLModelAsset(_MLModelAssetProxy(bundle))

    @staticmethod
    def get_available_compute_devices() -> list[Any]:
        return plan.devices()

    @staticmethod
    def get_all_compute_devices() -> list[Any]:
        return plan.devices()

    @staticmethod
    def get_model_structure(path: str) -> Any:
        with _as_runtime_errors():
            return plan.structure(read(path))

    @staticmethod
    def get_compute_plan(path: str, compute_units: str) -> Any:
        from coremltools.models.compute_plan import MLComputePlan

        with _as_runtime_errors():
            return MLComputePlan(plan._MLComputePlanProxy(plan.structure(read(path))))


def _compiled_in_temporary(bundle: Bundle, stem: str) -> str:
    directory = Path(mkdtemp(prefix="executorch_coreml_"))
    try:
        return str(write_compiled(bundle, directory / f"{stem}.mlmodelc"))
    except CoreMLError:
        rmtree(directory)
        raise


def _given(value: Any) -> Any:
    """An output as the native module gives it: no fp16, and no array of rank 0."""
    if not isinstance(value, np.ndarray):
        return value
    return np.atleast_1d(value.astype(np.float32) if value.dtype == np.float16 else value)


EXPORTS = {
    each.__name__: each
    for each in (
        _MLModelProxy,
        _MLModelAssetProxy,
        plan._MLComputePlanProxy,
        plan._MLCPUComputeDeviceProxy,
        plan._MLGPUComputeDeviceProxy,
        plan._MLNeuralEngineComputeDeviceProxy,
    )
}
