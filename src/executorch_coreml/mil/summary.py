"""What a model holds, in numbers: for ``etcoreml inspect``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from executorch_coreml.compiler.payload import MINIMUM_OS_REASON
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
    """

    source: str
    minimum_os: str
    minimum_os_reason: str
    default_function: str
    functions: tuple[FunctionSummary, ...]
    weights: Mapping[str, int]
    precision: Mapping[str, tuple[str, ...]]


def summarise(bundle: Bundle) -> Summary:
    version = bundle.specification_version
    known = {target.value: target.name for target in Target}
    return Summary(
        source=bundle.source,
        minimum_os=known.get(version, f"specification version {version}"),
        minimum_os_reason=bundle.facts.get(MINIMUM_OS_REASON, ""),
        default_function=bundle.default_function,
        functions=tuple(_function(bundle, name) for name in bundle.descriptions),
        weights=_weights(bundle.program),
        precision=bundle.precision,
    )


def _function(bundle: Bundle, name: str) -> FunctionSummary:
    function, border = bundle.program.functions[name], bundle.descriptions[name]
    ops = Counter(op.type for op in _ops(function.body) if op.type != "const")
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


def _ops(block: Block) -> Iterator[Op]:
    for op in block.operations:
        yield op
        for inner in op.blocks:
            yield from _ops(inner)


def _weights(program: Program) -> dict[str, int]:
    """Weights that functions share count once, except packed ones: their reading makes copies."""
    sizes: Counter[str] = Counter()
    seen: set[tuple[int, str, tuple[int | None, ...]]] = set()
    for function in program.functions.values():
        for tensor, data in _constants(function.body):
            place = (data.__array_interface__["data"][0], tensor.dtype, tensor.shape)
            if place not in seen:
                seen.add(place)
                sizes[tensor.dtype] += _stored_bytes(tensor.dtype, data.shape)
    return dict(sizes.most_common())


def _constants(block: Block) -> Iterator[tuple[TensorType, np.ndarray[tuple[int, ...], np.dtype]]]:
    for op in _ops(block):
        arguments = [argument for given in op.inputs.values() for argument in given]
        for value in (*arguments, *op.attributes.values()):
            if (
                isinstance(value, Constant)
                and isinstance(value.type, TensorType)
                and isinstance(value.data, np.ndarray)
                and value.type.dtype in NUMPY_DTYPES
            ):
                yield value.type, value.data


def _stored_bytes(dtype: str, shape: tuple[int, ...]) -> int:
    bits = SUB_BYTE_BITS.get(dtype, NUMPY_DTYPES[dtype].itemsize * 8)
    return (prod(shape) * bits + 7) // 8
