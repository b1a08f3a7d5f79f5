"""How much memory a loaded model takes, beside the weights in its file."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import torch

from case import FP16, FP32, export, lower
from executorch_coreml import Model
from executorch_coreml.engine import half
from executorch_coreml.mil.extract import extract
from warm import warm

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
    pytest.mark.xdist_group("stock"),  # whose process with torch forks here too
]

WEIGHTS = 128 << 20  # bytes
SIZE = 2048
RESIDENT = 1.3
PEAK = 1.8  # on the way, pages of the file are there until they are given back

# Loads a model twice, from its file and as a delegate, and prints what each time adds at its peak.
SCRIPT = """
import gc, json, sys
from pathlib import Path
from executorch.runtime import Runtime
import executorch_coreml.runtime
from executorch_coreml import Model

def status(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))

def added(load):
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before = {field: status(field) for field in ("VmRSS", "RssAnon", "RssFile")}
    kept = load()
    return {
        "peak": status("VmHWM") - before["VmRSS"],
        "anonymous": status("RssAnon") - before["RssAnon"],
        "file": status("RssFile") - before["RssFile"],
    }

def delegate(path):
    program = Runtime.get().load_program(path)
    return program, program.load_method("forward")

tiny, precision, package, program = sys.argv[1:]
executorch_coreml.runtime.configure(precision=precision)
delegate(tiny)
print(json.dumps({
    "model": added(lambda: Model(package, precision=precision)),
    "delegate": added(lambda: delegate(program)),
}))
"""


def program(layers: int, size: int, precision: object, path: Path) -> Path:
    torch.manual_seed(0)
    model = torch.nn.Sequential(*(torch.nn.Linear(size, size, bias=False) for _ in range(layers)))
    path.write_bytes(lower(export(model, (torch.ones(1, size),)), precision)[0].buffer)
    return path


def added(tiny: Path, precision: str, package: Path, program: Path) -> Mapping[str, dict[str, int]]:
    run = warm().run(SCRIPT, tiny, precision, package, program)
    assert run.returncode == 0, run.stderr
    found: dict[str, dict[str, int]] = json.loads(run.stdout)
    return found


@pytest.mark.parametrize(
    ("stored", "element", "precision"),
    [(FP32, 4, "faithful"), (FP16, 2, "float32")],
    ids=["fp32", "fp16"],
)
def test_weights_are_in_memory_once(
    tmp_path: Path, stored: object, element: int, precision: str
) -> None:
    layers = WEIGHTS // (SIZE * SIZE * element)
    pte = program(layers, SIZE, stored, tmp_path / "large.pte")
    tiny = program(1, 8, stored, tmp_path / "tiny.pte")
    (package,) = (each.path for each in extract(pte, tmp_path))
    for way, memory in added(tiny, precision, package, pte).items():
        resident = memory["anonymous"] + memory["file"]
        assert resident < RESIDENT * WEIGHTS, (way, memory)
        assert memory["peak"] < PEAK * WEIGHTS, (way, memory)


def test_weights_that_stay_fp16_are_multiplied_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small integers: every sum is exact, in whatever order."""
    monkeypatch.setattr(half, "_WORTH", 0)
    torch.manual_seed(0)
    model = torch.nn.Linear(256, 256, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.randint(-3, 4, (256, 256)))
    for rows in (1, 64):
        x = torch.randint(-3, 4, (rows, 256)).float()
        pte = bytes(lower(export(model, (x,)), FP16)[0].buffer)
        for precision in ("faithful", "float32"):
            loaded = Model(pte, precision=precision)
            for _ in range(2):
                assert np.array_equal(loaded.run([x])[0], model(x).detach().numpy())
            products = [
                op
                for op in loaded._compiled.model.get_runtime_model().get_ops()
                if op.get_rt_info()["layerType"].astype(str) == "FullyConnected"
            ]
            types = [each.get_element_type() for op in products for each in op.input_values()]
            assert ov.Type.f16 in types
