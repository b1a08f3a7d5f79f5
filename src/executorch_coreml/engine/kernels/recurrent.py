"""``lstm``, ``gru`` and ``rnn``, over sequences of any length, known or not.

Semantics: coremltools ``mil/ops/defs/iOS15/recurrent.py``, ``iOS18/recurrent.py``, and its tests of
them, which tell what the docstrings leave open:

* ``clip`` bounds the cell state, before the output gate sees it through its peephole.
* ``scaled_tanh`` is tanh, ``hard_sigmoid`` (``sigmoid_hard``) is clamp(0.2 x + 0.5, 0, 1).
* The reset gate of ``gru`` acts on the state, before its product with the weight, unless
  ``reset_after``; ``input_bias`` is then added outside of the reset.
* ``direction="reverse"`` gives the sequence in the order of computation, last element first; the
  backward half of a ``bidirectional`` lstm is put in the order of the input.

The products with the input are one matrix multiplication for all steps; the steps are a Loop. As
with every op, all of it is float32 and only the results are rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import openvino as ov
from openvino import opset15 as ops

from executorch_coreml.engine.kernels.operand import (
    Operand,
    cast,
    constant,
    f32,
    i64,
    keeping_nan,
    node,
    scalar,
    shape,
    shared_nodes,
    text,
)
from executorch_coreml.engine.kernels.subgraph import Subgraph
from executorch_coreml.engine.kernels.table import Family
from executorch_coreml.errors import ProgramError

kernels = Family()

Activation: TypeAlias = Callable[[ov.Output], ov.Output]
# Products of one step's input, states -> states; the first is the output.
Step: TypeAlias = Callable[[ov.Output, Sequence[ov.Output]], list[ov.Output]]


def _hard_sigmoid(x: ov.Output) -> ov.Output:
    line = ops.add(ops.multiply(x, f32(0.2)), f32(0.5))
    return keeping_nan(x, ops.clamp(line, 0.0, 1.0))


_ACTIVATIONS: dict[str, Activation] = {
    "tanh": lambda x: ops.tanh(x).output(0),
    "scaled_tanh": lambda x: ops.tanh(x).output(0),
    "sigmoid": lambda x: ops.sigmoid(x).output(0),
    "hard_sigmoid": _hard_sigmoid,
    "sigmoid_hard": _hard_sigmoid,
    "relu": lambda x: keeping_nan(x, ops.relu(x)),
    "linear": lambda x: x,
}


def _activation(name: Operand | str, what: str) -> Activation:
    chosen = text(name, what).lower()
    if chosen not in _ACTIVATIONS:
        raise ProgramError(f"{what} must be one of {sorted(_ACTIVATIONS)}, got {chosen!r}")
    return _ACTIVATIONS[chosen]


def _direction(name: Operand | str, allowed: Sequence[str]) -> str:
    chosen = text(name, "direction").lower()
    if chosen not in allowed:
        raise ProgramError(f"direction must be one of {list(allowed)}, got {chosen!r}")
    return chosen


def _wide(x: Operand, what: str) -> ov.Output:
    return f32(constant(x, what).astype(np.float32))


def _product(x: ov.Output, weight: ov.Output, bias: ov.Output | None = None) -> ov.Output:
    made = ops.matmul(x, weight, False, True)
    return (made if bias is None else ops.add(made, bias)).output(0)


def _parts(x: ov.Output, count: int) -> list[ov.Output]:
    """Equal parts along the last dimension."""
    made = ops.split(x, i64(-1), count)
    return [made.output(i) for i in range(count)]


def _over_time(
    products: ov.Output, states: Sequence[ov.Output], step: Step
) -> tuple[ov.Output, list[ov.Output]]:
    """The output of each step, and the final states.

    ``products`` is of shape [s, b, n]; ``step`` gets it without the first dimension.
    """
    graph = Subgraph()
    with shared_nodes():
        one = ov.PartialShape([1, *list(products.get_partial_shape())[1:]])
        now = graph.enter(one, ov.Type.f32)
        held = [graph.enter_like(state) for state in states]
        product = ops.squeeze(now.value, i64([0])).output(0)
        after = step(product, [entry.value for entry in held])
        shown = ops.result(ops.unsqueeze(after[0], i64([0])))
        results = [ops.result(state) for state in after]
        go_on = ops.result(ops.constant(np.array(True)))
    length = ops.gather(ops.shape_of(products, "i64"), i64(0), i64(0))
    loop = ops.loop(length.output(0), ops.constant(np.array(True)).output(0))
    loop.set_function(ov.Model([go_on, shown, *results], graph.parameters, "step"))
    loop.set_special_body_ports([-1, 0])
    loop.set_sliced_input(now.parameter, products, 0, 1, 1, -1, 0)
    for entry, state, result in zip(held, states, results, strict=True):
        loop.set_merged_input(entry.parameter, state, result.output(0))
    sequence = loop.get_concatenated_slices(shown.output(0), 0, 1, 1, -1, 0)
    return sequence, [loop.get_iter_value(result.output(0), -1) for result in results]


def _sequence(every: ov.Output, final: ov.Output, output_sequence: Operand | bool) -> ov.Output:
    """The first result: all steps or the last."""
    if scalar(output_sequence, "output_sequence"):
        return every
    return ops.unsqueeze(final, i64([0])).output(0)


def _flipped(x: ov.Output) -> ov.Output:
    """The other way round along the first dimension."""
    return ops.slice(x, i64([-1]), i64([-(2**31)]), i64([-1]), i64([0])).output(0)


def _lstm_step(
    weight_hh: Operand,
    peephole: Operand | None,
    clip: Operand | None,
    activations: Sequence[Activation],
) -> Step:
    gate, cell, out = activations
    bound = None if clip is None else float(scalar(clip, "clip"))

    def step(product: ov.Output, states: Sequence[ov.Output]) -> list[ov.Output]:
        h, c = states
        recurrent = _product(h, _wide(weight_hh, "weight_hh"))
        i, f, o, z = _parts(ops.add(product, recurrent).output(0), 4)
        if peephole is not None:
            p_i, p_f, p_o = np.split(constant(peephole, "peephole").astype(np.float32), 3)
            i = ops.add(i, ops.multiply(c, f32(p_i))).output(0)
            f = ops.add(f, ops.multiply(c, f32(p_f))).output(0)
        kept = ops.multiply(gate(f), c)
        c = ops.add(kept, ops.multiply(gate(i), cell(z))).output(0)
        if bound is not None:
            c = keeping_nan(c, ops.clamp(c, -bound, bound))
        if peephole is not None:
            o = ops.add(o, ops.multiply(c, f32(p_o))).output(0)
        return [ops.multiply(gate(o), out(c)).output(0), c]

    return step


@kernels("lstm")
def lstm(
    x: Operand,
    initial_h: Operand,
    initial_c: Operand,
    weight_ih: Operand,
    weight_hh: Operand,
    bias: Operand | None = None,
    peephole: Operand | None = None,
    weight_ih_back: Operand | None = None,
    weight_hh_back: Operand | None = None,
    bias_back: Operand | None = None,
    peephole_back: Operand | None = None,
    direction: Operand | str = "forward",
    output_sequence: Operand | bool = False,
    recurrent_activation: Operand | str = "sigmoid",
    cell_activation: Operand | str = "tanh",
    activation: Operand | str = "tanh",
    clip: Operand | None = None,
) -> tuple[ov.Output, ...]:
    """Gates in the order input, forget, output, cell."""
    way = _direction(direction, ("forward", "reverse", "bidirectional"))
    functions = [
        _activation(recurrent_activation, "recurrent_activation"),
        _activation(cell_activation, "cell_activation"),
        _activation(activation, "activation"),
    ]
    sides = [(weight_ih, weight_hh, bias, peephole, way == "reverse")]
    if way == "bidirectional":
        if weight_ih_back is None or weight_hh_back is None:
            raise ProgramError("a bidirectional lstm needs weight_ih_back and weight_hh_back")
        sides.append((weight_ih_back, weight_hh_back, bias_back, peephole_back, True))
    states = [_parts(cast(s, ov.Type.f32), len(sides)) for s in (initial_h, initial_c)]
    made: list[tuple[ov.Output, ...]] = []
    for (w_ih, w_hh, b, p, reverse), h, c in zip(sides, *states, strict=True):
        offset = None if b is None else _wide(b, "bias")
        products = _product(cast(x, ov.Type.f32), _wide(w_ih, "weight_ih"), offset)
        products = _flipped(products) if reverse else products
        step = _lstm_step(w_hh, p, clip, functions)
        every, (last_h, last_c) = _over_time(products, (h, c), step)
        every = _flipped(every) if reverse and way == "bidirectional" else every
        made.append((_sequence(every, last_h, output_sequence), last_h, last_c))
    if len(made) == 1:
        return made[0]
    return tuple(ops.concat(list(pair), -1).output(0) for pair in zip(*made, strict=True))


@kernels("gru")
def gru(
    x: Operand,
    initial_h: Operand,
    weight_ih: Operand,
    weight_hh: Operand,
    bias: Operand | None = None,
    direction: Operand | str = "forward",
    output_sequence: Operand | bool = False,
    recurrent_activation: Operand | str = "sigmoid",
    activation: Operand | str = "tanh",
    reset_after: Operand | bool = False,
    input_bias: Operand | None = None,
) -> tuple[ov.Output, ...]:
    """Gates in the order reset, output, update."""
    gate = _activation(recurrent_activation, "recurrent_activation")
    out = _activation(activation, "activation")
    size = shape(weight_hh)[1]
    after = bool(scalar(reset_after, "reset_after"))
    weights = np.split(constant(weight_hh, "weight_hh").astype(np.float32), 3)
    zeros = np.zeros(3 * (size or 0), np.float32)
    inner = zeros if bias is None else constant(bias, "bias").astype(np.float32)
    offset = zeros if input_bias is None else constant(input_bias, "input_bias").astype(np.float32)
    if not after:
        inner, offset = zeros, inner + offset
    b_r, b_o, b_z = np.split(inner, 3)

    def step(product: ov.Output, states: Sequence[ov.Output]) -> list[ov.Output]:
        (h,) = states
        w_r, w_o, w_z = (f32(weight) for weight in weights)
        r, o, z = _parts(product, 3)
        reset = gate(ops.add(r, _product(h, w_r, f32(b_r))).output(0))
        update = gate(ops.add(z, _product(h, w_z, f32(b_z))).output(0))
        if after:
            seen = ops.multiply(reset, _product(h, w_o, f32(b_o)))
        else:
            seen = node(_product(ops.multiply(reset, h).output(0), w_o))
        fresh = out(ops.add(o, seen).output(0))
        rest = ops.multiply(ops.subtract(f32(1.0), update), fresh)
        return [ops.add(rest, ops.multiply(update, h)).output(0)]

    return _one_way(x, initial_h, weight_ih, f32(offset), direction, output_sequence, step)


@kernels("rnn")
def rnn(
    x: Operand,
    initial_h: Operand,
    weight_ih: Operand,
    weight_hh: Operand,
    bias: Operand | None = None,
    direction: Operand | str = "forward",
    output_sequence: Operand | bool = False,
    activation: Operand | str = "tanh",
) -> tuple[ov.Output, ...]:
    out = _activation(activation, "activation")
    offset = None if bias is None else _wide(bias, "bias")

    def step(product: ov.Output, states: Sequence[ov.Output]) -> list[ov.Output]:
        recurrent = _product(states[0], _wide(weight_hh, "weight_hh"))
        return [out(ops.add(product, recurrent).output(0))]

    return _one_way(x, initial_h, weight_ih, offset, direction, output_sequence, step)


def _one_way(
    x: Operand,
    initial_h: Operand,
    weight_ih: Operand,
    offset: ov.Output | None,
    direction: Operand | str,
    output_sequence: Operand | bool,
    step: Step,
) -> tuple[ov.Output, ...]:
    reverse = _direction(direction, ("forward", "reverse")) == "reverse"
    products = _product(cast(x, ov.Type.f32), _wide(weight_ih, "weight_ih"), offset)
    products = _flipped(products) if reverse else products
    every, (last,) = _over_time(products, (cast(initial_h, ov.Type.f32),), step)
    return _sequence(every, last, output_sequence), last
