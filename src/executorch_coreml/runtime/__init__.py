"""The ExecuTorch runtime plugin: importing this module makes "CoreMLBackend" programs run here.

    >>> import executorch_coreml.runtime
    >>> from executorch.runtime import Runtime
    >>> method = Runtime.get().load_program("model.pte").load_method("forward")
    >>> outputs = method.execute(inputs)

The import may come before or after ``executorch.runtime``'s, loads neither torch nor the engine,
and never displaces a backend: on macOS, where executorch brings the real one, it stays in charge.

A failing load or run raises ExecuTorch's ``RuntimeError``, whose ``__cause__`` is an error of
:mod:`executorch_coreml.errors`.
"""

from __future__ import annotations

import atexit
import sys

from executorch_coreml.errors import RunError
from executorch_coreml.runtime.loader import load_executorch

try:
    from executorch_coreml.runtime._build_info import EXECUTORCH_VERSION
except ModuleNotFoundError as cause:
    raise RunError(
        "this installation of executorch-coreml has no runtime plugin",
        hint="build it: pip install . in the source folder",
    ) from cause

if f"{__name__}._native" not in sys.modules:  # a C++ program has it, and its own runtime
    load_executorch(built_against=EXECUTORCH_VERSION)

from executorch_coreml.runtime import _native, bridge
from executorch_coreml.runtime._native import is_active, registered_backends
from executorch_coreml.runtime.settings import Settings, configure, defaults

__all__ = ["Settings", "configure", "defaults", "is_active", "registered_backends"]

_native.attach(bridge.init, bridge.execute, bridge.destroy, bridge.set_option)
# Methods may outlive the interpreter; from here on the plugin must not call Python any more.
atexit.register(_native.detach)
