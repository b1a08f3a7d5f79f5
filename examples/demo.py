"""The main job, start to finish: train, lower, run in the ExecuTorch runtime, compare.

Part 1 trains a small CNN on scikit-learn's handwritten digits, lowers it in float32 and in fp16,
and runs the test images through ExecuTorch with the Core ML delegate. Part 2 lowers MobileNetV2
(random weights) and compares its output for a photograph with eager PyTorch.

    python examples/demo.py
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from typing import Any

warnings.simplefilter("ignore")
logging.disable(logging.WARNING)

import torch  # noqa: E402
from architectures import DigitsCNN, build  # noqa: E402
from digits import digits, train  # noqa: E402
from executorch.backends.xnnpack.partition.xnnpack_partitioner import (  # noqa: E402
    XnnpackPartitioner,
)
from executorch.exir import to_edge_transform_and_lower  # noqa: E402
from executorch.runtime import Runtime  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.progress import Progress  # noqa: E402
from rich.table import Table  # noqa: E402
from torch import nn  # noqa: E402

import executorch_coreml.runtime  # noqa: E402, F401  (registers the delegate)
from executorch_coreml import ComputePrecision, CoreMLBackend, CoreMLPartitioner  # noqa: E402

console = Console()


@dataclass
class Result:
    """One row of the table: how a variant of the model did on the test images."""

    name: str
    logits: torch.Tensor
    size: int | None
    milliseconds: float


def trained(epochs: int = 15) -> DigitsCNN:
    with Progress(console=console, transient=True) as progress:
        return train(
            DigitsCNN,
            epochs,
            lambda numbers: progress.track(numbers, description="training on digits"),
        )


def lower(model: nn.Module, example: torch.Tensor, partitioner: Any) -> bytes:
    """The documented ExecuTorch flow."""
    program = torch.export.export(model, (example,))
    edge = to_edge_transform_and_lower(program, partitioner=[partitioner])
    return bytes(edge.to_executorch().buffer)


def coreml(precision: ComputePrecision) -> CoreMLPartitioner:
    specs = CoreMLBackend.generate_compile_specs(compute_precision=precision)
    return CoreMLPartitioner(compile_specs=specs, lower_full_graph=True)


def latency(run: Callable[[torch.Tensor], Any], example: torch.Tensor) -> float:
    """Milliseconds per call: the fastest of some repeats, after a warm-up."""
    times = []
    for _ in range(30):
        start = time.perf_counter()
        run(example)
        times.append(time.perf_counter() - start)
    return min(times) * 1e3


def through_executorch(name: str, pte: bytes, images: torch.Tensor) -> Result:
    with redirect_stderr(StringIO()):  # XNNPACK reports there what it reads of the CPU
        method = Runtime.get().load_program(pte).load_method("forward")
    logits = torch.cat([method.execute((image,))[0].clone() for image in images.split(1)])
    return Result(name, logits, len(pte), latency(lambda x: method.execute((x,)), images[:1]))


def show(title: str, results: list[Result], labels: torch.Tensor | None = None) -> None:
    eager = results[0].logits
    table = Table(title=title, title_justify="left")
    for heading in ("", *(("accuracy",) if labels is not None else ()), "largest difference"):
        table.add_column(heading, justify="right" if heading else "left")
    table.add_column(".pte", justify="right")
    table.add_column("latency", justify="right")
    for result in results:
        cells = [result.name]
        if labels is not None:
            cells.append(f"{(result.logits.argmax(1) == labels).float().mean().item():.2%}")
        cells.append(f"{(result.logits - eager).abs().max().item():.1e}")
        cells.append("" if result.size is None else f"{result.size / 1024:,.0f} KiB")
        cells.append(f"{result.milliseconds:.2f} ms")
        table.add_row(*cells)
    console.print(table)


@torch.inference_mode()
def compare(title: str, model: nn.Module, images: torch.Tensor, labels: Any = None) -> None:
    """Lowers ``model`` for Core ML and XNNPACK, runs all of them on ``images``, prints a table."""
    example = images[:1]
    logits = torch.cat([model(image) for image in images.split(1)])
    results = [Result("eager PyTorch", logits, None, latency(model, example))]
    variants = {
        "Core ML float32": lambda: coreml(ComputePrecision.FLOAT32),
        "Core ML float16": lambda: coreml(ComputePrecision.FLOAT16),
        "XNNPACK float32": XnnpackPartitioner,
    }
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("", total=2 * len(variants))
        for name, partitioner in variants.items():
            progress.update(task, description=f"lowering, {name}")
            pte = lower(model, example, partitioner())
            progress.update(task, description=f"running, {name}", advance=1)
            results.append(through_executorch(name, pte, images))
            progress.advance(task)
    show(title, results, labels)


def main() -> None:
    start = time.perf_counter()
    _, _, images, labels = digits()
    compare("Digits CNN, 360 test images through the ExecuTorch runtime", trained(), images, labels)
    mobilenet, (photo,) = build("MobileNetV2")
    compare("MobileNetV2, 224x224, whole model in one delegate", mobilenet, photo)
    console.print(
        "float16 rows carry Core ML's fp16 rounding at every op; latency is of this machine's CPU. "
        f"Done in {time.perf_counter() - start:.0f} s."
    )


if __name__ == "__main__":
    main()
