"""What the documentation shows, run as its reader would.

A page is one session: its blocks run in order, in one namespace and one empty folder.

===================================  =============================================================
``python``                           is executed
``python title="net.py"``            is a file: written to the folder, and imported
``console``                          each line is a command; ``# exit code 3`` after it expects that
``text title="Output"``              lines that the block before it must have printed
``<!-- setup ... -->``               Python that a reader need not see
``console title="Takes minutes"``    is not run: the title is one of :data:`NOT_RUN` and says why
others (``text``, ``json``, ...)     are no code of ours
===================================  =============================================================
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from console import call

NOT_RUN = {
    "In a source folder": "installs, or runs everything",
    "In your shell, once": "writes to the user's own configuration",
    "Takes minutes": "trains a model",
    "On a Mac": "needs Apple's tools",
}
_CODE = ("python", "py", "console", "sh", "bash", "shell")
_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=indent)```$"
    r"|^<!-- setup\n(?P<setup>.*?)^-->$",
    re.MULTILINE | re.DOTALL,
)
_INFO = re.compile(r'(?P<language>\w*)(?: title="(?P<title>[^"]*)")?')
_EXIT = re.compile(r"# exit code (\d)")


@dataclass(frozen=True)
class Block:
    """Attributes:
    language: The first word of the info string, ``setup`` for what is not shown.
    title: Its title, empty if there is none.
    body: Without the indentation of a list.
    line: Of the page, where the body starts.
    """

    language: str
    title: str
    body: str
    line: int

    @property
    def is_code(self) -> bool:
        return self.language in (*_CODE, "setup")

    @property
    def is_run(self) -> bool:
        return self.is_code and self.title not in NOT_RUN


def blocks(text: str) -> Iterator[Block]:
    for match in _FENCE.finditer(text):
        line = text[: match.start()].count("\n") + 2
        if match["setup"] is not None:
            yield Block("setup", "", match["setup"], line)
            continue
        info = _INFO.fullmatch(match["info"].strip())
        assert info is not None, f"line {line - 1}: {match['info']!r} is no language and title"
        yield Block(info["language"], info["title"] or "", textwrap.dedent(match["body"]), line)


class Session:
    """Runs the blocks of one page; the working directory is the page's folder."""

    def __init__(self, page: Path):
        self._page = page
        self._names: dict[str, Any] = {"__name__": "__main__"}
        self._printed = ""

    def run(self, block: Block) -> None:
        if block.language == "text":
            self._check(block)
        elif block.title.endswith(".py"):
            Path(block.title).write_text(block.body)
            self._execute(block, {"__name__": Path(block.title).stem})
        elif block.language in ("python", "setup"):
            self._execute(block, self._names)
        elif block.language == "console":
            self._printed = "".join(map(_command, block.body.splitlines()))
        else:
            raise AssertionError(f"{self._page.name}:{block.line}: write it as a console block")

    def _execute(self, block: Block, names: dict[str, Any]) -> None:
        code = compile("\n" * (block.line - 1) + block.body, str(self._page), "exec")
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(code, names)
        self._printed = printed.getvalue()

    def _check(self, block: Block) -> None:
        if block.title == "Output":
            printed = _plain(self._printed)
            for line in block.body.splitlines():
                assert _plain(line) in printed, f"{line!r} is not in {self._printed}"


def _plain(text: str) -> str:
    return " ".join(text.split())


def _etcoreml(words: list[str]) -> tuple[int, str]:
    result = call(*words)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def _pytest(words: list[str]) -> tuple[int, str]:
    """In this process, where torch is loaded; with no configuration but the reader's, none."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        code = pytest.main(
            ["-q", "-c", "/dev/null", "--rootdir=.", "-p", "no:cacheprovider", *words]
        )
    return int(code), printed.getvalue()


_PROGRAMS: dict[str, Callable[[list[str]], tuple[int, str]]] = {
    "etcoreml": _etcoreml,
    "pytest": _pytest,
}


def _command(line: str) -> str:
    words = shlex.split(line, comments=True)
    if not words:
        return ""
    expected = _EXIT.search(line)
    code, printed = _PROGRAMS[words[0]](words[1:])
    # What is missing on this machine is the machine's affair.
    if words[:2] != ["etcoreml", "doctor"]:
        assert code == (int(expected[1]) if expected else 0), f"{line}: {code}\n{printed}"
    return printed
