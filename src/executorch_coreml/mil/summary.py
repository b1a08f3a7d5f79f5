"""What a model holds, in numbers: for ``etcoreml inspect``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from executorch_coreml.compiler.payload import COMPILER_VERSION, MINIMUM_OS_REASON
from executorch_coreml.mil.types import (
    NUMPY_DTYPES,
    Block,
    Bundle,
    Constant,
    Feature,
    Op,
    Program,
    TensorType,
)
from executorch_coreml.mil.weights import SUB_BYTE_BITS
from executorch_coreml.options import Target


@dataclass(frozen=True, slots=True)
class FunctionSummary:
    """One function: its border in the order of :class:`~executorch_coreml.Model`, and its ops.

    Attributes:
        ops: MIL op -> how often it occurs, the most frequent first; constants are left out.
    """

    name: str
    opset: str
    inputs: tuple[Feature, ...]
    outputs: tuple[Feature, ...]
    states: tuple[Feature, ...]
    ops: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Summary:
    """One model.

    Attributes:
        minimum_os: The oldest iOS that loads it, ``"iOS15"``.
        minimum_os_reason: Why no older one does, empty if nobody recorded it.
        weights: MIL dtype -> bytes of all constants of it, as they are stored.
        precision: Why fp16 was not used as told -> places in the user's model.
        outside: Why parts of the program are in no delegate -> places in the user's model; with the
            first delegate of a method, if its compiler recorded it.
        compiler: Version of executorch-coreml that made it, empty if another compiler did.
    """

    source: str
    minimum_os: str
    minimum_os_reason: str
    default_function: str
    functions: tuple[FunctionSummary, ...]
    weights: Mapping[str, int]
    precision: Mapping[str, tuple[str, ...]]
    outside: Mapping[str, tuple[str, ...]]
    compiler: str


def summarise(bundle: Bundle) -> Summary:
    return Summary(
        source=bundle.source,
        minimum_os=os_name(bundle.specification_version),
        minimum_os_reason=bundle.facts.get(MINIMUM_OS_REASON, ""),
        default_function=bundle.default_function,
        functions=tuple(_function(bundle, name) for name in bundle.descriptions),
        weights=_weights(bundle.program),
        precision=bundle.precision,
        outside=bundle.outside,
        compiler=bundle.facts.get(COMPILER_VERSION, ""),
    )


def os_name(version: int) -> str:
    """The oldest iOS that loads a specification version: ``"iOS15"`` for 6."""
    known = {target.value: target.name for target in Target}
    return known.get(version, f"specification version {version}")


def shape_text(feature: Feature) -> str:
    """The default shape, then whatever else the model allows."""
    others = [str(list(shape)) for shape in feature.enumerated]
    if feature.ranges:
        spans = (f"{low}..{'' if high is None else high}" for low, high in feature.ranges)
        others.append(f"[{', '.join(spans)}]")
    return " or ".join(dict.fromkeys([str(list(feature.shape)), *others]))


def _function(bundle: Bundle, name: str) -> FunctionSummary:
    function, border = bundle.program.functions[name], bundle.descriptions[name]
    ops = Counter(op.type for op in operations(function.body) if op.type != "const")
    return FunctionSummary(
        name=name,
        opset=function.opset,
        inputs=_ordered(border.inputs, bundle.input_names[name]),
        outputs=_ordered(border.outputs, bundle.output_names[name]),
        states=border.states,
        ops=dict(ops.most_common()),
    )


def _ordered(features: tuple[Feature, ...], names: tuple[str, ...]) -> tuple[Feature, ...]:
    by_name = {feature.name: feature for feature in features}
    return tuple(by_name[name] for name in names)


def operations(block: Block) -> Iterator[Op]:
    """All ops of a block and of the blocks inside them, in order."""
    for op in block.operations:
        yield op
        for inner in op.blocks:
            yield from operations(inner)


def _weights(program: Program) -> dict[str, int]:
    """Weights that functions share count once: they lie at the same place in memory. Packed ones
    do if they were read without being unpacked."""
    sizes: Counter[str] = Counter()
    seen: set[tuple[int, str, tuple[int | None, ...]]] = set()
    for function in program.functions.values():
        for tensor, data in _constants(function.body):
            place = (data.__array_interface__["data"][0], tensor.dtype, tensor.shape)
            if place not in seen:
                seen.add(place)
                sizes[tensor.dtype] += stored_bytes(tensor.dtype, data.shape)
    return dict(sizes.most_common())


def _constants(block: Block) -> Iterator[tuple[TensorType, np.ndarray[tuple[int, ...], np.dtype]]]:
    for op in operations(block):
        arguments = [argument for given in op.inputs.values() for argument in given]
        for value in (*arguments, *op.attributes.values()):
            if (
                isinstance(value, Constant)
                and isinstance(value.type, TensorType)
                and isinstance(value.data, np.ndarray)
                and value.type.dtype in NUMPY_DTYPES
            ):
                yield value.type, value.data


def stored_bytes(dtype: str, shape: tuple[int, ...]) -> int:
    """The size of a tensor as a weight file holds it."""
    bits = SUB_BYTE_BITS.get(dtype, NUMPY_DTYPES[dtype].itemsize * 8)
    return (prod(shape) * bits + 7) // 8
