"""Runs collected tests in forks of the process that has imported and collected them.

A fork starts with all of that done, ends after :data:`CHUNK` tests with whatever they left in
memory and on disk, and may die of a test.
"""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import traceback
from collections import deque
from pathlib import Path
from shutil import rmtree

import pytest

CHUNK = 250  # tests of one process


def run_in_forks(items: list[pytest.Item], workers: int) -> list[pytest.Item]:
    """Runs ``items``, in up to ``workers`` processes at a time; those that ended their process."""
    gc.collect()
    gc.freeze()  # coremltools collects garbage in each conversion
    waiting = deque(items[at : at + CHUNK] for at in range(0, len(items), CHUNK))
    running: dict[int, tuple[list[pytest.Item], Path]] = {}
    died = []
    while waiting or running:
        while waiting and len(running) < workers:
            chunk, directory = waiting.popleft(), Path(tempfile.mkdtemp())
            running[_fork(chunk, directory)] = chunk, directory
        process, status = os.wait()
        chunk, directory = running.pop(process)
        if status:
            at = int((directory / "current").read_text())
            died.append(chunk[at])
            if chunk[at + 1 :]:
                waiting.appendleft(chunk[at + 1 :])
        rmtree(directory, ignore_errors=True)
    return died


def _fork(items: list[pytest.Item], directory: Path) -> int:
    """The id of a process that runs ``items`` and keeps its temporary files in ``directory``."""
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        tempfile.tempdir = str(directory)
        os.chdir(directory)  # some tests write where they are
        for at, (item, following) in enumerate(zip(items, [*items[1:], None], strict=True)):
            (directory / "current").write_text(str(at))
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)
