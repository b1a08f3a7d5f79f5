"""What becomes of one test of coremltools."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

KINDS = {
    "passed": "predicted, and passed",
    "unloaded": "failed: a model did not load",
    "raised": "failed: a prediction raised",
    "wrong": "failed after a prediction",
    "half": "failed by fp16's last places, in float32 arithmetic as well",
    "late": "failed: out of time",
    "died": "failed: the process died",
    "unpredicted": "passed without a prediction",
    "before": "failed before any prediction",
    "network": "failed: it predicts with another kind of model than an ML Program",
    "skipped": "skipped by coremltools",
}
"""Kinds of outcome, and what they mean."""

JUDGED = ("passed", "unloaded", "raised", "wrong", "half", "late", "died")
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


def within_half(actual: Any, desired: Any) -> bool:
    """Whether numbers differ by two units of fp16's last place, of the largest one, at most.

    What fp16 weights and inputs take from a sum is in proportion to its terms.
    """
    got, want = np.asarray(actual, np.float64), np.asarray(desired, np.float64)
    if got.shape != want.shape:
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        unit = np.spacing(np.abs(want).max(initial=0).astype(np.float16)).astype(np.float64)
        return bool((np.abs(got - want) <= 2 * unit).all())


_NUMBERS = re.compile(r"0x[0-9a-f]+|[-+]?\d+(\.\d+)?(e[-+]?\d+)?|/[\w/.-]+")


def kind_of_reason(reason: str) -> str:
    """The reason without what differs from one test to the next: numbers and paths."""
    return _NUMBERS.sub("#", reason.split("\n")[0])[:160]
