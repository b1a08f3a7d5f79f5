"""What the partitioner decided for each node, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from torch.fx import Node

from executorch_coreml.compiler.notes import PrecisionNote
from executorch_coreml.compiler.target import (
    Need,
    choose,
    deciding,
    ops_better,
    ops_need,
    options_need,
)
from executorch_coreml.location import Location
from executorch_coreml.options import CompileOptions, Target
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
class Minimum:
    """The oldest OS that runs all delegates of a method by themselves.

    Methods that share one model need iOS18 beside, which shows once they are compiled.

    Attributes:
        target: That OS, the one asked for if one was.
        reasons: What an older one lacks; empty for the oldest of all.
        better: Ops that are lowered in an older form, and the OS that has a better one.
    """

    target: Target
    reasons: tuple[str, ...] = ()
    better: tuple[Need, ...] = ()

    @classmethod
    def of(
        cls,
        pieces: Sequence[Sequence[Node]],
        fixed: Collection[Node],
        options: CompileOptions,
        states: Sequence[str],
    ) -> Minimum:
        """For pieces that are delegated, the constants and the buffers that become states."""
        nodes = [node for piece in pieces for node in piece]
        found = ops_need(nodes, fixed) + [Need(Target.iOS18, f"state {name}") for name in states]
        if not all(_fed(piece, fixed) for piece in pieces):
            found.append(Need(Target.iOS18, "a model without inputs"))
        found += options_need(options)
        target = choose(found, options)
        return cls(target, deciding(found, target), tuple(ops_better(nodes, target)))

    def __str__(self) -> str:
        reasons = f" because: {'; '.join(self.reasons)}" if self.reasons else ""
        lines = [f"{self.target.name} or later{reasons}"]
        for target in sorted({need.target for need in self.better}):
            ops = "; ".join(need.reason for need in self.better if need.target == target)
            lines.append(f"lowered in an older form, better from {target.name} on: {ops}")
        return "\n  ".join(lines)


def _fed(piece: Sequence[Node], fixed: Collection[Node]) -> bool:
    """Whether anything but constants goes in."""
    inside = {*piece, *fixed}
    return any(source not in inside for node in piece for source in node.all_input_nodes)


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a program.

    Attributes:
        decisions: One per computing node, in graph order.
        delegates: How many were made.
        buffers: What became of each mutated buffer that a delegate uses.
        minimum: The oldest OS; None before there is a program.
        precision: Where fp16 was avoided or a number changed to fit it; known once the delegates
            are compiled, that is when ``to_edge_transform_and_lower`` has returned.
    """

    decisions: tuple[Decision, ...] = ()
    delegates: int = 0
    buffers: tuple[Buffer, ...] = ()
    minimum: Minimum | None = None
    precision: tuple[PrecisionNote, ...] = ()

    @property
    def delegated(self) -> tuple[Decision, ...]:
        """What is inside a delegate."""
        return tuple(d for d in self.decisions if d.reason is None)

    @property
    def refused(self) -> tuple[Decision, ...]:
        """What stays outside, each with its reason."""
        return tuple(d for d in self.decisions if d.reason is not None)

    def __iter__(self) -> Iterator[Decision]:
        return iter(self.decisions)

    def __str__(self) -> str:
        """A summary: how much is delegated, each refused op with its reason and count, what became
        of buffers, the oldest OS, and each precision decision with its count."""
        total, inside = len(self.decisions), len(self.delegated)
        lines = [f"{inside} of {total} nodes delegated in {self.delegates} delegate(s)"]
        reasons = Counter((d.location.op, d.reason) for d in self.refused)
        lines += [f"  {op} x{count}: {reason}" for (op, reason), count in reasons.items()]
        lines += [f"  {buffer}" for buffer in self.buffers]
        if self.delegates and self.minimum is not None:
            lines.append(f"  {self.minimum}")
        notes = Counter((note.location.op, note.reason) for note in self.precision)
        lines += [f"  precision, {op} x{count}: {reason}" for (op, reason), count in notes.items()]
        return "\n".join(lines)
