"""A sample of ExecuTorch's own operator suite in our flows; ``make suite`` runs all of it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import executorch.backends.test.suite.operators as operators
import pytest
import torch
from executorch.exir import to_edge

from case import execute, export, randn
from executorch_suite.flows import PlainTuple
from warm import warm

# Of what ExecuTorch's own Core ML backend leaves outside or raises on, tests of several cases.
SAMPLE = {"convtranspose1d": "padding", "embedding_bag": "modes", "trunc": "shapes"}

# A run of pytest inside a process that has the imports of the suite already.
RUN = """
import sys
import pytest
tests, *arguments = sys.argv[1:]
sys.path.insert(0, tests)
sys.exit(pytest.main(arguments))
"""


@pytest.mark.xdist_group("stock")  # whose process with torch forks here too
def test_sample_is_delegated_whole_and_equals_eager(tmp_path: Path) -> None:
    found = tmp_path / "suite.json"
    directory, tests = Path(operators.__path__[0]), Path(__file__).parent
    run = warm().run(
        RUN,
        tests,
        *("-q", "-c", os.devnull, "-W", "ignore"),
        *("-p", "no:cacheprovider", "-p", "no:xdist", "-p", "executorch_suite.plugin"),
        *("-m", "flow_executorch_coreml_fp16", "--suite-json", found),
        *(
            f"{directory}/test_{name}.py::test_{name}_{test}[executorch_coreml_fp16]"
            for name, test in SAMPLE.items()
        ),
    )
    assert run.returncode == 0, run.stdout + run.stderr
    outcomes = json.loads(found.read_text())["executorch_coreml_fp16"]
    assert {one["kind"] for one in outcomes} == {"whole"}
    for name, test in SAMPLE.items():
        assert [one["case"] for one in outcomes if one["test"] == f"{name}_{test}"][:2] == [0, 1]


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
