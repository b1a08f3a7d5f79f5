"""The command ``etcoreml``: one file per command, loaded when it is called.

Exit codes: 0 done, 1 a :class:`CoreMLError` (one line on stderr), 2 wrong usage, 3 an answer that
somebody asked to know: ``compare`` finds a result that is not as good as asked, ``diff`` a
difference, ``doctor`` something that is missing or will not work.

``etcoreml --help`` loads every file for its summary, so the top of each imports nothing heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from executorch_coreml import __version__
from executorch_coreml.errors import CoreMLError

COMMANDS = (
    "compare",
    "completion",
    "diff",
    "doctor",
    "export",
    "extract",
    "finish",
    "inspect",
    "ops",
    "report",
    "run",
)


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(f"{__name__}.{name}").command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CoreMLError as error:
            raise click.ClickException(" ".join(str(error).split())) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="etcoreml")
def main() -> None:
    """Core ML models and ExecuTorch programs, without a Mac."""
