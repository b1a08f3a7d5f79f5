"""Tables of the examples, for the terminal and between two markers of a documentation page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

DOCS = Path(__file__).parents[1] / "docs"


@dataclass
class Report:
    """A table whose first column names the rows; the others are figures."""

    title: str
    headings: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)

    def show(self, console: Console) -> None:
        table = Table(title=self.title, title_justify="left")
        for number, heading in enumerate(self.headings):
            table.add_column(heading, justify="right" if number else "left", no_wrap=True)
        for row in self.rows:
            table.add_row(*row)
        console.print(table)

    def markdown(self) -> str:
        lines = ["| " + " | ".join(row) + " |" for row in (self.headings, *self.rows)]
        lines.insert(1, "|---|" + "---:|" * (len(self.headings) - 1))
        return f"**{self.title}**\n\n" + "\n".join(lines)


def write(page: str, name: str, reports: Sequence[Report]) -> None:
    """Replaces what stands between ``<!-- name -->`` and ``<!-- end of name -->``.

    Raises:
        ValueError: The page lacks the markers.
    """
    path = DOCS / page
    text = path.read_text()
    first, last = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, found, rest = text.partition(first)
    _, closed, after = rest.partition(last)
    if not (found and closed):
        raise ValueError(f"{path} lacks {first} or {last}")
    body = "\n\n".join(report.markdown() for report in reports)
    path.write_text(f"{before}{first}\n\n{body}\n\n{last}{after}")
