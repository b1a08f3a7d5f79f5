"""Accuracy and size of quantized models on real data, through the ExecuTorch runtime.

A CNN and a small vision transformer learn scikit-learn's handwritten digits. Each is quantized in
PyTorch in the ways of docs/quantization.md, lowered, and run on the test images.

    python examples/quantize.py                # the tables
    python examples/quantize.py --write-docs   # and the same in docs/quantization.md
"""

from __future__ import annotations

import argparse
import copy
import logging
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

if __name__ == "__main__":  # before the imports below, some of which warn
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)

import torch
from architectures import First
from digits import digits, train
from executorch.exir import to_edge_transform_and_lower
from executorch.runtime import Runtime
from report import Report, write
from rich.console import Console
from rich.progress import Progress
from torch import nn
from torchao.prototype.quantization.codebook_coreml import CodebookWeightOnlyConfig
from torchao.quantization import IntxWeightOnlyConfig, PerGroup, quantize_
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

import executorch_coreml.runtime  # noqa: F401  (registers the delegate)
from executorch_coreml import ComputePrecision, CoreMLBackend, CoreMLPartitioner
from executorch_coreml.mil.bundle import read
from executorch_coreml.mil.summary import summarise
from executorch_coreml.quantizer import (
    CoreMLQuantizer,
    LinearQuantizerConfig,
    ModuleLinearQuantizerConfig,
)

console = Console()

# From a trained model and images to calibrate with: the model in few bits, still in PyTorch.
Quantize = Callable[[nn.Module, torch.Tensor], nn.Module]


@dataclass(frozen=True)
class Scheme:
    """One row of a table; ``quantize`` is None for the model as it was trained."""

    name: str
    quantize: Quantize | None = None
    precision: ComputePrecision = ComputePrecision.FLOAT16


@dataclass(frozen=True)
class Result:
    """How a scheme did on the test images.

    Attributes:
        accuracy: Of the ``.pte`` in the ExecuTorch runtime.
        same: The fraction of images that it classifies as the quantized model in PyTorch does.
        weights: Bytes of all constants.
    """

    accuracy: float
    same: float
    pte: bytes

    @property
    def weights(self) -> int:
        return sum(summarise(read(self.pte)).weights.values())


def pt2e(activation_dtype: str) -> Quantize:
    """8-bit weights with a scale per output channel; activations too unless they are float32."""
    layers = ModuleLinearQuantizerConfig(
        quantization_scheme="symmetric",
        activation_dtype=activation_dtype,
        weight_dtype="qint8",
        weight_per_channel=True,
    )

    def quantize(model: nn.Module, images: torch.Tensor) -> nn.Module:
        exported = torch.export.export(model, (images,)).module()
        quantizer = CoreMLQuantizer(LinearQuantizerConfig(global_config=layers))
        prepared = prepare_pt2e(exported, quantizer)
        prepared(images)
        return convert_pt2e(prepared)

    return quantize


def weights_only(config: Any, kinds: tuple[type[nn.Module], ...], divisor: int = 1) -> Quantize:
    """torchao's ``quantize_`` on layers of ``kinds`` whose second axis ``divisor`` divides."""

    def fits(module: nn.Module, _: str) -> bool:
        return isinstance(module, kinds) and module.weight.shape[1] % divisor == 0

    def quantize(model: nn.Module, _: torch.Tensor) -> nn.Module:
        model = copy.deepcopy(model)
        quantize_(model, config, filter_fn=fits)
        return model

    return quantize


def palette(bits: int) -> Quantize:
    """A table of 2**bits values for each linear layer."""
    dtype = getattr(torch, f"uint{bits}")
    config = CodebookWeightOnlyConfig(dtype=dtype, block_size=[-1, -1])
    return weights_only(config, (nn.Linear,))


GROUP = 32
INT4 = IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(GROUP))
SCHEMES = (
    Scheme("float32", precision=ComputePrecision.FLOAT32),
    Scheme("fp16"),
    Scheme("int8 static", pt2e("quint8")),
    Scheme("int8 weights", pt2e("float32")),
    Scheme("int4 group 32", weights_only(INT4, (nn.Linear, nn.Conv2d), GROUP)),
    *(Scheme(f"{bits}-bit palettes", palette(bits)) for bits in (4, 3, 2)),
)


def cnn() -> nn.Module:
    """Two convolutions and two linear layers."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 4 * 4, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip


def vit() -> nn.Module:
    """A vision transformer with patches of 2x2: 2 layers, width 64, 4 heads."""
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        image_size=8, patch_size=2, num_channels=1, num_labels=10, hidden_size=64,
        num_hidden_layers=2, num_attention_heads=4, intermediate_size=128,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return First(ViTForImageClassification(config))


MODELS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "Digits CNN": (cnn, 12),
    "Digits ViT": (vit, 40),
}


def lower(model: nn.Module, images: torch.Tensor, precision: ComputePrecision) -> bytes:
    program = torch.export.export(model, (images,))
    specs = CoreMLBackend.generate_compile_specs(compute_precision=precision)
    partitioner = CoreMLPartitioner(compile_specs=specs, lower_full_graph=True)
    edge = to_edge_transform_and_lower(program, partitioner=[partitioner])
    return bytes(edge.to_executorch().buffer)


@torch.no_grad()
def measure(model: nn.Module, scheme: Scheme) -> Result:
    """Quantizes, lowers and runs one model; all test images are one batch."""
    images, _, test_images, test_labels = digits()
    if scheme.quantize is not None:
        model = scheme.quantize(model, images[: len(test_images)])
    pte = lower(model, test_images, scheme.precision)
    (logits,) = Runtime.get().load_program(pte).load_method("forward").execute((test_images,))
    found = logits.argmax(1)
    return Result(
        (found == test_labels).double().mean().item(),
        (found == model(test_images).argmax(1)).double().mean().item(),
        pte,
    )


def accuracy(model: nn.Module) -> float:
    """In eager PyTorch."""
    _, _, images, labels = digits()
    with torch.no_grad():
        return (model(images).argmax(1) == labels).double().mean().item()


def row(name: str, result: Result) -> tuple[str, ...]:
    return (
        name,
        f"{result.accuracy:.2%}",
        f"{result.same:.2%}",
        f"{result.weights / 1024:.1f} KiB",
        f"{len(result.pte) / 1024:.1f} KiB",
    )


def study(title: str, progress: Progress) -> Report:
    """Trains one model and measures it under all schemes."""
    make, epochs = MODELS[title]
    model = train(
        make,
        epochs,
        lambda numbers: progress.track(numbers, description=f"{title}: training"),
    )
    size = sum(weight.numel() for weight in model.parameters())
    headings = ("weights", "accuracy", "as PyTorch", "weight bytes", ".pte")
    report = Report(f"{title}, {size:,} parameters, 360 test images", headings)
    report.rows.append(("eager PyTorch", f"{accuracy(model):.2%}", "", f"{size / 256:.1f} KiB", ""))
    task = progress.add_task("", total=len(SCHEMES))
    for scheme in SCHEMES:
        progress.update(task, description=f"{title}: {scheme.name}")
        report.rows.append(row(scheme.name, measure(model, scheme)))
        progress.advance(task)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--write-docs", action="store_true", help="the tables into docs/quantization.md"
    )
    arguments = parser.parse_args()
    start = time.perf_counter()
    with Progress(console=console, transient=True) as progress:
        reports = [study(title, progress) for title in MODELS]
    for report in reports:
        report.show(console)
    console.print(f"Done in {time.perf_counter() - start:.0f} s.")
    if arguments.write_docs:
        write("quantization.md", "examples/quantize.py", reports)


if __name__ == "__main__":
    main()
