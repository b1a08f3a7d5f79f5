"""Programs of several methods that share one model, through the ExecuTorch runtime and Model."""

from __future__ import annotations

import gc
import tracemalloc
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from executorch.exir import to_edge_transform_and_lower
from executorch.runtime import Runtime

from case import FP16, FP32, assert_close, export, flat, randn
from executorch_coreml import CoreMLBackend, CoreMLPartitioner, Model, Target
from executorch_coreml.compiler import MULTIMETHOD_WEIGHT_SHARING_STRATEGY as Strategy
from executorch_coreml.compiler import payload
from executorch_coreml.errors import OptionsError
from executorch_coreml.mil.bundle import read
from executorch_coreml.mil.pte import read_pte


def lowered(
    methods: dict[str, tuple[Any, tuple[Any, ...]]],
    strategy: Any = None,
    *,
    precision: Any = FP32,
    skip: dict[str, list[str]] | None = None,
    **options: Any,
) -> bytes:
    specs = CoreMLBackend.generate_compile_specs(compute_precision=precision, **options)
    if strategy is not None:
        generate = CoreMLBackend.generate_multimethod_weight_sharing_strategy_compile_spec
        specs.append(generate(strategy))
    partitioners = {
        name: [
            CoreMLPartitioner(
                compile_specs=specs, skip_ops_for_coreml_delegation=(skip or {}).get(name)
            )
        ]
        for name in methods
    }
    programs = {name: export(model, inputs) for name, (model, inputs) in methods.items()}
    edge = to_edge_transform_and_lower(programs, partitioner=partitioners)
    return bytes(edge.to_executorch().buffer)


def run(pte: bytes, method: str, inputs: tuple[Any, ...]) -> list[Any]:
    outputs = Runtime.get().load_program(pte).load_method(method).execute(inputs)
    return [out.clone() for out in outputs]


def same_as_eager(
    pte: bytes, methods: dict[str, tuple[Any, tuple[Any, ...]]], tol: float = 1e-5
) -> None:
    for name, (model, inputs) in methods.items():
        expected = flat(model(*inputs))
        for got, want in zip(run(pte, name, inputs), expected, strict=True):
            assert_close(got, want.detach(), tol, tol, name)


class Attention(torch.nn.Module):
    """Causal self-attention with weights enough for their number of bytes to show."""

    def __init__(self, size: int = 256) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.query, self.key, self.value = (torch.nn.Linear(size, size) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        attend = torch.nn.functional.scaled_dot_product_attention
        y: torch.Tensor = attend(self.query(x), self.key(x), self.value(x), is_causal=True)
        return torch.cumsum(y, 1)


MODEL = Attention().eval()
METHODS = {"forward": (MODEL, (randn(1, 1, 256),)), "prefill": (MODEL, (randn(1, 8, 256),))}


@pytest.mark.parametrize("precision", [FP32, FP16], ids=["fp32", "fp16"])
def test_two_methods_are_stored_once(precision: Any) -> None:
    two = lowered(METHODS, precision=precision)
    one = lowered({"forward": METHODS["forward"]}, precision=precision)
    assert len(two) <= 1.05 * len(one), (len(two), len(one))
    same_as_eager(two, METHODS, 1e-5 if precision is FP32 else 4e-3)
    pte = read_pte(memoryview(two))
    assert len(pte.named_data) == 1
    references = [payload.parse_reference(d.processed) for d in pte.delegates]
    assert {r.key for r in references} == set(pte.named_data)
    assert [
        (d.method, r.function_name) for d, r in zip(pte.delegates, references, strict=True)
    ] == [
        ("forward", "forward"),
        ("prefill", "prefill"),
    ]


def test_each_function_runs_through_model() -> None:
    pte = lowered(METHODS)
    for name, (model, inputs) in METHODS.items():
        loaded = Model(pte, function_name=name)
        (got,) = loaded.run([x.numpy() for x in inputs])
        assert_close(torch.from_numpy(got), model(*inputs).detach(), 1e-5, 1e-5, name)


def test_strategies_and_what_they_cost() -> None:
    shared = lowered(METHODS, Strategy.POSITIONAL, minimum_deployment_target=Target.iOS18)
    apart = lowered(METHODS, Strategy.DISABLED)
    assert len(shared) < 0.6 * len(apart)
    for pte in (shared, apart):
        same_as_eager(pte, METHODS)
    assert not read_pte(memoryview(apart)).named_data
    assert read(apart).specification_version == Target.iOS15
    bundle = read(shared)
    assert bundle.specification_version == Target.iOS18


def test_an_older_target_keeps_methods_apart() -> None:
    pte = lowered(METHODS, minimum_deployment_target=Target.iOS17)
    assert not read_pte(memoryview(pte)).named_data
    same_as_eager(pte, METHODS)


def test_positional_refuses_what_it_cannot_do() -> None:
    with pytest.raises(OptionsError, match="needs iOS18; minimum_deployment_target is iOS17"):
        lowered(METHODS, Strategy.POSITIONAL, minimum_deployment_target=Target.iOS17)
    with pytest.raises(OptionsError, match=r"as many delegates in each method.*'prefill': 2"):
        lowered(TORN, Strategy.POSITIONAL, skip=SKIP)


class Torn(torch.nn.Module):
    """Its two linear layers are in one delegate or in two, as the op between them is skipped."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first, self.second = torch.nn.Linear(256, 256), torch.nn.Linear(256, 512)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.second(torch.cumsum(self.first(x), 1))
        return y


TORN_MODEL = Torn().eval()
TORN = {"forward": (TORN_MODEL, (randn(2, 256),)), "prefill": (TORN_MODEL, (randn(8, 256),))}
SKIP = {"prefill": ["aten.cumsum.default"]}


def test_sharing_by_content_needs_no_equal_number_of_delegates() -> None:
    """The delegate with most weights in common joins; the other keeps a model of its own."""
    pte = lowered(TORN, skip=SKIP)
    same_as_eager(pte, TORN, 1e-4)
    delegates = read_pte(memoryview(pte)).delegates
    assert [(d.method, payload.is_reference(d.processed)) for d in delegates] == [
        ("forward", True),
        ("prefill", False),
        ("prefill", True),
    ]
    apart = lowered(TORN, Strategy.DISABLED, skip=SKIP)
    assert len(pte) < len(apart) - 4 * 512 * 256


def test_methods_without_common_weights_stay_apart() -> None:
    other = Attention().eval()
    torch.nn.init.normal_(other.query.weight)
    torch.nn.init.normal_(other.key.weight)
    torch.nn.init.normal_(other.value.weight)
    for layer in (other.query, other.key, other.value):
        torch.nn.init.normal_(layer.bias)
    methods = {"forward": METHODS["forward"], "other": (other, (randn(1, 4, 256),))}
    pte = lowered(methods)
    assert not read_pte(memoryview(pte)).named_data
    same_as_eager(pte, methods, 1e-4)


def test_equal_weights_of_different_modules_are_shared() -> None:
    methods = {"forward": (Attention().eval(), (randn(1, 1, 256),)), **METHODS}
    methods["again"] = (Attention().eval(), (randn(1, 2, 256),))
    pte = lowered(methods)
    assert len(read_pte(memoryview(pte)).named_data) == 1
    same_as_eager(pte, methods)


def test_weights_that_differ_under_the_same_name_stay_different() -> None:
    """The serialiser caches by name: a constant of one function must not serve another."""
    one, other = Torn().eval(), Torn().eval()
    with torch.no_grad():
        other.first.weight.mul_(-1)
    methods = {"forward": (one, (randn(2, 256),)), "other": (other, (randn(2, 256),))}
    pte = lowered(methods)
    assert len(read_pte(memoryview(pte)).named_data) == 1
    same_as_eager(pte, methods, 1e-4)


def test_memory_grows_with_graphs_not_with_weights() -> None:
    """What Python and numpy allocate while lowering, per method added: no copy of the weights."""
    wide = torch.nn.Linear(2048, 2048).eval()
    copy = 2048 * 2048 * 2  # in fp16, which no method has at hand

    def least_peak(count: int) -> int:
        return min(peak(count) for _ in range(2))  # more is garbage that nobody collected yet

    def peak(count: int) -> int:
        gc.collect()
        methods = {f"m{n}": (wide, (randn(2 + n, 2048),)) for n in range(count)}
        tracemalloc.start()
        lowered(methods, precision=FP16)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    lowered(TORN, precision=FP16)  # imports
    assert least_peak(2) - least_peak(1) < copy / 4


class Cached(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(256, 256)
        self.register_buffer("cache", torch.zeros(1, 256))
        self.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.cache.add_(self.linear(x).sum(0, keepdim=True))
        return self.cache * 1.0


def test_states_of_several_methods_are_warned_of_and_work() -> None:
    model = Cached().eval()
    methods = {"forward": (model, (randn(1, 256),)), "prefill": (model, (randn(4, 256),))}
    with pytest.warns(UserWarning, match="b_cache is a state of several methods"):
        pte = lowered(methods, precision=FP16)
    assert len(read_pte(memoryview(pte)).named_data) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = Runtime.get().load_program(pte)
    for name, (module, inputs) in methods.items():
        method, fresh = program.load_method(name), Cached().eval()
        fresh.load_state_dict(module.state_dict())
        for step in range(3):
            (got,) = method.execute(inputs)
            assert_close(got, fresh(*inputs).clone(), 4e-3, 4e-3, f"{name} {step}")


def test_the_same_program_gives_the_same_bytes() -> None:
    assert lowered(METHODS) == lowered(METHODS)


def test_constant_methods_and_reading_without_a_method() -> None:
    programs = {name: export(model, inputs) for name, (model, inputs) in METHODS.items()}
    edge = to_edge_transform_and_lower(
        programs, partitioner=[CoreMLPartitioner()], constant_methods={"width": 256}
    )
    pte = bytes(edge.to_executorch().buffer)
    assert Runtime.get().load_program(pte).load_method("width").execute(()) == [256]
    model = Model(pte, function_name="prefill")
    assert np.isfinite(model.run([randn(1, 8, 256).numpy()])[0]).all()
