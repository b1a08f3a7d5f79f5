"""Deployment targets: chosen as low as the model allows, reported with the reason, and kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest
import torch
from executorch.exir import to_edge_transform_and_lower

from case import FP16, execute, export, lower, randn
from console import call
from executorch_coreml import CoreMLBackend, CoreMLPartitioner, Target
from executorch_coreml.compiler import target as target_module
from executorch_coreml.errors import UnsupportedOp
from executorch_coreml.mil.bundle import read
from executorch_coreml.ops import TABLE

X = randn(2, 8)


class Attention(torch.nn.Module):
    def forward(self, q: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = torch.nn.functional.scaled_dot_product_attention(q, q, q)
        return y


def test_attention_alone_does_not_ask_for_a_new_os() -> None:
    q = randn(1, 2, 4, 8)
    old, partitioner = lower(export(Attention(), (q,)), FP16)
    bundle = read(bytes(old.buffer))
    assert bundle.specification_version == Target.iOS15
    report = str(partitioner.report)
    assert "iOS15 or later\n" in report
    line = _line("scaled_dot_product_attention(q, q, q)")
    assert (
        "better from iOS18 on: aten.scaled_dot_product_attention.default at "
        f"test_targets.py:{line}" in report
    )
    new, partitioner = lower(export(Attention(), (q,)), FP16, minimum_deployment_target="iOS18")
    ops = [op.type for op in read(bytes(new.buffer)).program.functions["main"].body.operations]
    assert "scaled_dot_product_attention" in ops
    assert "iOS18 or later because: minimum_deployment_target asks" in str(partitioner.report)
    torch.testing.assert_close(
        execute(old.buffer, (q,))[0], execute(new.buffer, (q,))[0], atol=4e-3, rtol=4e-3
    )


def _line(text: str) -> int:
    lines = Path(__file__).read_text().splitlines()
    return 1 + next(n for n, line in enumerate(lines) if text in line)


def _newer_relu(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if relu came with iOS17: today every rule has a form for iOS15."""
    relu = torch.ops.aten.relu.default
    table = MappingProxyType({**TABLE, relu: replace(TABLE[relu], since=Target.iOS17)})
    monkeypatch.setattr(target_module, "TABLE", table)
    monkeypatch.setattr("executorch_coreml.partition.partitioner.TABLE", table)


class Positive(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x) + 1


def test_the_op_that_decides_the_target_is_named_with_its_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _newer_relu(monkeypatch)
    lowered, partitioner = lower(export(Positive(), (X,)))
    reason = f"aten.relu.default at test_targets.py:{_line('return torch.relu(x) + 1')}"
    assert f"iOS17 or later because: {reason}" in str(partitioner.report)
    bundle = read(bytes(lowered.buffer))
    assert bundle.specification_version == Target.iOS17
    (tmp_path / "model.pte").write_bytes(lowered.buffer)
    shown = call("inspect", tmp_path / "model.pte")
    assert f"iOS17 or later, because: {reason}" in shown.output


def test_an_op_newer_than_the_target_stays_outside_or_says_which_to_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _newer_relu(monkeypatch)
    lowered, partitioner = lower(export(Positive(), (X,)), minimum_deployment_target="iOS16")
    (refused,) = partitioner.report.refused
    assert refused.reason == "needs iOS17 or later; minimum_deployment_target is iOS16"
    assert torch.equal(execute(lowered.buffer, (X,))[0], Positive()(X))
    specs = CoreMLBackend.generate_compile_specs(minimum_deployment_target=Target.iOS16)
    whole = CoreMLPartitioner(compile_specs=specs, lower_full_graph=True)
    program = export(Positive(), (X,))
    with pytest.raises(UnsupportedOp, match="needs iOS17 or later"):
        to_edge_transform_and_lower(program, partitioner=[whole])


@pytest.mark.parametrize("target", list(Target))
def test_the_program_carries_the_target_asked_for(target: Target) -> None:
    lowered, _ = lower(export(Positive(), (X,)), minimum_deployment_target=target)
    assert read(bytes(lowered.buffer)).specification_version == target
    assert torch.equal(execute(lowered.buffer, (X,))[0], Positive()(X))


def test_where_a_model_was_built_does_not_show_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    _newer_relu(monkeypatch)
    lowered, _ = lower(export(Positive(), (X,)))
    assert str(Path(__file__).parent).encode() not in bytes(lowered.buffer)
