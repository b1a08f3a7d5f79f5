"""How the arguments of each op are drawn: one file per family, as in ``ops/``."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from fuzz.draw import ROWS, Draw

for _path in sorted(Path(__file__).parent.glob("[!_]*.py")):
    import_module(f"fuzz.rows.{_path.stem}")

Row = Callable[[Draw, Any], None]

__all__ = ["ROWS", "Row"]
