"""The runners of one function.

There is one for all shapes, or one for each where shapes decide ranks. One that takes ordinary
inputs only (:mod:`executorch_coreml.engine.bounds`) has another beside it, which is made when there
are inputs of other kinds.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from executorch_coreml.engine.bounds import is_ordinary
from executorch_coreml.engine.compile import CompiledFunction, compile_function, has_unknown_ranks
from executorch_coreml.engine.port import Array
from executorch_coreml.engine.runner import Runner
from executorch_coreml.mil.types import Function, TensorType

_KEPT = 16  # of the runners that are made for one combination of shapes

_Shapes: TypeAlias = "tuple[tuple[int, ...], ...]"


class Runners:
    """Compiles a function as its runs need it.

    Args:
        function: What to run.
        source: Where the model came from, for messages.
        defaults: Input -> its default shape.
        options: For :func:`~executorch_coreml.engine.compile.compile_function`.

    Attributes:
        compiled: The function, compiled for the default shapes if shapes matter; the border is the
            same for all shapes.

    Raises:
        MissingKernel, ProgramError: As ``compile_function``.
    """

    def __init__(
        self,
        function: Function,
        source: str,
        defaults: Mapping[str, tuple[int, ...]],
        **options: Any,
    ):
        self._function = function
        self._source = source
        self._options = options
        self._lock = threading.Lock()
        self._by_shapes = has_unknown_ranks(function)
        shapes = tuple(
            _default(value.type, defaults.get(value.name, ())) for value in self._inputs()
        )
        self.compiled = self._compile(shapes, ordinary=not self._by_shapes)
        self._runners = {shapes: Runner(self.compiled, source)}
        self._only = None if self._by_shapes else self._runners[shapes]
        self._careful: Runner | None = None

    def _inputs(self) -> list[Any]:
        return [v for v in self._function.inputs if isinstance(v.type, TensorType)]

    def _compile(self, shapes: _Shapes, ordinary: bool = False) -> CompiledFunction:
        names = [value.name for value in self._inputs()] if self._by_shapes else []
        fixed = dict(zip(names, shapes, strict=False))
        return compile_function(self._function, shapes=fixed, ordinary=ordinary, **self._options)

    def runner_for(self, arrays: Sequence[Array]) -> Runner:
        """The runner for these inputs, which are in the order of the function.

        Raises:
            ProgramError: The function cannot be built for their shapes.
        """
        if self._only is not None:
            if all(is_ordinary(arrays[i]) for i in self.compiled.ordinary):
                return self._only
            return self._for_other_inputs()
        shapes = tuple(array.shape for array in arrays)
        with self._lock:
            found = self._runners.pop(shapes, None)
            if found is None:
                found = Runner(self._compile(shapes), self._source)
            self._runners[shapes] = found  # the last one used comes last
            if len(self._runners) > _KEPT:
                del self._runners[next(iter(self._runners))]
        return found

    def _for_other_inputs(self) -> Runner:
        with self._lock:
            if self._careful is None:
                self._careful = Runner(self._compile(()), self._source)
        return self._careful


def _default(kind: TensorType, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The default shape of an input; 1 for extents that nothing tells."""
    if len(shape) == len(kind.shape):
        return shape
    return tuple(1 if extent is None else extent for extent in kind.shape)


__all__ = ["Runners"]
