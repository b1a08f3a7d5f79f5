"""Errors that only a run can find: what an op saw leaves the graph beside the outputs.

A graph cannot raise. So an op that must refuse what it computes writes a record of the first thing
that is wrong into a cell, which is carried through ``cond`` and ``while_loop`` as a state is
(:mod:`.subgraph`); whoever runs the model reads the record behind the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset15 as ops

from executorch_coreml.engine.kernels.operand import StateCell, cast, i64, rank, shape_node
from executorch_coreml.errors import RunError

RECORD = ""
"""The name of the cell; no value of a program has it."""

_NONE = -1


def empty_record() -> StateCell:
    """The number of an op, an index and the extent that it does not fit; no op so far."""
    return StateCell(RECORD, i64([_NONE, 0, 0]))


@dataclass(frozen=True, slots=True)
class Violations:
    """Where one op records an index that is out of range.

    Attributes:
        cell: What is known so far, in the graph of the op.
        number: Of the op, among all that may record.
    """

    cell: StateCell
    number: int

    def require(self, indices: ov.Output, extents: ov.Output) -> None:
        """Records the first of ``indices`` that is not in [0, extent).

        Args:
            indices: Integers.
            extents: Integers of a shape that broadcasts to that of ``indices``.
        """
        index = cast(indices, ov.Type.i64)
        limit = cast(extents, ov.Type.i64)
        if rank(limit) or rank(index):
            limit = ops.broadcast(limit, shape_node(index)).output(0)
        wrong = ops.logical_or(ops.less(index, i64(0)), ops.greater_equal(index, limit))
        count = ops.reduce_prod(ops.shape_of(index, "i64"), i64([0]), False)
        places = ops.range(i64(0), count, i64(1), "i64")
        # The place behind the last one stands for none, and keeps what follows from being empty.
        found = ops.select(_flat(wrong), places, ops.broadcast(count, ops.shape_of(places, "i64")))
        first = ops.reduce_min(_longer(found.output(0), count.output(0)), i64([0]), False)
        row = [i64([self.number])]
        for values in (index, limit):
            one = ops.gather(_longer(_flat(values), i64(0)), first, i64(0))
            row.append(ops.unsqueeze(one, i64([0])).output(0))
        record = ops.concat(row, 0)
        known = ops.gather(self.cell.current, i64([0]), i64(0))
        new = ops.logical_and(ops.less(first, count), ops.less(known, i64([0])))
        self.cell.write(ops.select(new, record, self.cell.current).output(0))


def _flat(values: ov.Output | ov.Node) -> ov.Output:
    return ops.reshape(values, i64([-1]), special_zero=False).output(0)


def _longer(values: ov.Output, last: ov.Output) -> ov.Output:
    return ops.concat([values, ops.reshape(last, i64([1]), False)], 0).output(0)


def raise_recorded(record: np.ndarray[Any, Any], places: Sequence[str]) -> None:
    """
    Args:
        record: What a run left in the cell.
        places: Number of an op -> where it is in the program.

    Raises:
        RunError: An op recorded something.
    """
    number, index, extent = record.tolist()
    if number != _NONE:
        raise RunError(
            f"index {index} is out of range: it must be in [0, {extent})",
            location=places[number],
            hint="the op was built with validate_indices=True",
        )
