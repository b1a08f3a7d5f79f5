"""Between the plugin and the engine: bytes in, models out; tensors in, tensors out.

The functions here are what the plugin calls. Whatever they raise becomes the ``__cause__`` of the
``RuntimeError`` that ExecuTorch raises. Tensors cross the border as the stock Core ML delegate
passes them: by position, converted to the types the ML Program declares and back, rank 0 as
shape [1], and outputs of dynamic shape resized after the run.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from executorch_coreml import options
from executorch_coreml.errors import ProgramError, RunError
from executorch_coreml.mil.bundle import read_payload
from executorch_coreml.runtime import settings

if TYPE_CHECKING:
    from executorch_coreml.engine.model import Model, State
    from executorch_coreml.mil.types import Feature
    from executorch_coreml.runtime._native import ExecutionContext, NamedData
    from executorch_coreml.runtime.trace import Trace

Array = np.ndarray[Any, np.dtype[Any]]

# The runtime spec (given when a program is loaded) that overrides the compile spec of the program.
_COMPUTE_UNIT = "compute_unit"


@dataclass(slots=True, eq=False)
class LoadedModel:
    """One delegate of one loaded Method, with its own state.

    Attributes:
        model: What it runs.
        state: Of this Method.
        options: How the model was made.
        trace: What runs in its place while an event tracer listens, once one has.
    """

    model: Model
    state: State
    options: Mapping[str, Any]
    trace: Trace | None = None

    @property
    def num_inputs(self) -> int:
        """Tells the plugin which of the delegate's arguments are inputs."""
        return len(self.model.inputs)

    def traced(self) -> Trace:
        """The one trace of the delegate."""
        if self.trace is None:
            from executorch_coreml.runtime.trace import Trace

            self.trace = Trace(self.model.bundle, self.options)
        return self.trace


def init(
    processed: memoryview,
    specs: Mapping[str, bytes],
    method_name: str,
    named_data: NamedData,
    runtime_specs: Mapping[str, bool | int | str],
) -> LoadedModel:
    """Makes a delegate payload runnable.

    Args:
        processed: The payload. What the model keeps of it stays valid as long as the Method.
        specs: The compile specs in the program.
        method_name: The method being loaded.
        named_data: The program's named data, where multifunction models are.
        runtime_specs: Options of this load. ``compute_unit``, and the fields of
            :class:`~executorch_coreml.runtime.settings.Settings`; others are for the device.

    Raises:
        PayloadError, ProgramError, RunError, OptionsError: The payload cannot be run.
    """
    # Here and not above: importing OpenVINO takes longer than all the rest of this package.
    try:
        from executorch_coreml.engine.model import Model
    except ImportError as cause:
        raise RunError(
            f"the engine cannot be imported by {sys.executable}: {cause}",
            hint="install what it needs there: pip install executorch-coreml",
        ) from cause

    chosen = {name: value for name, value in runtime_specs.items() if name in settings.NAMES}
    wanted = settings.defaults().updated(chosen)
    unit = _compute_unit(specs, runtime_specs)
    bundle = read_payload(processed, named_data, method_name)
    how: dict[str, Any] = {
        "precision": wanted.precision,
        "compute_unit": unit.value,
        "threads": wanted.threads,
        "device": wanted.device,
        "cache_dir": wanted.cache_dir,
    }
    model = Model(bundle, **how)
    return LoadedModel(model, model.make_state(), how)


def execute(loaded: LoadedModel, args: tuple[memoryview, ...], context: ExecutionContext) -> None:
    """Runs a delegate once.

    Args:
        loaded: What :func:`init` returned.
        args: Views of the inputs (read-only), then of the outputs; valid during this call.
        context: The runtime's side of this run.

    Raises:
        InputError, RunError: The inputs do not fit the model, or its outputs not the program.
    """
    model = loaded.model
    num_inputs = len(model.inputs)
    if len(args) != num_inputs + len(model.outputs):
        raise ProgramError(
            f"{model.bundle.source}: the program passes {len(args)} tensors to a model with "
            f"{num_inputs} inputs and {len(model.outputs)} outputs"
        )
    tensors = _Outputs(args[num_inputs:], model.outputs, context)
    arrays = [np.asarray(view) for view in args[:num_inputs]]
    if context.tracing:
        loaded.traced().run(arrays, tensors, loaded.state, context)
    else:
        model.run_into(arrays, tensors, loaded.state)


def destroy(loaded: LoadedModel) -> None:
    """The Method is gone. Dropping the last reference frees the model; nothing else to do."""


def set_option(chosen: Mapping[str, bool | int | str]) -> None:
    """ExecuTorch's ``set_option("CoreMLBackend", ...)``, which only C++ programs can call."""
    settings.configure(**chosen)


def _compute_unit(
    specs: Mapping[str, bytes], runtime_specs: Mapping[str, bool | int | str]
) -> options.ComputeUnit:
    given = runtime_specs.get(_COMPUTE_UNIT)
    if given is None:
        given = bytes(specs.get(options.COMPUTE_UNITS, b"all")).decode("utf-8", "replace")
    return options.compute_unit(given)


class _Outputs:
    """The runtime's tensors for the outputs of one run, which they take converted to their type."""

    __slots__ = ("context", "features", "views")

    def __init__(
        self,
        views: tuple[memoryview, ...],
        features: tuple[Feature, ...],
        context: ExecutionContext,
    ):
        self.views, self.features, self.context = views, features, context

    def place(self, index: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array | None:
        """See :class:`~executorch_coreml.engine.request.Receiver`."""
        target = np.asarray(self.views[index])
        fits = target.shape == shape and target.dtype == dtype and target.flags.c_contiguous
        return target if fits and target.flags.aligned else None

    def take(self, index: int, array: Array) -> None:
        """Copies a result.

        Raises:
            RunError: It has another rank, or more elements than ExecuTorch planned memory for.
        """
        target = np.asarray(self.views[index])
        if target.ndim == 0 and array.size == 1:
            array = array.reshape(())
        elif target.shape != array.shape:
            target = self._resized(index, array.shape)
        if array.dtype == target.dtype:
            target[...] = array
        else:
            with np.errstate(over="ignore", invalid="ignore"):
                target[...] = array.astype(target.dtype)

    def _resized(self, index: int, shape: tuple[int, ...]) -> Array:
        try:
            return np.asarray(self.context.resize(index, shape))
        except ValueError as cause:
            raise RunError(
                f"output {self.features[index].name!r} has shape {list(shape)}, but the program "
                f"expects {list(np.shape(self.views[index]))}: {cause}"
            ) from cause
