"""What CoreMLPartitioner delegates, what it leaves outside, and what it says about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower
from executorch.exir.backend.compile_spec_schema import CompileSpec
from executorch.exir.capture._config import ExecutorchBackendConfig
from executorch.exir.passes.init_mutable_pass import InitializedMutableBufferPass
from executorch.runtime import Runtime
from torch._export.verifier import SpecViolationError

from case import FP16, FP32, assert_close, execute, export, flat, lower, randint, randn
from executorch_coreml import (
    ComputePrecision,
    CoreMLBackend,
    CoreMLPartitioner,
    edge_compile_config,
)
from executorch_coreml.errors import OptionsError, UnsupportedOp
from executorch_coreml.ops.refused import REFUSED

X = randn(2, 8)
# Core ML has no Bessel functions; neither has the core ATen opset, which EXIR must be told.
BESSEL = [torch.ops.aten.i0.default, torch.ops.aten.special_i1.default]
both_precisions = pytest.mark.parametrize("precision", [FP32, FP16], ids=["fp32", "fp16"])
BOUNDS = {FP32: (1e-5, 1e-6), FP16: (4e-3, 1e-3)}


def edge(
    fn: Any, inputs: tuple[Any, ...], precision: ComputePrecision = FP32, **arguments: Any
) -> tuple[Any, CoreMLPartitioner]:
    specs = CoreMLBackend.generate_compile_specs(compute_precision=precision)
    partitioner = CoreMLPartitioner(compile_specs=specs, **arguments)
    program = to_edge_transform_and_lower(
        export(fn, inputs),
        partitioner=[partitioner],
        compile_config=EdgeCompileConfig(_core_aten_ops_exception_list=BESSEL),
    )
    return program, partitioner


class Scaled(torch.nn.Module):
    """An op Core ML lacks, on a line of its own, inside a named module."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.i0(self.inner(x))


def test_unsupported_op_stays_outside_with_a_reason_and_the_users_line() -> None:
    _, partitioner = edge(Scaled(), (X,))
    (refused,) = partitioner.report.refused
    assert refused.reason == REFUSED[torch.ops.aten.i0.default]
    assert refused.location.op == "aten.i0.default"
    assert (refused.location.file or "").endswith("test_partitioner.py")
    lines = Path(__file__).read_text().splitlines()
    assert "special.i0(self.inner" in lines[(refused.location.line or 0) - 1]
    assert "aten.i0.default x1: Core ML has no op" in str(partitioner.report)


def test_lower_full_graph_lists_every_refused_node_with_line_and_hint() -> None:
    class Bessel(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.special.i0(x) + torch.special.i1(x)

    with pytest.raises(UnsupportedOp) as caught:
        edge(Bessel(), (X,), lower_full_graph=True)
    message = str(caught.value)
    assert message.startswith("aten.i0.default (node ")
    assert "; 1 more node(s) cannot run in Core ML:" in message
    assert "aten.i0.default" in message
    assert "special_i1" in message
    assert "test_partitioner.py:" in message
    assert "Hint: rewrite those lines, or set lower_full_graph=False" in message


def test_what_is_left_outside_runs_in_executorch() -> None:
    def fn(x: torch.Tensor) -> torch.Tensor:
        return torch.cumsum(torch.relu(x), 1) * torch.sigmoid(x)

    program, partitioner = edge(fn, (X,), skip_ops_for_coreml_delegation=["aten.cumsum.default"])
    assert [d.location.op for d in partitioner.report.refused] == ["aten.cumsum.default"]
    (got,) = execute(program.to_executorch().buffer, (X,))
    assert_close(got, fn(X), 1e-6, 1e-6, "partly delegated")


@pytest.mark.parametrize("name", ["aten.relu.default", "relu.default", "aten.RELU.default"])
def test_skipped_ops_accept_every_documented_spelling(name: str) -> None:
    _, partitioner = edge(lambda x: torch.relu(x) + 1, (X,), skip_ops_for_coreml_delegation=[name])
    assert {d.location.op: d.reason for d in partitioner.report.refused} == {
        "aten.relu.default": "named in skip_ops_for_coreml_delegation"
    }


def test_no_piece_of_a_program_only_moves_data() -> None:
    def fn(x: torch.Tensor) -> torch.Tensor:
        return torch.special.i0(x).reshape(4, 4).transpose(0, 1)

    _, partitioner = edge(fn, (X,))
    assert partitioner.report.delegates == 0
    reasons = {d.location.op: d.reason for d in partitioner.report.refused}
    assert "only moves data" in (reasons["aten.transpose_copy.int"] or "delegated")


@pytest.mark.parametrize("full", [False, True], ids=["default", "lower_full_graph"])
def test_a_program_that_only_moves_data_is_delegated_whole(full: bool) -> None:
    def fn(x: torch.Tensor) -> torch.Tensor:
        return x.reshape(4, 4).transpose(0, 1)

    program, partitioner = edge(fn, (X,), lower_full_graph=full)
    assert partitioner.report.delegates == 1
    assert not partitioner.report.refused
    (got,) = execute(program.to_executorch().buffer, (X,))
    assert torch.equal(got, fn(X))


def test_lower_full_graph_blames_no_node_that_only_moves_data() -> None:
    with pytest.raises(UnsupportedOp) as caught:
        edge(lambda x: torch.special.i0(x).t(), (X,), lower_full_graph=True)
    assert str(caught.value).startswith("aten.i0.default (node ")
    assert "more node(s)" not in str(caught.value)


def test_ops_kept_whole_are_not_left_outside() -> None:
    """They move data only, but ExecuTorch has no kernel for them as they are."""
    program, partitioner = edge(lambda x: torch.roll(torch.nn.functional.pad(x, (1, 2)), 3), (X,))
    assert not partitioner.report.refused
    (got,) = execute(program.to_executorch().buffer, (X,))
    assert torch.equal(got, torch.roll(torch.nn.functional.pad(X, (1, 2)), 3))


def test_weights_passed_as_inputs_when_not_taken_over() -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(8, 4)
    program, partitioner = edge(model, (X,), take_over_constant_data=False)
    assert partitioner.report.delegates == 1
    lowered = next(m for _, m in program.exported_program().graph_module.named_children())
    assert len(lowered.original_module.graph_signature.user_inputs) == 3
    (got,) = execute(program.to_executorch().buffer, (X,))
    assert_close(got, model(X), 1e-6, 1e-6, "weights as inputs")


class EveryWeight(torch.nn.Module):
    """Weights of every kind: embedding, convolution, norms, linear layers, a scale."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = torch.nn.Embedding(10, 6)
        self.conv = torch.nn.Conv1d(6, 8, 3, padding=1)
        self.batch = torch.nn.BatchNorm1d(8)
        self.group = torch.nn.GroupNorm(2, 8)
        self.linear = torch.nn.Linear(8, 4)
        self.layer = torch.nn.LayerNorm(4)
        self.prelu = torch.nn.PReLU(4)
        self.scale = torch.nn.Parameter(torch.linspace(0.5, 2, 4))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.conv(self.embedding(ids).mT)
        x = self.group(torch.relu(self.batch(x)))
        return self.prelu(self.layer(self.linear(x.mT)).mT).mT * self.scale


@both_precisions
def test_weights_of_every_kind_passed_as_inputs(precision: ComputePrecision) -> None:
    model, ids = EveryWeight().eval(), randint(2, 5, low=0)
    program, partitioner = edge(model, (ids,), precision, take_over_constant_data=False)
    assert partitioner.report.delegates == 1, str(partitioner.report)
    assert not partitioner.report.refused
    (got,) = execute(program.to_executorch().buffer, (ids,))
    assert_close(got, model(ids), *BOUNDS[precision], "weights as inputs")


class Interrupted(torch.nn.Module):
    """Refused ops between, beside and after what is delegated; every kind of value crosses."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = torch.nn.Linear(8, 8)
        self.second = torch.nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> dict[str, Any]:
        a = torch.relu(self.first(x))
        middle = torch.tan(a / 4)
        b = torch.sigmoid(self.second(middle)) + a
        large = b > 0.9  # bool
        best = b.argmax(1)  # int64
        total = b.sum()  # rank 0
        beyond = torch.tan(total / 100) * b.mean()
        few = torch.logical_not(large) & (b < 1.4)
        return {"b": b, "more": [few, (best + 1, total)], "beyond": beyond + middle}


@both_precisions
def test_delegates_around_refused_ops_run_right(precision: ComputePrecision) -> None:
    model = Interrupted()
    outside = ["aten.tan.default", "aten.logical_not.default"]
    program, partitioner = edge(model, (X,), precision, skip_ops_for_coreml_delegation=outside)
    assert {d.location.op for d in partitioner.report.refused} == set(outside)
    assert partitioner.report.delegates >= 2
    got, expected = execute(program.to_executorch().buffer, (X,)), flat(model(X))
    for index, (one, other) in enumerate(zip(got, expected, strict=True)):
        assert_close(one, other, *BOUNDS[precision], f"output {index}")


def test_ops_around_run_time_sizes_stay_outside_and_right() -> None:
    """What comes after a ``nonzero`` outside has a size nobody knows; the rest is delegated."""

    def fn(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = torch.relu(x) * 2
        return y.nonzero(), y + 1

    program, partitioner = edge(fn, (X,), skip_ops_for_coreml_delegation=["nonzero.default"])
    outside = {d.location.op for d in partitioner.report.refused}
    assert "aten.nonzero.default" in outside
    assert not outside & {"aten.relu.default", "aten.mul.Tensor", "aten.add.Tensor"}
    assert partitioner.report.delegates == 1
    got = execute(program.to_executorch().buffer, (X,))
    # Its size only: ExecuTorch 1.5.1 lists the positions in the wrong order, with any backend.
    assert got[0].shape == fn(X)[0].shape
    assert torch.equal(got[1], fn(X)[1])


@pytest.mark.parametrize(
    ("op", "fn", "outside"),
    [
        ("aten.gelu.default", torch.nn.functional.gelu, {"aten.gelu.default"}),
        # PyTorch decomposes what is not kept whole; its parts are delegated.
        ("aten.silu.default", torch.nn.functional.silu, set()),
        ("aten.softmax.int", lambda x: torch.softmax(x, 1), set()),
    ],
)
def test_skipped_ops_that_would_be_kept_whole(op: str, fn: Any, outside: set[str]) -> None:
    def model(x: torch.Tensor) -> torch.Tensor:
        return torch.exp(fn(torch.sin(x)))

    program, partitioner = edge(model, (X,), skip_ops_for_coreml_delegation=[op])
    assert {d.location.op for d in partitioner.report.refused} == outside
    assert op in outside or op not in {d.location.op for d in partitioner.report}
    (got,) = execute(program.to_executorch().buffer, (X,))
    assert_close(got, model(X), 1e-5, 1e-6, op)


def test_every_decision_names_the_users_line() -> None:
    _, partitioner = edge(Interrupted(), (X,), skip_ops_for_coreml_delegation=["tan.default"])
    for decision in partitioner.report:
        assert (decision.location.file or "").endswith("test_partitioner.py"), str(decision)
        assert str(decision).endswith((": delegated", decision.reason or ""))


class FarBelow(torch.nn.Module):
    """fp16 holds neither the limit nor the number to add."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x).clamp(max=1e6) + torch.clamp(x, min=1e-9)


def test_precision_decisions_are_in_the_report_with_the_users_line() -> None:
    partitioner = edge(FarBelow(), (X,), FP16)[1]
    notes = partitioner.report.precision
    reasons = {note.reason for note in notes}
    assert len(reasons) == 2
    for note in notes:
        assert "fp16" in note.reason
        assert (note.location.file or "").endswith("test_partitioner.py")
        assert f"precision, aten.clamp.default x1: {note.reason}" in str(partitioner.report)
    assert not edge(FarBelow(), (X,), FP32)[1].report.precision
    # In several pieces, and of the last program only.
    _, cut = edge(FarBelow(), (X,), FP16, skip_ops_for_coreml_delegation=["relu.default"])
    assert {note.reason for note in cut.report.precision} == reasons
    to_edge_transform_and_lower(export(torch.nn.ReLU(), (X,)), partitioner=[cut])
    assert not cut.report.precision


@pytest.mark.filterwarnings("ignore:Mutation on a buffer in the model is detected")
def test_mutated_buffer_crosses_the_border_and_keeps_its_value() -> None:
    class Counter(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("total", torch.zeros(2, 8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.total.add_(x)
            return self.total * 2

    program, _ = edge(Counter(), (X,))
    config = ExecutorchBackendConfig(passes=[InitializedMutableBufferPass(["b_total"])])
    method = Runtime.get().load_program(program.to_executorch(config).buffer).load_method("forward")
    assert torch.allclose(method.execute((X,))[0], X * 2)
    assert torch.allclose(method.execute((X,))[0], X * 4)


def test_a_program_can_be_lowered_again() -> None:
    class Shifted(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("shift", torch.arange(8.0), persistent=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.shift

    program = export(Shifted(), (X,))
    first, second = (lower(program)[0].buffer for _ in range(2))
    assert bytes(first) == bytes(second)
    assert torch.equal(execute(second, (X,))[0], X + torch.arange(8.0))


def test_outputs_that_are_inputs_constants_or_given_twice() -> None:
    class Odd(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("fixed", torch.arange(3.0))

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            y = torch.relu(x)
            return y, x, y, self.fixed, y + self.fixed.sum()

    lowered, _ = lower(export(Odd(), (X,)), FP32)
    got = execute(lowered.buffer, (X,))
    for one, other in zip(got, flat(Odd()(X)), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"skip_ops_for_coreml_delegation": ["aten.nosuch.op"]}, "unknown ops: aten.nosuch.op"),
        (
            {"lower_full_graph": True, "skip_ops_for_coreml_delegation": ["aten.relu.default"]},
            "contradicts skip_ops_for_coreml_delegation",
        ),
        (
            {"lower_full_graph": True, "take_over_constant_data": False},
            "needs take_over_constant_data=True",
        ),
        ({"compile_specs": [CompileSpec("no_such", b"1")]}, "unknown compile spec 'no_such'"),
        (
            {"compile_specs": [CompileSpec("min_deployment_target", b"x")]},
            "must be a number or empty",
        ),
        ({"compile_specs": [CompileSpec("compute_units", b"gpu")]}, "must be one of ALL, CPU_ONLY"),
        ({"compile_specs": [CompileSpec("compute_units", b"\xff")]}, "is not UTF-8 text"),
    ],
)
def test_wrong_arguments_are_options_errors(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionsError, match=message):
        CoreMLPartitioner(**arguments)


def test_ops_beyond_the_edge_dialect_need_our_config() -> None:
    def fn(x: torch.Tensor) -> torch.Tensor:
        return torch.median(x, dim=0)[0] + torch.erfinv(x / 100)

    program = export(fn, (X,))
    with pytest.raises(SpecViolationError, match="median"):
        to_edge_transform_and_lower(program, partitioner=[CoreMLPartitioner()])
    partitioner = CoreMLPartitioner(lower_full_graph=True)
    lowered = to_edge_transform_and_lower(
        export(fn, (X,)), partitioner=[partitioner], compile_config=edge_compile_config()
    )
    (got,) = execute(lowered.to_executorch().buffer, (X,))
    torch.testing.assert_close(got, fn(X), rtol=4e-3, atol=1e-3)
