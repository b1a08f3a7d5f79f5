"""Mutable buffers that a delegate owns: Core ML states (MLState, iOS18).

A state is an fp16 tensor that outlives a run and is zero when a method is loaded. The graph's
values stay values: a state is read once, before everything else, and written where its new value
is computed, so that what follows can work on the state in place.

A buffer that does not start as zeros needs a second state, zero until the first run is over, that
tells whether to read the state or the initial value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from executorch_coreml.compiler.graph import DelegatedGraph
from executorch_coreml.ops.emit import Emit, Var, mil_type

DTYPE = "fp16"  # the only one: coremltools 9.0, backend/mil/load.py

_STARTED = "executorch_coreml_started"


def state_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The declared shape: a buffer of rank 0 has one element."""
    return tuple(shape) or (1,)


@dataclass(slots=True)
class States:
    """The states of one function while it is lowered.

    Attributes:
        graph: The graph that reads and writes them.
        inputs: Name of a state -> its MIL input, once the function exists.
    """

    graph: DelegatedGraph
    inputs: dict[str, Var]

    def declare(self, builder: Any) -> dict[str, Any]:
        """Name -> placeholder of every state of the function."""
        from coremltools.converters.mil.mil import types

        shapes = {
            node.name: state_shape(tuple(node.meta["val"].shape)) for node in self.graph.states
        }
        if self._preset():
            shapes[_STARTED] = (1,)
        return {
            name: builder.state_tensor_placeholder(shape=shape, dtype=types.fp16)
            for name, shape in shapes.items()
        }

    def read(self, emit: Emit, node: Node) -> Var:
        """The value of buffer ``node`` before the run, as the rules expect it."""
        value = emit.read_state(input=self.inputs[node.name])
        if node in self._preset():
            started = emit.read_state(input=self.inputs[_STARTED])
            rank = len(value.shape)
            condition = emit.greater(x=started, y=emit.const(0.5, DTYPE))
            if rank > 1:
                condition = emit.reshape(x=condition, shape=[1] * rank)
            initial = self.graph.states[node].detach().cpu().reshape(tuple(value.shape)).numpy()
            value = emit.select(cond=condition, a=value, b=emit.const(initial, DTYPE))
        if node.meta["val"].dim() == 0:
            value = emit.squeeze(x=value, axes=[0])
        return emit.cast(value, emit.type_of(node.meta["val"].dtype))

    def write(self, emit: Emit, written: Node) -> None:
        """Stores the value of ``written`` in each state it becomes; what follows reads it there."""
        for node in self.graph.states:
            if self.graph.written(node) is not written:
                continue
            value = emit.var(written)
            kept = emit.cast(value, DTYPE)
            if node.meta["val"].dim() == 0:
                kept = emit.expand_dims(x=kept, axes=[0])
            kept = emit.coreml_update_state(state=self.inputs[node.name], value=kept)
            if node.meta["val"].dim() == 0:
                kept = emit.squeeze(x=kept, axes=[0])
            if mil_type(value) == DTYPE:
                emit.bind(written, kept)

    def finish(self, emit: Emit) -> None:
        """Notes that a run took place, for the buffers that do not start as zeros."""
        if self._preset():
            one = emit.const(np.ones((1,)), DTYPE)
            emit.coreml_update_state(state=self.inputs[_STARTED], value=one)

    def _preset(self) -> list[Node]:
        """The buffers that do not start as zeros."""
        return [node for node, initial in self.graph.states.items() if bool(_any(initial))]


def _any(initial: torch.Tensor) -> torch.Tensor:
    return (initial != 0).any()
