"""The graph of a method in blocks: inputs, delegates, what runs between them, outputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise

from executorch_coreml.report.facts import DELEGATE, INPUT, OUTPUT, OUTSIDE, Block, Row

_NAMED = 3  # ops of a block outside that are named in it


def blocks(
    rows: Sequence[Row], inputs: Sequence[str], results: Iterable[int], outputs: Sequence[str]
) -> list[Block]:
    """Groups rows that run one after the other in the same delegate, or in none.

    Args:
        rows: Of one method, in the order in which they run; those of a delegate together.
        inputs: What the method takes, in words.
        results: The rows (or inputs, as ``-1 - n``) that the method returns.
        outputs: What it returns, in words.
    """
    made = [Block(0, INPUT, "inputs", _words(inputs), [], {})]
    by_id = {row.id: row for row in rows}
    home: dict[int, Block] = {}
    for delegate, together in groupby(rows, key=lambda row: row.delegate):
        kind = OUTSIDE if delegate is None else DELEGATE
        block = Block(len(made), kind, "", "", [row.id for row in together], {})
        home |= dict.fromkeys(block.rows, block)
        made.append(block)
    for block in made[1:]:
        _name(block, [by_id[number] for number in block.rows])
        reads = {source for number in block.rows for source in by_id[number].inputs}
        block.reads = _sources(reads, block, home)
    end = Block(len(made), OUTPUT, "outputs", _words(outputs), [], {})
    end.reads = _sources(set(results), end, home)
    return [*made, end]


def in_order(made: list[Block]) -> list[Block]:
    """The blocks of a program whose values are not known: each reads from the one before."""
    for before, block in pairwise(made):
        block.reads = {before.id: 0}
    return made


def ranks(made: Sequence[Block]) -> dict[int, int]:
    """How many blocks come before each one on its longest way from the inputs."""
    found: dict[int, int] = {}
    for block in made:
        before = [found[source] for source in block.reads if source in found]
        found[block.id] = 1 + max(before, default=-1 if block.kind == INPUT else 0)
    return found


def _sources(reads: set[int], block: Block, home: dict[int, Block]) -> dict[int, int]:
    found = Counter(home[source].id if source >= 0 else 0 for source in reads)
    return {source: count for source, count in sorted(found.items()) if source != block.id}


def _name(block: Block, rows: list[Row]) -> None:
    count = f"{len(rows)} op{'s' if len(rows) != 1 else ''}"
    if block.kind == DELEGATE:
        size = sum(row.bytes for row in rows)
        block.title = f"delegate {rows[0].delegate}"
        block.detail = f"{count}, {size_text(size)} of weights" if size else count
        return
    block.title = f"outside: {count}"
    names = list(dict.fromkeys(row.op for row in rows))
    rest = f", {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    block.detail = ", ".join(names[:_NAMED]) + rest


def _words(values: Sequence[str]) -> str:
    shown = ", ".join(values[:_NAMED])
    return shown + (f", {len(values) - _NAMED} more" if len(values) > _NAMED else "")


def size_text(count: int) -> str:
    """Bytes for people: ``"1.5 MiB"``."""
    size, units = float(count), ["B", "KiB", "MiB", "GiB"]
    while size >= 1024 and len(units) > 1:
        size, units = size / 1024, units[1:]
    return f"{count} B" if units[0] == "B" else f"{size:.1f} {units[0]}"
