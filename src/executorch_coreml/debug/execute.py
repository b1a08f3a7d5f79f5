"""A lowered program in the engine, each value inside measured against what it should be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch
from executorch.exir.lowered_backend_module import LoweredBackendModule

from executorch_coreml.debug.measure import Error, measure, representable
from executorch_coreml.debug.program import Delegate, LoweredProgram
from executorch_coreml.debug.record import run_graph, run_program
from executorch_coreml.engine.exposed import Exposed, exposed, isolated
from executorch_coreml.engine.model import Model
from executorch_coreml.engine.precision import Precision
from executorch_coreml.mil.types import TensorType
from executorch_coreml.ops.call import normalise
from executorch_coreml.ops.half import to_fp16

Array: TypeAlias = "np.ndarray[Any, Any]"


@dataclass(slots=True, eq=False)
class Expected:
    """What one delegate takes and should compute.

    Attributes:
        inputs: Its inputs.
        values: MIL value -> what it should be.
    """

    inputs: Sequence[Any]
    values: dict[str, Any] = field(default_factory=dict)


_ATTENTION = torch.ops.aten.scaled_dot_product_attention.default

Reference: TypeAlias = "dict[LoweredBackendModule, Expected]"
Errors: TypeAlias = "dict[LoweredBackendModule, dict[str, Error]]"


def in_pytorch(program: LoweredProgram, inputs: Sequence[Any]) -> Reference:
    """What every value of every delegate is in eager PyTorch, float32 for float32."""
    reference: Reference = {}

    def delegate(module: LoweredBackendModule, args: Sequence[Any]) -> Sequence[Any]:
        found = program.delegates[module]
        returned, recorded = run_graph(found.graph, args)
        values = {name: recorded[node.name] for name, node in found.shown().items()}
        reference[module] = Expected(args, values)
        return returned

    run_program(program.program, inputs, delegate)
    return reference


def in_engine(
    program: LoweredProgram, inputs: Sequence[Any], reference: Reference, precision: Precision
) -> tuple[list[Any], Errors]:
    """(results, the accumulated error of each value) of the whole program."""
    errors: Errors = {}

    def delegate(module: LoweredBackendModule, args: Sequence[Any]) -> Sequence[Any]:
        found, expected = program.delegates[module], reference[module]
        # See engine.exposed.exposable; OpenVINO also fuses the attentions that are written as
        # products, as long as nothing reads what is inside.
        nodes, types = found.shown(), found.types()
        names = [
            name
            for name in expected.values
            if normalise(nodes[name].target) is not _ATTENTION
            or (precision == "faithful" and types[name] == "fp16")
        ]
        made = exposed(found.bundle, names)
        arrays = _run(made, precision, [_array(value) for value in args])
        errors[module] = _measured(made, arrays, expected)
        return found.as_returned(arrays[: len(found.graph.outputs)])

    return run_program(program.program, inputs, delegate)[0], errors


def by_itself(delegate: Delegate, expected: Expected) -> dict[str, Error]:
    """The error of each value when its node gets what PyTorch would have given it.

    Left out is a node that reads a value beyond fp16's range as fp16: the error is that value's.
    """
    made = isolated(delegate.bundle, expected.values, delegate.values.owner)
    (function,) = made.bundle.program.functions.values()
    halves = {
        value.name.removesuffix("::given")
        for value in function.inputs
        if isinstance(value.type, TensorType) and value.type.dtype == "fp16"
    }
    given, beyond = [], set()
    for name in made.given:
        array = _array(expected.values[name])
        if name in halves and array.dtype.kind == "f":
            if not representable(array):
                beyond.add(name)
            array = to_fp16(array)
        given.append(array)
    arrays = _run(made, "faithful", [*map(_array, expected.inputs), *given])
    found = _measured(made, arrays, expected)
    return {name: error for name, error in found.items() if not made.reads[name] & beyond}


def _run(made: Exposed, precision: Precision, inputs: list[Array]) -> list[Array]:
    model = Model(made.bundle, precision=precision)
    return model.run(inputs, model.make_state() if model.states else None)


def measured(expected: Any, got: Any) -> Error:
    """The error of one tensor in place of another."""
    return measure(_array(expected), _array(got))


def _measured(made: Exposed, arrays: Sequence[Array], expected: Expected) -> dict[str, Error]:
    return {
        name: measure(_array(expected.values[name]), arrays[place])
        for name, place in made.place.items()
    }


def _array(value: Any) -> Array:
    """A tensor or number as numpy has it; bfloat16, which numpy lacks, as float32."""
    tensor = torch.as_tensor(value).detach().cpu()
    if tensor.dtype is torch.bfloat16:
        tensor = tensor.float()
    array: Array = tensor.contiguous().numpy()
    return array
