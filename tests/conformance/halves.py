"""Whether a test fails because it means fp16, with a tolerance that fp16 has no room in.

Neither question needs to know what an engine computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

from executorch_coreml.mil.types import Function, Ref, TensorType

STEPS = 64  # of the numbers that are drawn for fp16, between 0 and 1


def gives_fp16(function: Function) -> bool:
    """Whether all that a function gives are fp16 numbers, in whatever type it hands them out."""
    ops = {value.name: op for op in function.body.operations for value in op.outputs}
    values = [*function.inputs, *(value for op in ops.values() for value in op.outputs)]
    fp16 = {v.name for v in values if isinstance(v.type, TensorType) and v.type.dtype == "fp16"}

    def given(name: str) -> bool:
        op = ops.get(name)
        source = op.inputs["x"][0] if op is not None and op.type == "cast" else None
        return name in fp16 or (isinstance(source, Ref) and given(source.name))

    return all(given(name) for name in function.body.outputs)


def out_of_reach(desired: Any, rtol: float, atol: float) -> bool:
    """Whether one of the numbers is farther from all fp16 numbers than the tolerance."""
    wanted = np.asarray(desired)
    if wanted.dtype.kind != "f":
        return False
    exact = wanted.astype(np.float64)
    exact = exact[np.isfinite(exact)]
    with np.errstate(over="ignore"):
        nearest = exact.astype(np.float16).astype(np.float64)
    return bool((np.abs(nearest - exact) > atol + rtol * np.abs(exact)).any())


def _rounded(draw: Callable[..., Any]) -> Callable[..., Any]:
    def drawn(*args: Any, **options: Any) -> Any:
        numbers = draw(*args, **options)
        if isinstance(numbers, torch.Tensor):
            with torch.no_grad():
                return numbers.copy_((numbers * STEPS).round() / STEPS)
        return np.round(np.asarray(numbers) * STEPS) / STEPS

    return drawn


@contextmanager
def draws_for_fp16() -> Iterator[None]:
    """numpy and torch draw multiples of 1/64: fp16 holds them, and float32 sums of their products.

    What a test then rounds to fp16, it does not change.
    """
    draws: dict[Any, tuple[str, ...]] = {
        np.random: ("rand", "randn", "random", "sample", "uniform", "normal"),
        torch: ("rand", "randn", "rand_like", "randn_like"),
        torch.Tensor: ("uniform_", "normal_"),
    }
    with pytest.MonkeyPatch.context() as patch:
        for place, names in draws.items():
            for name in names:
                patch.setattr(place, name, _rounded(getattr(place, name)))
        yield
