"""Mutated buffers: taken over as states, or across the border, through the ExecuTorch runtime."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from executorch.exir import to_edge_transform_and_lower
from executorch.exir.capture._config import ExecutorchBackendConfig
from executorch.exir.passes.init_mutable_pass import InitializedMutableBufferPass
from executorch.runtime import Runtime

from case import FP16, FP32, assert_close, export, flat, randn
from executorch_coreml import CoreMLBackend, CoreMLPartitioner, Target
from executorch_coreml.mil.bundle import read

# ExecuTorch says so of every program whose buffers it keeps; that is what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore:Mutation on a buffer in the model is detected")


def lowered(
    model: torch.nn.Module,
    inputs: tuple[Any, ...],
    *,
    take_over: bool = True,
    precision: Any = FP16,
    preset: Sequence[str] = (),
    skip: Sequence[str] = (),
    **options: Any,
) -> tuple[bytes, CoreMLPartitioner]:
    specs = CoreMLBackend.generate_compile_specs(compute_precision=precision, **options)
    partitioner = CoreMLPartitioner(
        compile_specs=specs,
        take_over_mutable_buffer=take_over,
        skip_ops_for_coreml_delegation=list(skip),
    )
    edge = to_edge_transform_and_lower(export(model, inputs), partitioner=[partitioner])
    config = ExecutorchBackendConfig(passes=[InitializedMutableBufferPass(list(preset))])
    return bytes(edge.to_executorch(config).buffer), partitioner


def load(pte: bytes) -> Any:
    return Runtime.get().load_program(pte).load_method("forward")


def states(pte: bytes) -> list[str]:
    bundle = read(pte)
    return [s.name for s in bundle.descriptions[bundle.default_function].states]


def same_as_eager(
    pte: bytes, model: torch.nn.Module, steps: Sequence[tuple[Any, ...]], tol: float
) -> None:
    method = load(pte)
    for number, inputs in enumerate(steps):
        with torch.no_grad():
            expected = flat(model(*(x.clone() for x in inputs)))
        for got, want in zip(method.execute(inputs), expected, strict=True):
            assert_close(got, want.clone(), tol, tol, f"step {number}")


class Decoder(torch.nn.Module):
    """A decoder of two layers with key and value caches; one token a step."""

    def __init__(self, length: int = 64, heads: int = 2, width: int = 32) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.length, self.heads, self.width = length, heads, width
        size = heads * width
        self.embedding = torch.nn.Embedding(50, size)
        self.position = torch.nn.Embedding(length, size)
        self.layers = torch.nn.ModuleList(torch.nn.Linear(size, 3 * size) for _ in range(2))
        self.merge = torch.nn.ModuleList(torch.nn.Linear(size, size) for _ in range(2))
        self.norms = torch.nn.ModuleList(torch.nn.LayerNorm(size) for _ in range(2))
        self.head = torch.nn.Linear(size, 50)
        self.requires_grad_(False)
        for layer in range(2):
            for name in ("keys", "values"):
                self.register_buffer(f"{name}{layer}", torch.zeros(1, heads, length, width))

    def forward(self, token: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        x = self.embedding(token) + self.position(at)
        seen = (torch.arange(self.length) <= at).view(1, 1, 1, -1)
        for layer in range(2):
            parts = self.layers[layer](self.norms[layer](x)).view(1, 1, 3, self.heads, -1)
            query, key, value = parts.permute(2, 0, 3, 1, 4)
            keys, values = getattr(self, f"keys{layer}"), getattr(self, f"values{layer}")
            keys[:, :, at] = key
            values[:, :, at] = value
            mixed = torch.nn.functional.scaled_dot_product_attention(query, keys, values, seen)
            x = x + self.merge[layer](mixed.transpose(1, 2).reshape(1, 1, -1))
        return self.head(x)


@pytest.mark.parametrize("take_over", [True, False])
def test_a_decoder_runs_64_steps_and_equals_eager_at_each(take_over: bool) -> None:
    model = Decoder().eval()
    token = torch.randint(0, 50, (64, 1, 1), generator=torch.Generator().manual_seed(1))
    steps = [(token[i], torch.tensor([i])) for i in range(64)]
    pte, partitioner = lowered(Decoder().eval(), steps[0], take_over=take_over)
    report = partitioner.report
    assert report.delegates == 1
    assert len(report.buffers) == 4
    assert all((b.reason is None) is take_over for b in report.buffers), str(report)
    assert len(states(pte)) == (4 if take_over else 0)
    bundle = read(pte)
    assert bundle.specification_version == (Target.iOS18 if take_over else Target.iOS15)
    same_as_eager(pte, model, steps, 4e-3)


def test_a_fresh_load_starts_anew_and_two_methods_do_not_share() -> None:
    pte, _ = lowered(_Sum(), (randn(4, 32),))
    one, other = load(pte), load(pte)
    x = randn(4, 32)
    for count in (1, 2, 3):
        assert_close(one.execute((x,))[0], x * count, 2e-3, 2e-3, "one")
    assert_close(other.execute((x,))[0], x, 2e-3, 2e-3, "other")
    assert_close(load(pte).execute((x,))[0], x, 2e-3, 2e-3, "fresh")


class _Sum(torch.nn.Module):
    def __init__(self, dtype: torch.dtype = torch.float32, shape: tuple[int, ...] = (4, 32)):
        super().__init__()
        self.register_buffer("total", torch.zeros(shape, dtype=dtype))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.total.add_(x)
        return self.total * 1.0


class _Slice(torch.nn.Module):
    """A buffer shifted by a slice assignment, one overwritten by copy_, read twice each."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.zeros(4, 32))
        self.register_buffer("last", torch.zeros(1, 32), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        before = self.window.mean() + self.last.sum()
        self.window[1:3] = self.window[0:2] * 0.5
        self.window[:1] = x
        after = self.window.sum(0, keepdim=True) - self.last
        self.last.copy_(torch.relu(x))
        return before + after + self.last


class _Scalar(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.tensor(0.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.count += 1
        return x * self.count


class _Preset(torch.nn.Module):
    """Buffers that do not start as zeros, one of them partly infinite."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.linspace(1, 2, 32).repeat(2, 1))
        self.register_buffer("best", torch.full((2, 32), float("-inf")))
        self.register_buffer("seen", torch.zeros(2, 32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.best.copy_(torch.maximum(self.best, x))
        self.scale.mul_(0.5)
        self.seen.add_(x)
        return self.best * self.scale + self.seen


@pytest.mark.filterwarnings("ignore:.*Its last extent")
@pytest.mark.parametrize("take_over", [True, False])
@pytest.mark.parametrize(
    ("make", "shape", "names"),
    [
        (_Sum, (4, 32), ["total"]),
        (_Slice, (1, 32), ["window", "last"]),
        (_Scalar, (2, 3), ["count"]),
        (_Preset, (2, 32), ["scale", "best", "seen"]),
    ],
    ids=["add", "slice and copy", "rank 0", "preset"],
)
def test_buffers_behave_as_in_eager(
    make: Any, shape: tuple[int, ...], names: list[str], take_over: bool
) -> None:
    x = randn(*shape)
    preset = [f"b_{name}" for name in names] if not take_over else []
    pte, partitioner = lowered(make(), (x,), take_over=take_over, preset=preset)
    found = {b.name: b.reason is None for b in partitioner.report.buffers}
    assert found == dict.fromkeys(names, take_over), str(partitioner.report)
    same_as_eager(pte, make(), [(x * n,) for n in (1.0, -0.5, 2.0, 0.25)], 4e-3)


class _Returned(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(2, 32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.total.add_(x)
        return self.total


class _Old(_Returned):
    def forward(self, x: torch.Tensor) -> Any:
        old = self.total.clone()
        self.total.add_(x)
        return old, self.total * 2


class _Integers(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("at", torch.zeros(1, dtype=torch.int64))
        self.register_buffer("total", torch.zeros(2, 32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.at.add_(1)
        self.total.add_(x * self.at)
        return self.total * 2


class _Torn(torch.nn.Module):
    """Two delegates need the buffer: an op between them stays outside."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(2, 32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.cumsum(x + self.total, 1)
        self.total.add_(y)
        return self.total * 2


class _Counted(torch.nn.Module):
    """fp16 would stop counting at 2048."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("angle", torch.zeros(32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.angle.add_(100.3)
        return x * torch.sin(self.angle)


@pytest.mark.parametrize(
    ("make", "options", "reasons"),
    [
        (_Returned, {}, {"total": "its new value is also returned"}),
        (_Integers, {}, {"at": "a state holds fp16, and its dtype is int64", "total": None}),
        (_Torn, {"skip": ["aten.cumsum.default"]}, {"total": "2 delegates use it"}),
        (_Counted, {}, {"angle": "its values are positions or angles"}),
        (
            _Sum,
            {"minimum_deployment_target": Target.iOS17},
            {"total": "needs iOS18 or later; minimum_deployment_target is iOS17"},
        ),
        (_Sum, {"precision": FP32}, {"total": "compute_precision is FLOAT32"}),
    ],
    ids=["returned", "integers", "torn", "counted", "old target", "float32"],
)
def test_what_a_state_cannot_hold_crosses_with_a_reason(
    make: Any, options: dict[str, Any], reasons: dict[str, str | None]
) -> None:
    x = randn(4, 32) if make is _Sum else randn(2, 32)
    pte, partitioner = lowered(make(), (x,), **options)
    found = {b.name: b.reason for b in partitioner.report.buffers}
    assert found.keys() == reasons.keys()
    for name, part in reasons.items():
        assert (part is None) is (found[name] is None), found
        assert (part or "") in (found[name] or "")
        assert found[name] is None or f"buffer {name}: an input and an output" in str(
            partitioner.report
        )
    same_as_eager(pte, make(), [(x * n,) for n in (1.0, -0.5, 2.0)], 4e-3)


def test_old_and_new_value_of_a_state() -> None:
    pte, partitioner = lowered(_Old(), (randn(2, 32),))
    assert [b.reason for b in partitioner.report.buffers] == [None]
    same_as_eager(pte, _Old(), [(randn(2, 32) * n,) for n in (1.0, -0.5, 2.0)], 4e-3)


def test_half_buffers_are_states_in_either_precision() -> None:
    x = randn(4, 32).half()
    pte, partitioner = lowered(_Sum(torch.float16), (x,), precision=FP32)
    assert [b.reason for b in partitioner.report.buffers] == [None]
    same_as_eager(pte, _Sum(torch.float16), [(x * n,) for n in (1.0, -0.5, 2.0)], 4e-3)


def test_a_width_the_neural_engine_may_refuse_is_warned_of() -> None:
    x = randn(2, 270)
    with pytest.warns(UserWarning, match="last extent is 270.*pad it to 288"):
        _, partitioner = lowered(_Sum(shape=(2, 270)), (x,))
    assert "pad it to 288" in str(partitioner.report)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.filterwarnings("ignore", message="Mutation on a buffer")
        lowered(_Sum(shape=(2, 270)), (x,), compute_unit="cpu_and_gpu")


def test_the_stock_delegate_gets_states_only_in_the_model() -> None:
    """Arguments of the delegate are the user's alone; inspect shows the states."""
    pte, _ = lowered(Decoder().eval(), (torch.zeros(1, 1, dtype=torch.int64), torch.tensor([0])))
    bundle = read(pte)
    assert len(bundle.input_names["main"]) == 2
    assert len(bundle.output_names["main"]) == 1
    ops = [op.type for op in bundle.program.functions["main"].body.operations]
    assert ops.count("write_state") == 4
    assert {op for op in ops if "state" in op} == {"read_state", "write_state"}


def test_a_program_with_states_can_be_lowered_again() -> None:
    program = export(_Slice(), (randn(1, 32),))
    made = [
        to_edge_transform_and_lower(program, partitioner=[CoreMLPartitioner()])
        .to_executorch()
        .buffer
        for _ in range(2)
    ]
    assert bytes(made[0]) == bytes(made[1])
