"""The memory of a model between runs: :class:`State`."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from executorch_coreml.engine.compile import CompiledFunction
from executorch_coreml.engine.port import Array, converted, tensor_type
from executorch_coreml.engine.request import Request
from executorch_coreml.errors import InputError, RunError
from executorch_coreml.mil.types import NUMPY_DTYPES, TensorType, Value


class State:
    """The values of a model's states between runs (Core ML's ``MLState``), zero at first.

    ``state[name]`` copies a value out, in its declared dtype; assignment copies one in. A state
    serves one run at a time; runs that share one wait for each other.
    """

    def __init__(self, values: Sequence[Value]):
        self._types = {value.name: tensor_type(value) for value in values}
        self._lock = threading.Lock()
        # Two buffers per state: a run reads the one that holds the value and writes the other.
        self._buffers = [(self._zeros(v.name), self._zeros(v.name)) for v in values]
        # Bit i tells which of the two holds the value of state i.
        self._holding = 0
        # What runs on this state, by the function and by `_holding`, with the buffers bound.
        self._requests: WeakKeyDictionary[CompiledFunction, dict[int, Request]]
        self._requests = WeakKeyDictionary()
        self._index = {value.name: i for i, value in enumerate(values)}

    def _zeros(self, name: str) -> Array:
        tensor = self._types[name]
        shape = tuple(extent or 1 for extent in tensor.shape)
        dtype = _inside(tensor)
        try:
            return np.zeros(shape, dtype)
        except (MemoryError, ValueError) as error:
            size = prod(shape) * dtype.itemsize
            raise RunError(f"state {name} needs {size} bytes of memory") from error

    def names(self) -> tuple[str, ...]:
        """Of the states, in the order of the model."""
        return tuple(self._index)

    def __getitem__(self, name: str) -> Array:
        with self._lock:
            current = self._current(self._position(name))
            return current.astype(NUMPY_DTYPES[self._types[name].dtype])

    def __setitem__(self, name: str, value: Array) -> None:
        position, tensor = self._position(name), self._types[name]
        array = converted(name, tensor.dtype, np.asarray(value))
        with self._lock:
            current = self._current(position)
            if array.shape != current.shape:
                raise InputError(f"state {name} has shape {current.shape}, got {array.shape}")
            current[...] = array

    @contextmanager
    def request(self, compiled: CompiledFunction) -> Iterator[Request]:
        """A request to run once on this state, which holds what the run writes if it succeeds."""
        with self._lock:
            requests = self._requests.setdefault(compiled, {})
            request = requests.pop(self._holding, None) or Request(compiled, self._turned())
            yield request
            requests[self._holding] = request
            for state in compiled.written:
                self._holding ^= 1 << state

    def _current(self, position: int) -> Array:
        return self._buffers[position][self._holding >> position & 1]

    def _turned(self) -> list[tuple[Array, Array]]:
        """The buffers to read and to write."""
        pairs = enumerate(self._buffers)
        return [pair[::-1] if self._holding >> i & 1 else pair for i, pair in pairs]

    def read_state(self, name: str) -> Array:
        """``state[name]``, by the name that coremltools' ``MLState`` gives it."""
        return self[name]

    def write_state(self, name: str, value: Array) -> None:
        """``state[name] = value``, by the name that coremltools' ``MLState`` gives it."""
        self[name] = value

    def _position(self, name: str) -> int:
        if name not in self._index:
            raise InputError(f"no state {name!r}; the states are {list(self._index)}")
        return self._index[name]


def _inside(tensor: TensorType) -> np.dtype[Any]:
    """The dtype of a state's buffers: a state never leaves the graph's float32."""
    dtype = NUMPY_DTYPES[tensor.dtype]
    return np.dtype(np.float32) if dtype.kind == "f" else dtype


__all__ = ["State"]
