"""Small architectures of every kind: what is left outside is listed here, the rest equals eager."""

from __future__ import annotations

import pytest
import torch

from architectures_small import MODELS, build
from case import FP16, FP32, EdgeProgram, execute, export, snippets

BOUNDS = ((FP32, 1e-4), (FP16, 2e-2))

# Name -> (op, reason) of every kind of node that stays outside; models not named are one delegate.
OUTSIDE: dict[str, set[tuple[str, str]]] = {}


def assert_equal(got: torch.Tensor, expected: torch.Tensor, bound: float) -> None:
    """The largest difference is within ``bound`` times the largest expected magnitude."""
    if not expected.dtype.is_floating_point:
        assert torch.equal(got, expected)
        return
    assert torch.isfinite(got).all()
    assert ((got - expected).abs().max() / expected.abs().max()).item() <= bound


@pytest.mark.parametrize("name", MODELS)
def test_architecture(name: str) -> None:
    model, inputs = build(name)
    with torch.no_grad():
        expected = model(*inputs)
    expected = expected if isinstance(expected, tuple) else (expected,)
    program = EdgeProgram(export(model, inputs))
    for precision, bound in BOUNDS:
        lowered, partitioner = program.lower(precision)
        report = partitioner.report
        outside = {(decision.location.op, decision.reason) for decision in report.refused}
        assert outside == OUTSIDE.get(name, set()), str(report)
        assert outside or report.delegates == 1
        with snippets(precision):
            outputs = execute(lowered.buffer, inputs)
        for got, wanted in zip(outputs, expected, strict=True):
            assert_equal(got, wanted, bound)
