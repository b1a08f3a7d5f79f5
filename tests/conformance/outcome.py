"""What becomes of one test of coremltools."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

KINDS = {
    "passed": "predicted, and passed",
    "unloaded": "failed: a model did not load",
    "raised": "failed: a prediction raised",
    "wrong": "failed after a prediction",
    "beyond": "failed: the model gives fp16 numbers, and none is within the tolerance",
    "rounded": "failed with numbers that the test rounds to fp16, passed with such as it holds",
    "late": "failed: out of time",
    "died": "failed: the process died",
    "unpredicted": "passed without a prediction",
    "before": "failed before any prediction",
    "network": "failed: it predicts with another kind of model than an ML Program",
    "skipped": "skipped by coremltools",
}
"""Kinds of outcome, and what they mean."""

MEANT_FOR_FP16 = ("beyond", "rounded")
"""Kinds of failures that are the test's own: it means fp16, with a tolerance for fp32."""

JUDGED = ("passed", "unloaded", "raised", "wrong", *MEANT_FOR_FP16, "late", "died")
"""The kinds of tests that reach our engine; the other ones say nothing about it."""

NO_PROGRAM = "not an ML Program"  # in the message for a model of another kind


@dataclass(frozen=True)
class Outcome:
    """One test.

    Attributes:
        test: Its node id, from the package's folder on.
        kind: One of :data:`KINDS`.
        precision: ``"fp16"`` or ``"fp32"``: as its id says, or else as the models it loads compute.
        seconds: CPU time of the call.
        reason: The first lines of the error, if it failed.
    """

    test: str
    kind: str
    precision: str
    seconds: float
    reason: str = ""

    @property
    def file(self) -> str:
        return self.test.split("::")[0]

    @property
    def name(self) -> str:
        """File, class and function, without parameters."""
        return self.test.split("[")[0]


def read(path: Path) -> list[Outcome]:
    """The outcomes that a file holds, the last one of each test."""
    lines = [Outcome(**json.loads(line)) for line in path.read_text().splitlines()]
    return list({one.test: one for one in lines}.values())


def write(path: Path, outcome: Outcome) -> None:
    """Adds a line to the file at once; several processes may do so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(asdict(outcome)) + "\n")


_NUMBERS = re.compile(r"0x[0-9a-f]+|[-+]?\d+(\.\d+)?(e[-+]?\d+)?|/[\w/.-]+")


def kind_of_reason(reason: str) -> str:
    """The reason without what differs from one test to the next: numbers and paths."""
    return _NUMBERS.sub("#", reason.split("\n")[0])[:160]
