"""Runs of one compiled function, from several threads at once if need be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from executorch_coreml.engine.compile import CompiledFunction
from executorch_coreml.engine.port import Array
from executorch_coreml.engine.request import Receiver, Request
from executorch_coreml.engine.state import State
from executorch_coreml.errors import RunError


class Runner:
    """Runs a function.

    Args:
        compiled: The function.
        source: Where the model came from, for messages.
    """

    def __init__(self, compiled: CompiledFunction, source: str):
        self._compiled = compiled
        self._source = source
        self._idle: list[Request] = []  # as many as there were runs at a time

    def run(
        self,
        fed: Sequence[Array],
        receiver: Receiver,
        positions: Sequence[int],
        state: State | None,
    ) -> None:
        """One run.

        Args:
            fed: The inputs, as the graph takes them.
            receiver: Takes the outputs.
            positions: The position that ``receiver`` knows each of the function's outputs by.
            state: What a function with states reads, and writes if the run succeeds.

        Raises:
            RunError: OpenVINO fails, memory is not enough, or an op finds an index out of range.
        """
        try:
            with self._request() if state is None else state.request(self._compiled) as request:
                for slot, array in enumerate(fed):
                    request.feed(slot, array)
                request.run(receiver, positions)
        except RunError:
            raise
        except (RuntimeError, MemoryError) as error:
            said = str(error).strip() or type(error).__name__
            raise RunError(f"{self._source} cannot run on these inputs: {said}") from error

    @contextmanager
    def _request(self) -> Iterator[Request]:
        """A request that no other run uses, from a pool that grows to the number of threads."""
        try:
            request = self._idle.pop()
        except IndexError:
            request = Request(self._compiled)
        yield request
        self._idle.append(request)


__all__ = ["Runner"]
