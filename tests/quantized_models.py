"""Layers, quantization schemes, and when their results are right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torchao.prototype.quantization.codebook_coreml import CodebookWeightOnlyConfig
from torchao.quantization import (
    Int8WeightOnlyConfig,
    IntxWeightOnlyConfig,
    MappingType,
    PerAxis,
    PerGroup,
    quantize_,
)
from torchao.quantization.pt2e import allow_exported_model_train_eval
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

from case import FP32, assert_close
from executorch_coreml import ComputePrecision, Target
from executorch_coreml.quantizer import CoreMLQuantizer


class Layers(nn.Module):
    """Every kind of layer with a weight, each with an input and an output of its own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(32, 16)
        self.conv1d = nn.Conv1d(4, 6, 3, padding=1)
        self.conv2d = nn.Conv2d(4, 8, 3, stride=2, groups=2)
        self.conv3d = nn.Conv3d(2, 4, 2)
        self.transposed = nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1)
        self.embedding = nn.Embedding(16, 32)

    def forward(
        self,
        x: torch.Tensor,
        x1: torch.Tensor,
        x2: torch.Tensor,
        x3: torch.Tensor,
        xt: torch.Tensor,
        indices: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        return (
            self.linear(x),
            torch.relu(self.conv1d(x1)),
            self.conv2d(x2),
            self.conv3d(x3),
            self.transposed(xt),
            self.embedding(indices) + 0.5,
        )


def layer_inputs(seed: int = 1) -> tuple[torch.Tensor, ...]:
    """Not rounded to fp16: short fractions often lie half way between two integers."""
    torch.manual_seed(seed)
    shapes = [(2, 32), (1, 4, 9), (1, 4, 8, 8), (1, 2, 4, 4, 4), (1, 4, 5, 5)]
    return (*map(torch.randn, shapes), torch.tensor([3, 0, 15]))


Quantize = Callable[[nn.Module, tuple[Any, ...]], nn.Module]


@dataclass(frozen=True)
class Scheme:
    """A way to quantize.

    Attributes:
        quantize: Module and example inputs -> the quantized module, in PyTorch.
        bits: Of a weight.
        activations: Whether activations are quantized.
        needs: The oldest target that can hold the weights and activations.
    """

    id: str
    quantize: Quantize
    bits: int = 8
    activations: bool = False
    needs: Target = Target.iOS16


def pt2e(model: nn.Module, inputs: tuple[Any, ...], config: Any = None, **of_all: Any) -> nn.Module:
    """Post-training quantization with our quantizer."""
    quantizer = CoreMLQuantizer({"global_config": of_all} if config is None else config)
    prepared = prepare_pt2e(torch.export.export(model.eval(), inputs).module(), quantizer)
    prepared(*inputs)
    return allow_exported_model_train_eval(convert_pt2e(prepared))


def _static(**of_all: Any) -> Quantize:
    return lambda model, inputs: pt2e(model, inputs, **of_all)


def _weights(*configs: Any) -> Quantize:
    """torchao's ``quantize_``: linear layers, and embeddings too if there is a second config."""

    def quantize(model: nn.Module, _: tuple[Any, ...]) -> nn.Module:
        for config, kind in zip(configs, (nn.Linear, nn.Embedding), strict=False):
            quantize_(model, config, filter_fn=lambda m, _, kind=kind: isinstance(m, kind))
        return model.eval()

    return quantize


def _intx(bits: int, granularity: Any, mapping: Any = MappingType.SYMMETRIC) -> Any:
    dtype = getattr(torch, f"int{bits}")
    return IntxWeightOnlyConfig(weight_dtype=dtype, granularity=granularity, mapping_type=mapping)


def palette(bits: int, *block: int) -> Any:
    return CodebookWeightOnlyConfig(dtype=getattr(torch, f"uint{bits}"), block_size=list(block))


IOS17, IOS18 = Target.iOS17, Target.iOS18
WEIGHT_ONLY = {"activation_dtype": "float32"}
AFFINE = {"quantization_scheme": "affine"}
PER_TENSOR = {"weight_per_channel": False}

PT2E = [
    Scheme("static", _static(), activations=True, needs=IOS17),
    Scheme("static_affine", _static(**AFFINE), activations=True, needs=IOS17),
    Scheme("static_per_tensor", _static(**PER_TENSOR, **AFFINE), activations=True, needs=IOS17),
    Scheme(
        "static_qint8",
        _static(activation_dtype="qint8", weight_dtype="quint8"),
        activations=True,
        needs=IOS17,
    ),
    Scheme("weight_only", _static(**WEIGHT_ONLY)),
    Scheme("weight_only_per_tensor", _static(**WEIGHT_ONLY, **PER_TENSOR, **AFFINE)),
    Scheme("weight_only_qint4", _static(**WEIGHT_ONLY, weight_dtype="qint4"), bits=4, needs=IOS18),
    Scheme(
        "static_quint4",
        _static(**AFFINE, weight_dtype="quint4"),
        bits=4,
        activations=True,
        needs=IOS18,
    ),
]
TORCHAO = [
    Scheme("int8_axis", _weights(_intx(8, PerAxis(0)), _intx(8, PerAxis(0)))),
    Scheme("int8_group", _weights(_intx(8, PerGroup(16)), _intx(8, PerGroup(16))), needs=IOS18),
    Scheme("int8_rows", _weights(Int8WeightOnlyConfig())),
    Scheme("int4_axis", _weights(_intx(4, PerAxis(0)), _intx(4, PerAxis(0))), bits=4, needs=IOS18),
    Scheme(
        "int4_group",
        _weights(_intx(4, PerGroup(32), MappingType.ASYMMETRIC), _intx(4, PerGroup(32))),
        bits=4,
        needs=IOS18,
    ),
    *[
        Scheme(
            f"palette{bits}",
            _weights(palette(bits, -1, -1)),
            bits=stored,
            needs=IOS18 if stored == 3 else Target.iOS16,
        )
        for bits, stored in ((1, 1), (2, 2), (3, 3), (4, 4), (5, 6), (6, 6), (7, 8), (8, 8))
    ],
    Scheme("palette4_columns", _weights(palette(4, -1, 16)), bits=4, needs=IOS18),
    Scheme("palette2_rows", _weights(palette(2, 4, -1)), bits=2, needs=IOS18),
]


def assert_as_quantized(
    got: torch.Tensor,
    expected: torch.Tensor,
    precision: ComputePrecision,
    activations: bool,
    what: str,
) -> None:
    """``got`` equals what the quantized model gives in PyTorch. In fp16 an activation between two
    8-bit integers may become either of them."""
    if precision is FP32:
        assert_close(got, expected, 1e-5, 1e-6, what)
    elif not activations:
        assert_close(got, expected, 2e-3, 1e-4, what)
    else:
        step, off = float(2 * expected.abs().max() / 255), (got - expected).abs()
        assert off.max() <= 2 * step, what
        assert off.mean() < 0.2 * step, what
