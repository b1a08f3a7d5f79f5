"""How commands print: tables for people, JSON for programs."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

_PIPED_WIDTH = 1000  # characters: no cell wraps where a program reads the lines


@contextmanager
def quiet_imports(most: int = logging.WARNING) -> Iterator[None]:
    """torch and torchao warn, when they are imported, of parts that are not needed here.

    Args:
        most: The level up to which nothing is logged. ``torch.export`` logs as errors what it then
            raises.
    """
    logging.disable(most)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write beside ``path``, whose folder is made; it takes the place of ``path`` when
    all of it is written, so that nothing half-written is ever there.

    Raises:
        CompileError: The file cannot be written.
    """
    from executorch_coreml.errors import CompileError

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            part = Path(folder, path.name)
            yield part
            os.replace(part, path)
    except OSError as error:
        raise CompileError(f"{path} cannot be written: {error.strerror}") from error


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, allow_nan=False))


def number(value: float) -> float | str:
    """JSON has no infinity and no NaN: they become the texts that ``float`` reads."""
    return value if math.isfinite(value) else str(value)


def plain(value: Any) -> Any:
    """Dictionaries, lists, numbers and text with :func:`number` in place of every float."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return number(value) if isinstance(value, float) else value


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Aligned columns, wrapped to the terminal; the first one never wraps."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, name in enumerate(columns):
        table.add_column(name, no_wrap=i == 0)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH).print(table)
