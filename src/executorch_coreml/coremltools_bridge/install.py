"""Puts our module in the place of the native one, and takes it away again.

coremltools looks for it when its own modules are imported, and keeps what it found: None, where the
module is missing. It also asks which macOS it runs on before it predicts, makes states or compiles.
All modules of coremltools that hold one of these names get ours, and get theirs back.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import lru_cache
from types import ModuleType
from typing import Any

from executorch_coreml.engine.settings import Settings

MACOS = (26, 0)
"""The macOS whose Core ML takes what coremltools 9 writes, specification version 10."""


def _is_macos() -> bool:
    """In the place of a function of ``coremltools.models.utils``: is there a Core ML?"""
    return True


@lru_cache
def _macos_version() -> tuple[int, ...]:
    """In the place of a function of ``coremltools.models.utils``, which is cached as well."""
    return MACOS


_originals: dict[str, Any] = {}
_replacements: dict[str, Any] = {}


def install(name: str, settings: Settings) -> None:
    """Makes ``name`` our module, and coremltools use it; ``settings`` are those of new models."""
    from executorch_coreml.coremltools_bridge import proxies

    proxies.settings = settings
    if name in sys.modules:
        return
    module = ModuleType(name, "Core ML's part of coremltools, by executorch_coreml.")
    module.__dict__.update(proxies.EXPORTS, __bridge__=True)
    sys.modules[name] = module  # before coremltools, which then finds it and warns of nothing
    import coremltools
    from coremltools.models import utils

    coremltools.libcoremlpython = module
    _replacements.update(proxies.EXPORTS, _is_macos=_is_macos, _macos_version=_macos_version)
    _originals.update(dict.fromkeys(proxies.EXPORTS))
    _originals.update(_is_macos=utils._is_macos, _macos_version=utils._macos_version)
    _exchange(_originals, _replacements)


def remove(name: str) -> None:
    """Undoes :func:`install`."""
    import coremltools

    del sys.modules[name]
    del coremltools.libcoremlpython
    _exchange(_replacements, _originals)


def _exchange(old: dict[str, Any], new: dict[str, Any]) -> None:
    for module in _modules():
        for name, value in new.items():
            if name in module.__dict__ and module.__dict__[name] is old[name]:
                setattr(module, name, value)


def _modules() -> Iterator[ModuleType]:
    for name, module in list(sys.modules.items()):
        if name.startswith("coremltools.") and isinstance(module, ModuleType):
            yield module
