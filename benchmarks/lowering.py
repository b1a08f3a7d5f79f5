"""Lowering time and memory, ours beside ExecuTorch's own Core ML backend, in one run.

Each (model, backend) pair runs in a process of its own, so that memory is not shared; the two of a
model run one after the other. Both are warmed up on a small model first: imports do not count.

    python benchmarks/lowering.py [model ...]
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from measure import PeakMemory, machine

sys.path.append(str(Path(__file__).parents[1] / "examples"))
from architectures import MODELS, build

BACKENDS = {"ours": "executorch_coreml", "existing": "executorch.backends.apple.coreml"}


class Timed:
    """Adds up the time spent inside chosen methods of an object."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def wrap(self, owner: Any, name: str) -> None:
        inner = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return inner(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - start

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
            start = time.perf_counter()
            edge = to_edge_transform_and_lower(program, partitioner=[partitioner])
            total = time.perf_counter() - start
        graph = edge.exported_program().graph
        calls = [n for n in graph.nodes if n.op == "call_function"]
        delegates = sum("executorch_call_delegate" in str(n.target) for n in calls)
        return {
            "total": total,
            "own": own.seconds,
            "memory": memory.added,
            "delegates": delegates,
        }

    lower(torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU()), (torch.rand(1, 4),), Timed())
    print(json.dumps(lower(*build(name), Timed())))


def measure(name: str, backend: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, __file__, "--child", name, backend],
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
    print("| model | own code: ours, existing, ratio | whole lowering | added peak memory |")
    print("|---|---|---|---|")
    for name in names:
        ours, existing = measure(name, "ours"), measure(name, "existing")
        cells = [
            f"{ours[key] / unit:.1f}, {existing[key] / unit:.1f}{suffix}, "
            f"**{ours[key] / existing[key]:.2f}**"
            for key, unit, suffix in (
                ("own", 1, " s"),
                ("total", 1, " s"),
                ("memory", 2**20, " MiB"),
            )
        ]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3])
    else:
        main(sys.argv[1:] or list(MODELS))
