"""Compiled models on disk: found again, made anew where they are damaged, shared by processes."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from executorch.runtime import Runtime

import executorch_coreml.runtime as plugin
from case import FP16, export, lower, randn
from executorch_coreml import Model
from executorch_coreml.engine import cache

X = np.linspace(-3, 3, 32, dtype=np.float32).reshape(2, 16)


class Network(torch.nn.Module):
    """A linear layer and a state."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.linear = torch.nn.Linear(16, 16)
        self.register_buffer("total", torch.zeros(2, 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.total.add_(self.linear(x))
        return torch.softmax(self.total, 1)


def lowered(seed: int = 0) -> bytes:
    return bytes(lower(export(Network(seed), (randn(2, 16),)), FP16)[0].buffer)


@pytest.fixture(scope="module")
def pte() -> bytes:
    return lowered()


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, cache.__name__)


def entries(directory: Path) -> list[Path]:
    return sorted(directory.iterdir())


def twice(model: Model) -> list[np.ndarray]:
    state = model.make_state()
    return [model.run([X], state)[0] for _ in range(2)]


def test_a_second_load_finds_what_the_first_made(
    pte: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = twice(Model(pte))
    first = twice(Model(pte, cache_dir=tmp_path / "deep" / "cache"))
    (entry,) = entries(tmp_path / "deep" / "cache")
    written = entry.stat().st_mtime_ns
    second = twice(Model(pte, cache_dir=str(tmp_path / "deep" / "cache")))
    for got in (first, second):
        assert all(np.array_equal(a, b) for a, b in zip(got, expected, strict=True))
    assert entries(tmp_path / "deep" / "cache") == [entry]
    assert entry.stat().st_mtime_ns == written
    assert not caplog.records


def test_what_decides_the_result_decides_the_entry(pte: bytes, tmp_path: Path) -> None:
    Model(pte, cache_dir=tmp_path)
    Model(pte, cache_dir=tmp_path, precision="float32")
    Model(pte, cache_dir=tmp_path, threads=1)
    Model(lowered(seed=1), cache_dir=tmp_path)
    assert len(entries(tmp_path)) == 4
    Model(pte, cache_dir=tmp_path, device="CPU")
    assert len(entries(tmp_path)) == 4


@pytest.mark.parametrize(
    "part", ["empty", "cut", "header", "facts", "model", "checksum", "strange"]
)
def test_a_damaged_entry_is_made_anew(
    pte: bytes, tmp_path: Path, part: str, caplog: pytest.LogCaptureFixture
) -> None:
    expected = twice(Model(pte, cache_dir=tmp_path))
    (entry,) = entries(tmp_path)
    whole = entry.read_bytes()
    flipped = bytearray(whole)
    if part in ("header", "facts", "model", "checksum"):
        place = {"header": 9, "facts": 22, "model": len(whole) // 2, "checksum": -1}[part]
        flipped[place] ^= 1
    strange = cache._HEADER.pack(cache._MAGIC, 2, 5) + b"{}" + b"model"
    damaged = {
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "strange": strange + sha256(strange).digest(),
    }
    entry.write_bytes(damaged.get(part, bytes(flipped)))
    got = twice(Model(pte, cache_dir=tmp_path))
    assert all(np.array_equal(a, b) for a, b in zip(got, expected, strict=True))
    (record,) = caplog.records
    assert record.name == "executorch_coreml.engine.cache"
    assert str(entry) in record.getMessage()
    assert "made anew" in record.getMessage()
    assert "\n" not in record.getMessage()
    assert entries(tmp_path) == [entry]
    caplog.clear()
    Model(pte, cache_dir=tmp_path)
    assert not caplog.records


def test_a_cache_that_cannot_be_written_is_done_without(
    pte: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no directory")
    got = twice(Model(pte, cache_dir=tmp_path / "file"))
    assert all(np.array_equal(a, b) for a, b in zip(got, twice(Model(pte)), strict=True))
    (record,) = caplog.records
    assert "cannot be stored" in record.getMessage()


def test_processes_share_a_cache(pte: bytes, tmp_path: Path) -> None:
    program, shared = tmp_path / "model.pte", tmp_path / "cache"
    program.write_bytes(pte)
    script = (
        "import sys, numpy as np\n"
        "from executorch_coreml.engine.model import Model\n"
        "program, shared = sys.argv[1:]\n"
        "x = np.linspace(-3, 3, 32, dtype=np.float32).reshape(2, 16)\n"
        "for _ in range(8):\n"
        "    model = Model(program, cache_dir=shared)\n"
        "    print(model.run([x], model.make_state())[0].tobytes().hex())\n"
    )
    command = [sys.executable, "-c", script, str(program), str(shared)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(command, **pipes) for _ in range(3)]
    told = [process.communicate() for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], told
    assert [errors for _, errors in told] == ["", "", ""]
    results = {line for output, _ in told for line in output.splitlines()}
    assert results == {twice(Model(pte))[0].tobytes().hex()}
    assert len(entries(shared)) == 1


@pytest.fixture
def configured(tmp_path: Path) -> Iterator[Path]:
    before = plugin.defaults()
    plugin.configure(cache_dir=tmp_path)
    yield tmp_path
    plugin.configure(cache_dir=before.cache_dir)


def test_delegates_use_the_configured_cache(pte: bytes, configured: Path) -> None:
    for _ in range(2):
        method = Runtime.get().load_program(pte).load_method("forward")
        (result,) = method.execute((torch.from_numpy(X),))
        assert np.array_equal(result.numpy(), twice(Model(pte))[0])
        assert len(entries(configured)) == 1


def test_the_environment_names_a_cache(tmp_path: Path) -> None:
    script = "import executorch_coreml.runtime as r; print(r.defaults().cache_dir)"
    for value in (str(tmp_path), ""):
        environment = {**os.environ, "ETCOREML_CACHE_DIR": value}
        run = subprocess.run(
            [sys.executable, "-c", script],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert run.stdout.strip() == (value or "None")
