"""``etcoreml finish``: compiled models in a program, by a stand-in for Apple's compiler."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from executorch.exir import to_edge_transform_and_lower
from executorch.runtime import Runtime

from case import FP32, assert_close, execute, export, lower, randn
from compiled_files import COMPILER
from console import call
from executorch_coreml import CoreMLBackend, CoreMLPartitioner
from executorch_coreml.compiler import payload
from executorch_coreml.compiler.apple import compile_package
from executorch_coreml.compiler.finish import rewrite
from executorch_coreml.errors import PackageError, PayloadError
from executorch_coreml.mil.bundle import read_payload
from executorch_coreml.mil.pte import read_pte
from same_program import assert_same

FAILING = "import sys; sys.exit('coremlc: error: no such op')"
SILENT = ""


class Partly(torch.nn.Module):
    """A delegate, an op outside it, weights outside it, another delegate."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = torch.nn.Linear(32, 32), torch.nn.Linear(32, 32)
        self.register_buffer("shift", torch.linspace(0, 1, 32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.second(torch.cumsum(self.first(x), 1) + 1)
        return torch.cumsum(y, 1) * self.shift


X = randn(2, 32)
SKIP = ["aten.cumsum.default", "aten.mul.Tensor"]


def partly_lowered() -> bytes:
    specs = CoreMLBackend.generate_compile_specs()
    partitioner = CoreMLPartitioner(compile_specs=specs, skip_ops_for_coreml_delegation=SKIP)
    edge = to_edge_transform_and_lower(export(Partly().eval(), (X,)), partitioner=[partitioner])
    assert partitioner.report.delegates == 2
    return bytes(edge.to_executorch().buffer)


@pytest.fixture
def compiler(tmp_path: Path) -> Any:
    def make(code: str) -> str:
        script = tmp_path / "compiler.py"
        script.write_text(code)
        return f"{sys.executable} {script}"

    return make


def test_every_package_is_compiled_and_the_rest_stays(tmp_path: Path, compiler: Any) -> None:
    model, finished = tmp_path / "model.pte", tmp_path / "finished.pte"
    model.write_bytes(partly_lowered())
    result = call("finish", model, "-o", finished, "--compiler", COMPILER)
    assert result.exit_code == 0, result.output
    assert result.output.strip() == f"{finished}: 2 model(s) compiled"
    before, after = (read_pte(memoryview(path.read_bytes())) for path in (model, finished))
    for old, new in zip(before.delegates, after.delegates, strict=True):
        packed, compiled = payload.unpack(old.processed), payload.unpack(new.processed)
        source, made = read_payload(old.processed), read_payload(new.processed)
        assert_same(source.program, made.program)
        assert bytes(compiled["lowered_module/model.mlmodelc/model.mil"]).startswith(
            b"program(1.0)"
        )
        assert not any("mlpackage" in path for path in compiled)
        ours, theirs = (
            json.loads(bytes(files["lowered_module/metadata.json"])) for files in (packed, compiled)
        )
        assert ours.pop("identifier") != theirs.pop("identifier")
        assert ours == theirs
        specs = {key: bytes(value) for key, value in new.compile_specs}
        assert specs["model_type"] == b"compiled_model"
    got, expected = (execute(path.read_bytes(), (X,))[0] for path in (finished, model))
    assert torch.equal(got, expected)


def test_a_rewritten_program_runs_as_before() -> None:
    pte = partly_lowered()
    seen: list[bytes] = []

    def change(data: bytes) -> bytes:
        seen.append(data)
        return payload.pack({path: bytes(c) for path, c in payload.unpack(data).items()})

    again = rewrite(pte, change)
    assert len(seen) == 2
    expected = Partly().eval()(X).detach()
    assert_close(execute(again, (X,))[0], expected, 4e-3, 4e-3, "rewritten")
    assert torch.equal(execute(again, (X,))[0], execute(pte, (X,))[0])


def test_a_shared_model_is_compiled_once(tmp_path: Path, compiler: Any) -> None:
    linear = torch.nn.Linear(256, 256).eval()
    programs = {n: export(linear, (randn(r, 256),)) for n, r in (("forward", 1), ("prefill", 4))}
    edge = to_edge_transform_and_lower(programs, partitioner=[CoreMLPartitioner()])
    model = tmp_path / "model.pte"
    model.write_bytes(edge.to_executorch().buffer)
    method = Runtime.get().load_program(rewrite(model.read_bytes(), bytes)).load_method("prefill")
    (got,) = method.execute((randn(4, 256),))
    assert_close(got, linear(randn(4, 256)).detach(), 4e-3, 4e-3, "prefill")
    assert call("finish", model, "--compiler", COMPILER).exit_code == 0
    method = Runtime.get().load_program(model).load_method("prefill")
    assert torch.equal(method.execute((randn(4, 256),))[0], got)
    pte = read_pte(memoryview(model.read_bytes()))
    (shared,) = pte.named_data.values()
    assert any("/model.mlmodelc/" in path for path in payload.unpack(shared))
    assert all(payload.is_reference(delegate.processed) for delegate in pte.delegates)
    again = call("finish", model, "--compiler", compiler(FAILING))  # nothing is left to compile
    assert again.output.strip() == f"{model}: 0 model(s) compiled"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (FAILING, "failed with exit code 1: coremlc: error: no such op"),
        (SILENT, "wrote 0 compiled models; one is expected"),
    ],
)
def test_a_compiler_that_fails(tmp_path: Path, compiler: Any, code: str, message: str) -> None:
    model = tmp_path / "model.pte"
    model.write_bytes(lower(export(torch.nn.ReLU(), (X,)), FP32)[0].buffer)
    before = model.read_bytes()
    result = call("finish", model, "--compiler", compiler(code))
    assert result.exit_code == 1
    assert message in result.output
    assert model.read_bytes() == before


def test_wrong_files_and_wrong_compilers(tmp_path: Path) -> None:
    (tmp_path / "text.pte").write_text("nothing of the kind")
    result = call("finish", tmp_path / "text.pte", "--compiler", "true")
    assert (result.exit_code, "no ExecuTorch program" in result.output) == (1, True)
    assert call("finish", tmp_path / "missing.pte").exit_code == 1
    with pytest.raises(PackageError, match="cannot be run: No such file"):
        compile_package({"Manifest.json": b"{}"}, ["/nowhere/coremlcompiler"])
    plain = to_edge_transform_and_lower(export(torch.nn.ReLU(), (X,))).to_executorch().buffer
    with pytest.raises(PayloadError, match="has no Core ML delegates"):
        rewrite(bytes(plain), bytes)


@pytest.mark.skipif(sys.platform == "darwin", reason="there is a compiler")
def test_without_a_compiler_the_error_names_the_alternative() -> None:
    with pytest.raises(PackageError, match=r"macOS only.*use model_type MODEL"):
        compile_package({"Manifest.json": b"{}"})
