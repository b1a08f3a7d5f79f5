"""Packages taken out of programs: coremltools opens them, and they compute the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from executorch.exir import to_edge

from case import execute, export, lower, randn
from console import call
from executorch_coreml import Model
from executorch_coreml.compiler.quiet import quiet_coremltools
from executorch_coreml.errors import PayloadError
from executorch_coreml.mil.extract import extract
from executorch_coreml.mil.pte import read_pte

X = randn(2, 8)


@pytest.fixture(scope="module")
def pte(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("extract") / "digits.pte"
    lowered, _ = lower(export(torch.nn.Linear(8, 4), (X,)))
    path.write_bytes(lowered.buffer)
    return path


def test_the_only_model_opens_in_coremltools_and_computes_the_same(
    pte: Path, tmp_path: Path
) -> None:
    (found,) = extract(pte, tmp_path / "out")
    assert found.path == tmp_path / "out" / "digits.mlpackage"
    assert found.delegates == (("forward", 0),)
    with quiet_coremltools():
        import coremltools as ct

        spec = ct.models.MLModel(str(found.path), skip_model_load=True).get_spec()
    assert [feature.name for feature in spec.description.input] == ["input_1"]
    (expected,) = execute(pte.read_bytes(), (X,))
    (got,) = Model(found.path).run([X.numpy()])
    np.testing.assert_array_equal(got, expected.numpy())
    assert [path.name for path in found.path.parent.iterdir()] == ["digits.mlpackage"]


def test_every_delegate_of_the_stock_backend_is_a_file(stock: Path, tmp_path: Path) -> None:
    found = extract(stock / "two_delegates.pte", tmp_path)
    assert [each.path.name for each in found] == [
        f"two_delegates_forward_{index}.mlpackage" for index in (0, 1)
    ]
    assert [each.delegates for each in found] == [(("forward", 0),), (("forward", 1),)]
    x = randn(3, 4).numpy()
    for index, each in enumerate(found):
        (got,) = Model(each.path).run([x])
        (expected,) = Model(stock / "two_delegates.pte", delegate=index).run([x])
        np.testing.assert_array_equal(got, expected)


def test_methods_that_share_a_model_share_its_file(stock: Path, tmp_path: Path) -> None:
    (found,) = extract(stock / "methods.pte", tmp_path)
    assert {method for method, _ in found.delegates} == {"prefill", "decode"}
    for method, rows in (("prefill", 6), ("decode", 1)):
        (out,) = Model(found.path, function_name=method).run([randn(rows, 8).numpy()])
        assert out.shape[0] == rows


def test_a_payload_by_itself(pte: Path, tmp_path: Path) -> None:
    payload = tmp_path / "delegate.bin"
    payload.write_bytes(read_pte(memoryview(pte.read_bytes())).delegates[0].processed)
    (found,) = extract(payload, tmp_path)
    assert found.path.name == "delegate.mlpackage"
    assert Model(found.path).run([X.numpy()])[0].shape == (2, 4)


def test_nothing_is_overwritten(pte: Path, tmp_path: Path) -> None:
    (tmp_path / "digits.mlpackage").mkdir()
    with pytest.raises(PayloadError, match=r"digits\.mlpackage exists.*remove it"):
        extract(pte, tmp_path)
    assert list(tmp_path.rglob("*")) == [tmp_path / "digits.mlpackage"]


def test_what_cannot_be_extracted(pte: Path, tmp_path: Path) -> None:
    with pytest.raises(PayloadError, match="No such file"):
        extract(tmp_path / "missing.pte", tmp_path)
    damaged = tmp_path / "damaged.pte"
    damaged.write_bytes(pte.read_bytes()[:900])
    with pytest.raises(PayloadError, match="in a file of 900"):
        extract(damaged, tmp_path)
    plain = tmp_path / "plain.pte"
    plain.write_bytes(to_edge(export(torch.nn.ReLU(), (X,))).to_executorch().buffer)
    with pytest.raises(PayloadError, match="it has no Core ML delegate"):
        extract(plain, tmp_path)
    with pytest.raises(PayloadError, match=r"Not a directory|File exists"):
        extract(pte, plain)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["damaged.pte", "plain.pte"]


def test_command(pte: Path, tmp_path: Path) -> None:
    run = call("extract", pte, "-o", tmp_path / "a")
    assert run.exit_code == 0
    assert run.output == f"{tmp_path}/a/digits.mlpackage: delegate 0 of forward\n"
    run = call("extract", pte, "-o", tmp_path / "b", "--json")
    assert json.loads(run.output) == [
        {"path": f"{tmp_path}/b/digits.mlpackage", "delegates": [["forward", 0]]}
    ]
    again = call("extract", pte, "-o", tmp_path / "b")
    assert again.exit_code == 1
    assert "exists" in again.output
