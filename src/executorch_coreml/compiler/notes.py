"""What the compiler and the partitioner tell each other.

Precision decisions go back to the partitioner's report, and what stayed outside goes into the first
delegate, for who has nothing but the ``.pte``. ExecuTorch calls the two apart, with the graph as
all they share: the partitioner leaves its notes in the metadata of the nodes it tags, which a
delegate's nodes inherit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch.fx import Node

from executorch_coreml.location import Location, locate

_KEY = "coreml_precision_notes"
_OUTSIDE_KEY = "coreml_left_outside"


@dataclass(frozen=True, slots=True)
class PrecisionNote:
    """Where the compiler did not compute in fp16 as told, or changed a number to fit it.

    Attributes:
        location: The node and where it stands in the user's source.
        reason: What was done and why.
    """

    location: Location
    reason: str

    def __str__(self) -> str:
        return f"{self.location}: {self.reason}"


class PrecisionNotes(dict[PrecisionNote, None]):
    """The notes that one run of the partitioner owns; a copied graph still leads to them."""

    def __deepcopy__(self, memo: dict[int, Any]) -> PrecisionNotes:
        return self

    def asked_from(self, nodes: Iterable[Node]) -> None:
        """Has the compiler's notes about ``nodes`` end up here."""
        for node in nodes:
            node.meta[_KEY] = self


def hand_back(nodes: Iterable[Node], notes: Mapping[Node, list[str]]) -> None:
    """Adds ``notes`` to those that the ``nodes`` of a delegate lead to, if any."""
    asked = next((node.meta[_KEY] for node in nodes if _KEY in node.meta), None)
    if asked is not None:
        found = (PrecisionNote(locate(node), why) for node, each in notes.items() for why in each)
        asked.update(dict.fromkeys(found))


class _Outside(dict[str, tuple[str, ...]]):
    """One for all nodes that lead to it: a copied graph does not copy it once per node."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _Outside:
        return self


def leave_outside(nodes: Iterable[Node], refused: Iterable[tuple[str, Location]]) -> None:
    """Leaves with the ``nodes`` of a delegate why others are in none."""
    found = _Outside(by_reason(refused))
    for node in nodes:
        node.meta[_OUTSIDE_KEY] = found


def left_outside(nodes: Iterable[Node]) -> Mapping[str, tuple[str, ...]]:
    """What :func:`leave_outside` left with the nodes of a delegate; nothing with most."""
    found = (node.meta[_OUTSIDE_KEY] for node in nodes if _OUTSIDE_KEY in node.meta)
    return dict(next(found, {}))


def by_reason(noted: Iterable[tuple[str, Location]]) -> dict[str, tuple[str, ...]]:
    """Reason -> the places it was noted for, each once, as texts that hold on any machine."""
    found: dict[str, dict[str, None]] = {}
    for reason, location in noted:
        found.setdefault(reason, {})[str(location.portable)] = None
    return {reason: tuple(places) for reason, places in found.items()}
