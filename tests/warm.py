"""Python processes that have imported torch, coremltools and exir already, which takes 10 s.

A process imports them once, and forks for each script that it gets. The fork runs the script as its
main module and ends as Python does: with the traceback of an error, ``atexit`` and the
destruction of what is left. ExecuTorch's runtime, the plugin and both backends are not imported.
"""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

_SERVER = """
import gc, json, os, sys
import torch
import coremltools, executorch.exir

gc.freeze()
for line in sys.stdin:
    code, arguments, out, err = json.loads(line)
    if (child := os.fork()) == 0:
        for number, path in ((1, out), (2, err)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit()
sys.argv[1:] = arguments
exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
"""


class Warm:
    """The process that forks; it ends with :meth:`close`."""

    def __init__(self) -> None:
        self._directory = TemporaryDirectory()
        self._paths = [Path(self._directory.name) / name for name in ("stdout", "stderr")]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def run(self, code: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """As ``subprocess.run`` of ``python -c code arguments``."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(
            json.dumps([code, [*map(str, arguments)], *map(str, self._paths)]) + "\n"
        )
        self._process.stdin.flush()
        status = int(self._process.stdout.readline())
        out, err = (path.read_text() for path in self._paths)
        return subprocess.CompletedProcess(["python", "-c", code], status, out, err)

    def close(self) -> None:
        with self._process, self._directory:  # closes its pipes, and waits
            pass


@cache
def warm() -> Warm:
    """The one of this process."""
    one = Warm()
    atexit.register(one.close)
    return one
