"""A sample of coremltools' own tests, with our engine; ``make conformance`` runs all of them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from conformance.__main__ import command, environment, root
from conformance.outcome import JUDGED, Outcome, kind_of_reason, read
from conformance.table import markdown, summary

# Files that are quick to collect: weights of every kind, activations, indices, states.
FILES = (
    "iOS16/test_constexpr_ops.py",
    "iOS16/test_scatter_gather.py",
    "iOS17/test_activation.py",
    "iOS17/test_elementwise_unary.py",
    "iOS18/test_states.py",
)
SAMPLE = os.environ.get("CONFORMANCE_SAMPLE", "1")  # tests of each function


def test_sample_passes(tmp_path: Path) -> None:
    found = tmp_path / "outcomes.jsonl"
    files = [str(root() / "converters/mil/mil/ops/tests" / name) for name in FILES]
    run = subprocess.run(
        command(found, files, "--conformance-sample", SAMPLE),
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    outcomes = read(found)
    judged = [one for one in outcomes if one.kind in JUDGED]
    assert len(judged) >= 20, run.stdout + run.stderr
    assert [one for one in judged if one.kind != "passed"] == []


def test_the_page_counts_and_explains() -> None:
    outcomes = [
        Outcome("a/test_x.py::T::one[1]", "passed", "fp16", 0.5),
        Outcome("a/test_x.py::T::one[2]", "passed", "fp32", 0.5),
        Outcome(
            "a/test_x.py::T::two[1]", "unloaded", "fp32", 0.5, "MissingKernel: no kernel for 3"
        ),
        Outcome(
            "a/test_x.py::T::two[2]", "unloaded", "fp32", 0.5, "MissingKernel: no kernel for 4"
        ),
        Outcome("a/test_y.py::three", "before", "fp32", 1.0, "KeyError: 'x'"),
    ]
    page = markdown(outcomes)
    assert "| all | 1 | 3 |" in page
    assert "| predicted, and passed | 1 (100.0%) | 1 (33.3%) |" in page
    assert "| `a/test_x.py` | 4 | 2 | 2 |" in page
    assert "MissingKernel: no kernel for # | `a/test_x.py::T::two` x2 |" in page
    assert "| KeyError: 'x' | `a/test_y.py` x1 |" in page
    assert summary(outcomes) == "2 passed, 2 unloaded, 1 before; 3 s CPU, 0.60 s a test"
    assert kind_of_reason("at /tmp/a1/b: 1.5e-3 of 7\nmore") == "at #: # of #"
