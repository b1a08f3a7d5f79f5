"""Whole models that ExecuTorch's own Core ML backend lowered, run here: a .pte is a .pte."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from architectures import DigitsCNN, build

from case import execute, randn
from executorch_coreml import Model

pytestmark = pytest.mark.xdist_group("stock_architectures")  # one process makes the programs
EXAMPLES = Path(__file__).parents[1] / "examples"

# In a process of its own, as users of that backend have it: without ours.
LOWER = """
import sys, warnings; warnings.simplefilter("ignore")
import torch
from architectures import DigitsCNN, build
from executorch.backends.apple.coreml.partition import CoreMLPartitioner
from executorch.exir import to_edge_transform_and_lower
torch.manual_seed(0)
digits = DigitsCNN().eval(), (torch.randn(1, 1, 8, 8),)
models = {"digits": digits, "ViT-S": build("ViT-S/16")}
for name, (model, inputs) in models.items():
    program = torch.export.export(model, inputs, strict=False)
    edge = to_edge_transform_and_lower(program, partitioner=[CoreMLPartitioner()])
    path = f"{sys.argv[1]}/{name}.pte"
    open(path, "wb").write(edge.to_executorch().buffer)
"""


@pytest.fixture(scope="module")
def lowered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("architectures")
    done = subprocess.run(
        [sys.executable, "-c", LOWER, str(directory)],
        cwd=EXAMPLES,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return directory


def relative(got: torch.Tensor, expected: torch.Tensor) -> float:
    return ((got - expected).abs().max() / expected.abs().max()).item()


def test_digits_cnn(lowered: Path) -> None:
    torch.manual_seed(0)
    model, x = DigitsCNN().eval(), randn(1, 1, 8, 8)
    (got,) = execute((lowered / "digits.pte").read_bytes(), (x,))
    assert relative(got, model(x)) <= 4e-3


def test_vision_transformer(lowered: Path) -> None:
    model, inputs = build("ViT-S/16")
    (got,) = execute((lowered / "ViT-S.pte").read_bytes(), inputs)
    assert torch.isfinite(got).all()
    assert relative(got, model(*inputs)) <= 2e-2


def test_without_rounding_only_the_fp16_weights_differ(lowered: Path) -> None:
    model, inputs = build("ViT-S/16")
    runner = Model(lowered / "ViT-S.pte", precision="float32")
    (got,) = runner.run([x.numpy() for x in inputs])
    assert relative(torch.from_numpy(got), model(*inputs)) <= 2e-3
