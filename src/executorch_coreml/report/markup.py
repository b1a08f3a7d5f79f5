"""Tables and bars of a report, as HTML."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape


def meter(parts: Iterable[tuple[str, int]]) -> str:
    cells = "".join(f'<i class="fill-{k}" style="flex:{n}"></i>' for k, n in parts if n)
    return f'<div class="meter" aria-hidden="true">{cells}</div>'


def counts(counts: Mapping[str, int], text: Callable[[int], str]) -> str:
    largest = max(counts.values(), default=1)
    shown = sorted(counts.items(), key=lambda item: -item[1])
    rows = [[escape(name), text(n), bar(n, largest)] for name, n in shown]
    return table(("", "#", ""), rows, "short", head=False)


def bar(count: int, largest: int) -> str:
    return f'<i style="width:{100 * count / max(largest, 1):.1f}%"></i>'


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], kind: str, *, head: bool = True
) -> str:
    """Cells are HTML. ``#`` before a column's name sets it flush right."""
    numbers = [name.startswith("#") for name in columns]
    top = "".join(
        f'<th scope="col"{" class=num" if n else ""}>{escape(name.lstrip("#"))}</th>'
        for name, n in zip(columns, numbers, strict=True)
    )
    body = "".join(
        "<tr>" + "".join(_cell(cell, n) for cell, n in zip(row, numbers, strict=True)) + "</tr>"
        for row in rows
    )
    thead = f"<thead><tr>{top}</tr></thead>" if head else ""
    return f'<div class="scroll {kind}"><table>{thead}<tbody>{body}</tbody></table></div>'


def _cell(html: str, number: bool) -> str:
    if html.startswith("<i "):
        return f'<td class="barcell">{html}</td>'
    return f"<td{' class=num' if number else ''}>{html}</td>"
