"""How a model runs where nothing else says it: in the ExecuTorch runtime, and under coremltools."""

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
    """Settings of one loaded model.

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
