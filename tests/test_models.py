"""Whole architectures with seeded random weights: one delegate, nothing outside, equal to eager."""

from __future__ import annotations

import pytest
import torch
from architectures import MODELS, build

from case import FP16, FP32, EdgeProgram, execute, export


def relative(got: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference over the largest expected magnitude."""
    return ((got - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize("name", MODELS)
def test_model_is_one_delegate_and_equals_eager(name: str) -> None:
    model, inputs = build(name)
    program = EdgeProgram(export(model, inputs))
    expected = model(*inputs)
    for precision, bound in ((FP32, 1e-4), (FP16, 2e-2)):
        lowered, partitioner = program.lower(precision)
        assert not partitioner.report.refused, str(partitioner.report)
        assert partitioner.report.delegates == 1
        calls = [
            node.target
            for node in lowered.exported_program().graph.nodes
            if node.op == "call_function"
        ]
        outside = [
            str(t) for t in calls if "call_delegate" not in str(t) and "getitem" not in str(t)
        ]
        assert not outside, outside
        (got,) = execute(lowered.buffer, inputs)
        assert torch.isfinite(got).all()
        assert relative(got, expected) <= bound
