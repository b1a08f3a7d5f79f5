"""Finds the installed ExecuTorch runtime and maps it into the process.

The plugin and ExecuTorch's own bindings must share one copy of ``libexecutorch.so``, because the
registry of backends lives in it. Loading it here first, by path, makes both resolve to this copy,
even where executorch is in another site directory than this package.
"""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from pathlib import Path

from executorch_coreml.errors import RunError

_LIBRARY = "libexecutorch.dylib" if sys.platform == "darwin" else "libexecutorch.so"


def load_executorch(built_against: str) -> None:
    """Maps the runtime library of the installed executorch, without importing torch.

    Args:
        built_against: The version of executorch that the plugin was compiled against. C++ classes
            cross the border between the two, so the release must be the same; the build
            (``+cpu``) need not.

    Raises:
        RunError: executorch is missing, has no shared runtime, or is another release.
    """
    release = _release(built_against)
    remedy = f"pip install executorch=={release}"
    library = _find_library()
    if library is None:
        raise RunError(
            f"no executorch with a shared runtime ({_LIBRARY}) is installed", hint=remedy
        )
    from executorch.version import __version__ as installed

    if _release(installed) != release:
        raise RunError(
            f"executorch {installed} is installed, but executorch-coreml was built against "
            f"{built_against}, and their C++ interfaces differ",
            hint=remedy,
        )
    ctypes.CDLL(str(library))


def _release(version: str) -> str:
    """``"1.5.1"`` for ``"1.5.1+cpu"``."""
    return version.partition("+")[0]


def _find_library() -> Path | None:
    spec = importlib.util.find_spec("executorch")
    roots = spec.submodule_search_locations if spec else None
    libraries = (Path(root) / "lib" / _LIBRARY for root in roots or ())
    return next((library for library in libraries if library.is_file()), None)
