"""ExecuTorch's developer tools on a delegate: what each op costs, and where fp16 loses precision.

Two layers, with something between them that leaves fp16's range, run through the ExecuTorch runtime
twice: to measure the ops, and to compare their values with eager PyTorch's.

    python examples/devtools.py
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from pathlib import Path

if __name__ == "__main__":  # before the imports below, some of which warn
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)

import torch
from executorch.devtools import Inspector
from executorch.devtools.inspector import Event
from executorch.exir import to_edge_transform_and_lower
from executorch.runtime import Runtime
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import executorch_coreml.runtime  # noqa: F401  (registers the delegate)
from executorch_coreml import CoreMLPartitioner

RUNS = 20


class Energy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        large = x * 400
        return large * large


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.energy, self.last = nn.Linear(64, 256), Energy(), nn.Linear(256, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.energy(torch.relu(self.first(x))) * 1e-6)


def lower(model: nn.Module, inputs: tuple[Tensor, ...], folder: Path) -> None:
    """Writes ``net.pte``, and ``etrecord.bin``: what of the model the developer tools need."""
    program = torch.export.export(model, inputs, strict=False)
    edge = to_edge_transform_and_lower(
        program, partitioner=[CoreMLPartitioner()], generate_etrecord=True
    )
    made = edge.to_executorch()
    record = made.get_etrecord()
    record.update_representative_inputs(list(inputs))
    record.save(str(folder / "etrecord.bin"))
    (folder / "net.pte").write_bytes(made.buffer)


def trace(folder: Path, inputs: tuple[Tensor, ...], *, runs: int = 1, room: int = 0) -> Inspector:
    """Runs ``net.pte``.

    Args:
        folder: Where :func:`lower` wrote.
        inputs: Of the model, the same in each run.
        runs: How often.
        room: Bytes for the values of all runs; 0 records none.
    """
    program = Runtime.get().load_program(
        folder / "net.pte", enable_etdump=True, debug_buffer_size=room
    )
    method = program.load_method("forward")
    for _ in range(runs):
        method.execute(inputs)
    dump, values = folder / "etdump.etdp", folder / "values.bin"
    program.write_etdump_result_to_file(str(dump), str(values))
    return Inspector(
        etdump_path=str(dump),
        etrecord=str(folder / "etrecord.bin"),
        debug_buffer_path=str(values) if room else None,
    )


def ops(inspector: Inspector) -> list[Event]:
    """The events of MIL ops that came from an op of the model."""
    events = [event for block in inspector.event_blocks for event in block.events]
    return [event for event in events if event.is_delegated_op and event.op_types]


def module(event: Event) -> str:
    """The path of the module that an op came from."""
    paths = [path for stack in event.module_hierarchy.values() for path, _ in stack.values()]
    return paths[-1] if paths else ""


def main() -> None:
    torch.manual_seed(0)
    model, inputs = Net().eval(), (torch.randn(32, 64),)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lower(model, inputs, folder)
        measured = trace(folder, inputs, runs=RUNS)
        compared = trace(folder, inputs, room=10_000_000)
        gaps = compared.calculate_numeric_gap("SNR")
    snr = {op: gap for row in gaps.itertuples() for op in row.runtime_ops for gap in row.gap}
    table = Table("MIL op", "aten op", "module", "µs", "SNR (dB)")
    for event in ops(measured):
        time = f"{event.perf_data.p50 * 1000:.1f}"
        gap = f"{snr[event.name]:.1f}" if event.name in snr else ""
        table.add_row(event.name, event.op_types[-1], module(event), time, gap)
    Console().print(table)


if __name__ == "__main__":
    main()
