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

from case import FP32, assert_close, execute, export, flat, lower, randn
from executorch_coreml import CoreMLBackend, CoreMLPartitioner
from executorch_coreml.errors import OptionsError, UnsupportedOp
from executorch_coreml.ops.refused import REFUSED

X = randn(2, 8)
# Core ML has no Bessel functions; neither has the core ATen opset, which EXIR must be told.
BESSEL = [torch.ops.aten.i0.default, torch.ops.aten.special_i1.default]


def edge(fn: Any, inputs: tuple[Any, ...], **arguments: Any) -> tuple[Any, CoreMLPartitioner]:
    specs = CoreMLBackend.generate_compile_specs(compute_precision=FP32)
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
    assert message.startswith("2 node(s) cannot run in Core ML")
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
    message = str(caught.value)
    assert message.startswith("1 node(s) cannot run in Core ML")
    assert "aten.i0.default" in message


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
