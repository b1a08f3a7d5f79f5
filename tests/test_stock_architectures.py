"""Whole models that ExecuTorch's own Core ML backend lowered, run here: a .pte is a .pte."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from case import execute
from executorch_coreml import Model
from stock_architectures import build


@pytest.fixture(scope="module")
def lowered(stock: Path) -> Path:
    return stock / "architectures"


def relative(got: torch.Tensor, expected: torch.Tensor) -> float:
    return ((got - expected).abs().max() / expected.abs().max()).item()


def test_digits_cnn(lowered: Path) -> None:
    model, inputs = build("digits")
    (got,) = execute((lowered / "digits.pte").read_bytes(), inputs)
    assert relative(got, model(*inputs)) <= 4e-3


def test_vision_transformer(lowered: Path) -> None:
    model, inputs = build("ViT")
    (got,) = execute((lowered / "ViT.pte").read_bytes(), inputs)
    assert torch.isfinite(got).all()
    assert relative(got, model(*inputs)) <= 2e-2


def test_without_rounding_only_the_fp16_weights_differ(lowered: Path) -> None:
    model, inputs = build("ViT")
    runner = Model(lowered / "ViT.pte", precision="float32")
    (got,) = runner.run([x.numpy() for x in inputs])
    assert relative(torch.from_numpy(got), model(*inputs)) <= 2e-3
