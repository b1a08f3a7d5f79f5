"""Runs of one compiled function, from several threads at once if need be."""

from __future__ import annotations

from collections.abc import Sequence

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
            if state is None:
                request = self._take()
                _run(request, fed, receiver, positions)
                self._idle.append(request)
            else:
                with state.request(self._compiled) as request:
                    _run(request, fed, receiver, positions)
        except RunError:
            raise
        except (RuntimeError, MemoryError) as error:
            said = str(error).strip() or type(error).__name__
            raise RunError(f"{self._source} cannot run on these inputs: {said}") from error

    def _take(self) -> Request:
        """A request that no other run uses, from a pool that grows to the number of threads."""
        try:
            return self._idle.pop()
        except IndexError:
            return Request(self._compiled)


def _run(
    request: Request, fed: Sequence[Array], receiver: Receiver, positions: Sequence[int]
) -> None:
    request.feed(fed)
    request.run(receiver, positions)


__all__ = ["Runner"]
