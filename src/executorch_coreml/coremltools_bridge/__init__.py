"""``predict`` of coremltools where there is no Core ML.

    >>> from executorch_coreml import coremltools_bridge
    >>> coremltools_bridge.enable()
    >>> import coremltools as ct
    >>> ct.models.MLModel("model.mlpackage").predict({"x": x})

coremltools asks a native module, ``coremltools.libcoremlpython``, that its wheels for macOS alone
contain. :func:`enable` supplies that module with our engine behind it
(:mod:`~executorch_coreml.coremltools_bridge.proxies`), so that ``MLModel``, ``CompiledMLModel``,
states, functions, compute plans and the utilities built on them work unchanged. Where Core ML is,
nothing happens.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.util import find_spec
from typing import Any

from executorch_coreml.engine.settings import initial
from executorch_coreml.errors import OptionsError

_NATIVE = "coremltools.libcoremlpython"


@dataclass(frozen=True, slots=True)
class Status:
    """Whether coremltools predicts with our engine, and why or why not."""

    active: bool
    reason: str


def enable(**options: Any) -> Status:
    """Make coremltools predict with our engine. Once more, it only changes the options.

    Args:
        options: ``precision``, ``threads``, ``device`` and ``cache_dir`` of models that are loaded
            from now on, as :class:`~executorch_coreml.engine.settings.Settings` has them; None or
            nothing is its default.

    Returns:
        What came of it. On macOS, and wherever coremltools has its native module, nothing is
        changed and the status says so.

    Raises:
        OptionsError: An option is unknown or has no such value, or coremltools is not installed.
    """
    settings = initial().updated({k: v for k, v in options.items() if v is not None})
    reason = _why_not()
    if reason is not None:
        return Status(False, reason)
    from executorch_coreml.coremltools_bridge import install

    install.install(_NATIVE, settings)
    return status()


def disable() -> Status:
    """Make coremltools what it was. Models that are loaded keep working."""
    if _ours():
        from executorch_coreml.coremltools_bridge import install

        install.remove(_NATIVE)
    return status()


def status() -> Status:
    """Whether the bridge is on."""
    if _ours():
        return Status(True, "coremltools predicts with the OpenVINO engine")
    return Status(False, _why_not() or "not enabled")


def _ours() -> bool:
    module = sys.modules.get(_NATIVE)
    return getattr(module, "__bridge__", False) is True


def _why_not() -> str | None:
    """Why the bridge must not be built; None if it may be.

    Raises:
        OptionsError: coremltools is not installed.
    """
    if sys.platform == "darwin":
        return "this is macOS: coremltools predicts with Core ML itself"
    if _ours():
        return None
    package = find_spec("coremltools")
    if package is None:
        raise OptionsError("coremltools is not installed", hint="pip install coremltools")
    if _NATIVE in sys.modules or PathFinder.find_spec(_NATIVE, package.submodule_search_locations):
        return f"coremltools has its own {_NATIVE}"
    return None


__all__ = ["Status", "disable", "enable", "status"]
