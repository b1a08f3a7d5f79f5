"""The part of coremltools' tests that ``make test`` runs, and the process that runs it.

Importing and collecting takes as long as hundreds of these tests, so a :class:`Sample` does it
once, and forks for each part that it is asked for.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from conformance.__main__ import command, environment, files
from conformance.outcome import Outcome, read

PARTS = 12
LEAST = 2000  # that reach the engine

WORDS = (
    "mil/ops/tests/",
    "test_torch_conversion_api.py",
    "test_torch_ops.py",
    "test_torch_quantization_ops.py",
    "test_torch_stateful_model.py",
)
"""Of the paths of their files: those where most tests predict."""

CHOICE = "not builder_eval and not " + " and not ".join(
    (
        "TestWeightNorm",
        "TestNarrow",
        "(TestGRU and test_gru)",
        "(TestLSTM and test_lstm)",
        "(TestSliceUpdate and test_stress)",
        "TestSliceScatter",
        "TestSelectScatter",
        "TestTransformer",
        "test_atan2_broadcast",
        "test_index_bool_indices",
        "test_convolution_transpose2d_dynamic_input",
    )
)
"""Not those that never predict, nor those that take seconds each."""


def count_of(path: Path) -> int:
    """How many tests of each function in each precision, of that file. Those that convert a torch
    module cost three times as much."""
    return 6 if "mil/ops/tests" in str(path) else 1


class Sample:
    """A process that has collected the sample; it ends with :meth:`close`.

    Args:
        directory: Where it keeps outcomes and what it prints.
    """

    def __init__(self, directory: Path):
        self.target = directory / "outcomes.jsonl"
        self.log = directory / "log.txt"
        self._parts: dict[int, list[Outcome]] = {}
        self._replies, reply = os.pipe()
        options = ("-k", CHOICE, "--assert=plain", "--tb=no")
        serving = ("--conformance-replies", str(reply))
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                command(self.target, files(list(WORDS)), *options, *serving),
                env=environment(),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[reply],
            )
        os.close(reply)

    def run(self, part: int) -> list[Outcome]:
        """The outcomes of one of :data:`PARTS` parts, which runs when it is first asked for."""
        if part not in self._parts:
            before = {one.test for one in self._outcomes()}
            assert self._process.stdin is not None
            self._process.stdin.write(f"{part}\n".encode())
            self._process.stdin.flush()
            assert os.read(self._replies, 1) == b".", self.log.read_text()[-4000:]
            self._parts[part] = [one for one in self._outcomes() if one.test not in before]
        return self._parts[part]

    def _outcomes(self) -> list[Outcome]:
        return read(self.target) if self.target.exists() else []

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        os.close(self._replies)
