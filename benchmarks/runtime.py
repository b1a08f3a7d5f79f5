"""Latency through the ExecuTorch runtime, ours and XNNPACK's, with ONNX Runtime and eager PyTorch.

All variants of a model live in one process and take turns. ``float32`` is the float32 program
without rounding, ``faithful`` the fp16 program with every fp16 value rounded as Core ML does,
``bfloat16`` the float32 program in the arithmetic of a CPU that has bfloat16. A second table has
the time to load a method, with and without a cache of compiled models; a third what a call costs
beyond OpenVINO's own run of the same compiled model.

    python benchmarks/runtime.py [model ...]
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from io import BytesIO, StringIO
from math import exp, log
from pathlib import Path
from statistics import median
from typing import Any

warnings.simplefilter("ignore")
logging.disable(logging.WARNING)

import onnxruntime  # noqa: E402
import torch  # noqa: E402
from executorch.backends.xnnpack.partition.xnnpack_partitioner import (  # noqa: E402
    XnnpackPartitioner,
)
from executorch.exir import to_edge_transform_and_lower  # noqa: E402
from executorch.runtime import Runtime  # noqa: E402
from measure import machine, parser, side_by_side  # noqa: E402

sys.path.append(str(Path(__file__).parents[1] / "examples"))
from architectures import MODELS, build  # noqa: E402

import executorch_coreml.runtime  # noqa: E402
from executorch_coreml import (  # noqa: E402
    ComputePrecision,
    CoreMLBackend,
    CoreMLPartitioner,
    Model,
)

FLOAT32, FLOAT16 = ComputePrecision.FLOAT32, ComputePrecision.FLOAT16
_LOADS = 5
_WHISPER = "Whisper-tiny encoder"


def coreml(precision: ComputePrecision) -> CoreMLPartitioner:
    specs = CoreMLBackend.generate_compile_specs(compute_precision=precision)
    return CoreMLPartitioner(compile_specs=specs, lower_full_graph=True)


def lowered(model: torch.nn.Module, inputs: tuple[Any, ...], partitioner: Any) -> bytes:
    exported = torch.export.export(model, inputs, strict=False)
    edge = to_edge_transform_and_lower(exported, partitioner=[partitioner])
    return bytes(edge.to_executorch().buffer)


def onnx_run(model: torch.nn.Module, inputs: tuple[Any, ...]) -> Callable[[], Any]:
    """A run of the model in ONNX Runtime on the CPU."""
    stream = BytesIO()
    with redirect_stdout(StringIO()):
        torch.onnx.export(model, inputs, dynamo=True, verbose=False).save(stream)
    session = onnxruntime.InferenceSession(stream.getvalue(), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    feed = dict(zip(names, (tensor.numpy() for tensor in inputs), strict=True))
    return partial(session.run, None, feed)


def load(pte: bytes) -> Any:
    """A loaded program. It must outlive its method: it owns the bytes that the method reads."""
    program = Runtime.get().load_program(pte)
    program.load_method("forward")
    return program


def load_time(pte: bytes) -> float:
    """Median milliseconds to load the method of a program that is in memory."""
    times = []
    for _ in range(_LOADS):
        start = time.perf_counter()
        load(pte)
        times.append((time.perf_counter() - start) * 1e3)
    return median(times)


@contextmanager
def configured(**chosen: Any) -> Iterator[None]:
    """For the methods that are loaded meanwhile."""
    before = executorch_coreml.runtime.defaults()
    executorch_coreml.runtime.configure(**chosen)
    try:
        yield
    finally:
        executorch_coreml.runtime.configure(**{name: getattr(before, name) for name in chosen})


class Scale(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2


class Sum(torch.nn.Module):
    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        return torch.stack(tensors).sum(0)


SMALL = {
    "x * 2, 1 element": (Scale(), (torch.ones(1),)),
    "linear, 64 -> 64": (torch.nn.Linear(64, 64), (torch.ones(1, 64),)),
    "sum of 8 tensors": (Sum(), tuple(torch.ones(16) for _ in range(8))),
    "x * 2, 1 MB": (Scale(), (torch.ones(1 << 18),)),
}


def calls() -> None:
    """Microseconds of a call, and what of them is not OpenVINO's run."""
    print("| program | OpenVINO alone | execute | beyond OpenVINO | Model.run | XNNPACK |")
    print("|---|---|---|---|---|---|")
    for name, (module, inputs) in SMALL.items():
        pte = lowered(module, inputs, coreml(FLOAT32))
        ours, xnnpack = load(pte), load(lowered(module, inputs, XnnpackPartitioner()))
        model = Model(pte)
        request = model._compiled.model.create_infer_request()
        arrays = [tensor.numpy() for tensor in inputs]
        for i, array in enumerate(arrays):
            request.get_input_tensor(i).data[...] = array
        ms = side_by_side(
            {
                "openvino": partial(request.infer, share_outputs=True),
                "execute": partial(ours.load_method("forward").execute, inputs),
                "run": partial(model.run, arrays),
                "xnnpack": partial(xnnpack.load_method("forward").execute, inputs),
            }
        )
        us = {variant: time * 1e3 for variant, time in ms.items()}
        beyond = us["execute"] - us["openvino"]
        print(f"| {name} | {us['openvino']:.1f} µs | {us['execute']:.1f} µs | **{beyond:.1f}** "
              f"| {us['run']:.1f} µs | {us['xnnpack']:.1f} µs |", flush=True)  # fmt: skip


def latencies(
    name: str, programs: dict[str, bytes], eager: Any, inputs: tuple[Any, ...]
) -> tuple[float, ...]:
    """Prints a row; returns its ratios."""
    loaded = {variant: load(pte) for variant, pte in programs.items()}
    with configured(precision="bfloat16"):
        loaded["bfloat16"] = load(programs["float32"])
    runs = {
        variant: partial(program.load_method("forward").execute, inputs)
        for variant, program in loaded.items()
    }
    runs["onnx"] = onnx_run(eager, inputs)
    with torch.inference_mode():
        ms = side_by_side(runs | {"eager": partial(eager, *inputs)})
    pairs = ("float32", "xnnpack"), ("faithful", "float32"), ("bfloat16", "float32")
    ratios = tuple(ms[one] / ms[other] for one, other in pairs)
    cells = [f"{t:.2f} ms" for t in ms.values()] + [f"**{ratio:.2f}**" for ratio in ratios]
    print(f"| {name} | {' | '.join(cells)} |", flush=True)
    return ratios


def loads(name: str, programs: dict[str, bytes]) -> str:
    """A row of times to load a method."""
    ours = [programs["float32"], programs["faithful"]]
    plain = [load_time(pte) for pte in ours]
    with tempfile.TemporaryDirectory() as directory, configured(cache_dir=directory):
        for pte in ours:
            load(pte)
        cached = [load_time(pte) for pte in ours]
    times = (*plain, *cached, load_time(programs["xnnpack"]))
    return f"| {name} | {' | '.join(f'{t:.0f} ms' for t in times)} |"


def main(names: list[str]) -> None:
    print(machine(), end="\n\n")
    print("| model | float32 | faithful fp16 | XNNPACK | bfloat16 | ONNX Runtime | eager "
          "| float32 / XNNPACK | faithful / float32 | bfloat16 / float32 |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|---|")
    ratios: list[tuple[float, ...]] = []
    rows: list[str] = []
    load(lowered(*SMALL["x * 2, 1 element"], coreml(FLOAT32)))  # imports the engine
    for name in names:
        model, inputs = build(name)
        programs = {
            "float32": lowered(model, inputs, coreml(FLOAT32)),
            "faithful": lowered(model, inputs, coreml(FLOAT16)),
            "xnnpack": lowered(model, inputs, XnnpackPartitioner()),
        }
        ratios.append(latencies(name, programs, model, inputs))
        rows.append(loads(name, programs))
    means = [exp(sum(map(log, column)) / len(ratios)) for column in zip(*ratios, strict=True)]
    print(
        f"\nGeometric means: float32 / XNNPACK {means[0]:.2f}, faithful / float32 {means[1]:.2f}, "
        f"bfloat16 / float32 {means[2]:.2f}"
    )
    print("\n| load | float32 | faithful fp16 | float32, cached | faithful, cached | XNNPACK |")
    print("|---|---|---|---|---|---|", *rows, sep="\n", end="\n\n")
    calls()


if __name__ == "__main__":
    main(parser(__doc__, [*MODELS, _WHISPER]).parse_args().models)
