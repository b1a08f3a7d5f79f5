"""The first thing to run: one model, the whole way, in a few seconds."""

from __future__ import annotations

import torch

from case import FP16, FP32, assert_close, execute, export, lower, randn


def test_linear_relu_through_the_executorch_runtime() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))
    x = randn(2, 8)
    program = export(model, (x,))
    for precision, tolerance in ((FP32, 1e-6), (FP16, 2e-3)):
        lowered, partitioner = lower(program, precision)
        assert partitioner.report.delegates == 1
        assert not partitioner.report.refused
        (got,) = execute(lowered.buffer, (x,))
        assert_close(got, model(x), 0, tolerance, precision.name)
