"""Lowering time and memory, ours beside ExecuTorch's own Core ML backend, in one run.

Each (model, backend) pair runs in processes of its own, so that memory is not shared; the two of a
model take turns, and each figure is the least of the rounds. Both are warmed up on a small model
first: imports do not count. Times are CPU time of all threads, which other work on the machine
disturbs less; the wall time of the whole lowering stands beside it.

    python benchmarks/lowering.py [model ...]
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from measure import PeakMemory, machine, parser

sys.path.append(str(Path(__file__).parents[1] / "examples"))
from architectures import LARGE_MODELS, MODELS, build

BACKENDS = {"ours": "executorch_coreml", "existing": "executorch.backends.apple.coreml"}


NAMES = [
    *(name for name in MODELS if "Llama" not in name),
    *(name for name in LARGE_MODELS if "Llama" in name),
]
ROUNDS = 3


class Timed:
    """Adds up the CPU time spent inside chosen methods, whichever of them calls another."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def wrap(self, owner: Any, name: str) -> None:
        inner = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            try:
                return inner(*args, **kwargs)
            finally:
                self.seconds += time.process_time() - start

        setattr(owner, name, timed)


def child(name: str, backend: str) -> None:
    """Measures one pair and prints a line of JSON."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    import importlib

    import torch
    from executorch.exir import to_edge_transform_and_lower

    compiler = importlib.import_module(f"{BACKENDS[backend]}.compiler").CoreMLBackend
    partition = importlib.import_module(f"{BACKENDS[backend]}.partition")

    def lower(model: torch.nn.Module, inputs: tuple[Any, ...], own: Timed) -> dict[str, Any]:
        program = torch.export.export(model, inputs, strict=False)
        partitioner = partition.CoreMLPartitioner()
        own.wrap(partitioner, "ops_to_not_decompose")
        own.wrap(partitioner, "partition")
        own.wrap(compiler, "preprocess_multimethod")
        with PeakMemory() as memory:
            start, cpu = time.perf_counter(), time.process_time()
            edge = to_edge_transform_and_lower(program, partitioner=[partitioner])
            total, wall = time.process_time() - cpu, time.perf_counter() - start
        graph = edge.exported_program().graph
        calls = [n for n in graph.nodes if n.op == "call_function"]
        delegates = sum("executorch_call_delegate" in str(n.target) for n in calls)
        return {
            "total": total,
            "wall": wall,
            "own": own.seconds,
            "memory": memory.added,
            "delegates": delegates,
        }

    lower(torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU()), (torch.rand(1, 4),), Timed())
    print(json.dumps(lower(*build(name), Timed())))


def measure(name: str, backend: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, __file__, "--child", backend, name],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{name} with {backend} failed:\n{done.stderr[-3000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main(names: list[str]) -> None:
    print(machine(), end="\n\n")
    print(
        "| model | own code: ours, existing, ratio | whole lowering | the same, wall "
        "| added peak memory |\n|---|---|---|---|---|"
    )
    for name in names:
        rounds = [{kind: measure(name, kind) for kind in BACKENDS} for _ in range(ROUNDS)]
        cells = []
        for key, unit, suffix in (
            ("own", 1, " s"),
            ("total", 1, " s"),
            ("wall", 1, " s"),
            ("memory", 2**20, " MiB"),
        ):
            ours, existing = (min(r[kind][key] for r in rounds) / unit for kind in BACKENDS)
            cells.append(f"{ours:.2f}, {existing:.2f}{suffix}, **{ours / existing:.2f}**")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    command_line = parser(__doc__, NAMES)
    command_line.add_argument("--child", choices=BACKENDS, help=argparse.SUPPRESS)
    chosen = command_line.parse_args()
    if chosen.child:
        child(chosen.models[0], chosen.child)
    else:
        main(chosen.models)
