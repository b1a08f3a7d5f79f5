"""What a delegate logs when an event tracer (ETDump) listens: what each MIL op took and computed.

ExecuTorch's Inspector finds the nodes of an event by its delegate debug id, in the map that the
compiler returned beside the payload and that an ETRecord keeps. The ids here are the keys of that
map, :func:`~executorch_coreml.compiler.payload.symbol`, for ops that have a node; others go by
their plain name: the Inspector also takes an id for a key that it merely contains.

Of several events that belong to one node, the Inspector compares the first with what the node
computes, and fails if that has no value (``calculate_numeric_gap``, executorch 1.5.1). So where
values are logged, a key has results of its node only, the event that has them comes first, and a
node without any goes by plain names; so does what the ops of a node pass among themselves.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from executorch_coreml.compiler.payload import symbol
from executorch_coreml.engine.exposed import exposable, exposed
from executorch_coreml.engine.model import Model
from executorch_coreml.mil.types import Bundle, Op, Ref

if TYPE_CHECKING:
    from executorch_coreml.engine.profile import OpTime
    from executorch_coreml.engine.request import Receiver
    from executorch_coreml.engine.state import State
    from executorch_coreml.runtime._native import ExecutionContext

Array = np.ndarray[Any, np.dtype[Any]]

RUN = "CoreMLBackend.execute"
"""The delegate debug id of a whole run."""

_VALUES = 2  # the debug level from which a tracer wants intermediate values


@dataclass(frozen=True, slots=True, eq=False)
class _Traced:
    """A delegate's model that measures its ops.

    Attributes:
        model: Its own outputs come first.
        events: Op -> delegate debug id, in the order in which to log them.
        values: Delegate debug id -> which outputs to log under it; empty if none are wanted.
    """

    model: Model
    events: Mapping[str, str]
    values: Mapping[str, Sequence[int]]


class Trace:
    """Runs a delegate and logs what it does.

    Args:
        bundle: Its model.
        options: The delegate's own, of :class:`~executorch_coreml.engine.model.Model`.

    Two models are compiled, each at the first run that needs it: one that measures its ops, and one
    that also shows their values.
    """

    def __init__(self, bundle: Bundle, options: Mapping[str, Any]):
        self._bundle = bundle
        self._options = {**options, "profile": True}
        self._own = len(bundle.output_names[bundle.default_function])
        self._made: dict[bool, _Traced] = {}

    def run(
        self, arrays: Sequence[Array], outputs: Receiver, state: State, context: ExecutionContext
    ) -> None:
        """One run, as :meth:`~executorch_coreml.engine.model.Model.run_into`.

        Raises:
            InputError, RunError: As there.

        A tracer without room for the values ends the process (executorch 1.5.1).
        """
        wants_values = context.debug_level >= _VALUES
        traced = self._made.get(wants_values) or self._make(wants_values)
        observer = _Observer(outputs, self._own, traced.values)
        start = time.perf_counter_ns()
        traced.model.run_into(arrays, observer, state)
        context.log_event(RUN, start, time.perf_counter_ns())
        self._log_times(observer.times, traced.events, start, context)
        for name, places in traced.values.items():
            for place in places:
                context.log_output(name, _loggable(observer.kept[place]).data)

    def _make(self, shows_values: bool) -> _Traced:
        nodes = _Nodes(self._bundle)
        if shows_values:
            made = exposed(self._bundle, exposable(self._bundle, self._options["precision"]))
            values = nodes.values(made.place)
            events = nodes.events(values)
            model = Model(made.bundle, **self._options)
        else:
            values, events = {}, nodes.ids
            model = Model(self._bundle, **self._options)
        traced = self._made[shows_values] = _Traced(model, events, values)
        return traced

    @staticmethod
    def _log_times(
        times: Sequence[OpTime], events: Mapping[str, str], start: int, context: ExecutionContext
    ) -> None:
        """Logs the ops as if they ran one after the other from ``start`` on."""
        spans = {}
        for each in times:
            spans[each.op.name] = (each, start, start + each.nanoseconds)
            start += each.nanoseconds
        for op, name in events.items():
            found, begin, end = spans[op]
            about = {"kernels": found.kernels, "shared_with": found.shared}
            told = json.dumps(about).encode() if found.kernels else b""
            context.log_event(name, begin, end, told)


class _Observer:
    """Passes on the outputs of the delegate and keeps the values behind them.

    Args:
        outputs: Gets those of the delegate.
        own: How many these are.
        values: Which outputs to keep, in :attr:`kept`.
    """

    def __init__(self, outputs: Receiver, own: int, values: Mapping[str, Sequence[int]]):
        self._outputs, self._own = outputs, own
        self._wanted = {place for places in values.values() for place in places}
        self.kept: dict[int, Array] = {}
        self.times: Sequence[OpTime] = ()

    def place(self, index: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array | None:
        """See :class:`~executorch_coreml.engine.request.Receiver`."""
        if index < self._own:
            found = self._outputs.place(index, shape, dtype)
        else:
            found = np.empty(shape, dtype)
        if found is not None and index in self._wanted:
            self.kept[index] = found
        return found

    def take(self, index: int, array: Array) -> None:
        """See :class:`~executorch_coreml.engine.request.Receiver`."""
        if index < self._own:
            self._outputs.take(index, array)
        if index in self._wanted:
            self.kept[index] = array.copy()

    def observe(self, times: Sequence[OpTime]) -> None:
        """See :class:`~executorch_coreml.engine.request.Observer`."""
        self.times = times


class _Nodes:
    """Which ops of a model belong to one node: those with the same debug handles.

    Attributes:
        ids: Op -> delegate debug id, in program order.
    """

    def __init__(self, bundle: Bundle):
        self._body = bundle.program.functions[bundle.default_function].body
        self._ops = [op for op in self._body.operations if op.type != "const" and op.outputs]
        self.ids: dict[str, str] = {}
        self._of: dict[str, Any] = {}  # value -> the handles of its node, or a name
        for op in self._ops:
            key = symbol(op.name, op.type)
            handles = bundle.debug_handles.get(key)
            # A payload without handles has no map either that could be looked up wrongly.
            self.ids[op.name] = key if handles or not bundle.debug_handles else op.name
            self._of |= dict.fromkeys((value.name for value in op.outputs), handles or op.name)

    def values(self, place: Mapping[str, int]) -> dict[str, list[int]]:
        """Delegate debug id -> which outputs to log under it.

        The results of a node go by the id of the last op that has one. A value that only ops of the
        same node read is none.

        Args:
            place: Value -> which output it is.
        """
        readers: dict[str, set[Any]] = {name: {None} for name in self._body.outputs}
        for op in self._body.operations:
            for name in _read(op):
                readers.setdefault(name, set()).add(self._of.get(op.name))
        named: dict[str, list[int]] = {}
        results: dict[Any, list[int]] = {}
        last: dict[Any, str] = {}
        for op in self._ops:
            for name in (value.name for value in op.outputs if value.name in place):
                node = self._of[name]
                if readers.get(name) == {node}:
                    named[name] = [place[name]]
                else:
                    results.setdefault(node, []).append(place[name])
                    last[node] = self.ids[op.name]
        return named | {last[node]: places for node, places in results.items()}

    def events(self, values: Mapping[str, Any]) -> dict[str, str]:
        """:attr:`ids` in the order, and of the nodes, that the Inspector takes with ``values``."""
        first: dict[Any, int] = {}
        shown = {self._of[op.name] for op in self._ops if self.ids[op.name] in values}
        order = []
        for number, op in enumerate(self._ops):
            node = self._of[op.name]
            rank = first.setdefault(node, number), self.ids[op.name] not in values, number
            order.append((rank, op.name, self.ids[op.name] if node in shown else op.name))
        return {op: name for _, op, name in sorted(order)}


def _loggable(array: Array) -> Array:
    """As an ETDump has types for: unsigned integers of more than 8 bits become int64."""
    return array.astype(np.int64) if array.dtype.kind == "u" and array.itemsize > 1 else array


def _read(op: Op) -> Iterator[str]:
    """The values that an op reads, or the ops inside it."""
    for each in op.inputs.values():
        yield from (argument.name for argument in each if isinstance(argument, Ref))
    for block in op.blocks:
        yield from block.outputs
        for inner in block.operations:
            yield from _read(inner)


__all__ = ["RUN", "Trace"]
