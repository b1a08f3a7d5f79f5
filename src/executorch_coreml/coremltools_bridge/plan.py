"""What coremltools calls devices, model structure and compute plan, for a machine that has a CPU.

The objects are those of ``coremltools.models.compute_plan``; every op is planned for the CPU. Costs
are estimates from the declared shapes: multiplications of matrix products and convolutions, and the
elements of the results of everything else.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

from executorch_coreml.mil.types import Block, Bundle, Constant, Op, Ref, TensorType, Value

_FREE = frozenset({"const"})

# Op -> the operand whose extents, but for the kept ones, are summed over.
_PRODUCTS = {
    "conv": ("weight", (0,)),
    "linear": ("weight", (0,)),
    "conv_transpose": ("weight", (1,)),
}


class _MLCPUComputeDeviceProxy:
    pass


class _MLGPUComputeDeviceProxy:
    pass


class _MLNeuralEngineComputeDeviceProxy:
    def get_total_core_count(self) -> int:
        return 0


class _MLComputePlanProxy:
    """Where each op of a structure would run, and its share of the work of its function."""

    def __init__(self, model_structure: Any = None):
        self._structure = model_structure
        self._devices = devices() if model_structure is not None else []

    @property
    def model_structure(self) -> Any:
        return self._structure

    def get_compute_device_usage_for_mlprogram_operation(self, operation: Any) -> Any:
        from coremltools.models.compute_plan import MLComputePlanDeviceUsage

        if operation.operator_name in _FREE:
            return None
        return MLComputePlanDeviceUsage(self._devices[0], list(self._devices))

    def get_compute_device_usage_for_neuralnetwork_layer(self, layer: Any) -> None:
        return None

    def get_estimated_cost_for_mlprogram_operation(self, operation: Any) -> Any:
        from coremltools.models.compute_plan import MLComputePlanCost

        weight = operation.__proxy__
        return None if weight is None else MLComputePlanCost(weight)


def devices() -> list[Any]:
    """The compute devices: the CPU."""
    from coremltools.models.compute_device import MLCPUComputeDevice

    return [MLCPUComputeDevice(_MLCPUComputeDeviceProxy())]


def structure(bundle: Bundle) -> Any:
    """The ``MLModelStructure`` of a model. The proxy of an op is its share of the work, or None."""
    from coremltools.models import compute_plan as ct

    functions = {}
    for name, function in bundle.program.functions.items():
        work = _work(function.body, {value.name: value for value in function.inputs})
        total = sum(work.values()) or 1.0
        shares = {place: amount / total for place, amount in work.items()}
        block = _block(function.body, shares)
        functions[name] = ct.MLModelStructureProgramFunction(_named(function.inputs), block)
    return ct.MLModelStructure(None, ct.MLModelStructureProgram(functions), None)


def _block(block: Block, shares: dict[int, float]) -> Any:
    from coremltools.models import compute_plan as ct

    operations = [
        ct.MLModelStructureProgramOperation(
            inputs={
                name: ct.MLModelStructureProgramArgument([_binding(each) for each in arguments])
                for name, arguments in op.inputs.items()
            },
            operator_name=op.type,
            outputs=_named(op.outputs),
            blocks=[_block(inner, shares) for inner in op.blocks],
            __proxy__=shares.get(id(op)),
        )
        for op in block.operations
    ]
    return ct.MLModelStructureProgramBlock(_named(block.inputs), operations, list(block.outputs))


def _binding(argument: Ref | Constant) -> Any:
    from coremltools.models import compute_plan as ct

    if isinstance(argument, Ref):
        return ct.MLModelStructureProgramBinding(argument.name, None)
    return ct.MLModelStructureProgramBinding(None, ct.MLModelStructureProgramValue())


def _named(values: tuple[Value, ...]) -> list[Any]:
    from coremltools.models import compute_plan as ct

    return [
        ct.MLModelStructureProgramNamedValueType(v.name, ct.MLModelStructureProgramValueType())
        for v in values
    ]


def _work(block: Block, known: dict[str, Value]) -> dict[int, float]:
    """id of an op -> its work, for all ops but constants; an op with blocks does that of them."""
    found: dict[int, float] = {}
    known = known | {value.name: value for value in block.inputs}
    for op in block.operations:
        known |= {value.name: value for value in op.outputs}
        inner: dict[int, float] = {}
        for each in op.blocks:
            inner |= _work(each, known)
        found |= inner
        if op.type not in _FREE:
            found[id(op)] = sum(inner.values()) if op.blocks else _amount(op, known)
    return found


def _amount(op: Op, known: dict[str, Value]) -> float:
    made = sum(prod(_extents(value)) for value in op.outputs)
    return float(made * prod(_summed(op, known)))


def _summed(op: Op, known: dict[str, Value]) -> Iterator[int]:
    """The extents that each element of the result is a sum over."""
    if op.type == "matmul":
        shape = _shape(op, "x", known)
        flag = op.inputs.get("transpose_x", (None,))[0]
        yield shape[-2 if isinstance(flag, Constant) and flag.data else -1] if len(shape) > 1 else 1
    elif op.type in _PRODUCTS:
        operand, kept = _PRODUCTS[op.type]
        yield from (n for axis, n in enumerate(_shape(op, operand, known)) if axis not in kept)


def _shape(op: Op, operand: str, known: dict[str, Value]) -> tuple[int, ...]:
    (argument, *_) = op.inputs.get(operand, (None,))
    if isinstance(argument, Constant):
        return tuple(argument.data.shape)
    return _extents(known[argument.name]) if argument is not None and argument.name in known else ()


def _extents(value: Value) -> tuple[int, ...]:
    """Extents, one for those that are not known."""
    shape = value.type.shape if isinstance(value.type, TensorType) else ()
    return tuple(extent or 1 for extent in shape)
