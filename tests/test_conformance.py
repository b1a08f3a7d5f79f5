"""A sample of coremltools' own tests, with our engine; ``make conformance`` runs all of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from conformance.halves import draws_for_fp16, gives_fp16, out_of_reach
from conformance.outcome import JUDGED, MEANT_FOR_FP16, Outcome, kind_of_reason
from conformance.reasons import known
from conformance.sample import LEAST, PARTS, Sample
from conformance.table import markdown, summary
from executorch_coreml.mil.types import Block, Function, Op, Ref, TensorType, Value


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sample]:
    one = Sample(tmp_path_factory.mktemp("conformance"))
    yield one
    one.close()


@pytest.mark.xdist_group("conformance")  # collected once
@pytest.mark.parametrize("part", range(PARTS))
def test_sample_passes_or_fails_as_known(part: int, sample: Sample) -> None:
    judged = [one for one in sample.run(part) if one.kind in JUDGED]
    assert judged, sample.log.read_text()
    failed = [one for one in judged if one.kind not in ("passed", *MEANT_FOR_FP16)]
    assert [one for one in failed if not known(one.test)] == []
    passed = [one.test for one in judged if one.kind == "passed"]
    assert [test for test in passed if (found := known(test)) and found.always] == []


@pytest.mark.xdist_group("conformance")
def test_sample_is_large_enough(sample: Sample) -> None:
    judged = [one for part in range(PARTS) for one in sample.run(part) if one.kind in JUDGED]
    assert len(judged) >= LEAST, sample.log.read_text()


@pytest.mark.parametrize(
    ("desired", "beyond"),
    [
        ([0.5, 0.50049], False),  # 2.4e-4 apart, and 1.7e-6 from one
        (0.50024, True),
        (0.25012, True),
        (0.12506, False),  # half a unit is within 1e-4
        (np.float16(0.2), False),
        ([np.nan, np.inf, 1e6], True),  # fp16 ends at 65504
        (3, False),
    ],
)
def test_what_no_fp16_number_comes_near(desired: object, beyond: bool) -> None:
    assert out_of_reach(desired, rtol=1e-5, atol=1e-4) == beyond


def test_draws_that_fp16_holds() -> None:
    with draws_for_fp16():
        layer = torch.nn.Linear(3, 4)
        drawn = [np.random.rand(5), torch.randn(5), layer.weight.detach(), np.random.random()]
    for numbers in map(np.asarray, drawn):
        assert (numbers == numbers.astype(np.float16)).all()
        assert (numbers * 64 % 1 == 0).all()
    assert len(np.unique(drawn[2])) > 1
    assert np.random.rand() * 64 % 1


@pytest.mark.parametrize(
    ("dtype", "cast", "given"), [("fp16", True, True), ("fp16", False, True), ("fp32", True, False)]
)
def test_a_function_that_gives_fp16(dtype: str, cast: bool, given: bool) -> None:
    x, y = Value("x", TensorType(dtype, (2,))), Value("y", TensorType("fp32", (2,)))
    ops = (Op("cast", {"x": (Ref("x"),)}, (y,)),) if cast else ()
    body = Block((), ops, ("y" if cast else "x",))
    assert gives_fp16(Function("main", "CoreML8", (x,), body)) == given


def test_the_page_counts_and_explains() -> None:
    outcomes = [
        Outcome("a/test_x.py::T::one[1]", "passed", "fp16", 0.5),
        Outcome("a/test_x.py::T::one[2]", "passed", "fp32", 0.5),
        Outcome("a/test_x.py::T::one[3]", "beyond", "fp32", 0.5, "AssertionError: 0.2"),
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
    assert summary(outcomes) == "2 passed, 2 unloaded, 1 beyond, 1 before; 4 s CPU, 0.58 s a test"
    assert kind_of_reason("at /tmp/a1/b: 1.5e-3 of 7\nmore") == "at #: # of #"
