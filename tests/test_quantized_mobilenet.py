"""ExecuTorch's documented Core ML quantization example, with nothing but the imports changed."""

from __future__ import annotations

import time

import coremltools as ct
import pytest
import torch
from coremltools.optimize.torch.quantization import (
    LinearQuantizerConfig,
    ModuleLinearQuantizerConfig,
)
from executorch.exir import to_edge_transform_and_lower
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

from case import assert_close, execute
from executorch_coreml import CoreMLBackend, CoreMLPartitioner
from executorch_coreml.mil.bundle import read
from executorch_coreml.mil.summary import summarise
from executorch_coreml.quantizer import CoreMLQuantizer

pytestmark = pytest.mark.filterwarnings("ignore")  # coremltools, torchao and torch.export have many


REPEATS = (3, 4, 6, 7, 8, 10, 11, 13, 14)
"""Of MobileNetV2's 16 blocks, those that repeat the one before; block 1 does so too, and stays."""


class Classifier(torch.nn.Module):
    """Random weights, with batch norms that keep activations in range as training would."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model = MobileNetV2ForImageClassification(MobileNetV2Config(image_size=96))
        blocks = self.model.mobilenet_v2.layer
        self.model.mobilenet_v2.layer = torch.nn.ModuleList(
            block for number, block in enumerate(blocks) if number not in REPEATS
        )
        for module in self.modules():
            if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
                torch.nn.init.kaiming_normal_(module.weight)
            elif isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0
        with torch.no_grad():
            self.train()(torch.rand(4, 3, 96, 96))
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x).logits


def test_the_documented_example() -> None:
    model = Classifier()
    config = LinearQuantizerConfig(
        global_config=ModuleLinearQuantizerConfig(
            quantization_scheme="symmetric",
            activation_dtype=torch.quint8,
            weight_dtype=torch.qint8,
            weight_per_channel=True,
        )
    )
    example_inputs = (torch.rand(1, 3, 96, 96),)
    training_gm = torch.export.export(model, example_inputs).module()
    start = time.process_time()
    prepared_model = prepare_pt2e(training_gm, CoreMLQuantizer(config))
    assert time.process_time() - start < 10
    for _ in range(2):
        prepared_model(torch.rand(1, 3, 96, 96))
    quantized_model = convert_pt2e(prepared_model)
    partitioner = CoreMLPartitioner(
        compile_specs=CoreMLBackend.generate_compile_specs(
            minimum_deployment_target=ct.target.iOS17, compute_precision=ct.precision.FLOAT32
        )
    )
    program = to_edge_transform_and_lower(
        torch.export.export(quantized_model, example_inputs), partitioner=[partitioner]
    ).to_executorch()
    assert not partitioner.report.refused, str(partitioner.report)
    weights = summarise(read(program.buffer)).weights
    layers = [m.weight.numel() for m in model.modules() if hasattr(m, "weight")]
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert weights["int8"] < 1.03 * (sum(layers) - sum(n.weight.numel() for n in norms))
    (got,) = execute(program.buffer, example_inputs)
    assert_close(got, quantized_model(*example_inputs), 1e-4, 1e-6, "logits")
