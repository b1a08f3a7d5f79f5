"""How a model runs where nothing else says it: in the ExecuTorch runtime, and under coremltools."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import NoneType
from typing import TYPE_CHECKING, Any

from executorch_coreml.errors import OptionsError

if TYPE_CHECKING:
    from executorch_coreml.engine.precision import Precision

PRECISIONS = ("faithful", "float32", "bfloat16")
CACHE_DIR = "ETCOREML_CACHE_DIR"
_DEVICE = re.compile(r"CPU|AUTO|(GPU|NPU)(\.\d+)?")


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of one loaded model.

    Attributes:
        precision: ``"faithful"`` rounds to fp16 wherever the ML Program says fp16, as Core ML does;
            ``"float32"`` skips the rounding, which is faster; ``"bfloat16"`` skips it too, and lets
            OpenVINO compute convolutions, matrix products and what is between them in bfloat16,
            which is faster still, and no arithmetic of Core ML's. A CPU without bfloat16 computes
            in float32, and a line of the log says so.
        threads: The number of CPU threads a run may use; None leaves it to OpenVINO.
        device: The OpenVINO device that runs it, whatever compute unit the program names:
            ``"CPU"``, ``"GPU"``, ``"NPU"``, one of several as ``"GPU.1"``, or ``"AUTO"``, which
            leaves it to OpenVINO; None goes by the compute unit. Without such a device the CPU
            runs it, and a line of the log says so. Rounding is proven on the CPU only.
        cache_dir: A directory for compiled models, so that each is compiled once and then loaded
            (:mod:`executorch_coreml.engine.cache`); None compiles anew at each load. What lies
            there is run, so nobody else should be able to write to it.

    Raises:
        OptionsError: A value is out of range.
    """

    precision: Precision = "faithful"
    threads: int | None = None
    device: str | None = None
    cache_dir: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            allowed = ", ".join(map(repr, PRECISIONS))
            raise OptionsError(f"precision must be one of {allowed}; got {self.precision!r}")
        count = self.threads
        if count is not None and (
            not isinstance(count, int) or isinstance(count, bool) or count < 1
        ):
            raise OptionsError(f"threads must be a positive integer or None; got {count!r}")
        name = self.device
        if name is not None and not (isinstance(name, str) and _DEVICE.fullmatch(name)):
            raise OptionsError(
                f"device must be 'CPU', 'GPU', 'NPU', 'AUTO', one as 'GPU.1', or None; got {name!r}"
            )
        if not isinstance(self.cache_dir, (str, os.PathLike, NoneType)) or self.cache_dir == "":
            raise OptionsError(f"cache_dir must be a path or None; got {self.cache_dir!r}")

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


def initial() -> Settings:
    """The settings of a process that chooses none: ``ETCOREML_CACHE_DIR`` of the environment is its
    ``cache_dir``."""
    return Settings(cache_dir=os.environ.get(CACHE_DIR) or None)


NAMES = frozenset(field.name for field in fields(Settings))
