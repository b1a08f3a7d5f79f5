"""Which compute unit an op is expected to run on: a table of what has been said in public.

Core ML decides on the device, by the chip, the OS and the whole model, and there is no list of what
each unit takes. What is known are exclusions, each with who said it and where; an op that none of
them names may run on any unit that the model is allowed to use.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from executorch_coreml.mil.stored import Stored
from executorch_coreml.mil.types import STATE_ALIGNMENT, Op, StateType, TensorType, Type
from executorch_coreml.options import ComputeUnit

NE, GPU, CPU = "Neural Engine", "GPU", "CPU"

ALLOWED = {
    ComputeUnit.ALL: (NE, GPU, CPU),
    ComputeUnit.CPU_ONLY: (CPU,),
    ComputeUnit.CPU_AND_GPU: (GPU, CPU),
    ComputeUnit.CPU_AND_NE: (NE, CPU),
}
"""The units that a model may use, by the ``compute_unit`` it was compiled with."""

_GUIDE = "https://apple.github.io/coremltools/docs-guides/source/"
_ISSUE = "https://github.com/apple/coremltools/issues/"
_EXECUTORCH = "https://docs.pytorch.org/executorch/stable/backends/coreml/coreml-partitioner.html"


@dataclass(frozen=True, slots=True)
class Source:
    """Who said it, and where to read it."""

    who: str
    url: str


@dataclass(frozen=True, slots=True)
class Place:
    """An op where it stands.

    Attributes:
        op: The op.
        types: Of its results and of the operands that are computed.
        weights: The weights that it reads.
    """

    op: Op
    types: Sequence[Type]
    weights: Sequence[Stored]

    @property
    def tensors(self) -> list[TensorType]:
        return [kind for kind in self.types if isinstance(kind, TensorType)]


@dataclass(frozen=True, slots=True)
class Rule:
    """One row.

    Attributes:
        key: What it is called in a report.
        says: The rule as a sentence.
        excludes: The units that do not run such an op; none for a remark.
        sources: Where that is from.
        applies: Whether an op is such an op.
    """

    key: str
    says: str
    excludes: Collection[str]
    sources: tuple[Source, ...]
    applies: Callable[[Place], bool]


OUTSIDE = Rule(
    "outside",
    "What is in no delegate is run by ExecuTorch's kernels, on the CPU.",
    (NE, GPU),
    (Source("ExecuTorch's documentation", _EXECUTORCH),),
    lambda place: False,
)
ANY = Rule(
    "any",
    "No public rule excludes a unit. Core ML chooses by device, OS version, tensor sizes and the "
    "rest of the model; Xcode's performance report shows what it chose.",
    (),
    (
        Source("a maintainer of coremltools", f"{_ISSUE}1780"),
        Source("coremltools' guide", f"{_GUIDE}typed-execution-example.html"),
    ),
    lambda place: False,
)
OPTION = Rule(
    "compute_unit",
    "The compute_unit that the model was compiled with leaves other units out.",
    (),
    (Source("ExecuTorch's documentation", _EXECUTORCH),),
    lambda place: False,
)


def _float32(place: Place) -> bool:
    return any(kind.dtype == "fp32" for kind in place.tensors)


def _per_block(place: Place) -> bool:
    return any(weight.blocks for weight in place.weights)


def _dynamic(place: Place) -> bool:
    return any(extent is None for kind in place.tensors for extent in kind.shape)


def _narrow_state(place: Place) -> bool:
    states = [kind.tensor.shape for kind in place.types if isinstance(kind, StateType)]
    return any((shape[-1] or 0) % STATE_ALIGNMENT for shape in states if shape)


def _is(*names: str) -> Callable[[Place], bool]:
    return lambda place: place.op.type in names


def _form(*words: str) -> Callable[[Place], bool]:
    return lambda place: any(word in weight.form for weight in place.weights for word in words)


RULES: tuple[Rule, ...] = (
    Rule(
        "float32",
        "float32 runs on the GPU or the CPU: the Neural Engine computes in float16 only.",
        (NE,),
        (
            Source("coremltools' guide", f"{_GUIDE}typed-execution-example.html"),
            Source("ExecuTorch's documentation", _EXECUTORCH),
        ),
        _float32,
    ),
    Rule(
        "per_block",
        "Weights with a scale per block run on the GPU or the CPU, not on the Neural Engine, which "
        "takes scales per channel or per tensor. With CPU_AND_NE they run on the CPU.",
        (NE,),
        (
            Source("a report with the compiler's message", f"{_ISSUE}2510"),
            Source("coremltools' guide", f"{_GUIDE}opt-quantization-perf.html"),
        ),
        _per_block,
    ),
    Rule(
        "dynamic",
        "Sizes that are known at run time only keep an op off the Neural Engine, except at the "
        "default shape of inputs with ranges. Enumerated shapes can run there.",
        (NE,),
        (
            Source("ExecuTorch's documentation", _EXECUTORCH),
            Source("an Apple engineer", "https://developer.apple.com/forums/thread/724930"),
        ),
        _dynamic,
    ),
    Rule(
        "recurrent",
        "lstm, gru and rnn are not supported on the Neural Engine.",
        (NE,),
        (Source("a maintainer of coremltools", f"{_ISSUE}1780"),),
        _is("lstm", "gru", "rnn"),
    ),
    Rule(
        "loop",
        "A while_loop was seen on the CPU only.",
        (NE, GPU),
        (Source("a user's report", f"{_ISSUE}2208"),),
        _is("while_loop"),
    ),
    Rule(
        "state_width",
        f"The Neural Engine was seen to fail on a state whose last extent is no multiple of "
        f"{STATE_ALIGNMENT}.",
        (NE,),
        (Source("a user's report", f"{_ISSUE}2631"),),
        _narrow_state,
    ),
    Rule(
        "palette",
        "Palettes work best on the Neural Engine, where they save memory and time; on the GPU they "
        "may save memory.",
        (),
        (Source("coremltools' guide", f"{_GUIDE}opt-overview.html"),),
        _form("lut"),
    ),
    Rule(
        "integers",
        "On one M4, Core ML's compute plan had layers with int4 and int8 weights on the CPU only.",
        (),
        (Source("a user's report", "https://github.com/kasper0406/stablehlo-coreml/pull/110"),),
        _form("affine_dequantize", "shift_scale"),
    ),
    Rule(
        "activations",
        "8-bit activations are fast on the Neural Engine from A17 Pro and M4 on; on the CPU, and "
        "sometimes on the GPU, they can be slower than float16.",
        (),
        (Source("coremltools' guide", f"{_GUIDE}opt-quantization-perf.html"),),
        _is("quantize", "dequantize"),
    ),
    Rule(
        "sparse",
        "Sparse weights can be faster on the Neural Engine, and with n:m zeros on the CPU.",
        (),
        (Source("coremltools' guide", f"{_GUIDE}opt-pruning-perf.html"),),
        _form("sparse"),
    ),
)

ALL_RULES = {rule.key: rule for rule in (OUTSIDE, OPTION, *RULES, ANY)}
"""Every rule by its key."""


@dataclass(frozen=True, slots=True)
class Expected:
    """Where an op is expected to run.

    Attributes:
        units: The units that are left, the preferred first.
        rules: Keys of the rules that say so, remarks included.
    """

    units: tuple[str, ...]
    rules: tuple[str, ...]


def expected(place: Place, unit: ComputeUnit = ComputeUnit.ALL) -> Expected:
    """What the rules say of an op in a model that may use ``unit``; the CPU is always left."""
    found = [rule for rule in RULES if rule.applies(place)]
    excluded = {name for rule in found for name in rule.excludes}
    allowed = ALLOWED[unit]
    keys = [rule.key for rule in found]
    if unit is not ComputeUnit.ALL:
        keys.append(OPTION.key)
    if not excluded:
        keys.append(ANY.key)
    return Expected(tuple(name for name in allowed if name not in excluded), tuple(keys))


def merged(each: Sequence[Expected]) -> Expected:
    """For a node that several ops were emitted for: the units that all of them may run on."""
    kept = tuple(unit for unit in each[0].units if all(unit in found.units for found in each))
    keys = dict.fromkeys(key for found in each for key in found.rules)
    if not all(ANY.key in found.rules for found in each):
        keys.pop(ANY.key, None)
    return Expected(kept, tuple(keys))
