"""The command line, called in this process."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from executorch_coreml.cli import main


def call(*arguments: object) -> Result:
    """Runs ``etcoreml``. The user's modules that it imports, and the folders it finds them in, are
    forgotten afterwards, as they are when a process ends."""
    words = [str(argument) for argument in arguments]
    names = {Path(word.partition(":")[0]).stem for word in words}
    folders, modules = sys.path[:], {name: sys.modules.get(name) for name in names}
    try:
        return CliRunner().invoke(main, words)
    finally:
        sys.path[:] = folders
        for name, module in modules.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module


def printed(*arguments: object) -> Any:
    """The JSON that a command prints."""
    result = call(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)
