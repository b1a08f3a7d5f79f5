"""``precision="bfloat16"``: where the CPU has it, and float32 where it has not."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import executorch_coreml.runtime as plugin
from case import FP16, execute, export, lower
from console import call
from executorch_coreml.engine import precision
from executorch_coreml.engine.model import Model
from executorch_coreml.engine.precision import core
from executorch_coreml.mil.bundle import read
from kernel_case import convert, ct, mb

HAS = "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
needs_bfloat16 = pytest.mark.skipif(not HAS, reason="the CPU has no bfloat16")

LAYER = torch.nn.Linear(64, 64, bias=False)
LAYER.weight.data = torch.randn(64, 64, generator=torch.Generator().manual_seed(0)) / 8
X = torch.randn(4, 64, generator=torch.Generator().manual_seed(1))


def off(got: Any, wanted: Any) -> float:
    """The largest difference, of the largest value."""
    got, wanted = (np.asarray(each, np.float64) for each in (got, wanted))
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


@pytest.fixture(scope="module")
def pte() -> bytes:
    return bytes(lower(export(LAYER, (X,)), FP16)[0].buffer)


@needs_bfloat16
def test_products_are_of_bfloat16(pte: bytes, tmp_path: Path) -> None:
    exact = LAYER(X).detach()
    weight = LAYER.weight.detach().half()  # as the model stores it
    rounded = X.bfloat16().float() @ weight.bfloat16().float().T
    got = run(pte, "bfloat16")
    assert off(got, rounded) < 1e-6
    assert off(got, exact) > 1e-3
    plugin.configure(precision="bfloat16")
    try:
        (here,) = execute(pte, (X,))
    finally:
        plugin.configure(precision="faithful")
    assert np.array_equal(here, got)
    np.save(tmp_path / "x.npy", X.numpy())
    (tmp_path / "m.pte").write_bytes(pte)
    name = Model(pte).inputs[0].name
    given = ["--input", f"{name}={tmp_path / 'x.npy'}", "--output-dir", str(tmp_path)]
    assert call("run", str(tmp_path / "m.pte"), *given, "--precision", "bfloat16").exit_code == 0
    assert np.array_equal(np.load(tmp_path / f"{Model(pte).outputs[0].name}.npy"), got)


def run(pte: bytes, precision: Any) -> Any:
    return Model(pte, precision=precision).run([X.numpy()])[0]


@needs_bfloat16
def test_indices_are_exact(tmp_path: Path) -> None:
    """Of integers from 257 on, bfloat16 has only some."""
    rng = np.random.default_rng(2)
    places = np.int32([3, 771, 1539, 4095, 4098, 4997])
    scores = np.zeros((64, 5000), np.float32)
    scores[np.arange(6), places] = 5
    table = rng.integers(-128, 128, (5000, 64)).astype(np.float32)  # bfloat16 has them all

    @mb.program(input_specs=[mb.TensorSpec((6, 64))], opset_version=ct.target.iOS17)
    def made(x: Any) -> Any:
        found = mb.reduce_argmax(x=mb.matmul(x=x, y=scores), axis=-1)
        row = mb.floor_div(x=found, y=np.int32(3))
        rest = mb.mod(x=found, y=np.int32(3))
        at = mb.add(x=mb.mul(x=row, y=np.int32(3)), y=rest)
        return mb.matmul(x=mb.gather(x=table, indices=at, axis=0), y=np.eye(64, dtype=np.float32))

    bundle = read(convert(made, tmp_path / "m.mlpackage", "iOS17"))
    (got,) = Model(bundle, precision="bfloat16").run([np.eye(6, 64, dtype=np.float32)])
    assert np.array_equal(got, table[places])


@pytest.fixture
def _older_cpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    class Older:
        """OpenVINO on another processor."""

        def get_property(self, device: str, name: str) -> list[str]:
            return [each for each in core().get_property(device, name) if each != "BF16"]

        def __getattr__(self, name: str) -> Any:
            return getattr(core(), name)

    monkeypatch.setattr(precision, "core", Older)
    precision._has_bfloat16.cache_clear()
    yield
    precision._has_bfloat16.cache_clear()


@pytest.mark.usefixtures("_older_cpu")
def test_a_cpu_without_it_computes_in_float32(pte: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        runs = [run(pte, "bfloat16") for _ in range(2)]
    said = [record.getMessage() for record in caplog.records if "bfloat16" in record.getMessage()]
    assert said == ["precision bfloat16: the CPU here has none; it computes in float32"]
    assert all(np.array_equal(each, run(pte, "float32")) for each in runs)
