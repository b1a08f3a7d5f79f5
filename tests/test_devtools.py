"""ExecuTorch's developer tools on delegates that run here: ETDump, ETRecord, Inspector."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import devtools
import numpy as np
import pytest
import torch
from executorch.devtools import Inspector
from executorch.devtools.etrecord import parse_etrecord
from executorch.devtools.inspector import Event
from executorch.runtime import Runtime
from torch import Tensor, nn

import executorch_coreml.runtime  # noqa: F401
from executorch_coreml.mil.bundle import read
from executorch_coreml.mil.types import Bundle

pytestmark = pytest.mark.filterwarnings("ignore")  # torch.export and pandas have many

RUNS = 5
FP16 = 2e-3  # relative to the largest element: a few roundings


@dataclass(frozen=True)
class Traced:
    folder: Path
    model: nn.Module
    inputs: tuple[Tensor, ...]

    @property
    def bundle(self) -> Bundle:
        return read(self.folder / "net.pte")

    def run(self, *, runs: int = 1, room: int = 0) -> Inspector:
        return devtools.trace(self.folder, self.inputs, runs=runs, room=room)


Trace = Callable[..., Traced]


@pytest.fixture
def traced(tmp_path: Path) -> Trace:
    def make(model: nn.Module | Callable[..., Any], *inputs: Tensor) -> Traced:
        module = model if isinstance(model, nn.Module) else Function(model)
        devtools.lower(module.eval(), inputs, tmp_path)
        return Traced(tmp_path, module, inputs)

    return make


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Traced:
    """The two layers of the example."""
    torch.manual_seed(0)
    model, inputs = devtools.Net().eval(), (torch.randn(4, 64),)
    folder = tmp_path_factory.mktemp("net")
    devtools.lower(model, inputs, folder)
    return Traced(folder, model, inputs)


class Function(nn.Module):
    def __init__(self, function: Callable[..., Any]):
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*inputs)


def events(inspector: Inspector) -> list[Event]:
    return [event for block in inspector.event_blocks for event in block.events]


def delegated(inspector: Inspector) -> dict[str, Event]:
    return {event.name: event for event in events(inspector) if event.is_delegated_op}


def close(got: Tensor, expected: Tensor) -> bool:
    error = (got.double() - expected.double()).abs().max()
    return bool(error <= FP16 * expected.double().abs().max())


def test_each_mil_op_is_an_event_of_its_aten_op_and_module(net: Traced) -> None:
    inspector = net.run(runs=RUNS)
    found = [(e.op_types[-1], devtools.module(e)) for e in devtools.ops(inspector)]
    assert list(dict.fromkeys(found)) == [
        ("aten.linear.default", "first"),
        ("aten.relu.default", ""),
        ("aten.mul.Tensor", "energy"),
        ("aten.mul.Tensor", ""),
        ("aten.linear.default", "last"),
    ]
    (function,) = net.bundle.program.functions.values()
    inner = [op.name for op in function.body.operations if op.type != "const"]
    names = [name.partition(":")[0] for name in delegated(inspector)]
    assert sorted(names) == sorted(["CoreMLBackend.execute", *inner])
    for event in devtools.ops(inspector):
        assert all("forward" in trace for trace in event.stack_traces.values())
        assert event.delegate_backend_name == "CoreMLBackend"
        assert not event.debug_data, "no values were asked for"


def test_the_times_of_the_ops_add_up_to_no_more_than_the_run(net: Traced) -> None:
    found = delegated(net.run(runs=RUNS))
    whole = found.pop("CoreMLBackend.execute").perf_data.raw
    spent = [event.perf_data.raw for event in found.values()]
    assert {len(each) for each in spent} == {RUNS} == {len(whole)}
    assert 0 < np.sum(spent) <= sum(whole)
    first, last = (event for name, event in found.items() if name.endswith(":linear"))
    assert min(sum(first.perf_data.raw), sum(last.perf_data.raw)) > 0
    (kernels,) = {each for each in first.delegate_debug_metadatas if each}
    assert b"FullyConnected" in kernels
    fused = found["aten_mul_tensor:mul"].delegate_debug_metadatas[0]
    assert b"aten_mul_tensor_1" in fused, "the products are one kernel, which both say"


def test_values_are_those_of_eager_pytorch(net: Traced) -> None:
    found = delegated(net.run(room=1_000_000))
    eager = net.model.first(*net.inputs)
    expected = {
        "aten_linear_default:linear": eager,
        "aten_relu_default:relu": eager.relu(),
        "aten_mul_tensor:mul": eager.relu() * 400,
    }
    for name, value in expected.items():
        (got,) = found[name].debug_data
        assert got.shape == value.shape
        assert close(got, value), name
    (beyond,) = found["aten_mul_tensor_1:mul"].debug_data
    squares = (eager.relu() * 400).double() ** 2
    assert torch.equal(
        beyond[squares > 66000].isinf(), torch.ones(int((squares > 66000).sum())) > 0
    )
    assert not beyond[squares < 65000].isinf().any()


def test_the_numeric_gap_is_at_the_op_that_leaves_fp16s_range(net: Traced) -> None:
    gaps = net.run(room=1_000_000).calculate_numeric_gap("SNR")
    found = [(row.aot_ops[-1], row.gap[0]) for row in gaps.itertuples()]
    assert [name for name, _ in found] == ["linear", "relu", "mul", "mul_1", "mul_2", "linear_1"]
    bad = [name for name, gap in found if not gap > 50]
    assert bad == ["mul_1", "mul_2", "linear_1"], "mul_1 overflows, and what reads it"


def test_an_etrecord_survives_its_file(net: Traced) -> None:
    record = parse_etrecord(str(net.folder / "etrecord.bin"))
    (handles,) = record._delegate_map["forward"].values()
    assert handles["name"] == "CoreMLBackend"
    found = {symbol: tuple(each) for symbol, each in handles["delegate_map"].items()}
    assert found == net.bundle.debug_handles, "the payload tells the device the same"
    assert record.edge_dialect_program is not None
    (inputs,) = record._representative_inputs
    assert torch.equal(inputs, net.inputs[0])


def test_traced_results_are_those_of_untraced_runs(traced: Trace) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 4))
    made = traced(net, torch.randn(8, 16))

    def results(**how: Any) -> Tensor:
        program = Runtime.get().load_program(made.folder / "net.pte", **how)
        return program.load_method("forward").execute(made.inputs)[0]

    plain = results()
    assert close(plain, net(*made.inputs))
    assert torch.equal(results(enable_etdump=True), plain)
    assert close(results(enable_etdump=True, debug_buffer_size=100_000), plain)


def test_nothing_is_compiled_for_tracing_without_a_tracer(
    net: Traced, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is what would do it even imported."""
    module = "executorch_coreml.runtime.trace"
    monkeypatch.delitem(sys.modules, module, raising=False)
    for traces in (False, True):
        program = Runtime.get().load_program(net.folder / "net.pte", enable_etdump=traces)
        program.load_method("forward").execute(net.inputs)
        assert (module in sys.modules) == traces


def test_a_node_of_several_ops_has_its_last_value(traced: Trace) -> None:
    """What its ops pass among themselves is there as well, without a node."""
    q = torch.randn(1, 2, 4, 8, generator=torch.Generator().manual_seed(0))
    attention = torch.nn.functional.scaled_dot_product_attention
    made = traced(lambda q: attention(q + 1, q * 2, q) + 1, q)
    inspector = made.run(room=1_000_000)
    name = "aten_scaled_dot_product_attention_default"
    found = {event: each for event, each in delegated(inspector).items() if name in event}
    valued = [each for each in found.values() if each.op_types and each.debug_data]
    (result,) = valued
    assert close(result.debug_data[0], attention(q + 1, q * 2, q))
    inner = [each for each in found.values() if not each.op_types]
    assert any(
        close(each.debug_data[0], torch.softmax((q + 1) @ (q * 2).mT / 8**0.5, -1))
        for each in inner
        if each.debug_data[0].shape == (1, 2, 4, 4)
    )
    gaps = [gap for row in inspector.calculate_numeric_gap("SNR").itertuples() for gap in row.gap]
    assert len(gaps) == 4
    assert min(gaps) > 50


def test_several_results_and_integers(traced: Trace) -> None:
    x = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    made = traced(lambda x: (x.topk(2)[0] + 1, x.argmax(1), x > 0), x)
    inspector = made.run(room=1_000_000)
    (top,) = (e for name, e in delegated(inspector).items() if name.endswith(":topk"))
    assert close(top.debug_data[0], x.topk(2)[0])
    assert torch.equal(top.debug_data[1].long(), x.topk(2)[1])
    for event in events(inspector):  # see docs/devtools.md
        event.num_outputs = 1 if event.is_delegated_op else event.num_outputs
    gaps = inspector.calculate_numeric_gap("L1")
    assert {row.aot_ops[-1] for row in gaps.itertuples()} >= {"add", "argmax", "gt"}
    assert max(gap for row in gaps.itertuples() for gap in row.gap) < 0.1


class Counter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(2))

    def forward(self, x: Tensor) -> Tensor:
        self.count.add_(x)
        return self.count * 2


def test_a_state_goes_on_when_a_trace_starts_and_changes(traced: Trace) -> None:
    x = torch.tensor([1.0, 2.0])
    made = traced(Counter(), x)
    assert made.bundle.descriptions["main"].states
    program = Runtime.get().load_program(
        made.folder / "net.pte", enable_etdump=True, debug_buffer_size=1_000_000
    )
    method = program.load_method("forward")
    for step in range(1, 4):
        assert torch.equal(method.execute((x,))[0], x * step * 2)


def test_the_example_prints_its_table(capsys: pytest.CaptureFixture[str]) -> None:
    devtools.main()
    lines = [line for line in capsys.readouterr().out.splitlines() if "aten." in line]
    first = next(line for line in lines if "first" in line)
    bad = [line for line in lines if "-inf" in line]
    assert "aten.linear.default" in first
    assert "energy" in bad[0]
