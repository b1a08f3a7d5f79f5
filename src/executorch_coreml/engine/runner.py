"""Runs of one compiled function: memory in, memory out."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import openvino as ov

from executorch_coreml.engine.compile import CompiledFunction
from executorch_coreml.engine.kernels.operand import shareable
from executorch_coreml.engine.kernels.violations import raise_recorded
from executorch_coreml.engine.port import Array, tensor_type
from executorch_coreml.errors import RunError
from executorch_coreml.mil.types import NUMPY_DTYPES, Value


class Runner:
    """Runs a function, from several threads at once if need be.

    Args:
        compiled: The function.
        source: Where the model came from, for messages.
    """

    def __init__(self, compiled: CompiledFunction, source: str):
        self._compiled = compiled
        self._source = source
        self._requests: list[ov.InferRequest] = []
        self._lock = threading.Lock()
        self._results = [_memory(value) for value in compiled.outputs]

    @contextmanager
    def _request(self) -> Iterator[ov.InferRequest]:
        """A request that no other run uses, from a pool that grows to the number of threads."""
        with self._lock:
            request = self._requests.pop() if self._requests else None
        request = request or self._compiled.model.create_infer_request()
        yield request
        with self._lock:
            self._requests.append(request)

    def infer(self, fed: Sequence[Array], states: Sequence[list[Array]]) -> list[Array]:
        """One run: memory of inputs, outputs and states is used in place by OpenVINO.

        Args:
            fed: The inputs, as the graph takes them.
            states: Two buffers per state: the first is read, the second written where the function
                writes the state; then they swap.

        Returns:
            New arrays, in the order of the function's outputs.

        Raises:
            RunError: OpenVINO fails, memory is not enough, or an op finds an index out of range.
        """
        compiled = self._compiled
        made = [None if memory is None else memory.empty() for memory in self._results]
        with self._request() as request:
            try:
                for slot, array in enumerate(fed):
                    request.set_input_tensor(slot, _tensor_over(array))
                for i, (current, _) in enumerate(states):
                    request.set_input_tensor(len(fed) + i, _tensor_over(current))
                for slot, target in enumerate(made):
                    if target is not None:
                        request.set_output_tensor(slot, _tensor_over(target))
                for i, state in enumerate(compiled.written):
                    request.set_output_tensor(len(made) + i, _tensor_over(states[state][1]))
                request.infer(share_outputs=True)
            except (RuntimeError, MemoryError) as error:
                said = str(error).strip() or type(error).__name__
                raise RunError(f"{self._source} cannot run on these inputs: {said}") from error
            if compiled.recording:
                record = request.get_output_tensor(len(made) + len(compiled.written)).data
                raise_recorded(record, compiled.recording)
            results = [
                request.get_output_tensor(slot).data.copy() if target is None else target
                for slot, target in enumerate(made)
            ]
        for state in compiled.written:
            states[state].reverse()
        return results


@dataclass(frozen=True, slots=True)
class _Memory:
    """What an output whose shape is known before the run needs."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def empty(self) -> Array:
        try:
            return np.empty(self.shape, self.dtype)
        except (MemoryError, ValueError) as error:
            size = prod(self.shape) * self.dtype.itemsize
            raise RunError(f"output {self.name} needs {size} bytes of memory") from error


def _memory(value: Value) -> _Memory | None:
    tensor = tensor_type(value)
    known = tuple(extent for extent in tensor.shape if extent is not None)
    if len(known) != len(tensor.shape):
        return None
    return _Memory(value.name, known, NUMPY_DTYPES[tensor.dtype])


def _tensor_over(array: Array) -> ov.Tensor:
    return ov.Tensor(shareable(array), shared_memory=True)


__all__ = ["Runner"]
