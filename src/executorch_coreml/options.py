"""What a user may choose when compiling, and its wire format in an ExecuTorch program.

Every choice is one field of :class:`CompileOptions` and one ``CompileSpec`` key of the stock
backend, so a ``.pte`` made here carries exactly the specs that the stock delegate reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Any, Protocol, TypeVar, cast

from executorch_coreml.errors import OptionsError


class ComputeUnit(Enum):
    """The units Core ML may use; equal in name to ``coremltools.ComputeUnit``."""

    ALL = "all"
    CPU_ONLY = "cpu_only"
    CPU_AND_GPU = "cpu_and_gpu"
    CPU_AND_NE = "cpu_and_ne"


class ComputePrecision(Enum):
    """The float type of the model's arithmetic; equal in value to ``coremltools.precision``."""

    FLOAT16 = "float16"
    FLOAT32 = "float32"


class Target(IntEnum):
    """The oldest OS a model must run on; equal in value to ``coremltools.target``.

    The value is Core ML's specification version. macOS counterparts: iOS15 = macOS12,
    iOS16 = macOS13, iOS17 = macOS14, iOS18 = macOS15, iOS26 = macOS26.
    """

    iOS15 = 6
    iOS16 = 7
    iOS17 = 8
    iOS18 = 9
    iOS26 = 10


class ModelType(Enum):
    """How the model is stored: as a package, or compiled by Apple's compiler."""

    MODEL = "model"
    COMPILED_MODEL = "compiled_model"


class Spec(Protocol):
    """ExecuTorch's ``CompileSpec``, without importing it."""

    key: str
    value: bytes


COMPUTE_UNITS = "compute_units"
MIN_DEPLOYMENT_TARGET = "min_deployment_target"
MODEL_COMPUTE_PRECISION = "model_compute_precision"
MODEL_TYPE = "model_type"
COMPILER = "executorch_coreml"  # marks specs as made for this compiler, not for the stock one

E = TypeVar("E", bound=Enum)


def _member(enum: type[E], given: Any, what: str, key: Callable[[Any], Any]) -> E:
    """The member of ``enum`` that ``given`` (ours, coremltools' or a plain value) stands for."""
    wanted = key(given) if isinstance(given, Enum) else given
    for member in enum:
        if wanted in (key(member), member.value, member.name):
            return member
    allowed = ", ".join(m.name for m in enum)
    raise OptionsError(f"{what} must be one of {allowed}; got {given!r}")


def compute_unit(given: Any) -> ComputeUnit:
    """Our member for ours, coremltools' (matched by name: their values are numbers) or a string."""
    return _member(ComputeUnit, given, "compute_unit", lambda m: m.name)


def compute_precision(given: Any) -> ComputePrecision:
    return _member(ComputePrecision, given, "compute_precision", lambda m: m.value)


def model_type(given: Any) -> ModelType:
    return _member(ModelType, given, "model_type", lambda m: m.value)


def target(given: Any) -> Target:
    return _member(Target, given, "minimum_deployment_target", lambda m: m.value)


@dataclass(frozen=True, slots=True)
class CompileOptions:
    """All compile options of one delegate.

    Attributes:
        compute_unit: The units Core ML may use on the device.
        minimum_deployment_target: The oldest OS to support; None chooses the lowest possible.
        compute_precision: The float type of the arithmetic. Values that are not float32 in PyTorch
            keep their type.
        model_type: Only ``MODEL`` can be made without Apple's compiler.
    """

    compute_unit: ComputeUnit = ComputeUnit.ALL
    minimum_deployment_target: Target | None = None
    compute_precision: ComputePrecision = ComputePrecision.FLOAT16
    model_type: ModelType = ModelType.MODEL

    @property
    def half(self) -> bool:
        """Whether float32 values are computed in fp16."""
        return self.compute_precision is ComputePrecision.FLOAT16

    def to_pairs(self) -> list[tuple[str, bytes]]:
        """(key, value) of every spec, in the stock backend's order."""
        oldest = self.minimum_deployment_target
        return [
            (COMPUTE_UNITS, self.compute_unit.value.encode()),
            (MIN_DEPLOYMENT_TARGET, b"" if oldest is None else str(oldest.value).encode()),
            (MODEL_COMPUTE_PRECISION, self.compute_precision.value.encode()),
            (MODEL_TYPE, self.model_type.value.encode()),
        ]

    @classmethod
    def from_specs(cls, specs: Iterable[Spec]) -> CompileOptions:
        """The options that a list of compile specs stands for; absent keys take the defaults.

        Raises:
            OptionsError: A key or value is unknown.
        """
        chosen: dict[str, Any] = {}
        for spec in specs:
            try:
                text = bytes(spec.value).decode("utf-8")
            except UnicodeDecodeError as cause:
                raise OptionsError(f"compile spec {spec.key!r} is not UTF-8 text") from cause
            if spec.key == COMPILER:
                continue
            if spec.key not in _READERS:
                known = ", ".join(_READERS)
                raise OptionsError(f"unknown compile spec {spec.key!r}; known: {known}")
            field, read = _READERS[spec.key]
            chosen[field] = read(text)
        return cls(**chosen)


def _target_from_text(text: str) -> Target | None:
    if not text:
        return None
    if not text.isdecimal():
        raise OptionsError(f"min_deployment_target must be a number or empty; got {text!r}")
    return target(int(text))


_READERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    COMPUTE_UNITS: ("compute_unit", lambda text: compute_unit(cast(Any, text.upper()))),
    MIN_DEPLOYMENT_TARGET: ("minimum_deployment_target", _target_from_text),
    MODEL_COMPUTE_PRECISION: ("compute_precision", compute_precision),
    MODEL_TYPE: ("model_type", model_type),
}
