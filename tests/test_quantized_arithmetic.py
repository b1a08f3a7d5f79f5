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
from executorch_coreml import CoreMLBackend, CoreMLPartitioner, Target, edge_compile_config
from executorch_coreml.mil.bundle import read
from executorch_coreml.mil.summary import summarise
from executorch_coreml.ops.int_mm import exact_pieces

pytestmark = pytest.mark.filterwarnings("ignore")  # torchao and torch.export have many


_KINDS = (nn.Linear, nn.Embedding)
_INT8, _INT4 = torch.int8, torch.int4
# name -> (config, bits, zero points)
_DECOMPOSED: dict[Target, dict[str, tuple[Any, int, int]]] = {
    Target.iOS16: {
        "rows": (Int8WeightOnlyConfig(), 8, 512),
        "whole": (Int8WeightOnlyConfig(granularity=PerTensor()), 8, 2),
        "axis": (IntxWeightOnlyConfig(_INT8, PerAxis(0)), 8, 768),
        "asymmetric": (IntxWeightOnlyConfig(_INT8, PerAxis(0), MappingType.ASYMMETRIC), 8, 768),
    },
    Target.iOS18: {
        "group": (IntxWeightOnlyConfig(_INT8, PerGroup(32)), 8, 0),
        "few": (IntxWeightOnlyConfig(_INT4, PerGroup(32), MappingType.ASYMMETRIC), 4, 3072),
    },
}
_ELEMENTS = 512 * 128 + 128 * 256


class Both(nn.Module):
    """A table and a layer behind it for each config."""

    def __init__(self, configs: dict[str, tuple[Any, int, int]]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tables = nn.ModuleDict({name: nn.Embedding(512, 128) for name in configs})
        self.layers = nn.ModuleDict({name: nn.Linear(128, 256) for name in configs})
        for name, (config, _, _) in configs.items():
            for one in (self.tables[name], self.layers[name]):
                quantize_(one, config, filter_fn=lambda module, _: isinstance(module, _KINDS))

    def forward(self, tokens: torch.Tensor) -> list[torch.Tensor]:
        return [layer(self.tables[name](tokens)) for name, layer in self.layers.items()]


TOKENS = (torch.tensor([[1, 500, 7]]),)


@pytest.mark.parametrize("target", _DECOMPOSED, ids=lambda target: target.name)
def test_weights_that_a_program_dequantizes_by_arithmetic_stay_integers(target: Target) -> None:
    model = Both(_DECOMPOSED[target]).eval()
    lowered, partitioner = lower(export(model, TOKENS).run_decompositions(), FP32)
    assert not partitioner.report.refused, str(partitioner.report)
    assert partitioner.report.minimum.target == target
    for got, expected in zip(execute(lowered.buffer, TOKENS), model(*TOKENS), strict=True):
        assert_close(got, expected, 1e-5, 1e-6, target.name)
    summary = summarise(read(lowered.buffer))
    assert summary.minimum_os == target.name
    ops = summary.functions[0].ops
    assert "sub" not in ops
    # torchao exports the linear layers of two configs with the scale behind the product.
    assert ops.get("mul", 0) == (2 if target is Target.iOS16 else 0)
    theory = sum((_ELEMENTS + zeros) * bits / 8 for _, bits, zeros in _DECOMPOSED[target].values())
    stored = summary.weights["int8"] + summary.weights.get("int4", 0)
    assert abs(stored - theory) <= 0.03 * theory
    assert summary.weights["fp32"] < 0.2 * _ELEMENTS * len(_DECOMPOSED[target])


def test_arithmetic_remains_where_the_target_has_no_blocks() -> None:
    model = Both({"group": _DECOMPOSED[Target.iOS18]["group"]}).eval()
    program = export(model, TOKENS).run_decompositions()
    lowered, partitioner = lower(program, FP32, minimum_deployment_target=Target.iOS16)
    assert not partitioner.report.refused, str(partitioner.report)
    (got,) = execute(lowered.buffer, TOKENS)
    assert_close(got, model(*TOKENS)[0], 1e-5, 1e-6, "arithmetic")


class Dynamic(nn.Module):
    """A layer for each config, with sums that are beyond fp16 in steps of the activation."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(512, 256) for _ in range(3))
        asymmetric = MappingType.ASYMMETRIC
        configs = [
            Int8DynamicActivationInt8WeightConfig(),
            Int8DynamicActivationInt8WeightConfig(act_mapping_type=asymmetric),
            Int8DynamicActivationInt8WeightConfig(granularity=[PerRow(), PerTensor()]),
        ]
        for layer, config in zip(self.layers, configs, strict=True):
            with torch.no_grad():
                layer.weight *= 300
                layer.bias *= 300
            quantize_(layer, config)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [layer(x) for layer in self.layers]


@pytest.mark.parametrize("precision", [FP32, FP16], ids=["fp32", "fp16"])
def test_products_of_integers_of_torchao(precision: Any) -> None:
    model = Dynamic().eval()
    inputs = (torch.randn(2, 3, 512, generator=torch.Generator().manual_seed(0)) + 0.2,)
    specs = CoreMLBackend.generate_compile_specs(compute_precision=precision)
    partitioner = CoreMLPartitioner(compile_specs=specs, lower_full_graph=True)
    lowered = to_edge_transform_and_lower(
        export(model, inputs), partitioner=[partitioner], compile_config=edge_compile_config()
    ).to_executorch()
    assert partitioner.report.delegates == 1
    for got, expected in zip(execute(lowered.buffer, inputs), model(*inputs), strict=True):
        assert_close(got, expected, 1e-5 if precision is FP32 else 4e-3, 1e-6, "dynamic")
    stored = summarise(read(lowered.buffer)).weights["int8"]
    assert abs(stored - 3 * 512 * 256) <= 0.03 * 3 * 512 * 256


@pytest.mark.parametrize("length", [1, 500, 4099, 100_000])
def test_pieces_of_a_product_are_exact_and_cover_it(length: int) -> None:
    most = torch.randint(0, 2**15 + 1, (length, 3)).numpy()
    most[:, 0] = 2**15
    pieces = exact_pieces(most)
    assert [start for start, _ in pieces] == [0, *(stop for _, stop in pieces[:-1])]
    assert pieces[-1][1] == length
    assert all(most[start:stop].sum(0).max() < 2**24 for start, stop in pieces)
    assert len(pieces) <= -(-length // 511) + 1
