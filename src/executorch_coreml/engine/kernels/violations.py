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

from executorch_coreml.engine.kernels.operand import (
    Operand,
    StateCell,
    cast,
    i64,
    is_known,
    like,
    rank,
    shape_node,
)
from executorch_coreml.errors import ProgramError, RunError

RECORD = ""
"""The name of the cell; no value of a program has it."""

_NONE = -1
INDEX, PLACE, LENGTH, _SIZE, _STEP = range(5)
_SAID = {
    INDEX: (
        "index {value} is out of range: it must be in [0, {limit})",
        "the op was built with validate_indices=True",
    ),
    PLACE: ("index {value} is outside the list: it must be in [0, {limit})", None),
    LENGTH: ("a length of {value} is out of range: it must be in [0, {limit})", None),
    _SIZE: ("a size of {value}: none may be negative", None),
    _STEP: ("a step of {value} leads nowhere", None),
}


def empty_record() -> StateCell:
    """The number of an op, what it refuses, a value and its limit; no op so far."""
    return StateCell(RECORD, i64([_NONE, 0, 0, 0]))


@dataclass(frozen=True, slots=True)
class Violations:
    """Where one op records what it must refuse.

    Attributes:
        cell: What is known so far, in the graph of the op.
        number: Of the op, among all that may record.
    """

    cell: StateCell
    number: int

    def require(self, indices: ov.Output, extents: ov.Output, what: int = INDEX) -> None:
        """Records the first of ``indices`` that is not in [0, extent).

        Args:
            indices: Integers.
            extents: Integers of a shape that broadcasts to that of ``indices``.
            what: :data:`INDEX` of a tensor, :data:`PLACE` in a list, or :data:`LENGTH`.
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
        value, end = (
            ops.gather(_longer(_flat(values), i64(0)), first, i64(0)).output(0)
            for values in (index, limit)
        )
        self._record(what, ops.less(first, count), value, end)

    def within(self, values: Operand, limit: ov.Output, what: int) -> ov.Output:
        """``values`` as int64 in [0, limit): the nearest of those for one that is not, of which
        the first is recorded. ``limit`` is a scalar, and ``what`` as for :meth:`require`."""
        given, end = cast(values, ov.Type.i64), limit.get_node()
        if is_known(values) and end.get_type_name() == "Constant":
            known = np.asarray(values)
            if ((known >= 0) & (known < end.data)).all():
                return given
        self.require(given, limit, what)
        last = ops.subtract(limit, i64(1))
        return ops.maximum(ops.minimum(given, last), i64(0)).output(0)

    def sizes(self, sizes: Operand) -> ov.Output:
        """``sizes`` as int64, 0 for those that are negative, of which the least is recorded.

        Raises:
            ProgramError: They are known, and one is negative.
        """
        given = cast(sizes, ov.Type.i64)
        if is_known(sizes) and (np.asarray(sizes) < 0).any():
            said, _ = _SAID[_SIZE]
            raise ProgramError(said.format(value=np.min(np.asarray(sizes))))
        if _never_negative(given.get_node()):
            return given
        least = given
        if rank(given):
            least = ops.reduce_min(_longer(given, i64(0)), i64([0]), False).output(0)
        self._record(_SIZE, ops.less(least, i64(0)), least, i64(0))
        return ops.maximum(given, i64(0)).output(0)

    def require_a_step(self, step: ov.Output) -> None:
        """Records a ``step``, a scalar, of 0."""
        self._record(_STEP, ops.equal(step, like(0, step)), cast(step, ov.Type.i64), i64(0))

    def _record(self, what: int, wrong: ov.Node, value: ov.Output, limit: ov.Output) -> None:
        """Keeps ``value`` and its limit if it is ``wrong``; all three are scalars."""
        row = [i64([self.number, what])]
        row += [ops.reshape(each, i64([1]), False).output(0) for each in (value, limit)]
        known = ops.gather(self.cell.current, i64([0]), i64(0))
        new = ops.logical_and(ops.reshape(wrong, i64([1]), False), ops.less(known, i64([0])))
        self.cell.write(ops.select(new, ops.concat(row, 0), self.cell.current).output(0))


_ARITHMETIC = frozenset({"Add", "Concat", "Maximum", "Minimum", "Multiply"})
_CHOICE = frozenset({"Convert", "Gather", "Reshape", "Slice", "Squeeze", "Unsqueeze"})


def _never_negative(node: ov.Node, depth: int = 16) -> bool:
    """Whether a node gives sizes because it computes with nothing but extents and constants."""
    kind = node.get_type_name()
    if kind == "ShapeOf":
        return True
    if kind == "Constant":
        return bool((node.data >= 0).all())
    if kind not in _ARITHMETIC | _CHOICE or not depth:
        return False
    # The positions that Gather and its like take may be negative.
    takes = node.input_values() if kind in _ARITHMETIC else node.input_values()[:1]
    return all(_never_negative(each.get_node(), depth - 1) for each in takes)


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
    number, what, value, limit = record.tolist()
    if number != _NONE:
        said, hint = _SAID[what]
        raise RunError(said.format(value=value, limit=limit), location=places[number], hint=hint)
