"""Floats that count (coordinates, angles) keep float32 in a model that computes in fp16."""

from __future__ import annotations

import torch

from case import FP16, assert_close, execute, export, lower, randn
from executorch_coreml import Model


class Rotary(torch.nn.Module):
    """Angles of up to 6000 radians, from positions that are fed."""

    def forward(self, x: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        frequency = 10000 ** (-torch.arange(0, 8, dtype=torch.float32) / 8)
        angle = position[:, None].float() * frequency
        return x * angle.cos() + x.flip(-1) * angle.sin()


class Resample(torch.nn.Module):
    """Linear interpolation by hand: fractions and indices come from one float coordinate."""

    def forward(self, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        coordinate = torch.arange(1000, dtype=torch.float32) * scale + 0.3
        low = coordinate.floor()
        fraction = coordinate - low
        index = low.to(torch.int64).clamp(0, x.shape[0] - 2)
        return x[index] * (1 - fraction) + x[index + 1] * fraction


def _run(model: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    lowered, partitioner = lower(export(model, inputs), FP16)
    assert partitioner.report.delegates == 1
    assert not partitioner.report.refused
    (got,) = execute(lowered.buffer, inputs)
    assert_close(got, model(*inputs), 2e-3, 0, type(model).__name__)


def test_rotary_angles() -> None:
    _run(Rotary(), (randn(4, 8), torch.tensor([1, 100, 3001, 5999])))


def test_coordinates_and_their_fractions() -> None:
    _run(Resample(), (randn(1000), torch.tensor(0.97)))


def test_activations_stay_fp16() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.GELU(), torch.nn.Linear(8, 8))
    lowered, _ = lower(export(model, (randn(2, 8),)), FP16)
    program = Model(bytes(lowered.buffer)).bundle.program
    types = [
        str(value.type)
        for op in program.functions["main"].body.operations
        if op.type not in ("const", "cast")
        for value in op.outputs
    ]
    assert types
    assert all(text.startswith("fp16") for text in types)
