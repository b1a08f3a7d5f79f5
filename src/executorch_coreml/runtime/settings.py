"""How models run that ExecuTorch loads, where the program itself does not say."""

from __future__ import annotations

from typing import Any

from executorch_coreml.engine.settings import NAMES, Settings, initial

_defaults = initial()


def configure(**chosen: Any) -> None:
    """Sets process-wide defaults for the methods that are loaded from now on.

    Args:
        **chosen: Fields of :class:`Settings`; those left out keep their value.

    Raises:
        OptionsError: A name is unknown, or a value is out of range.
    """
    global _defaults
    _defaults = _defaults.updated(chosen)


def defaults() -> Settings:
    """The settings a method gets that is loaded now."""
    return _defaults


__all__ = ["NAMES", "Settings", "configure", "defaults"]
