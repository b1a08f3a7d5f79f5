"""Batch norms are folded before ExecuTorch traces a program, where that changes nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from executorch.exir import to_edge_transform_and_lower

from case import FP16, FP32, assert_close, execute, export, randn, snippets
from executorch_coreml import ComputePrecision, CoreMLBackend, CoreMLPartitioner

BOUNDS = {FP32: (1e-5, 1e-5), FP16: (4e-3, 1e-3)}
X = randn(2, 4, 9, 9)


def trained(*layers: torch.nn.Module) -> torch.nn.Sequential:
    """Layers whose norms have seen data, in evaluation mode."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(*layers)
    for norm in model.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.running_mean.uniform_(-1, 1)
            norm.running_var.uniform_(0.5, 2)
            if norm.affine:
                torch.nn.init.uniform_(norm.weight, 0.5, 2)
                torch.nn.init.uniform_(norm.bias, -1, 1)
    return model.eval()


def lowered(
    program: torch.export.ExportedProgram, precision: ComputePrecision = FP32, **arguments: Any
) -> tuple[bytes, CoreMLPartitioner]:
    specs = CoreMLBackend.generate_compile_specs(compute_precision=precision)
    partitioner = CoreMLPartitioner(compile_specs=specs, **arguments)
    edge = to_edge_transform_and_lower(program, partitioner=[partitioner])
    return bytes(edge.to_executorch().buffer), partitioner


def norms(partitioner: CoreMLPartitioner) -> int:
    return sum("batch_norm" in decision.location.op for decision in partitioner.report)


class Twice(torch.nn.Module):
    """Two norms after one convolution's weights, which therefore fit neither."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(4, 4, 3)
        self.one, self.two = trained(torch.nn.BatchNorm2d(4), torch.nn.BatchNorm2d(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.one(self.conv(x)) - self.two(self.conv(x))
        return y


class Returned(torch.nn.Module):
    """The convolution's result is wanted as well."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = trained(torch.nn.Conv2d(4, 6, 3), torch.nn.BatchNorm2d(6))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.conv(x)
        return y, self.norm(y)


FOLDED = {
    "bias": trained(torch.nn.Conv2d(4, 6, 3), torch.nn.BatchNorm2d(6), torch.nn.ReLU()),
    "no bias": trained(
        torch.nn.Conv2d(4, 6, 3, bias=False), torch.nn.BatchNorm2d(6), torch.nn.ReLU()
    ),
    "groups": trained(torch.nn.Conv2d(4, 8, 3, groups=4), torch.nn.BatchNorm2d(8), torch.nn.ReLU()),
    "not affine": trained(
        torch.nn.Conv2d(4, 6, 3), torch.nn.BatchNorm2d(6, affine=False), torch.nn.ReLU()
    ),
    "two": trained(
        torch.nn.Conv2d(4, 6, 3),
        torch.nn.BatchNorm2d(6),
        torch.nn.Conv2d(6, 3, 1),
        torch.nn.BatchNorm2d(3),
        torch.nn.ReLU(),
    ),
}
KEPT = {
    "transposed": trained(torch.nn.ConvTranspose2d(4, 6, 3), torch.nn.BatchNorm2d(6)),
    "neither has a bias": trained(
        torch.nn.Conv2d(4, 6, 3, bias=False), torch.nn.BatchNorm2d(6, affine=False)
    ),
    "an output": trained(torch.nn.Conv2d(4, 6, 3), torch.nn.BatchNorm2d(6)),
    "no convolution": trained(torch.nn.BatchNorm2d(4)),
    "a result between": Returned(),
    "weights used twice": Twice(),
}


@pytest.mark.parametrize("name", [*FOLDED, *KEPT])
def test_equals_eager(name: str) -> None:
    model = {**FOLDED, **KEPT}[name]
    program = export(model, (X,))
    before = {key: value.clone() for key, value in program.state_dict.items()}
    code = program.graph_module.code
    expected = model(X)
    expected = expected if isinstance(expected, tuple) else (expected,)
    files = {}
    for precision, bounds in BOUNDS.items():
        pte, partitioner = lowered(program, precision)
        assert partitioner.report.delegates == 1
        assert bool(norms(partitioner)) == (name in KEPT)
        with snippets(precision):
            outputs = execute(pte, (X,))
        for got, wanted in zip(outputs, expected, strict=True):
            assert_close(got, wanted.detach(), *bounds, f"{name}, {precision.name}")
        files[precision] = pte
    # The program is the user's: it stays as it was, and lowers to the same again.
    assert program.graph_module.code == code
    assert program.state_dict.keys() == before.keys()
    assert all(torch.equal(program.state_dict[key], before[key]) for key in before)
    assert all(lowered(program, precision)[0] == pte for precision, pte in files.items())


@pytest.mark.parametrize(
    "arguments",
    [
        {"take_over_constant_data": False},
        {"skip_ops_for_coreml_delegation": ["aten.convolution.default"]},
        {"skip_ops_for_coreml_delegation": ["aten.relu.default"]},
    ],
)
def test_nothing_is_folded_where_weights_or_ops_stay_outside(arguments: dict[str, Any]) -> None:
    model = FOLDED["bias"]
    pte, partitioner = lowered(export(model, (X,)), **arguments)
    assert norms(partitioner) == 1
    (got,) = execute(pte, (X,))
    assert_close(got, model(X).detach(), *BOUNDS[FP32], "outside")
