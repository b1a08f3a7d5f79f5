"""From an ExportedProgram to the bytes of a delegate payload.

The names match those of ``executorch.backends.apple.coreml.compiler``. They load on first use: the
run path reads :mod:`executorch_coreml.compiler.payload` without importing torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from executorch_coreml.compiler.backend import (
        MULTIMETHOD_WEIGHT_SHARING_STRATEGY,
        CoreMLBackend,
    )

__all__ = ["MULTIMETHOD_WEIGHT_SHARING_STRATEGY", "CoreMLBackend"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from executorch_coreml.compiler import backend

        return getattr(backend, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
