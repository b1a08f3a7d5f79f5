"""A sample of ExecuTorch's own operator suite in our flows; ``make suite`` runs all of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import executorch.backends.test.suite.operators as operators
import pytest
import torch
from executorch.exir import to_edge

from case import execute, export, randn
from executorch_suite.flows import PlainTuple

# What ExecuTorch's own Core ML backend leaves outside or raises on.
SAMPLE = ("convtranspose1d", "embedding_bag", "trunc")


def test_sample_is_delegated_whole_and_equals_eager(tmp_path: Path) -> None:
    found = tmp_path / "suite.json"
    directory, tests = Path(operators.__path__[0]), Path(__file__).parent
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "-W", "ignore"]
        + ["-p", "no:cacheprovider", "-p", "no:xdist", "-p", "executorch_suite.plugin"]
        + ["-m", "flow_executorch_coreml_fp16", "--suite-json", str(found)]
        + [str(directory / f"test_{name}.py") for name in SAMPLE],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(tests), *sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    outcomes = json.loads(found.read_text())["executorch_coreml_fp16"]
    assert {one["kind"] for one in outcomes} == {"whole"}
    for name in SAMPLE:
        assert any(one["test"].startswith(name) for one in outcomes), name


def test_executorch_serialises_no_named_tuple_even_without_a_backend() -> None:
    """Why the flows return torch's named tuples as plain ones; when it does, they need not."""

    class Largest(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return torch.max(x, dim=1)

    x = randn(3, 5)
    edge = to_edge(export(Largest(), (x,)))
    with pytest.raises(NotImplementedError, match="No registered serialization name"):
        edge.to_executorch()
    plain = to_edge(export(PlainTuple(Largest()), (x,))).to_executorch()
    for got, expected in zip(execute(plain.buffer, (x,)), Largest()(x), strict=True):
        assert torch.equal(got, expected)
