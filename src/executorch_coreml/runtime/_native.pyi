"""The extension module, built from cpp/."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from typing_extensions import Buffer

class LoadedModel(Protocol):
    @property
    def num_inputs(self) -> int: ...

M = TypeVar("M", bound=LoadedModel)

class NamedData:
    """The named data of a program, readable while a model is loaded from it."""

    def __call__(self, key: str) -> memoryview:
        """The bytes stored under ``key``. KeyError if there are none."""

class ExecutionContext:
    """One run of a delegate; usable until it ends."""

    @property
    def method_name(self) -> str: ...
    @property
    def tracing(self) -> bool:
        """Whether an event tracer (ETDump) listens."""

    @property
    def debug_level(self) -> int:
        """0: no values are logged, 1: the program's outputs, 2: intermediate values too."""

    def resize(self, index: int, shape: Sequence[int]) -> memoryview:
        """Gives output ``index`` (0 is the first output) a new shape and returns a view of it.

        Raises:
            ValueError: The shape exceeds the bound that ExecuTorch planned, or has another rank.
        """

    def log_event(self, name: str, start: int, end: int, metadata: bytes = b"") -> None:
        """Logs a delegate event; times in ns of ``time.perf_counter_ns()``."""

    def log_output(self, name: str, array: Buffer) -> None:
        """Logs a value (C-contiguous) under a debug symbol."""

def attach(
    init: Callable[
        [memoryview, Mapping[str, bytes], str, NamedData, Mapping[str, bool | int | str]], M
    ],
    execute: Callable[[M, tuple[memoryview, ...], ExecutionContext], None],
    destroy: Callable[[M], None],
    set_option: Callable[[Mapping[str, bool | int | str]], None],
) -> None:
    """Makes these functions serve every "CoreMLBackend" delegate from now on."""

def detach() -> None:
    """Refuses further loads; methods that are still loaded keep their models for ever."""

def is_active() -> bool: ...
def registered_backends() -> list[str]: ...
