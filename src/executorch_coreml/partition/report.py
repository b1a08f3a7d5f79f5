"""What the partitioner decided for each node, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from executorch_coreml.location import Location
from executorch_coreml.partition.buffers import Buffer


@dataclass(frozen=True, slots=True)
class Decision:
    """Attributes:
    location: The node and where it stands in the user's source.
    reason: Why the node stays outside; None when it is delegated.
    """

    location: Location
    reason: str | None

    def __str__(self) -> str:
        return f"{self.location}: {self.reason or 'delegated'}"


@dataclass(frozen=True, slots=True)
class Report:
    """One decision per computing node, in graph order, the number of delegates made, and what
    became of each mutated buffer that a delegate uses."""

    decisions: tuple[Decision, ...] = ()
    delegates: int = 0
    buffers: tuple[Buffer, ...] = ()

    @property
    def delegated(self) -> tuple[Decision, ...]:
        return tuple(d for d in self.decisions if d.reason is None)

    @property
    def refused(self) -> tuple[Decision, ...]:
        return tuple(d for d in self.decisions if d.reason is not None)

    def __iter__(self) -> Iterator[Decision]:
        return iter(self.decisions)

    def __str__(self) -> str:
        """A summary: how much is delegated, then each refused op with its reason and count."""
        total, inside = len(self.decisions), len(self.delegated)
        lines = [f"{inside} of {total} nodes delegated in {self.delegates} delegate(s)"]
        reasons = Counter((d.location.op, d.reason) for d in self.refused)
        lines += [f"  {op} x{count}: {reason}" for (op, reason), count in reasons.items()]
        lines += [f"  {buffer}" for buffer in self.buffers]
        return "\n".join(lines)
