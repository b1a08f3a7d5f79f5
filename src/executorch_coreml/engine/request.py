"""One run: an OpenVINO request and the memory that its inputs and outputs lie in.

Binding an array to a request costs as much as running a small model, so a request keeps what is
bound to it: tensors of its own, which are copied into and out of, and the buffers of one state.
Only tensors so large that a copy costs more than a binding are used where they lie, and for that
run only.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, Protocol, runtime_checkable

import numpy as np
import openvino as ov

from executorch_coreml.engine.compile import CompiledFunction
from executorch_coreml.engine.kernels.operand import shareable
from executorch_coreml.engine.kernels.violations import raise_recorded
from executorch_coreml.engine.port import Array, tensor_type
from executorch_coreml.engine.profile import OpTime
from executorch_coreml.errors import RunError
from executorch_coreml.mil.types import NUMPY_DTYPES, Value

LARGE = 1 << 18
"""From so many bytes on, a tensor is used in place. Copying as many takes some ten microseconds,
about what it takes to bind a tensor and to bind the request's own again."""


class Receiver(Protocol):
    """What takes the outputs of a run, by their position."""

    def place(self, index: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array | None:
        """Memory of that shape and dtype, contiguous, to compute a large output in; None where
        there is none."""

    def take(self, index: int, array: Array) -> None:
        """An output that got no place. The array is the request's, and valid during this call."""


@runtime_checkable
class Observer(Receiver, Protocol):
    """A receiver that also wants to know what a run costs."""

    def observe(self, times: Sequence[OpTime]) -> None:
        """What the ops took, behind the outputs; only of functions that are compiled to measure
        it."""


class Request:
    """For one run at a time.

    Args:
        compiled: What it runs.
        states: Per state, the buffer that it reads and the buffer that it writes; bound for good.
    """

    def __init__(self, compiled: CompiledFunction, states: Sequence[tuple[Array, Array]] = ()):
        request = compiled.model.create_infer_request()
        self._request = request
        self._model = compiled.model  # keeps alive what the request reads
        count = len(compiled.inputs)
        for i, (read, _) in enumerate(states, count):
            request.set_input_tensor(i, _tensor_over(read))
        for i, state in enumerate(compiled.written, len(compiled.outputs)):
            request.set_output_tensor(i, _tensor_over(states[state][1]))
        self._tensors = [request.get_input_tensor(i) for i in range(count)]
        self._fed = [tensor.data for tensor in self._tensors]
        self._known = [_known(compiled, i) for i in range(len(compiled.outputs))]
        fixed = [not port.partial_shape.is_dynamic for port in compiled.model.inputs[:count]]
        self._copied = [
            known and own.nbytes < LARGE for known, own in zip(fixed, self._fed, strict=True)
        ]
        # Where a shape changes between runs, OpenVINO may move what it gives.
        settled = all(fixed)
        self._given = [request.get_output_tensor(i) for i in range(len(self._known))]
        self._results = [
            tensor.data if settled and known is not None else None
            for tensor, known in zip(self._given, self._known, strict=True)
        ]
        self._large = [i for i, known in enumerate(self._known) if known and _size(*known) >= LARGE]
        self._outputs = compiled.outputs
        self._recording = compiled.recording
        self._profile = compiled.profile
        self._record = len(compiled.outputs) + len(compiled.written)
        self._infer = self._infer_in_turn if _loses_errors(compiled) else self._infer_here
        self._lent: list[int] = []
        self._placed: list[int] = []

    def feed(self, arrays: Sequence[Array]) -> None:
        """Set the inputs, which must not change until the run ends."""
        for slot, array in enumerate(arrays):
            if self._copied[slot]:
                self._fed[slot][...] = array
            else:
                self._feed_one(slot, array)

    def _feed_one(self, slot: int, array: Array) -> None:
        if array.nbytes >= LARGE and array.flags.c_contiguous and array.flags.aligned:
            self._request.set_input_tensor(slot, _tensor_over(array))
            self._lent.append(slot)
            return
        own = self._fed[slot]
        if own.shape != array.shape:
            tensor = self._tensors[slot]
            tensor.shape = array.shape
            own = self._fed[slot] = tensor.data
        own[...] = array

    def run(self, receiver: Receiver, positions: Sequence[int]) -> None:
        """Compute, and give every output to ``receiver`` under its position.

        Raises:
            RunError: An op finds what it must refuse, or an output has another shape than the
                program declares.
            RuntimeError, MemoryError: OpenVINO cannot.

        After an error the request is of no use any more.
        """
        placed = self._placed
        for slot in self._large:
            known = self._known[slot]
            place = None if known is None else receiver.place(positions[slot], *known)
            if place is not None:
                self._request.set_output_tensor(slot, _tensor_over(place))
                placed.append(slot)
        self._infer()
        if self._recording:
            raise_recorded(self._request.get_output_tensor(self._record).data, self._recording)
        for slot, result in enumerate(self._results):
            if slot not in placed:
                if result is None:
                    result = self._request.get_output_tensor(slot).data
                    _require_declared(self._outputs[slot], result.shape)
                receiver.take(positions[slot], result)
        if placed or self._lent:
            self._take_back()
        if self._profile is not None and isinstance(receiver, Observer):
            receiver.observe(self._profile.times(self._request.profiling_info))

    def _infer_here(self) -> None:
        self._request.infer(share_outputs=True)

    def _infer_in_turn(self) -> None:
        self._request.start_async(share_inputs=True)
        self._request.wait()

    def _take_back(self) -> None:
        """Bind the request's own memory again, so that it refers to nobody else's."""
        for slot in self._lent:
            self._request.set_input_tensor(slot, self._tensors[slot])
        for slot in self._placed:
            self._request.set_output_tensor(slot, self._given[slot])
        self._lent.clear()
        self._placed.clear()


def _known(compiled: CompiledFunction, slot: int) -> tuple[tuple[int, ...], np.dtype[Any]] | None:
    """Shape and dtype of an output whose shape is known before the run."""
    extents = compiled.model.outputs[slot].partial_shape
    if extents.is_dynamic:
        return None
    return tuple(extents.to_shape()), NUMPY_DTYPES[tensor_type(compiled.outputs[slot]).dtype]


def _loses_errors(compiled: CompiledFunction) -> bool:
    """With one thread, OpenVINO (CPU plugin, 2026.4) drops the error of an op whose shapes do not
    fit together where it runs in the thread of the caller: the results of the run before remain,
    and a later run crashes. In a thread of its own, which takes some microseconds to wake, it
    raises."""
    try:
        return compiled.dynamic and compiled.model.get_property("INFERENCE_NUM_THREADS") == 1
    except RuntimeError:
        return False  # another device


def _require_declared(value: Value, shape: tuple[int, ...]) -> None:
    declared = tensor_type(value)
    pairs = zip(declared.shape, shape, strict=False)
    if len(declared.shape) != len(shape) or any(a not in (None, b) for a, b in pairs):
        raise RunError(f"output {value.name} is declared as {declared}, computed {list(shape)}")


def _size(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    return prod(shape) * dtype.itemsize


def _tensor_over(array: Array) -> ov.Tensor:
    return ov.Tensor(shareable(array), shared_memory=True)


__all__ = ["LARGE", "Observer", "Receiver", "Request"]
