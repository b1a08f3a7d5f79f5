"""ExportedProgram -> MIL program: one rule call per node, every value checked against PyTorch's.

The border follows the stock delegate: float32 stays float32 whatever the compute precision, fp16
is declared as fp16 from iOS16 on, integers and bool cross as int32, and a rank-0 tensor crosses
as shape [1]. What the delegate does (ExecuTorch 1.5.1, ``coreml_backend_delegate.mm`` and
``multiarray.mm`` of its Core ML runtime):

- It takes bool, uint8, int16, int32, int64, float16, float32 and float64 tensors and converts each
  element to the declared type and back with a C++ cast. bool, uint8 and int16 are thus exact as
  int32; an int64 input keeps its low 32 bits, without an error.
- It refuses int8 tensors on every OS version ("DataType=1 is not supported"), and knows no int8
  arrays of Core ML either, which iOS26 has. An int8 may be computed inside, but never crosses.
- float64 would be converted to float32, which is not what PyTorch computes in: no rule takes it.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Node

from executorch_coreml.compiler.graph import DelegatedGraph, delegated_graph
from executorch_coreml.compiler.keep_fp32 import kept
from executorch_coreml.compiler.notes import hand_back, left_outside
from executorch_coreml.compiler.passes import run_passes
from executorch_coreml.compiler.pool import Pool
from executorch_coreml.compiler.positions import positions
from executorch_coreml.compiler.quiet import quiet_coremltools
from executorch_coreml.compiler.ranges import beyond_half
from executorch_coreml.compiler.shapes import flexible, for_inputs, mil_shape
from executorch_coreml.compiler.state import States
from executorch_coreml.compiler.target import Need, choose, needs
from executorch_coreml.compiler.values import Values, leave
from executorch_coreml.errors import CompileError, LoweringError, TypeMismatch, UnsupportedOp
from executorch_coreml.location import locate
from executorch_coreml.ops import TABLE
from executorch_coreml.ops.call import Call
from executorch_coreml.ops.choose_qparams import chosen
from executorch_coreml.ops.emit import Emit, Var, mil_type
from executorch_coreml.ops.narrow import wrap
from executorch_coreml.ops.refused import why_not
from executorch_coreml.ops.rule import NARROW
from executorch_coreml.ops.sizes import fixed_extent, is_size
from executorch_coreml.options import CompileOptions, Shapes, Target


@dataclass(frozen=True, slots=True)
class Lowered:
    """A MIL program and what it stands for.

    Attributes:
        program: coremltools' ``Program`` with the one function ``main``.
        target: The deployment target its opset belongs to.
        origins: Name of a MIL op's output -> the fx node it was emitted for.
        notes: Precision decisions per node.
        outside: Why other nodes stayed outside -> those nodes; with the first delegate only.
        needs: What asks for a newer target than the lowest.
        states: Names of the states.
        enumerated: Input -> the only shapes it may have.
    """

    program: Any
    target: Target
    origins: Mapping[str, Node]
    notes: Mapping[Node, list[str]]
    outside: Mapping[str, tuple[str, ...]]
    needs: tuple[Need, ...]
    states: tuple[str, ...]
    enumerated: Mapping[str, Shapes]


def lower(program: ExportedProgram, options: CompileOptions, pool: Pool | None = None) -> Lowered:
    """Lowers a whole program; every node must have passed its rule's checks.

    Args:
        program: What ExecuTorch cut out for one delegate.
        options: How to lower it.
        pool: Keeps the weights, when several programs have some in common.

    Raises:
        UnsupportedOp: A node has no rule, or its rule refuses it.
        TypeMismatch: A rule's result has another shape or dtype than PyTorch's.
        LoweringError: A rule failed; its exception is the cause.
    """
    graph = delegated_graph(program)
    run_passes(graph, options)
    found = needs(graph, options)
    target = choose(found, options)
    with quiet_coremltools():
        import coremltools as ct
        from coremltools.converters.mil.mil import Builder, Function, Program
        from coremltools.converters.mil.mil.program import k_used_symbols

        Builder.name_count.clear()
        k_used_symbols.clear()
        opset = ct.target(target.value)
        wide = _kept_wide(graph, options) if options.half else {}
        emit = Emit(Builder, options.half, graph.weights, wide, pool)
        emit.reserve(node.name for node in graph.graph.nodes)
        declared = {node.name: _declare(node, target, Builder) for node in graph.inputs}
        states = States(graph, {})
        declared |= states.declare(Builder)
        with Function(declared, opset_version=opset) as function:
            emit.read_sizes_from(
                [(function.inputs[node.name], node.meta["val"].shape) for node in graph.inputs]
            )
            for node in graph.inputs:
                emit.start(node)
                emit.bind(node, _enter(emit, node, function.inputs[node.name]))
            states.inputs.update(function.inputs)
            for node in graph.states:
                emit.start(node)
                emit.bind(node, states.read(emit, node))
            for node in graph.graph.nodes:
                if node.op == "call_function" and not is_size(node):
                    _lower_node(emit, Call(node, target, graph.weights), wide)
                    states.write(emit, node)
            states.finish(emit)
            results = _leave(emit, graph, target)
            function.set_outputs(results)
            shapes = for_inputs(options.enumerated_shapes or {}, graph.inputs)
            ranged = [flexible(node, graph.ranges, shapes) for node in graph.inputs]
            function.set_input_types(tuple(declared for declared in ranged if declared))
        mil = Program()
        mil.add_function("main", function)
    hand_back(program.graph.nodes, emit.notes)
    leave(program, Values(emit.names(), {name: n.name for name, n in emit.origins.items()}))
    return Lowered(
        program=mil,
        target=target,
        origins=emit.origins,
        notes=emit.notes,
        outside=left_outside(program.graph.nodes),
        needs=tuple(found),
        states=tuple(node.name for node in graph.states),
        enumerated=shapes,
    )


def _kept_wide(graph: DelegatedGraph, options: CompileOptions) -> dict[Node, str]:
    """Node whose float32 fp16 cannot stand for, or is not to -> why."""
    found = kept(graph, options.keep_fp32)
    found |= dict.fromkeys(positions(graph), "a position, an angle or a fraction: kept in fp32")
    return found | beyond_half(graph) | chosen(graph.graph.nodes)


def border_type(dtype: torch.dtype, target: Target) -> str | None:
    """The MIL type a torch dtype is declared as at the border; None if it cannot cross."""
    if dtype is torch.float16:
        return "fp16" if target >= Target.iOS16 else "fp32"
    return {
        torch.float32: "fp32",
        torch.int64: "int32",
        torch.int32: "int32",
        torch.int16: "int32",
        torch.uint8: "int32",
        torch.bool: "int32",
    }.get(dtype)


def _declare(node: Node, target: Target, builder: Any) -> Any:
    from coremltools.converters.mil.mil import types

    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor):
        raise UnsupportedOp(
            f"it is a {type(value).__name__}, not a tensor; only tensors cross into Core ML",
            location=str(locate(node)),
        )
    mil = border_type(value.dtype, target)
    if mil is None:
        raise UnsupportedOp(
            f"dtype {value.dtype} cannot cross into Core ML", location=str(locate(node))
        )
    dtype = types.string_to_builtin(mil)
    return builder.placeholder(shape=mil_shape(value), dtype=dtype)


def _enter(emit: Emit, node: Node, var: Var) -> Var:
    """From the declared input to the type and shape that the rules expect."""
    value = node.meta["val"]
    if value.dim() == 0:
        var = emit.squeeze(x=var, axes=[0])
    return emit.cast(var, emit.type_of(value.dtype))


def _lower_node(emit: Emit, call: Call, wide: Mapping[Node, str]) -> None:
    node = call.node
    emit.start(node)
    if node in wide:
        emit.note(wide[node])
    if node.target is operator.getitem:
        emit.bind(node, emit.results(call["input"])[call["index"]])
        return
    rule = TABLE.get(call.op)
    if rule is None:
        raise UnsupportedOp(why_not(call.op), location=str(locate(node)))
    if reason := rule.refuse(call):
        raise UnsupportedOp(reason, location=str(locate(node)))
    try:
        result = rule.lower(emit, call)
    except CompileError:
        raise
    except Exception as cause:
        raise LoweringError(
            f"the rule at {rule.where} failed with {type(cause).__name__}: {cause}",
            location=str(locate(node)),
        ) from cause
    if not rule.in_range:
        result = _wrapped(emit, call, result)
    _verify(emit, call, result)
    if rule.selects:
        emit.sizes.learn(result, call.out.shape)
    if not isinstance(result, tuple) and emit.origins.get(result.name) is node:
        emit.rename(result, node.name)
    emit.bind(node, result)


def _wrapped(emit: Emit, call: Call, result: Any) -> Any:
    """The result, or each of several, modulo the range of its narrow dtype, if it has one."""
    if isinstance(result, tuple):
        pairs = zip(result, call.outs, strict=True)
        return tuple(_wrapped_one(emit, var, expected) for var, expected in pairs)
    return _wrapped_one(emit, result, call.out)


def _wrapped_one(emit: Emit, var: Var, expected: torch.Tensor) -> Var:
    if var is None or expected.dtype not in NARROW or mil_type(var) != "int32":
        return var
    return wrap(emit, var, expected.dtype)


_NARROW_TYPES = {torch.int8: "int8", torch.uint8: "uint8"}


def _verify(emit: Emit, call: Call, result: Any) -> None:
    """Shape and dtype of what a rule emitted against what PyTorch computed, which it then has."""
    results = result if isinstance(result, tuple) else (result,)
    if len(results) != len(call.outs):
        raise TypeMismatch(
            f"the rule gave {len(results)} results, PyTorch {len(call.outs)}",
            location=str(call.location),
        )
    for var, expected in zip(results, call.outs, strict=True):
        if var is None:
            continue  # a result nobody reads, such as the indices of a pool
        shape, dtype = tuple(expected.shape), emit.type_of(expected.dtype)
        itself = _NARROW_TYPES.get(expected.dtype)  # quantized values are MIL's own int8 and uint8
        if not _same_shape(var.shape, shape) or mil_type(var) not in (dtype, itself):
            raise TypeMismatch(
                f"lowered to {mil_type(var)}{list(var.shape)}, PyTorch computed "
                f"{dtype}{list(shape)}",
                location=str(call.location),
            )
        emit.shaped(var, shape)


def _same_shape(got: Sequence[Any], expected: Sequence[Any]) -> bool:
    """Equal rank, and equal extents where both are known when compiling."""
    if len(got) != len(expected):
        return False
    known = (map(fixed_extent, pair) for pair in zip(got, expected, strict=True))
    return all(one is None or other is None or one == other for one, other in known)


def _leave(emit: Emit, graph: DelegatedGraph, target: Target) -> list[Var]:
    """From the rules' results to declared outputs: own names, border types, no rank 0."""
    results: list[Var] = []
    for node in graph.outputs:
        if not isinstance(node, Node):
            raise UnsupportedOp(f"output {node!r} is not a tensor; only tensors leave Core ML")
        emit.start(node)
        value = node.meta["val"]
        mil = border_type(value.dtype, target)
        if mil is None:
            raise UnsupportedOp(
                f"dtype {value.dtype} cannot leave Core ML", location=str(locate(node))
            )
        var = emit.var(node)
        if value.dim() == 0:
            if var.name == node.name and node.op == "call_function":
                emit.rename(var, emit.name("value"))  # the output of rank 1 takes the name
            var = emit.expand_dims(x=var, axes=[0])
        results.append(_name_output(emit, node, var, mil, {v.name for v in results}))
    return results


def _name_output(emit: Emit, node: Node, var: Var, mil: str, taken: set[str]) -> Var:
    """An op of its own for every output that is an input, a constant, given twice or cast."""
    plain = mil_type(var) == mil and var.name == node.name and node.op == "call_function"
    if plain and var.name not in taken:
        return var
    if var.name == node.name and node.op == "call_function" and var.name not in taken:
        emit.rename(var, emit.name("value"))
    result = emit.cast(var, mil)
    if result is var or result.op.op_type == "const":
        result = emit.identity(x=result)
    free = node.op == "call_function" and node.name not in taken and var.name != node.name
    if free:
        emit.rename(result, node.name)
    return result
