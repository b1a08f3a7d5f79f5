"""A row of TABLE 1: how one aten overload becomes MIL, and when it may.

::

    rules = Family()

    @rules(aten.div.Tensor_mode, types=FLOAT | INT, checks=[one_of("rounding_mode", None, "floor")])
    def div_mode(mb: Emit, call: Call) -> Var: ...

A *check* reads metadata and returns None or a sentence that says why not; it never raises and
never reads weights. :meth:`Rule.refuse` adds the checks that hold for every op.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from executorch_coreml.ops.call import Call
from executorch_coreml.options import Target

if TYPE_CHECKING:
    from executorch_coreml.ops.emit import Emit

Check: TypeAlias = Callable[[Call], "str | None"]
Lower: TypeAlias = "Callable[[Emit, Call], Any]"

FLOAT = frozenset({torch.float32, torch.float16})
INT = frozenset({torch.int32, torch.int64})
BOOL = frozenset({torch.bool})
ANY = FLOAT | INT | BOOL

# Views that may stay whole: ExecuTorch's edge dialect has them as copies, with a kernel for those
# that are left outside. When nothing decomposes, ExecuTorch (1.5.1) traces the program once less.
_VIEWS = frozenset({torch.ops.aten.transpose.int, torch.ops.aten.t.default})

MAX_RANK = 5  # Core ML refuses tensors of higher rank


@dataclass(frozen=True, slots=True)
class Rule:
    """One row.

    Attributes:
        op: The aten overload.
        lower: Emits MIL for one call; returns a MIL value, or a tuple of them for several results.
        checks: Further conditions on a call, beside those every op has.
        types: dtypes allowed for every tensor argument and result.
        since: The oldest deployment target that can run what ``lower`` emits.
        moves_data: The op computes nothing (reshape, slice, ...): no reason to make a delegate.
        where: ``file:line`` of the lowering.
    """

    op: Any
    lower: Lower
    checks: tuple[Check, ...]
    types: frozenset[torch.dtype]
    since: Target
    moves_data: bool
    where: str

    @property
    def limits(self) -> tuple[str, ...]:
        """The checks in words: the first line of each docstring."""
        return tuple((check.__doc__ or "").partition("\n")[0].rstrip(".") for check in self.checks)

    def refuse(self, call: Call) -> str | None:
        """Why this call cannot be lowered, or None if it can."""
        if call.target is not None and call.target < self.since:
            return (
                f"needs {self.since.name} or later; minimum_deployment_target is {call.target.name}"
            )
        for name, tensor in call.tensors():
            if reason := self._tensor_reason(f"argument {name!r}", tensor):
                return reason
        for tensor in call.read_outs():
            if reason := self._tensor_reason("the result", tensor):
                return reason
        return next((reason for check in self.checks if (reason := check(call))), None)

    def _tensor_reason(self, what: str, tensor: torch.Tensor) -> str | None:
        if tensor.dtype not in self.types:
            return f"{what} has dtype {_dtype(tensor.dtype)}; allowed: {_dtypes(self.types)}"
        if tensor.dim() > MAX_RANK:
            return f"{what} has rank {tensor.dim()}; Core ML allows at most {MAX_RANK}"
        if not all(isinstance(extent, int) for extent in tensor.shape):
            return f"{what} has a dynamic shape {tuple(tensor.shape)}"
        if 0 in tensor.shape:
            return f"{what} is empty: its shape is {tuple(tensor.shape)}"
        if tensor.layout is not torch.strided:
            return f"{what} has layout {tensor.layout}; only strided tensors can be delegated"
        return None


def _dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _dtypes(dtypes: Iterable[torch.dtype]) -> str:
    return ", ".join(sorted(_dtype(d) for d in dtypes))


def stays_whole(op: Any) -> bool:
    """Whether ExecuTorch can keep an op that PyTorch decomposes; most views it cannot."""
    return op in _VIEWS or all(result.alias_info is None for result in op._schema.returns)


class Family:
    """The rules of one file. Calling it gives a decorator that adds a row per overload."""

    def __init__(self) -> None:
        self.rows: list[Rule] = []

    def __call__(
        self,
        *ops: Any,
        types: frozenset[torch.dtype] = ANY,
        checks: Sequence[Check] = (),
        since: Target = Target.iOS15,
        moves_data: bool = False,
    ) -> Callable[[Lower], Lower]:
        def add(lower: Lower) -> Lower:
            code = lower.__code__
            where = f"{code.co_filename}:{code.co_firstlineno}"
            for op in ops:
                row = Rule(op, lower, tuple(checks), types, since, moves_data, where)
                self.rows.append(row)
            return lower

        return add

    def unary(self, *rows: tuple[Any, str, frozenset[torch.dtype]]) -> None:
        """Rows (overload, MIL op, dtypes) for ops of one tensor ``x`` that keep its dtype."""
        for op, mil, types in rows:
            self(op, types=types)(_unary(mil))


def _unary(mil: str) -> Lower:
    def unary(mb: Emit, call: Call) -> Any:
        return mb.op(mil, x=mb.var(call["self"], call.out.dtype))

    return unary


def merge(families: Iterable[Family]) -> Mapping[Any, Rule]:
    """All rows in one read-only table. A duplicate raises and names both places."""
    table: dict[Any, Rule] = {}
    for family in families:
        for row in family.rows:
            if row.op in table:
                raise ValueError(f"two rules for {row.op}: {table[row.op].where} and {row.where}")
            table[row.op] = row
    return MappingProxyType(table)
