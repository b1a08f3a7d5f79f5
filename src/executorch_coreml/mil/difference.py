"""What differs between two artefacts: methods, borders, ops, weights, options, sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from executorch_coreml.mil.artefact import Artefact
from executorch_coreml.mil.stored import Stored, stored
from executorch_coreml.mil.summary import FunctionSummary, shape_text, summarise
from executorch_coreml.mil.types import Bundle

Pair: TypeAlias = "tuple[Any, Any]"
"""What it is in the one and in the other; None where it is not there."""


@dataclass(frozen=True, slots=True)
class WeightDifference:
    """One weight: its form and size in both, and how far its values are apart.

    Attributes:
        name: In the first artefact, or in the second if the first lacks it.
        encoding, shape, bytes: Of both.
        values: The largest difference of elements of equal type and shape; None where there is no
            such comparison.
    """

    name: str
    encoding: Pair
    shape: Pair
    bytes: Pair
    values: float | None


@dataclass(frozen=True, slots=True)
class FunctionDifference:
    """One function of one model; empty fields are equal.

    Attributes:
        name: Which delegate, and which function of it.
        there: Whether each of the two has it.
        border: ``"input x"`` and the like -> its type and shape in both.
        ops: MIL op -> how often in both.
        opset: The opset of both, if they differ.
        weights: The weights that differ.
        equal_weights: How many do not.
    """

    name: str
    there: Pair
    border: Mapping[str, Pair] = field(default_factory=dict)
    ops: Mapping[str, Pair] = field(default_factory=dict)
    opset: Pair | None = None
    weights: tuple[WeightDifference, ...] = ()
    equal_weights: int = 0

    @property
    def equal(self) -> bool:
        return all(self.there) and not (self.border or self.ops or self.opset or self.weights)


@dataclass(frozen=True, slots=True)
class Difference:
    """Two artefacts.

    Attributes:
        bytes: Of both.
        minimum_os: Of both, if they differ.
        weight_bytes: MIL dtype -> bytes of constants, where they differ.
        outside: Method and kernel -> calls outside of delegates, where they differ.
        delegates: Method -> delegates that it calls, where they differ.
        options: Compile spec -> its values, where they differ.
        functions: Those that differ.
        equal_functions: How many do not.
    """

    bytes: Pair
    minimum_os: Pair | None
    weight_bytes: Mapping[str, Pair]
    outside: Mapping[str, Pair]
    delegates: Mapping[str, Pair]
    options: Mapping[str, Pair]
    functions: tuple[FunctionDifference, ...]
    equal_functions: int

    @property
    def equal(self) -> bool:
        """Whether both compute the same from the same weights on the same OS."""
        return not (
            self.minimum_os
            or self.weight_bytes
            or self.outside
            or self.delegates
            or self.options
            or self.functions
        )


def difference(one: Artefact, other: Artefact) -> Difference:
    """Compares two artefacts, opened with their constants unpacked.

    Models are paired by method and index of their delegates, or in order where one of the two is no
    ``.pte``; weights by name, then by what they hold, then by shape in the order of the program.
    """
    named = one.is_program and other.is_program
    functions = [_functions(each, named) for each in (one, other)]
    compared = [
        _compared(name, functions[0].get(name), functions[1].get(name))
        for name in dict.fromkeys((*functions[0], *functions[1]))
    ]
    different = tuple(each for each in compared if not each.equal)
    oldest = (one.minimum_os, other.minimum_os)
    return Difference(
        bytes=(one.size, other.size),
        minimum_os=oldest if oldest[0] != oldest[1] else None,
        weight_bytes=_unequal(_weights(one), _weights(other)),
        outside=_unequal(_outside(one), _outside(other)) if named else {},
        delegates=_unequal(_delegates(one), _delegates(other)) if named else {},
        options=_unequal(_options(one), _options(other)) if named else {},
        functions=different,
        equal_functions=len(compared) - len(different),
    )


def _unequal(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Pair]:
    names = dict.fromkeys((*one, *other))
    pairs = {name: (one.get(name), other.get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _weights(found: Artefact) -> Counter[str]:
    total: Counter[str] = Counter()
    for bundle in found.models:
        total.update(summarise(bundle).weights)
    return total


def _outside(found: Artefact) -> Counter[str]:
    return Counter(
        f"{method.name}: {step}"
        for method in found.methods
        for step in method.steps
        if isinstance(step, str)
    )


def _delegates(found: Artefact) -> dict[str, int]:
    return {m.name: sum(isinstance(step, int) for step in m.steps) for m in found.methods}


def _options(found: Artefact) -> dict[str, str]:
    return {
        f"{user.method}/{user.index}: {key}": bytes(value).decode("utf-8", "backslashreplace")
        for user in found.users
        for key, value in user.compile_specs
    }


_Function: TypeAlias = "tuple[Bundle, FunctionSummary]"


def _functions(found: Artefact, named: bool) -> dict[str, _Function]:
    """Every function by what it is called in both artefacts."""
    functions: dict[str, _Function] = {}
    for place, bundle in enumerate(found.models):
        user = found.users[place] if named else None
        for summary in summarise(bundle).functions:
            if user is not None and summary.name != bundle.default_function:
                continue  # another method's, which has a delegate of its own
            where = f"{user.method}/{user.index}" if user else f"model {place}, {summary.name}"
            functions[where] = (bundle, summary)
    return functions


def _compared(name: str, one: _Function | None, other: _Function | None) -> FunctionDifference:
    if one is None or other is None:
        return FunctionDifference(name, (one is not None, other is not None))
    opsets = (one[1].opset, other[1].opset)
    weights = [stored(bundle.program.functions[summary.name]) for bundle, summary in (one, other)]
    changed = tuple(_changed(*weights))
    gone = sum(each.encoding[1] is None for each in changed)
    paired = sum(None not in each.encoding for each in changed)
    return FunctionDifference(
        name,
        (True, True),
        _unequal(_border(one[1]), _border(other[1])),
        _unequal(one[1].ops, other[1].ops),
        opsets if opsets[0] != opsets[1] else None,
        changed,
        len(weights[0]) - gone - paired,
    )


def _border(function: FunctionSummary) -> dict[str, str]:
    kinds = (("input", function.inputs), ("output", function.outputs), ("state", function.states))
    return {
        f"{kind} {feature.name}": f"{feature.dtype} {shape_text(feature)}"
        for kind, features in kinds
        for feature in features
    }


def _changed(one: Mapping[str, Stored], other: Mapping[str, Stored]) -> Iterator[WeightDifference]:
    for name in one:
        if name in other and not _equal(one[name], other[name]):
            yield _weight(one[name], other[name])
    left = [each for name, each in one.items() if name not in other]
    new = [each for name, each in other.items() if name not in one]
    for alike in (_equal, _same_shape):
        for each in list(left):
            found = next((candidate for candidate in new if alike(each, candidate)), None)
            if found is not None:
                left.remove(each)
                new.remove(found)
                if alike is not _equal:
                    yield _weight(each, found)
    yield from (_weight(each, None) for each in left)
    yield from (_weight(None, each) for each in new)


def _same_shape(one: Stored, other: Stored) -> bool:
    return one.type.shape == other.type.shape


def _equal(one: Stored, other: Stored) -> bool:
    return (
        (one.form, one.encoding, one.type.shape) == (other.form, other.encoding, other.type.shape)
        and len(one.parts) == len(other.parts)
        and all(
            a.dtype == b.dtype and _same(a.data, b.data)
            for a, b in zip(one.parts, other.parts, strict=True)
        )
    )


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    """Bit for bit: NaN is NaN, and 0 is not -0."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    a, b = (np.ascontiguousarray(each).reshape(-1).view(np.uint8) for each in (one, other))
    return bool(np.array_equal(a, b))


def _weight(one: Stored | None, other: Stored | None) -> WeightDifference:
    return WeightDifference(
        name=next(each.name for each in (one, other) if each is not None),
        encoding=(one and one.encoding, other and other.encoding),
        shape=(one and list(one.type.shape), other and list(other.type.shape)),
        bytes=(one and one.bytes, other and other.bytes),
        values=_apart(one, other),
    )


def _apart(one: Stored | None, other: Stored | None) -> float | None:
    if one is None or other is None or one.form != "const" or other.form != "const":
        return None
    a, b = one.parts[0].data, other.parts[0].data
    if a.shape != b.shape or a.size == 0:
        return None
    with np.errstate(all="ignore"):
        return float(np.max(np.abs(a.astype(np.float64) - b.astype(np.float64))))
