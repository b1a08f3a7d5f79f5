"""Calls of a delegate in the ExecuTorch runtime leave no memory behind, and none in common."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from mmap import PAGESIZE
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from executorch.runtime import Runtime

import executorch_coreml.runtime  # noqa: F401
from case import FP16, FP32, export, lower
from executorch_coreml import Model
from executorch_coreml.engine.request import LARGE

CALLS = 10_000
LEFT = 256 * 1024  # bytes that all of them may leave: less than any object per call

pytestmark = pytest.mark.filterwarnings("ignore:Mutation on a buffer in the model is detected")


class Sum(torch.nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + y


class Counter(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.total.add_(x)
        return self.total * 2


ROWS = torch.export.Dim("rows", max=16)
FOUR = torch.ones(4)

# name -> model, inputs of two kinds of calls, dynamic axes, precision
PROGRAMS: dict[str, tuple[torch.nn.Module, tuple[Any, ...], tuple[Any, ...], Any, Any]] = {
    "plain": (Sum(), (FOUR, FOUR + 1), (-FOUR, FOUR), None, FP32),
    "fp16": (torch.nn.Linear(4, 4), (FOUR,), (-FOUR,), None, FP16),
    "state": (Counter(), (FOUR,), (-FOUR,), None, FP32),
    "dynamic": (
        torch.nn.ReLU(),
        (torch.ones(3, 4),),
        (torch.ones(16, 4),),
        ({0: ROWS},),
        FP32,
    ),
}


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGESIZE


def loaded(name: str) -> tuple[Any, bytes]:
    model, inputs, _, dynamic, precision = PROGRAMS[name]
    pte = bytes(lower(export(model, inputs, dynamic), precision)[0].buffer)
    return Runtime.get().load_program(pte).load_method("forward"), pte


def assert_nothing_left(call: Callable[[int], None], calls: int = CALLS) -> None:
    """Memory of earlier tests comes and goes; a leak is there in every round."""
    call(calls // 10)
    left = []
    while not left or (left[-1] >= LEFT and len(left) < 4):
        gc.collect()
        before = resident()
        call(calls)
        gc.collect()
        left.append(resident() - before)
    assert min(left) < LEFT, left


@pytest.mark.parametrize("name", PROGRAMS)
def test_many_calls_leave_nothing_behind(name: str) -> None:
    _, one, other, _, _ = PROGRAMS[name]
    method, _ = loaded(name)

    def call(count: int) -> None:
        for _ in range(count // 2):
            method.execute(one)
            method.execute(other)

    assert_nothing_left(call)


def test_refused_calls_leave_nothing_behind() -> None:
    method, _ = loaded("dynamic")
    wrong = torch.ones(17, 4)

    def call(count: int) -> None:
        for _ in range(count):
            with pytest.raises(RuntimeError):
                method.execute((wrong,))

    assert_nothing_left(call, 1000)


@pytest.mark.parametrize("elements", [LARGE // 4 - 1, LARGE // 4])
def test_tensors_of_any_size_are_apart(elements: int) -> None:
    """Below and above the size from which on memory is used in place."""
    zeros = torch.zeros(elements)
    pte = bytes(lower(export(Sum(), (zeros, zeros.clone())))[0].buffer)
    method = Runtime.get().load_program(pte).load_method("forward")
    model = Model(pte)
    kept = []
    for value in range(4):
        x, y = torch.full((elements,), float(value)), torch.ones(elements)
        (result,) = method.execute((x, y))
        assert torch.equal(result, x + y)
        kept.append(model.run([x, y])[0])
        assert torch.equal(y, torch.ones(elements))
    assert [float(each[0]) for each in kept] == [1, 2, 3, 4]
    assert all(each.min() == each.max() for each in kept)


def test_a_model_keeps_nobody_elses_memory() -> None:
    class Owned(np.ndarray):
        pass

    zeros = torch.zeros(LARGE)
    pte = bytes(lower(export(Sum(), (zeros, zeros.clone())))[0].buffer)
    model = Model(pte)
    x = np.zeros(LARGE, np.float32).view(Owned)
    gone = weakref.ref(x)
    model.run([x, x])
    del x
    gc.collect()
    assert gone() is None
