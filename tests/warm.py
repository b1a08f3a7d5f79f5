"""Python processes that have imported torch and ExecuTorch's runtime already, which takes 10 s.

A process imports them once, and forks for each script that it gets. The fork runs the script as its
main module and ends as Python does: with the traceback of an error, ``atexit`` and the
destruction of what is left. The plugin is not imported.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

_SERVER = """
import json, os, sys
import torch
import executorch.devtools, executorch.runtime

for line in sys.stdin:
    code, out, err = json.loads(line)
    if (child := os.fork()) == 0:
        for number, path in ((1, out), (2, err)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit()
exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
"""


class Warm:
    """The process that forks; it ends with :meth:`close`.

    Args:
        directory: Where it writes what scripts print.
    """

    def __init__(self, directory: Path):
        self._paths = directory / "stdout", directory / "stderr"
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def run(self, code: str) -> subprocess.CompletedProcess[str]:
        """As ``subprocess.run`` of ``python -c code``."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([code, *map(str, self._paths)]) + "\n")
        self._process.stdin.flush()
        status = int(self._process.stdout.readline())
        out, err = (path.read_text() for path in self._paths)
        return subprocess.CompletedProcess(["python", "-c", code], status, out, err)

    def close(self) -> None:
        with self._process:  # closes its pipes, and waits
            pass
