"""What a user may choose when compiling, and its wire format in an ExecuTorch program.

Every choice is one field of :class:`CompileOptions` and one ``CompileSpec`` key of the stock
backend, so a ``.pte`` made here carries exactly the specs that the stock delegate reads.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Any, Protocol, TypeAlias, TypeVar, cast

from executorch_coreml.errors import OptionsError

__all__ = [
    "CompileOptions",
    "ComputePrecision",
    "ComputeUnit",
    "ModelType",
    "Target",
    "WeightSharing",
]


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


class WeightSharing(Enum):
    """How the delegates of several methods come to share one model, stored once.

    POSITIONAL is ExecuTorch's: delegate n of every method becomes a function of model n, so all
    methods need equally many. BY_CONTENT puts together the delegates that hold the same weights,
    however many a method has. DISABLED gives each delegate a model of its own.
    """

    BY_CONTENT = "by_content"
    POSITIONAL = "positional"
    DISABLED = "disabled"


class Spec(Protocol):
    """ExecuTorch's ``CompileSpec``, without importing it."""

    key: str
    value: bytes


COMPUTE_UNITS = "compute_units"
MIN_DEPLOYMENT_TARGET = "min_deployment_target"
MODEL_COMPUTE_PRECISION = "model_compute_precision"
MODEL_TYPE = "model_type"
OP_LINEAR_QUANTIZER_CONFIG = "op_linear_quantizer_config"
OP_PRUNER_CONFIG = "op_pruner_config"  # ours: the stock backend has none
ENUMERATED_SHAPES = "enumerated_shapes"
KEEP_FP32 = "keep_fp32"  # ours alone; the delegate ignores keys that it does not know
PASS_PIPELINE = "pass_pipeline"
WEIGHT_SHARING = "multimethod_weight_sharing_strategy"
COMPILER = "executorch_coreml"  # marks specs as made for this compiler, not for the stock one

Shapes: TypeAlias = "tuple[tuple[int, ...], ...]"

E = TypeVar("E", bound=Enum)


def _member(enum: type[E], given: Any, what: str, key: Callable[[Any], Any]) -> E:
    """The member of ``enum`` that ``given`` (ours, coremltools' or a plain value) stands for."""
    wanted = key(given) if isinstance(given, Enum) else given
    for member in enum:
        if wanted in (key(member), member.value, member.name):
            return member
    allowed = ", ".join(m.name for m in enum)
    raise OptionsError(f"it must be one of {allowed}; got {given!r}", location=what)


def compute_unit(given: Any) -> ComputeUnit:
    """Our member for ours, coremltools' (matched by name: their values are numbers) or a string."""
    return _member(ComputeUnit, given, "compute_unit", lambda m: m.name)


def compute_precision(given: Any) -> ComputePrecision:
    """Our member for ours, coremltools' or its value."""
    return _member(ComputePrecision, given, "compute_precision", lambda m: m.value)


def model_type(given: Any) -> ModelType:
    """Our member for ours, coremltools' or its value."""
    return _member(ModelType, given, "model_type", lambda m: m.value)


def target(given: Any) -> Target:
    """Our member for ours, coremltools' or its value."""
    return _member(Target, given, "minimum_deployment_target", lambda m: m.value)


def weight_sharing(given: Any) -> WeightSharing:
    """Our member for ours, coremltools' or its value."""
    return _member(WeightSharing, given, "multimethod_weight_sharing_strategy", lambda m: m.value)


def pass_names(given: Any) -> tuple[str, ...]:
    """Names as a tuple. Whether coremltools knows them is asked where coremltools is at hand."""
    if isinstance(given, str) or not all(isinstance(name, str) for name in given):
        raise OptionsError(f"it must be a list of names; got {given!r}", location="pass_names")
    return tuple(given)


def keep_fp32(given: Any) -> tuple[str, ...]:
    """Places in the model, as :mod:`executorch_coreml.compiler.keep_fp32` reads them.

    Raises:
        OptionsError: It is no list of names, or one of them is empty.
    """
    if isinstance(given, str) or not all(isinstance(name, str) for name in given):
        raise OptionsError(f"it must be a list of paths; got {given!r}", location="keep_fp32")
    if not all(name.strip(":") for name in given):
        raise OptionsError(
            "an entry has no name",
            location="keep_fp32",
            hint="for the whole model, set compute_precision to FLOAT32",
        )
    return tuple(given)


def quantizer_config(given: Any) -> Mapping[str, Any]:
    """The arguments of coremltools' ``OpLinearQuantizerConfig``, which must be plain data."""
    return _plain(OP_LINEAR_QUANTIZER_CONFIG, given)


def pruner_config(given: Any) -> Mapping[str, Any]:
    """The arguments of one of coremltools' pruner configs, which must be plain data."""
    return _plain(OP_PRUNER_CONFIG, given)


def _plain(name: str, given: Any) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise OptionsError(f"it must be a dictionary; got {given!r}", location=name)
    try:
        return dict(json.loads(json.dumps(dict(given))))
    except (TypeError, ValueError) as cause:
        raise OptionsError(f"it is no plain data: {cause}", location=name) from cause


def enumerated_shapes(given: Any) -> Mapping[str, Shapes]:
    """Input name -> its shapes; shapes at the same position belong together.

    Raises:
        OptionsError: Something else, no shapes, or another number of them for some input.
    """
    try:
        shapes = {str(name): tuple(tuple(shape) for shape in each) for name, each in given.items()}
    except (AttributeError, TypeError) as cause:
        raise OptionsError(
            "enumerated_shapes must map each input to a list of shapes", hint=_SHAPES_EXAMPLE
        ) from cause
    if not shapes:
        raise OptionsError("enumerated_shapes names no input", hint=_SHAPES_EXAMPLE)
    for name, each in shapes.items():
        if any(type(extent) is not int or extent < 1 for shape in each for extent in shape):
            raise OptionsError(f"enumerated_shapes of {name}: extents must be positive integers")
    counts = {name: len(each) for name, each in shapes.items()}
    if len(set(counts.values())) > 1 or min(counts.values()) < 2:
        raise OptionsError(
            f"enumerated_shapes must list as many shapes for each input, at least 2; got {counts}"
        )
    return shapes


_SHAPES_EXAMPLE = 'write {"x": [[1, 5, 10], [4, 6, 10]], "y": [[3, 11], [5, 11]]}'


@dataclass(frozen=True, slots=True)
class CompileOptions:
    """All compile options of one delegate.

    Attributes:
        compute_unit: The units Core ML may use on the device.
        minimum_deployment_target: The oldest OS to support; None chooses the lowest possible.
        compute_precision: The float type of the arithmetic. Values that are not float32 in PyTorch
            keep their type.
        model_type: Only ``MODEL`` can be made without Apple's compiler.
        op_linear_quantizer_config: Arguments of coremltools' ``OpLinearQuantizerConfig`` for
            weights to be quantized; None leaves them as they are.
        op_pruner_config: Arguments of coremltools' ``OpThresholdPrunerConfig`` or
            ``OpMagnitudePrunerConfig``, and ``joint_compression``, for weights to be stored
            without their zeros; None stores all elements.
        pass_names: coremltools passes to run on the finished program, in this order.
        weight_sharing: How delegates of several methods share one model.
        enumerated_shapes: Input -> the only shapes allowed, tied across inputs by position.
        keep_fp32: Parts of the model that FLOAT16 leaves in float32: ``"encoder.ffn"``, or one op
            of it, ``"encoder.ffn:aten.add.Tensor"``.
    """

    compute_unit: ComputeUnit = ComputeUnit.ALL
    minimum_deployment_target: Target | None = None
    compute_precision: ComputePrecision = ComputePrecision.FLOAT16
    model_type: ModelType = ModelType.MODEL
    op_linear_quantizer_config: Mapping[str, Any] | None = None
    pass_names: tuple[str, ...] = ()
    weight_sharing: WeightSharing = WeightSharing.BY_CONTENT
    enumerated_shapes: Mapping[str, Shapes] | None = None
    op_pruner_config: Mapping[str, Any] | None = None
    keep_fp32: tuple[str, ...] = ()

    @property
    def half(self) -> bool:
        """Whether float32 values are computed in fp16."""
        return self.compute_precision is ComputePrecision.FLOAT16

    def to_pairs(self, *, every: bool = False) -> list[tuple[str, bytes]]:
        """(key, value) of the specs, in the stock backend's order.

        The first four always; what came later to the stock backend only where it is not the
        default, or all that has a value with ``every``.
        """
        oldest = self.minimum_deployment_target
        pairs = [
            (COMPUTE_UNITS, self.compute_unit.value.encode()),
            (MIN_DEPLOYMENT_TARGET, b"" if oldest is None else str(oldest.value).encode()),
            (MODEL_COMPUTE_PRECISION, self.compute_precision.value.encode()),
            (MODEL_TYPE, self.model_type.value.encode()),
        ]
        if self.op_linear_quantizer_config is not None:
            pairs.append((OP_LINEAR_QUANTIZER_CONFIG, _json(self.op_linear_quantizer_config)))
        if self.pass_names or every:
            pairs.append((PASS_PIPELINE, _json(self.pass_names)))
        if self.weight_sharing is not WeightSharing.BY_CONTENT or every:
            pairs.append((WEIGHT_SHARING, self.weight_sharing.value.encode()))
        if self.enumerated_shapes is not None:
            pairs.append((ENUMERATED_SHAPES, _json(self.enumerated_shapes)))
        if self.op_pruner_config is not None:
            pairs.append((OP_PRUNER_CONFIG, _json(self.op_pruner_config)))
        if self.keep_fp32 or every:
            pairs.append((KEEP_FP32, _json(self.keep_fp32)))
        return pairs

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


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _from_json(key: str, read: Callable[[Any], Any]) -> Callable[[str], Any]:
    def reader(text: str) -> Any:
        try:
            value = json.loads(text)
        except ValueError as cause:
            raise OptionsError(f"compile spec {key!r} is no JSON: {text!r}") from cause
        return read(value)

    return reader


_READERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    COMPUTE_UNITS: ("compute_unit", lambda text: compute_unit(cast(Any, text.upper()))),
    MIN_DEPLOYMENT_TARGET: ("minimum_deployment_target", _target_from_text),
    MODEL_COMPUTE_PRECISION: ("compute_precision", compute_precision),
    MODEL_TYPE: ("model_type", model_type),
    OP_LINEAR_QUANTIZER_CONFIG: (
        "op_linear_quantizer_config",
        _from_json(OP_LINEAR_QUANTIZER_CONFIG, quantizer_config),
    ),
    PASS_PIPELINE: ("pass_names", _from_json(PASS_PIPELINE, pass_names)),
    WEIGHT_SHARING: ("weight_sharing", weight_sharing),
    ENUMERATED_SHAPES: (
        "enumerated_shapes",
        _from_json(ENUMERATED_SHAPES, enumerated_shapes),
    ),
    OP_PRUNER_CONFIG: ("op_pruner_config", _from_json(OP_PRUNER_CONFIG, pruner_config)),
    KEEP_FP32: ("keep_fp32", _from_json(KEEP_FP32, keep_fp32)),
}
