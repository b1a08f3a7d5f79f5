"""``compare`` and ``etcoreml compare``: what they find in models with known faults."""

from __future__ import annotations

import inspect
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from case import FP16, assert_close, execute, export, lower, randn
from console import call
from executorch_coreml import CoreMLBackend, CoreMLPartitioner, compare
from executorch_coreml.debug.comparison import QUANTIZED
from executorch_coreml.debug.measure import measure
from executorch_coreml.errors import CompileError, InputError, OptionsError
from executorch_coreml.options import CompileOptions
from quantized_models import pt2e

pytestmark = pytest.mark.filterwarnings("ignore")  # torchao and torch.export have many

X = torch.linspace(-1, 1, 32).reshape(2, 16)


class Energy(nn.Module):
    """Squares beyond fp16's range, whose differences are then NaN."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        squares = (x * 1000) ** 2
        return (squares - squares.amax(-1, keepdim=True)) / 1000 / 1000


class Overflowing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(16, 16)
        self.energy = Energy()
        self.last = nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.energy(torch.relu(self.first(x))))


class Mixed(nn.Module):
    """Two delegates around a float64 op; floats, integers and truth values."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(16, 8)

    def forward(self, x: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, ...]:
        low, high = self.linear(x).split(4, -1)
        wide = (low + high).double().cosh().float()
        return torch.softmax(wide * 2, -1), wide.argmax(-1) + ids, (wide + 1) > 2


class Layers(nn.Module):
    """The largest weights of one layer, which its scale must hold, meet zeros."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.mid, self.last = nn.Linear(32, 32), nn.Linear(32, 32), nn.Linear(32, 8)
        with torch.no_grad():
            self.first.bias[0] = -100
            self.mid.weight[:, 0] *= 20

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.mid(torch.relu(self.first(x)))))


def overflowing() -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    return Overflowing().eval(), (X,)


# -- overflow and its cure -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """What the command prints of the overflowing model, with its proposal applied."""
    result = call("compare", f"{__file__}:overflowing", "--apply", "--json")
    assert result.exit_code == 0, result.output  # with the proposal it is as it should be
    printed: dict[str, Any] = json.loads(result.stdout)
    return printed


def test_an_overflow_is_named_with_its_module_and_line(found: dict[str, Any]) -> None:
    lines, start = inspect.getsourcelines(Energy.forward)
    square = start + next(i for i, line in enumerate(lines) if "** 2" in line)
    first = found["first_bad"]
    assert (first["module"], first["op"]) == ("energy", "aten.pow.Tensor_Scalar")
    assert (first["file"], first["line"]) == (__file__, square)
    assert first["own"]["overflow"] == first["error"]["overflow"] > 0
    assert first["float32"]["overflow"] == 0
    assert (found["ok"], found["outputs"][0]["error"]["nan"] > 0) == (False, True)
    assert found["cause"].startswith("fp16 precision")


def test_ops_behind_an_overflow_are_not_blamed(found: dict[str, Any]) -> None:
    rows = {row["module"]: row for row in found["rows"]}
    last = rows["last"]
    assert last["error"]["nan"] > 0
    assert last["own"]["nan"] == 0
    assert last["own"]["snr"] > 50
    assert rows["first"]["bad"] is False


def test_the_proposal_cures_it(found: dict[str, Any]) -> None:
    assert found["proposal"] == ["energy"]
    applied = found["applied"]
    assert (applied["ok"], applied["keep_fp32"], applied["proposal"]) == (True, ["energy"], [])
    assert applied["outputs"][0]["error"]["snr"] > 50
    types = {row["node"]: row["dtype"] for row in applied["rows"] if row["module"] == "energy"}
    assert set(types.values()) == {"fp32"}
    assert {r["dtype"] for r in applied["rows"] if r["module"] in ("first", "last")} == {"fp16"}


def test_keep_fp32_in_the_executorch_runtime() -> None:
    model, inputs = overflowing()
    lowered, partitioner = lower(export(model, inputs), FP16, keep_fp32=["energy"])
    (got,) = execute(lowered.buffer, inputs)
    assert_close(got, model(*inputs), 4e-3, 1e-3, "energy")
    notes = [n for n in partitioner.report.precision if "keep_fp32" in n.reason]
    assert {note.location.module for note in notes} == {"energy"}


def test_keep_fp32_names_ops_and_patterns() -> None:
    from executorch_coreml.compiler.keep_fp32 import named

    nodes = [n for n in export(*overflowing()).graph.nodes if n.op == "call_function"]

    def ops(*entries: str) -> list[str]:
        return [str(node.target) for node in named(nodes, entries)]

    assert ops("energy:aten.mul.Tensor") == ["aten.mul.Tensor"]
    assert ops(":aten.relu.default") == ["aten.relu.default"]
    assert ops("*:aten.linear.default") == ["aten.linear.default"] * 2
    assert ops("?ast", "fir*") == ["aten.linear.default"] * 2
    assert ops("ener", ":aten.linear.default") == []


def test_keep_fp32_survives_the_wire_and_refuses_what_is_not_there() -> None:
    specs = CoreMLBackend.generate_compile_specs(keep_fp32=["enrgy"])
    assert specs[-1] == CoreMLBackend.generate_keep_fp32_compile_spec(["enrgy"])
    assert CompileOptions.from_specs(specs).keep_fp32 == ("enrgy",)
    with pytest.raises(OptionsError, match=r"names 'enrgy'.*did you mean 'energy'"):
        CoreMLPartitioner(compile_specs=specs).partition(export(*overflowing()))
    for wrong in ("energy", [""], [3]):
        with pytest.raises(OptionsError, match="keep_fp32"):
            CoreMLBackend.generate_compile_specs(keep_fp32=wrong)  # type: ignore[arg-type]


# -- models without a fault, and quantized ones --------------------------------------------------


def test_a_float32_program_is_equal_in_every_value(tmp_path: Path) -> None:
    """Saved, with one input from a file; part of it runs outside the delegates."""
    inputs = (randn(3, 16), torch.tensor([1, 2, 3]))
    torch.export.save(export(Mixed(), inputs), tmp_path / "mixed.pt2")
    np.save(tmp_path / "x.npy", randn(3, 16, scale=2.0).numpy())
    given = ["--input", f"x={tmp_path / 'x.npy'}", "--precision", "float32", "--json"]
    result = call("compare", tmp_path / "mixed.pt2", *given)
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert {row["delegate"] for row in printed["rows"]} == {0, 1}
    assert {row["dtype"] for row in printed["rows"]} >= {"fp32", "int32", "bool"}
    assert len(printed["outputs"]) == 3
    for row in printed["rows"]:
        for error in (row["error"], row["own"], row["float32"]):
            assert float(error["snr"]) > 110, row
            assert error["relative"] < 1e-5, row
    assert (printed["proposal"], printed["first_bad"], printed["cause"]) == ([], None, None)


def test_the_layer_that_quantization_ruins_is_named() -> None:
    model, inputs = Layers().eval(), (randn(4, 32),)
    quantized = pt2e(
        model, inputs, weight_dtype="qint4", weight_per_channel=False, activation_dtype="float32"
    )
    found = compare(quantized, inputs, reference=model, min_snr=15)
    layers = {layer.module: layer for layer in found.layers()}
    assert found.layerwise
    assert set(layers) == {"first", "mid", "last"}
    assert found.proposal == ("mid",)
    own = {name: layer.own.snr for name, layer in layers.items() if layer.own is not None}
    assert own["mid"] < 10 < 15 < min(own["first"], own["last"])
    assert layers["last"].error.snr < own["last"] - 3  # it gets what the layer before made of it
    assert (found.ok, found.cause) == (False, QUANTIZED)
    first = found.first_bad
    assert first is not None
    assert first.location.module == "mid"


# -- figures -------------------------------------------------------------------------------------


def test_figures_of_one_tensor() -> None:
    expected = np.array([3.0, 4.0, 0.0, 1e-8, 70000.0, -3e38, np.nan, np.inf, 1.0], np.float32)
    got = np.array([3.0, 4.5, 0.0, 0.0, np.inf, -40000, np.nan, 5.0, np.nan], np.float32)
    error = measure(expected, got)
    assert (error.elements, error.absolute, error.relative) == (9, 0.5, 0.125)
    assert error.snr == pytest.approx(20.0)  # 25 / 0.25
    assert (error.overflow, error.underflow, error.nan) == (1, 1, 1)
    assert (error.unlike, error.expected_nan) == (1, 1)
    assert error.broken


def test_figures_at_the_edges() -> None:
    ones, nothing = np.ones(3, np.float32), np.zeros(0, np.float32)
    assert (measure(ones, ones).snr, measure(nothing, nothing).snr) == (math.inf, math.inf)
    assert measure(ones, ones * np.float32(np.nan)).snr == -math.inf
    assert measure(ones * 0, ones).relative == math.inf
    assert not measure(ones * 0, ones * 0).beyond(200, 0.0)
    assert measure(ones, ones * np.float32(1.01)).beyond(30, 0.001)


# -- errors --------------------------------------------------------------------------------------


def test_inputs_that_the_model_does_not_take() -> None:
    program = export(Layers(), (randn(4, 32),))
    for given, message in [
        ((), r"takes 1 inputs \(x\), got 0"),
        ((randn(4, 31),), r"input x is torch.float32 \[4, 31\]; the model takes .* \[4, 32\]"),
        ((randn(4, 32).int(),), "input x is torch.int32"),
        ((3,), "input x is a int; it must be a tensor"),
        ({"y": randn(4, 32)}, "no inputs y; the model takes x"),
    ]:
        with pytest.raises(InputError, match=message):
            compare(program, given)
    with pytest.raises(InputError, match="inputs of a module are a tuple"):
        compare(Layers(), randn(4, 32))
    with pytest.raises(OptionsError, match="apply"):
        compare(program, reference=program, apply=True)


NOTHING = """
import torch
def wrong(): return torch.nn.ReLU()
def broken(): return 1 / 0
"""


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("net.py", "no callable 'model'. Hint: it has wrong, broken"),
        ("net.py:wrong", "returned a ReLU, not (model, example inputs)"),
        ("net.py:broken", "net.py:broken failed: ZeroDivisionError: division by zero. Hint: "),
        ("absent.py", "no file"),
        ("absent_module:net", "absent_module cannot be imported"),
        ("net.onnx", "no Python file and no module:callable"),
        ("net.pt2", "no program that torch.export.load reads"),
    ],
)
def test_models_that_cannot_be_loaded(tmp_path: Path, place: str, message: str) -> None:
    (tmp_path / "net.py").write_text(NOTHING)
    result = call("compare", tmp_path / place if place.startswith("net") else place)
    assert (result.exit_code, result.stdout) == (1, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_program_of_which_nothing_is_delegated() -> None:
    with pytest.raises(CompileError, match="nothing of the program is delegated"):
        compare(nn.Identity(), (torch.zeros(2, dtype=torch.float64),))
