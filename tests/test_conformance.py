"""A sample of coremltools' own tests, with our engine; ``make conformance`` runs all of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from conformance.outcome import JUDGED, Outcome, kind_of_reason, within_half
from conformance.reasons import known
from conformance.sample import LEAST, PARTS, Sample
from conformance.table import markdown, summary


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sample]:
    one = Sample(tmp_path_factory.mktemp("conformance"))
    yield one
    one.close()


@pytest.mark.xdist_group("conformance")  # collected once
@pytest.mark.parametrize("part", range(PARTS))
def test_sample_passes_or_fails_as_known(part: int, sample: Sample) -> None:
    judged = [one for one in sample.run(part) if one.kind in JUDGED]
    assert len(judged) >= LEAST // PARTS, sample.log.read_text()
    failed = [one for one in judged if one.kind not in ("passed", "half")]
    assert [one for one in failed if not known(one.test)] == []
    passed = [one.test for one in judged if one.kind == "passed"]
    assert [test for test in passed if (found := known(test)) and found.always] == []


@pytest.mark.parametrize(
    ("actual", "desired", "within"),
    [
        (1.001, 1.0, True),
        (1.003, 1.0, False),
        (0.2, np.float16(0.2), True),
        ([1.0, np.nan], [1.0, 1.0], False),
        ([1.0], 1.0, False),
    ],
)
def test_two_units_of_fp16(actual: object, desired: object, within: bool) -> None:
    assert within_half(actual, desired) == within


def test_the_page_counts_and_explains() -> None:
    outcomes = [
        Outcome("a/test_x.py::T::one[1]", "passed", "fp16", 0.5),
        Outcome("a/test_x.py::T::one[2]", "passed", "fp32", 0.5),
        Outcome("a/test_x.py::T::one[3]", "half", "fp32", 0.5, "AssertionError: 0.2"),
        Outcome(
            "a/test_x.py::T::two[1]", "unloaded", "fp32", 0.5, "MissingKernel: no kernel for 3"
        ),
        Outcome(
            "a/test_x.py::T::two[2]", "unloaded", "fp32", 0.5, "MissingKernel: no kernel for 4"
        ),
        Outcome("a/test_y.py::three", "before", "fp32", 1.0, "KeyError: 'x'"),
    ]
    page = markdown(outcomes)
    assert "| all | 1 | 4 |" in page
    assert "| predicted, and passed | 1 (100.0%) | 1 (25.0%) |" in page
    assert "| passed, of the others | 1 (100.0%) | 1 (33.3%) |" in page
    assert "| `a/test_x.py` | 5 | 2 | 2 |" in page
    assert "MissingKernel: no kernel for # | `a/test_x.py::T::two` x2 |" in page
    assert "| KeyError: 'x' | `a/test_y.py` x1 |" in page
    assert summary(outcomes) == "2 passed, 2 unloaded, 1 half, 1 before; 4 s CPU, 0.58 s a test"
    assert kind_of_reason("at /tmp/a1/b: 1.5e-3 of 7\nmore") == "at #: # of #"
