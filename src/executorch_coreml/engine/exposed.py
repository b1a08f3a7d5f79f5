"""Models that show the values inside a function: all of them in one run, or each op by itself.

Both are the same program with another border. Rounding to fp16 is part of the arithmetic of each
value (:mod:`executorch_coreml.engine.precision`), so what the model computes stays as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from executorch_coreml.engine.precision import Precision
from executorch_coreml.errors import ProgramError
from executorch_coreml.mil.types import (
    Argument,
    Block,
    Bundle,
    Constant,
    Description,
    Feature,
    Function,
    Op,
    Program,
    Ref,
    TensorType,
    Value,
)

_ATTENTION = "scaled_dot_product_attention"


@dataclass(frozen=True, slots=True)
class Exposed:
    """A model whose outputs are values from inside, behind its own if it still has them.

    Attributes:
        bundle: The model.
        place: Value -> which output it is. Floats come as float32, whatever they are inside.
        given: Values that are inputs, in this order, behind the model's own inputs.
        reads: Value -> those of ``given`` that its node reads.
    """

    bundle: Bundle
    place: Mapping[str, int]
    given: tuple[str, ...] = ()
    reads: Mapping[str, frozenset[str]] = field(default_factory=dict)


def exposable(bundle: Bundle, precision: Precision) -> list[str]:
    """The values inside a model that one run can show, in program order.

    OpenVINO's CPU plugin (2026.4.1) crashes when it compiles an attention that it has fused, as it
    does in float32, and that something else reads too, such as a result of the model.
    """
    return [
        value.name
        for op in _function(bundle).body.operations
        for value in op.outputs
        if op.type not in ("const", _ATTENTION)
        or (precision == "faithful" and _is_half(value) and op.type == _ATTENTION)
    ]


def exposed(bundle: Bundle, names: Collection[str]) -> Exposed:
    """The model with the values ``names`` as further outputs; unknown names are left out."""
    function = _function(bundle)
    description = bundle.descriptions[function.name]
    own = tuple(_in_order(bundle, description.outputs, bundle.output_names))
    place = {feature.name: i for i, feature in enumerate(own) if feature.dtype != "fp16"}
    shown = {v.name: _shown(v) for v in _values(function, names) if v.name not in place}
    body = _showing(function.body, shown, function.body.outputs)
    described = replace(
        description, outputs=(*own, *(_feature(value) for value, _ in shown.values()))
    )
    place |= {name: len(own) + i for i, name in enumerate(shown)}
    wanted = {name: i for name, i in place.items() if name in names}
    return Exposed(_with(bundle, replace(function, body=body), described), wanted)


def isolated(bundle: Bundle, names: Collection[str], owner: Mapping[str, str]) -> Exposed:
    """The model with the values ``names`` as its only outputs, each computed from given ones.

    An op that reads one of ``names`` reads an input instead, unless it was emitted for the same
    node: so the error of a value is that of its own node, and of rounding what the node reads to
    the types it reads it in.

    Args:
        bundle: The model.
        names: The values to compute and to give; unknown ones are left out.
        owner: First output of an op -> the node that it was emitted for.
    """
    function = _function(bundle)
    description = bundle.descriptions[function.name]
    values = {value.name: value for value in _values(function, names)}
    read: dict[str, set[str]] = {}
    operations = tuple(_cut(op, values, owner, read) for op in function.body.operations)
    used = set().union(*read.values())
    given = [value for name, value in values.items() if name in used]
    inputs = tuple(Value(_given(value.name), value.type) for value in given)
    shown = {name: _shown(value) for name, value in values.items()}
    body = _showing(replace(function.body, operations=operations), shown, ())
    described = replace(
        description,
        inputs=(
            *_in_order(bundle, description.inputs, bundle.input_names),
            *map(_feature, inputs),
        ),
        outputs=tuple(_feature(value) for value, _ in shown.values()),
    )
    changed = replace(function, inputs=(*function.inputs, *inputs), body=body)
    return Exposed(
        _with(bundle, changed, described),
        {name: i for i, name in enumerate(shown)},
        tuple(value.name for value in given),
        {name: frozenset(read.get(owner.get(name, name), ())) for name in values},
    )


def _showing(
    block: Block, shown: Mapping[str, tuple[Value, Op | None]], before: tuple[str, ...]
) -> Block:
    added = (op for _, op in shown.values() if op is not None)
    outputs = (*before, *(value.name for value, _ in shown.values()))
    return replace(block, operations=(*block.operations, *added), outputs=outputs)


def _function(bundle: Bundle) -> Function:
    return bundle.program.functions[bundle.default_function]


def _values(function: Function, names: Collection[str]) -> list[Value]:
    """The outputs of ops that are called so, in program order.

    Left out is what no input has a part in: it is known, or random, before the model runs.
    """
    wanted, fed = set(names), {value.name for value in function.inputs}
    found = []
    for op in function.body.operations:
        arguments = (argument for each in op.inputs.values() for argument in each)
        if any(isinstance(argument, Ref) and argument.name in fed for argument in arguments):
            fed.update(value.name for value in op.outputs)
            found += [v for v in op.outputs if v.name in wanted and isinstance(v.type, TensorType)]
    return found


def _cut(
    op: Op, values: Mapping[str, Value], owner: Mapping[str, str], read: dict[str, set[str]]
) -> Op:
    """The op with inputs in place of values of other nodes; ``read`` notes them for its node."""
    node = owner.get(op.name)

    def source(argument: Argument) -> Argument:
        if not isinstance(argument, Ref) or argument.name not in values:
            return argument
        if node is None or owner.get(argument.name) == node:
            return argument
        read.setdefault(node, set()).add(argument.name)
        return Ref(_given(argument.name))

    inputs = {name: tuple(map(source, each)) for name, each in op.inputs.items()}
    return replace(op, inputs=inputs)


def _given(name: str) -> str:
    return f"{name}::given"  # a name that no compiler writes


def _shown(value: Value) -> tuple[Value, Op | None]:
    """A value as an output: fp16 as fp32, so that values beyond fp16 are seen in float32 runs."""
    tensor = value.type
    if not isinstance(tensor, TensorType) or not _is_half(value):
        return value, None
    wide = Value(f"{value.name}::shown", TensorType("fp32", tensor.shape))
    dtype = Constant(TensorType("string", ()), "fp32")
    return wide, Op("cast", {"x": (Ref(value.name),), "dtype": (dtype,)}, (wide,))


def _is_half(value: Value) -> bool:
    return isinstance(value.type, TensorType) and value.type.dtype == "fp16"


def _feature(value: Value) -> Feature:
    tensor = value.type
    if not isinstance(tensor, TensorType):
        raise ProgramError(f"{value.name} is a {tensor}, no tensor")
    return Feature(value.name, tensor.dtype, tuple(extent or 1 for extent in tensor.shape))


def _in_order(
    bundle: Bundle, features: Sequence[Feature], order: Mapping[str, Sequence[str]]
) -> Iterator[Feature]:
    """The features in the order of the delegate's arguments."""
    by_name = {feature.name: feature for feature in features}
    return (by_name[name] for name in order.get(bundle.default_function, ()) or by_name)


def _with(bundle: Bundle, function: Function, description: Description) -> Bundle:
    name = bundle.default_function
    return replace(
        bundle,
        program=Program({name: function}, bundle.program.attributes),
        descriptions={name: description},
        input_names={name: tuple(feature.name for feature in description.inputs)},
        output_names={name: tuple(feature.name for feature in description.outputs)},
    )
