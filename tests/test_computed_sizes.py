"""Sizes and steps that only a run knows: what makes no sense is an error of that run, and the next
one is sound."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from executorch_coreml.engine.model import Model
from executorch_coreml.errors import ProgramError, RunError
from executorch_coreml.mil.bundle import read
from kernel_case import convert, ct, ints, mb, types


def load(build: Callable[[Any], Any], dtype: Any, path: Path) -> Model:
    """``build`` on one number of that type."""

    @mb.program(input_specs=[mb.TensorSpec((1,), dtype)], opset_version=ct.target.iOS17)
    def made(n: Any) -> Any:
        return build(n)

    return Model(read(convert(made, path / "m.mlpackage", "iOS17")))


def scalar(n: Any) -> Any:
    return mb.squeeze(x=n)


SIZES: dict[str, Callable[[Any], Any]] = {
    "fill": lambda n: mb.fill(shape=n, value=2.0),
    "tile": lambda n: mb.tile(x=np.float32([2, 2]), reps=n),
    "one_hot": lambda n: mb.one_hot(indices=np.int32([0, 1]), one_hot_vector_size=scalar(n)),
    "random_uniform": lambda n: mb.random_uniform(shape=n, low=0.0, high=1.0),
    "random_normal": lambda n: mb.random_normal(shape=n, mean=0.0, stddev=1.0),
    "random_bernoulli": lambda n: mb.random_bernoulli(shape=n, prob=0.5),
}


@pytest.mark.parametrize("op", SIZES)
def test_a_negative_size_is_refused(op: str, tmp_path: Path) -> None:
    model = load(SIZES[op], types.int32, tmp_path)
    (sound,) = model.run([ints(3)])
    with pytest.raises(RunError, match="a size of -3: none may be negative") as caught:
        model.run([ints(-3)])
    assert caught.value.location is not None
    assert caught.value.location.startswith(f"function main, op {op} ")
    assert model.run([ints(3)])[0].shape == sound.shape
    assert 0 in model.run([ints(0)])[0].shape


def test_a_padding_that_leaves_nothing_is_refused(tmp_path: Path) -> None:
    def padded(n: Any) -> Any:
        return mb.pad(x=np.float32([2, 2]), pad=mb.concat(values=[n, n], axis=0))

    model = load(padded, types.int32, tmp_path)
    with pytest.raises(RunError, match="cannot run on these inputs"):
        model.run([ints(-3)])
    np.testing.assert_array_equal(model.run([ints(1)])[0], np.float32([0, 2, 2, 0]))


@pytest.mark.parametrize(("start", "end"), [(0, 7), (7, 0), (3, 3), (-2, 5)])
@pytest.mark.parametrize("dtype", [types.int32, types.fp32], ids=["int32", "fp32"])
def test_a_range_leads_to_its_end_or_nowhere(
    dtype: Any, start: int, end: int, tmp_path: Path
) -> None:
    """As ``numpy.arange``, whichever of its three numbers a run gives."""
    to = types.nptype_from_builtin(dtype)
    first, last, by = to(start), to(end), to(-3)
    calls: list[tuple[Callable[[Any], Any], Any]] = [
        (lambda n: mb.range_1d(start=first, end=last, step=scalar(n)), by),
        (lambda n: mb.range_1d(start=first, end=last, step=scalar(n)), -by),
        (lambda n: mb.range_1d(start=scalar(n), end=last, step=by), first),
        (lambda n: mb.range_1d(start=first, end=scalar(n), step=-by), last),
    ]
    for place, (build, given) in enumerate(calls):
        (got,) = load(build, dtype, tmp_path / str(place)).run([np.array([given], to)])
        step = given if place < 2 else (by, -by)[place - 2]
        np.testing.assert_array_equal(got, np.arange(first, last, step, to))


@pytest.mark.parametrize("dtype", [types.int32, types.fp32], ids=["int32", "fp32"])
def test_a_step_of_zero_is_refused(dtype: Any, tmp_path: Path) -> None:
    """OpenVINO divides by it."""
    to = types.nptype_from_builtin(dtype)
    model = load(
        lambda n: mb.range_1d(start=to(0), end=to(4), step=scalar(n), name="y"), dtype, tmp_path
    )
    with pytest.raises(RunError, match="a step of 0 leads nowhere") as caught:
        model.run([np.zeros(1, to)])
    assert caught.value.location == "function main, op range_1d y"
    np.testing.assert_array_equal(model.run([np.full(1, 2, to)])[0], to([0, 2]))


def test_a_constant_step_of_zero_is_refused_when_loaded(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match="a step of 0 leads nowhere"):
        load(lambda n: mb.range_1d(start=scalar(n), end=4, step=0, name="y"), types.int32, tmp_path)
