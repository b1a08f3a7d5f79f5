"""Quantized layers that a program computes by arithmetic, equal to the quantized model in PyTorch.

Dequantizing that was decomposed before our partitioner saw it, and products of 8-bit matrices.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from executorch.exir import to_edge_transform_and_lower
from torch import nn
from torchao.quantization import (
    Int8DynamicActivationInt8WeightConfig,
    Int8WeightOnlyConfig,
    IntxWeightOnlyConfig,
    MappingType,
    PerAxis,
    PerGroup,
    PerRow,
    PerTensor,
    quantize_,
)

from case import FP16, FP32, assert_close, execute, export, lower
from executorch_coreml import CoreMLPartitioner, Target, edge_compile_config
from executorch_coreml.mil.bundle import read
from executorch_coreml.mil.summary import summarise
from executorch_coreml.ops.int_mm import exact_pieces

pytestmark = pytest.mark.filterwarnings("ignore")  # torchao and torch.export have many


# name -> (config, what is stored, the oldest target, zero points)
_DECOMPOSED = {
    "int8": (Int8WeightOnlyConfig(), "int8", Target.iOS16, 512),
    "int8_whole": (Int8WeightOnlyConfig(granularity=PerTensor()), "int8", Target.iOS16, 2),
    "int8_axis": (IntxWeightOnlyConfig(torch.int8, PerAxis(0)), "int8", Target.iOS16, 768),
    "int8_asymmetric": (
        IntxWeightOnlyConfig(torch.int8, PerAxis(0), MappingType.ASYMMETRIC),
        "int8",
        Target.iOS16,
        768,
    ),
    "int8_group": (IntxWeightOnlyConfig(torch.int8, PerGroup(32)), "int8", Target.iOS18, 0),
    "int4_group": (
        IntxWeightOnlyConfig(torch.int4, PerGroup(32), MappingType.ASYMMETRIC),
        "int4",
        Target.iOS18,
        3072,
    ),
}


class Both(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(512, 128)
        self.linear = nn.Linear(128, 256)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.linear(self.table(tokens))


@pytest.mark.parametrize("name", _DECOMPOSED)
def test_weights_that_a_program_dequantizes_by_arithmetic_stay_integers(name: str) -> None:
    config, kind, target, zeros = _DECOMPOSED[name]
    model = Both().eval()
    quantize_(model, config, filter_fn=lambda m, _: isinstance(m, (nn.Linear, nn.Embedding)))
    inputs = (torch.tensor([[1, 500, 7]]),)
    program = export(model, inputs)
    lowered, partitioner = lower(program.run_decompositions(), FP32)
    assert not partitioner.report.refused, str(partitioner.report)
    assert partitioner.report.minimum.target == target
    (got,) = execute(lowered.buffer, inputs)
    assert_close(got, model(*inputs), 1e-5, 1e-6, name)
    summary = summarise(read(lowered.buffer))
    assert summary.minimum_os == target.name
    scaled_after = name in ("int8", "int8_whole")  # the linear layer, as torchao exports it
    assert {"mul", "sub"} & set(summary.functions[0].ops) == ({"mul"} if scaled_after else set())
    elements = 512 * 128 + 128 * 256
    theory = (elements + zeros) * (1.0 if kind == "int8" else 0.5)
    assert abs(summary.weights[kind] - theory) <= 0.03 * theory
    assert summary.weights.get("fp32", 0) < 0.2 * elements


def test_arithmetic_remains_where_the_target_has_no_blocks() -> None:
    model = Both().eval()
    quantize_(model, _DECOMPOSED["int8_group"][0])
    inputs = (torch.tensor([[1, 500, 7]]),)
    program = export(model, inputs).run_decompositions()
    (got,) = _run_program(program, inputs, minimum_deployment_target=Target.iOS16)
    assert_close(got, model(*inputs), 1e-5, 1e-6, "arithmetic")


def _run_program(program: Any, inputs: tuple[Any, ...], **options: Any) -> list[Any]:
    lowered, partitioner = lower(program, FP32, **options)
    assert not partitioner.report.refused, str(partitioner.report)
    return execute(lowered.buffer, inputs)


class Wide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(512, 256)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x)


@pytest.mark.parametrize("precision", [FP32, FP16], ids=["fp32", "fp16"])
@pytest.mark.parametrize(
    "config",
    [
        Int8DynamicActivationInt8WeightConfig(),
        Int8DynamicActivationInt8WeightConfig(act_mapping_type=MappingType.ASYMMETRIC),
        Int8DynamicActivationInt8WeightConfig(granularity=[PerRow(), PerTensor()]),
    ],
    ids=["symmetric", "asymmetric", "tensor"],
)
def test_products_of_integers_of_torchao(config: Any, precision: Any) -> None:
    model = Wide().eval()
    with torch.no_grad():
        model.linear.weight *= 300  # sums in steps of the activation are beyond fp16
        model.linear.bias *= 300
    quantize_(model, config)
    inputs = (torch.randn(2, 3, 512, generator=torch.Generator().manual_seed(0)) + 0.2,)
    expected = model(*inputs)
    program = export(model, inputs)
    lowered, partitioner = lower(program, precision, [torch.ops.aten._int_mm.default])
    assert not partitioner.report.refused, str(partitioner.report)
    assert partitioner.report.delegates == 1
    (got,) = execute(lowered.buffer, inputs)
    assert_close(got, expected, 1e-5 if precision is FP32 else 4e-3, 1e-6, "dynamic")
    stored = summarise(read(lowered.buffer)).weights["int8"]
    assert 512 * 256 <= stored < 1.03 * 512 * 256


def test_edge_compile_config_admits_products_of_integers() -> None:
    model = Wide().eval()
    quantize_(model, Int8DynamicActivationInt8WeightConfig())
    program = export(model, (torch.randn(2, 512),))
    partitioner = CoreMLPartitioner(lower_full_graph=True)
    to_edge_transform_and_lower(
        program, partitioner=[partitioner], compile_config=edge_compile_config()
    )
    assert partitioner.report.delegates == 1


@pytest.mark.parametrize("length", [1, 500, 4099, 100_000])
def test_pieces_of_a_product_are_exact_and_cover_it(length: int) -> None:
    most = torch.randint(0, 2**15 + 1, (length, 3)).numpy()
    most[:, 0] = 2**15
    pieces = exact_pieces(most)
    assert [start for start, _ in pieces] == [0, *(stop for _, stop in pieces[:-1])]
    assert pieces[-1][1] == length
    assert all(most[start:stop].sum(0).max() < 2**24 for start, stop in pieces)
    assert len(pieces) <= -(-length // 511) + 1
