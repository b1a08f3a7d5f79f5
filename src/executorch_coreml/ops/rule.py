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

from executorch_coreml.ops.bounds import beyond_int32
from executorch_coreml.ops.call import Call
from executorch_coreml.ops.ranks import MAX_RANK, Form, default_form, too_many_axes
from executorch_coreml.ops.sizes import fixed_extent, inexpressible, may_be_empty
from executorch_coreml.options import Target

if TYPE_CHECKING:
    from executorch_coreml.ops.emit import Emit

Check: TypeAlias = Callable[[Call], "str | None"]
Lower: TypeAlias = "Callable[[Emit, Call], Any]"

FLOAT = frozenset({torch.float32, torch.float16})
NARROW = frozenset({torch.int8, torch.uint8, torch.int16})  # carried as int32: see ops/narrow.py
INT = NARROW | {torch.int32, torch.int64}
BOOL = frozenset({torch.bool})
BYTES = frozenset({torch.int8, torch.uint8})  # quantized values
ANY = FLOAT | INT | BOOL

ASKED_TARGET = "minimum_deployment_target is"  # in reasons that another target would remove

# What to do about a dtype that no rule takes.
_INSTEAD = {
    torch.float64: "; make it float32, with .float()",
    torch.bfloat16: "; make it float32 or float16, with .float() or .half()",
    torch.complex64: "; compute with the real and the imaginary part, as torch.view_as_real does",
    torch.complex128: "; compute with the real and the imaginary part, as float32",
}
# Views that may stay whole: ExecuTorch's edge dialect has them as copies, with a kernel for those
# that are left outside. When nothing decomposes, ExecuTorch (1.5.1) traces the program once less.
_VIEWS = frozenset({torch.ops.aten.transpose.int, torch.ops.aten.t.default})


@dataclass(frozen=True, slots=True)
class Rule:
    """One row.

    Attributes:
        op: The aten overload.
        lower: Emits MIL for one call; returns a MIL value, or a tuple of them for several results.
        checks: Further conditions on a call, beside those every op has.
        types: dtypes allowed for every tensor argument and result.
        since: The oldest deployment target that can run what ``lower`` emits for any call.
        since_of: The oldest target for one call, where the MIL ops depend on the arguments.
        any_rank: Arguments of higher rank than Core ML's become no tensors of their own.
        better: The target from which on ``lower`` has a better form, where it has two.
        moves_data: The op computes nothing (reshape, slice, ...): no reason to make a delegate.
        in_range: Operands in the range of a narrow dtype cannot make a result outside it, so that
            nothing need be wrapped. Ops that move data are like that unless they say otherwise.
        dynamic: The lowering holds for extents that only run time knows.
        empty: It also holds for extents that may turn out 0, as those that depend on values may.
        selects: The result has extents of its own, which depend on values.
        where: ``file:line`` of the lowering.
        fewer: How a call on more than five axes is written with fewer; None if it cannot be.
    """

    op: Any
    lower: Lower
    checks: tuple[Check, ...]
    types: frozenset[torch.dtype]
    since: Target
    better: Target | None
    moves_data: bool
    in_range: bool
    dynamic: bool
    where: str
    fewer: Form | None = None
    since_of: Callable[[Call], Target] | None = None
    any_rank: bool = False
    empty: bool = False
    selects: bool = False

    @property
    def limits(self) -> tuple[str, ...]:
        """The checks in words: the first line of each docstring."""
        return tuple((check.__doc__ or "").partition("\n")[0].rstrip(".") for check in self.checks)

    def oldest(self, call: Call) -> Target:
        """The oldest deployment target that can run what ``lower`` emits for this call."""
        return self.since if self.since_of is None else self.since_of(call)

    def refuse(self, call: Call) -> str | None:
        """Why this call cannot be lowered, or None if it can."""
        for name, tensor in call.tensors():
            if reason := self._tensor_reason(f"argument {name!r}", tensor):
                return reason
        for tensor in call.read_outs():
            if reason := self._tensor_reason("the result", tensor):
                return reason
        if call.node.meta.get("unbacked_bindings") and not self.selects:
            return "an extent of its result depends on values; only nonzero and masks give such"
        if too_many_axes(call) and not self.any_rank and not self._takes_fewer(call):
            return _rank_reason(call)
        checks = (*self.checks, beyond_int32, self._target_reason)
        return next((reason for check in checks if (reason := check(call))), None)

    def _target_reason(self, call: Call) -> str | None:
        oldest = self.oldest(call)
        if call.target is None or call.target >= oldest:
            return None
        return f"needs {oldest.name} or later; {ASKED_TARGET} {call.target.name}"

    def _takes_fewer(self, call: Call) -> bool:
        """Whether the call can be written with fewer axes, whose extents must be known for it."""
        tensors = [*(tensor for _, tensor in call.tensors()), *call.read_outs()]
        fixed = all(fixed_extent(extent) is not None for t in tensors for extent in t.shape)
        return fixed and self.fewer is not None and self.fewer(call) is not None

    def _tensor_reason(self, what: str, tensor: torch.Tensor) -> str | None:
        if tensor.dtype not in self.types:
            reason = f"{what} has dtype {_dtype(tensor.dtype)}; allowed: {_dtypes(self.types)}"
            return reason + _INSTEAD.get(tensor.dtype, "")
        extents = [fixed_extent(extent) for extent in tensor.shape]
        if None in extents and (unfit := self._extent_reason(what, tensor)):
            return unfit
        if 0 in extents:
            return f"{what} is empty: its shape is {tuple(tensor.shape)}"
        if tensor.layout is not torch.strided:
            return f"{what} has layout {tensor.layout}; only strided tensors can be delegated"
        return None

    def _extent_reason(self, what: str, tensor: torch.Tensor) -> str | None:
        unknown = [extent for extent in tensor.shape if fixed_extent(extent) is None]
        if not self.dynamic:
            return f"{what} has the dynamic shape {tuple(tensor.shape)}; this op needs a fixed one"
        if not self.empty and may_be_empty(unknown):
            return (
                f"{what} has the shape {tuple(tensor.shape)}, which depends on values and may be "
                "empty; this op needs an element at least"
            )
        return next((f"{what}: {r}" for extent in unknown if (r := inexpressible(extent))), None)


def _rank_reason(call: Call) -> str:
    """Which tensor has too many axes; they can neither be merged."""
    named = [(f"argument {name!r}", tensor) for name, tensor in call.tensors()]
    named += [("the result", tensor) for tensor in call.read_outs()]
    what, most = max(named, key=lambda pair: pair[1].dim())
    return f"{what} has rank {most.dim()}; Core ML allows at most {MAX_RANK}"


def _dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _dtypes(dtypes: Iterable[torch.dtype]) -> str:
    return ", ".join(sorted(_dtype(d) for d in dtypes))


def stays_whole(op: Any) -> bool:
    """Whether ExecuTorch can keep an op that PyTorch decomposes; most views it cannot."""
    return op in _VIEWS or all(result.alias_info is None for result in op._schema.returns)


class Family:
    """The rules of one file. Calling it gives a decorator that adds a row per overload.

    Args:
        dynamic: Whether its rules take dynamic shapes, unless a row says otherwise.
        empty: Whether they take extents that may turn out 0, unless a row says otherwise.
    """

    def __init__(self, *, dynamic: bool = False, empty: bool = False) -> None:
        self.rows: list[Rule] = []
        self._dynamic = dynamic
        self._empty = empty

    def __call__(
        self,
        *ops: Any,
        types: frozenset[torch.dtype] = ANY,
        checks: Sequence[Check] = (),
        since: Target = Target.iOS15,
        better: Target | None = None,
        moves_data: bool = False,
        in_range: bool | None = None,
        dynamic: bool | None = None,
        fewer: Form | None = None,
        since_of: Callable[[Call], Target] | None = None,
        any_rank: bool = False,
        empty: bool | None = None,
        selects: bool = False,
    ) -> Callable[[Lower], Lower]:
        def add(lower: Lower) -> Lower:
            code = lower.__code__
            where = f"{code.co_filename}:{code.co_firstlineno}"
            for op in ops:
                self.rows.append(
                    Rule(
                        op=op,
                        lower=lower,
                        checks=tuple(checks),
                        types=types,
                        since=since,
                        better=better,
                        moves_data=moves_data,
                        in_range=moves_data if in_range is None else in_range,
                        dynamic=self._dynamic if dynamic is None else dynamic,
                        where=where,
                        fewer=fewer or default_form(op),
                        since_of=since_of,
                        any_rank=any_rank,
                        empty=self._empty if empty is None else empty,
                        selects=selects,
                    )
                )
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
