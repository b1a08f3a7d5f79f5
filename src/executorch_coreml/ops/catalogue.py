"""TABLE 1 in words, for ``etcoreml ops`` and docs/operators.md."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch.export import default_decompositions

from executorch_coreml.ops import TABLE
from executorch_coreml.ops.ranks import MAX_RANK
from executorch_coreml.ops.refused import REFUSED
from executorch_coreml.ops.rule import Rule, stays_whole

_INTRODUCTION = f"""\
# Operators

Made from the table of rules by `etcoreml ops --markdown > docs/operators.md`.

A call of one of these {len(TABLE)} aten overloads can be delegated if all its tensors have one of
the dtypes and rank {MAX_RANK} at most, if the deployment target is the one named or later, and
within the limits. Inside a delegate many ops take higher ranks too: axes are merged. The
partitioner's report gives the reason for every call that cannot. Every op of the Core ATen set is
either here or, with the reason, under [Refused](#refused).

Integers are int32 in Core ML:

- int8, uint8 and int16 wrap around as in PyTorch. uint8 and int16 tensors cross the border of a
  delegate; int8 tensors do not, because ExecuTorch's delegate on the device refuses them on every
  OS version, so the ops that take or give them there stay outside.
- int64 results that are known to leave int32 are refused: known from counters, constants, limits,
  lengths of axes and narrow dtypes. Inputs are taken to be token ids, positions and the like, and
  arithmetic on them goes through. A value beyond int32 in an int64 input is an error here; the
  delegate on the device keeps its low 32 bits.

float64, bfloat16 and complex tensors stay outside: convert the model, for example with `.float()`.

*core* ops belong to PyTorch's Core ATen set. *whole* ops would be decomposed by PyTorch, and are
kept as they are if every call of them in the program can be delegated.

[ExecuTorch's operator suite](suite.md) in our flows: what is delegated and why the rest is not.

"""

_REFUSED = """
## Refused

Ops that Core ML cannot express. They stay outside the delegate, where ExecuTorch runs those it has
a kernel for.

"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the table.

    Attributes:
        op: The aten overload, ``"aten.add.Tensor"``.
        dtypes: What its tensors may be, the narrowest of each kind first.
        since: The oldest deployment target, ``"iOS15"``.
        limits: What further must hold of a call.
        core: It is in PyTorch's Core ATen set.
        kept_whole: PyTorch would decompose it; the partitioner asks ExecuTorch not to.
    """

    op: str
    dtypes: tuple[str, ...]
    since: str
    limits: tuple[str, ...]
    core: bool
    kept_whole: bool

    @property
    def kind(self) -> str:
        marks = (("core", self.core), ("whole", self.kept_whole))
        return ", ".join(name for name, holds in marks if holds)

    def cells(self) -> tuple[str, str, str, str, str]:
        """The entry as texts: op, dtypes, since, kind, limits."""
        return self.op, " ".join(self.dtypes), self.since, self.kind, "; ".join(self.limits)


COLUMNS = ("op", "dtypes", "since", "kind", "limits")


@dataclass(frozen=True, slots=True)
class Refusal:
    """An op that no rule lowers: whether it is in the Core ATen set, and the reason."""

    op: str
    core: bool
    reason: str

    def cells(self) -> tuple[str, str, str]:
        """The refusal as texts: op, kind, reason."""
        return self.op, "core" if self.core else "", self.reason


REFUSAL_COLUMNS = ("refused op", "kind", "reason")


def entries(containing: str = "") -> list[Entry]:
    """The rows whose op contains the text (in any case), in alphabetical order."""
    decomposed = default_decompositions()
    rows = [_entry(rule, decomposed) for rule in TABLE.values()]
    return sorted((row for row in rows if containing.lower() in row.op.lower()), key=_order)


def refusals(containing: str = "") -> list[Refusal]:
    """The refused ops whose name contains the text (in any case), in alphabetical order."""
    rows = [Refusal(str(op), torch.Tag.core in op.tags, why) for op, why in REFUSED.items()]
    return sorted((row for row in rows if containing.lower() in row.op.lower()), key=_order)


def _order(entry: Entry | Refusal) -> tuple[str, str]:
    return entry.op.lower(), entry.op


def _entry(rule: Rule, decomposed: Any) -> Entry:
    limits = rule.limits if rule.dynamic else (*rule.limits, "the shapes are fixed")
    return Entry(
        op=str(rule.op),
        dtypes=tuple(str(d).removeprefix("torch.") for d in sorted(rule.types, key=_width)),
        since=rule.since.name,
        limits=tuple(limit[:1].lower() + limit[1:] for limit in limits),
        core=torch.Tag.core in rule.op.tags,
        kept_whole=rule.op in decomposed and _may_stay_whole(rule.op),
    )


def _width(dtype: torch.dtype) -> tuple[bool, bool, int, str]:
    """bool, then integers, then floats, each from narrow to wide."""
    return dtype.is_floating_point, dtype is not torch.bool, dtype.itemsize, str(dtype)


def _may_stay_whole(op: Any) -> bool:
    """ExecuTorch 1.5.1 decomposes all the same what has several results, and most views."""
    return op.namespace == "aten" and len(op._schema.returns) == 1 and stays_whole(op)


def markdown(rows: Iterable[Entry], refused: Iterable[Refusal]) -> str:
    """The text of docs/operators.md for all rows."""
    return _INTRODUCTION + _table(COLUMNS, rows) + _REFUSED + _table(REFUSAL_COLUMNS, refused)


def _table(columns: Iterable[str], rows: Iterable[Entry | Refusal]) -> str:
    titles = list(columns)
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for row in rows:
        op, *others = (cell.replace("|", "\\|") for cell in row.cells())
        lines.append(f"| {' | '.join([f'`{op}`', *others])} |")
    return "\n".join(lines) + "\n"
