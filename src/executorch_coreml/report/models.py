"""What a report says of Core ML models: their functions, their weights, and op by op."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from executorch_coreml.mil.stored import Stored, stored, weight_names
from executorch_coreml.mil.summary import operations, shape_text, stored_bytes, summarise
from executorch_coreml.mil.types import Bundle, Function, Op, Ref, TensorType, Type
from executorch_coreml.options import ComputeUnit, Target
from executorch_coreml.report.facts import Feature, Model, Weight
from executorch_coreml.report.units import Expected, Place, expected

_NO_OPS = "const"  # and constexpr_...


@dataclass(frozen=True, slots=True, eq=False)
class OpFacts:
    """One op of a function.

    Attributes:
        op: The op.
        expected: Where it is expected to run.
        weights: The weights that it reads.
        since: The oldest iOS that has the op in any form; empty if that is not known.
    """

    op: Op
    expected: Expected
    weights: tuple[Stored, ...]
    since: str

    @property
    def type(self) -> TensorType | None:
        """Of the first result, if it is a tensor."""
        kind = self.op.outputs[0].type if self.op.outputs else None
        return kind if isinstance(kind, TensorType) else None

    @property
    def reads(self) -> list[str]:
        """The values it reads."""
        arguments = (each for given in self.op.inputs.values() for each in given)
        return [each.name for each in arguments if isinstance(each, Ref)]


def op_facts(function: Function, unit: ComputeUnit) -> list[OpFacts]:
    """The ops of a function in order, without constants and what decodes them."""
    weights = stored(function)
    ops = [op for op in operations(function.body) if not op.type.startswith(_NO_OPS)]
    types: dict[str, Type] = {value.name: value.type for value in function.inputs}
    for op in ops:
        for block in op.blocks:
            types |= {value.name: value.type for value in block.inputs}
        types |= {value.name: value.type for value in op.outputs}
    found = []
    for op in ops:
        read = tuple(weights[name] for name in weight_names(op, weights))
        place = Place(op, tuple(_types(op, types)), read)
        found.append(OpFacts(op, expected(place, unit), read, _since(op.type)))
    return found


def _types(op: Op, types: dict[str, Type]) -> Iterator[Type]:
    """Of the results, and of the operands that are computed."""
    yield from (value.type for value in op.outputs)
    for given in op.inputs.values():
        for each in given:
            if isinstance(each, Ref) and each.name in types:
                yield types[each.name]


def _since(op: str) -> str:
    from executorch_coreml.engine.kernels import TABLE

    return Target(TABLE[op].since + 1).name if op in TABLE else ""


def model_facts(title: str, bundle: Bundle) -> Model:
    """One model; ``title`` says which."""
    summary = summarise(bundle)
    ops: Counter[str] = Counter()
    weights: dict[tuple[int, str], Stored] = {}
    for function in bundle.program.functions.values():
        for weight in stored(function).values():
            place = weight.parts[0].data.__array_interface__["data"][0]
            weights.setdefault((place, weight.encoding), weight)
    for each in summary.functions:
        ops.update(each.ops)
    largest = sorted(weights.values(), key=lambda weight: (-weight.bytes, weight.name))
    return Model(
        title,
        summary.minimum_os,
        summary.minimum_os_reason,
        {
            each.name: (
                each.opset,
                [
                    Feature(kind, feature.name, feature.dtype, shape_text(feature))
                    for kind, features in (
                        ("input", each.inputs),
                        ("output", each.outputs),
                        ("state", each.states),
                    )
                    for feature in features
                ],
            )
            for each in summary.functions
        },
        dict(ops.most_common()),
        [_weight(each) for each in largest],
        summary.weights,
    )


def _weight(found: Stored) -> Weight:
    shape = [extent or 0 for extent in found.type.shape]
    return Weight(
        found.name,
        found.encoding,
        shape,
        found.bytes,
        stored_bytes("fp16", tuple(shape)),
        [f"{op} {name}" for op, name in found.users],
    )
