"""Fixtures that several test files share."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of programs lowered by the stock backend, in a process of its own."""
    directory = tmp_path_factory.mktemp("stock")
    script = Path(__file__).with_name("stock_models.py")
    run = subprocess.run(
        [sys.executable, str(script), str(directory)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return directory
