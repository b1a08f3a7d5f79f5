"""How models run that ExecuTorch loads, where the program itself does not say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from executorch_coreml.errors import OptionsError

if TYPE_CHECKING:
    from executorch_coreml.engine.precision import Precision

PRECISIONS = ("faithful", "float32")


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of one loaded method.

    Attributes:
        precision: ``"faithful"`` rounds to fp16 wherever the ML Program says fp16, as Core ML does;
            ``"float32"`` skips the rounding, which is faster.
        threads: The number of CPU threads a run may use; None leaves it to OpenVINO.

    Raises:
        OptionsError: A value is out of range.
    """

    precision: Precision = "faithful"
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            allowed = ", ".join(map(repr, PRECISIONS))
            raise OptionsError(f"precision must be one of {allowed}; got {self.precision!r}")
        count = self.threads
        if count is not None and (
            not isinstance(count, int) or isinstance(count, bool) or count < 1
        ):
            raise OptionsError(f"threads must be a positive integer or None; got {count!r}")

    def updated(self, chosen: Mapping[str, Any]) -> Settings:
        """These settings with some values replaced.

        Raises:
            OptionsError: A name is unknown, or a value is out of range.
        """
        unknown = sorted(set(chosen) - NAMES)
        if unknown:
            known = ", ".join(sorted(NAMES))
            raise OptionsError(f"unknown runtime option {unknown[0]!r}; known: {known}")
        return replace(self, **chosen)


NAMES = frozenset(field.name for field in fields(Settings))

_defaults = Settings()


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
