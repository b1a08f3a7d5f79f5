"""``cond`` and ``while_loop``: OpenVINO's If and Loop around the nested blocks.

Semantics: coremltools ``mil/ops/defs/iOS15/control_flow.py``. Both blocks of ``while_loop`` take
the loop variables; the first says whether to go on, before each iteration, the second gives them
anew. OpenVINO's Loop asks at the end of an iteration, so the first block is built twice: in front
of the loop, and behind the body.

A state that a block writes is a loop variable, or a result of both branches.
"""

from __future__ import annotations

from collections.abc import Sequence

import openvino as ov
from openvino import opset15 as ops

from executorch_coreml.engine.kernels.operand import (
    ELEMENT_TYPES,
    Bound,
    ListValue,
    Operand,
    StateCell,
    cast,
    each,
    folded,
    i64,
    rank,
    shared_nodes,
)
from executorch_coreml.engine.kernels.subgraph import (
    NestedBlock,
    Subgraph,
    carried,
    dtype_of,
    is_growing,
    wrapped,
)
from executorch_coreml.engine.kernels.table import Family
from executorch_coreml.errors import ProgramError
from executorch_coreml.mil.types import Type

kernels = Family()


def _two(blocks: Sequence[NestedBlock]) -> tuple[NestedBlock, NestedBlock]:
    if len(blocks) != 2:
        raise ProgramError(f"needs two blocks, has {len(blocks)}")
    return blocks[0], blocks[1]


def _flag(value: Operand) -> ov.Output:
    """A bool of rank 0."""
    flag = cast(value, ov.Type.boolean)
    return ops.reshape(flag, i64([]), False).output(0) if rank(flag) else flag


def _as_declared(result: Bound, declared: Type) -> ov.Output:
    return cast(carried(result.operand), ELEMENT_TYPES[dtype_of(declared)])


@kernels("cond")
def cond(
    pred: Operand, blocks: tuple[NestedBlock, ...], out: tuple[Type, ...]
) -> tuple[Bound, ...]:
    chosen, other = _two(blocks)
    known = folded(pred)
    if known is not None:
        return tuple((chosen if known.item() else other).build(()))
    branches = [_branch(block, out) for block in (chosen, other)]
    written = branches[0][0].written() | branches[1][0].written()
    bodies = []
    for graph, results, _ in branches:
        with shared_nodes():
            states = [graph.state(cell).current for cell in written.values()]
            made = [ops.result(value) for value in (*results, *states)]
        bodies.append((graph, made))
    branch = _if(_flag(pred), bodies)
    outputs = [
        branch.set_output(yes, no) for yes, no in zip(bodies[0][1], bodies[1][1], strict=True)
    ]
    for cell, value in zip(written.values(), outputs[len(out) :], strict=True):
        cell.write(value)
    grow = [one or two for one, two in zip(branches[0][2], branches[1][2], strict=True)]
    return tuple(map(wrapped, out, outputs, grow))


def _branch(
    block: NestedBlock, out: Sequence[Type]
) -> tuple[Subgraph, list[ov.Output], list[bool]]:
    graph = Subgraph()
    with shared_nodes():
        results = block.build((), graph)
        if len(results) != len(out):
            raise ProgramError(f"a block gives {len(results)} values for {len(out)} outputs")
        grow = [is_growing(result.operand) for result in results]
        return graph, [_as_declared(*pair) for pair in zip(results, out, strict=True)], grow


def _if(pred: ov.Output, bodies: list[tuple[Subgraph, list[ov.Node]]]) -> ov.Node:
    branch = ops.if_op(pred)
    (then, results), (otherwise, others) = bodies
    branch.set_then_body(ov.Model(results, then.parameters, "then"))
    branch.set_else_body(ov.Model(others, otherwise.parameters, "else"))
    sources = then.inputs() | otherwise.inputs()
    for place, source in sources.items():
        pair = [graph.inputs().get(place) for graph in (then, otherwise)]
        branch.set_input(
            source.source, *(None if one is None else one.entry.parameter for one in pair)
        )
    return branch


@kernels("while_loop")
def while_loop(
    loop_vars: Operand | tuple[Operand, ...],
    blocks: tuple[NestedBlock, ...],
    out: tuple[Type, ...],
) -> tuple[Bound, ...]:
    condition, body = _two(blocks)
    kinds = [value.type for value in body.inputs]
    start = each(loop_vars)
    if not len(start) == len(kinds) == len(condition.inputs) == len(out):
        raise ProgramError(f"has {len(start)} loop_vars, {len(kinds)} inputs, {len(out)} outputs")
    initial = [Bound(value, False) for value in start]
    first = _only(condition.build(initial))
    never = folded(first)
    if never is not None and not never.item():
        return tuple(initial)

    grow = [is_growing(value) for value in start]
    graph = Subgraph()
    with shared_nodes():
        variables = [graph.variable(*pair) for pair in zip(kinds, grow, strict=True)]
        now = map(wrapped, kinds, [variable.value for variable in variables], grow)
        after = body.build(list(now), graph)
        if len(after) != len(kinds):
            raise ProgramError(f"the body gives {len(after)} values for {len(kinds)} variables")
        values = [_as_declared(*pair) for pair in zip(after, kinds, strict=True)]
        again = list(map(wrapped, kinds, values, grow))
        go_on = ops.result(_flag(_only(condition.build(again, graph))))
        results = [ops.result(value) for value in values]
        states = {
            name: ops.result(graph.state(cell).current) for name, cell in graph.written().items()
        }
    loop = ops.loop(i64(-1), _flag(first))
    loop.set_function(ov.Model([go_on, *results, *states.values()], graph.parameters, "body"))
    loop.set_special_body_ports([-1, 0])
    for variable, value, kind, result in zip(variables, start, kinds, results, strict=True):
        source = _as_declared(Bound(value, False), kind)
        loop.set_merged_input(variable.parameter, source, result.output(0))
    for name, taken in graph.inputs().items():
        if isinstance(name, str) and name in states:
            loop.set_merged_input(taken.entry.parameter, taken.source, states[name].output(0))
        else:
            loop.set_invariant_input(taken.entry.parameter, taken.source)
    finals = [loop.get_iter_value(result.output(0), -1) for result in results]
    for name, cell in graph.written().items():
        cell.write(loop.get_iter_value(states[name].output(0), -1))
    return tuple(map(wrapped, out, finals, grow))


def _only(results: list[Bound]) -> Operand:
    if len(results) != 1 or isinstance(results[0].operand, (ListValue, StateCell)):
        raise ProgramError("the condition of a loop must be one bool")
    operand: Operand = results[0].operand
    return operand
