"""What each MIL op costs in a run, from OpenVINO's own times of its kernels.

A kernel is what OpenVINO makes of several nodes. While a graph is built, its nodes are named after
the ops that they belong to, and OpenVINO keeps the names of the nodes in a kernel
(``originalLayersNames``); the ops in them share the kernel's time equally. A kernel that holds
nodes of no op, as one that changes a layout, counts for the ops of the kernels that read it, or for
those of the kernel that it reads where only a result does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import openvino as ov

from executorch_coreml.engine.kernels.operand import Bound, ListValue, StateCell
from executorch_coreml.mil.types import Op

MEASURED = {"PERF_COUNT": True}
"""The OpenVINO property that has runs measure their kernels."""

_LABEL = re.compile(r"@(\d+)\.\d+")  # a name that neither a compiler writes nor OpenVINO


@dataclass(slots=True)
class OpTime:
    """One op of a function's body in one run.

    Attributes:
        op: The op, which has outputs and is no constant.
        nanoseconds: Its share of the kernels it is part of; 0 if it is part of none: it was
            computed when the model was compiled, or OpenVINO put it into a kernel without saying
            so.
        kernels: OpenVINO's type and implementation of these, as ``FullyConnected jit_avx2_f32``.
        shared: First outputs of the other ops in these, in program order.
    """

    op: Op
    nanoseconds: int = 0
    kernels: list[str] = field(default_factory=list)
    shared: list[str] = field(default_factory=list)


class Labels:
    """Names the nodes of a graph after the ops they are built for."""

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self._known: set[str] = set()

    def add(self, op: Op, values: Mapping[str, Bound]) -> None:
        """Name what is new in the graph since the last op.

        Args:
            op: The op that was just built, in program order.
            values: Its outputs, among others.
        """
        if op.type == "const" or not op.outputs:
            return
        label = f"@{len(self.ops)}."
        self.ops.append(op)
        todo = [
            made.get_node()
            for value in op.outputs
            if value.name in values and (made := _node_of(values[value.name].operand)) is not None
        ]
        count = 0
        while todo:
            node = todo.pop()
            if node.get_name() in self._known or node.get_type_name() == "Parameter":
                continue
            self._known.add(node.get_name())
            if node.get_type_name() != "Constant":  # which no kernel computes, and ops share
                node.set_friendly_name(f"{label}{count}")
                count += 1
            todo += [source.get_source_output().get_node() for source in node.inputs()]


class Profile:
    """Which ops the kernels of a compiled model belong to.

    Args:
        model: Compiled with :data:`MEASURED`.
        ops: The ops that its nodes were named after.
    """

    def __init__(self, model: ov.CompiledModel, ops: Sequence[Op]):
        self._ops = tuple(ops)
        self._owners = _owners(model.get_runtime_model())
        self._runs = 0
        self._spent: dict[str, int] = {}  # by a kernel in all runs so far, in nanoseconds

    def times(self, kernels: Iterable[Any]) -> list[OpTime]:
        """One time for each op in the latest run, in program order; to be asked after each run.

        OpenVINO (2026.4) tells the mean of all runs of a model, rounded down to microseconds. The
        sum over all runs is right to as many microseconds as there were runs, a single one may be
        off by as many.

        Args:
            kernels: The ``profiling_info`` of the request that has run.
        """
        self._runs += 1
        times = [OpTime(op) for op in self._ops]
        for kernel in kernels:
            owners = self._owners.get(kernel.node_name, ())
            if not owners or kernel.status != ov.ProfilingInfo.Status.EXECUTED:
                continue
            before = self._spent.get(kernel.node_name, 0)
            total = kernel.real_time // timedelta(microseconds=1) * 1000 * self._runs
            spent = max(0, total - before)
            self._spent[kernel.node_name] = before + spent
            for place, owner in enumerate(owners):
                time = times[owner]
                time.nanoseconds += spent * (place + 1) // len(owners)
                time.nanoseconds -= spent * place // len(owners)
                time.kernels.append(f"{kernel.node_type} {kernel.exec_type}")
                others = (self._ops[other].name for other in owners if other != owner)
                time.shared += [name for name in others if name not in time.shared]
        return times


def _node_of(operand: Any) -> ov.Output | None:
    if isinstance(operand, StateCell):
        return operand.current
    if isinstance(operand, ListValue):
        return operand.elements
    return operand if isinstance(operand, ov.Output) else None


def _owners(model: ov.Model) -> dict[str, tuple[int, ...]]:
    """Kernel -> the ops that it belongs to, in program order."""
    kernels = model.get_ordered_ops()
    owners = {kernel.get_friendly_name(): _named(kernel) for kernel in kernels}
    for kernel in reversed(kernels):
        name = kernel.get_friendly_name()
        if not owners[name]:
            readers = (
                reader.get_node().get_friendly_name()
                for output in kernel.outputs()
                for reader in output.get_target_inputs()
            )
            owners[name] = tuple(sorted({owner for each in readers for owner in owners[each]}))
    for kernel in kernels:
        name = kernel.get_friendly_name()
        for source in () if owners[name] else kernel.inputs():
            owners[name] += owners[source.get_source_output().get_node().get_friendly_name()]
    return owners


def _named(kernel: ov.Node) -> tuple[int, ...]:
    layers = kernel.get_rt_info()["originalLayersNames"].astype(str)
    return tuple(sorted({int(found) for found in _LABEL.findall(layers)}))


__all__ = ["MEASURED", "Labels", "OpTime", "Profile"]
