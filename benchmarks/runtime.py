"""Latency through the ExecuTorch runtime: ours, XNNPACK's and eager PyTorch's, in one run.

All variants of a model live in one process and take turns. ``float32`` is the float32 program
without rounding, ``faithful`` the fp16 program with every fp16 value rounded as Core ML does.

    python benchmarks/runtime.py [model ...]
"""

from __future__ import annotations

import logging
import sys
import time
import warnings
from functools import partial
from math import exp, log
from pathlib import Path
from typing import Any

warnings.simplefilter("ignore")
logging.disable(logging.WARNING)

import torch  # noqa: E402
from executorch.backends.xnnpack.partition.xnnpack_partitioner import (  # noqa: E402
    XnnpackPartitioner,
)
from executorch.exir import to_edge_transform_and_lower  # noqa: E402
from executorch.runtime import Runtime  # noqa: E402
from measure import machine, parser, side_by_side  # noqa: E402

sys.path.append(str(Path(__file__).parents[1] / "examples"))
from architectures import MODELS, build  # noqa: E402

import executorch_coreml.runtime  # noqa: E402, F401
from executorch_coreml import ComputePrecision, CoreMLBackend, CoreMLPartitioner  # noqa: E402


def coreml(precision: ComputePrecision) -> CoreMLPartitioner:
    specs = CoreMLBackend.generate_compile_specs(compute_precision=precision)
    return CoreMLPartitioner(compile_specs=specs, lower_full_graph=True)


def load(model: torch.nn.Module, inputs: tuple[Any, ...], partitioner: Any) -> tuple[Any, float]:
    """(loaded program, milliseconds to load its method).

    The program must outlive its method: it owns the bytes that the method reads.
    """
    exported = torch.export.export(model, inputs, strict=False)
    edge = to_edge_transform_and_lower(exported, partitioner=[partitioner])
    pte = bytes(edge.to_executorch().buffer)
    start = time.perf_counter()
    program = Runtime.get().load_program(pte)
    program.load_method("forward")
    return program, (time.perf_counter() - start) * 1e3


def main(names: list[str]) -> None:
    print(machine(), end="\n\n")
    print("| model | float32 | faithful fp16 | XNNPACK | eager | float32 / XNNPACK "
          "| faithful / float32 | load, float32 |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|")
    ratios: list[tuple[float, float]] = []
    for name in names:
        model, inputs = build(name)
        float32, load_time = load(model, inputs, coreml(ComputePrecision.FLOAT32))
        faithful, _ = load(model, inputs, coreml(ComputePrecision.FLOAT16))
        xnnpack, _ = load(model, inputs, XnnpackPartitioner())
        with torch.inference_mode():
            ms = side_by_side(
                {
                    "float32": partial(float32.load_method("forward").execute, inputs),
                    "faithful": partial(faithful.load_method("forward").execute, inputs),
                    "xnnpack": partial(xnnpack.load_method("forward").execute, inputs),
                    "eager": partial(model, *inputs),
                }
            )
        ratios.append((ms["float32"] / ms["xnnpack"], ms["faithful"] / ms["float32"]))
        times = " | ".join(f"{t:.2f} ms" for t in ms.values())
        print(f"| {name} | {times} | **{ratios[-1][0]:.2f}** | **{ratios[-1][1]:.2f}** "
              f"| {load_time:.0f} ms |", flush=True)  # fmt: skip
    means = [exp(sum(map(log, column)) / len(ratios)) for column in zip(*ratios, strict=True)]
    print(f"\nGeometric means: float32 / XNNPACK {means[0]:.2f}, faithful / float32 {means[1]:.2f}")


if __name__ == "__main__":
    main(parser(__doc__, MODELS).parse_args().models)
