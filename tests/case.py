"""Rows of the operator tests, and the one way to run them.

A :class:`Case` says what a rule must compute, a :class:`Reject` what it must leave outside and
why. Both go the whole way: ``torch.export``, ExecuTorch's lowering with our partitioner, and for
cases the ExecuTorch runtime with our plugin (:mod:`together` runs many cases in one program).
"""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from executorch.exir import (
    EdgeCompileConfig,
    EdgeProgramManager,
    ExecutorchProgramManager,
    to_edge_transform_and_lower,
)
from executorch.exir.lowered_backend_module import LoweredBackendModule, get_lowered_backend_modules

import executorch_coreml.runtime  # noqa: F401  (registers the backend)
from executorch_coreml import ComputePrecision, CoreMLBackend, CoreMLPartitioner
from executorch_coreml.engine.precision import core
from executorch_coreml.errors import UnsupportedOp

FP32, FP16 = ComputePrecision.FLOAT32, ComputePrecision.FLOAT16


@dataclass(frozen=True)
class Case:
    """One computation that must be delegated whole and equal eager PyTorch.

    Attributes:
        id: Unique within its file.
        fn: A function of tensors or a module.
        inputs: Its arguments; made from a fixed seed by :func:`randn` and friends.
        covers: The overload(s) whose rule this case exercises; they must appear in the delegate.
        rtol, atol: Tolerance in float32, relative to the largest expected magnitude and absolute.
        half_rtol, half_atol: The same in faithful fp16.
        half: False leaves the fp16 run out; ``why`` must then say why.
    """

    id: str
    fn: Callable[..., Any]
    inputs: tuple[Any, ...]
    covers: Any
    rtol: float = 1e-5
    atol: float = 1e-6
    half_rtol: float = 4e-3
    half_atol: float = 1e-3
    half: bool = True
    why: str = ""

    @property
    def ops(self) -> tuple[Any, ...]:
        return self.covers if isinstance(self.covers, tuple) else (self.covers,)


@dataclass(frozen=True)
class Reject:
    """One call that must stay outside, with a reason that contains ``reason``."""

    id: str
    fn: Callable[..., Any]
    inputs: tuple[Any, ...]
    covers: Any
    reason: str
    options: dict[str, Any] = field(default_factory=dict)
    dynamic: tuple[Any, ...] | None = None  # torch.export's dynamic_shapes, one per input


def _generator(shape: Sequence[int]) -> torch.Generator:
    return torch.Generator().manual_seed(hash(tuple(shape)) % 2**31)


def randn(*shape: int, scale: float = 1.0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Normal values, the same for the same shape in every process."""
    return (torch.randn(shape, generator=_generator(shape)) * scale).to(dtype)


def uniform(*shape: int, low: float, high: float) -> torch.Tensor:
    """Evenly spread values in [low, high)."""
    return torch.rand(shape, generator=_generator(shape)) * (high - low) + low


def randint(
    *shape: int, low: int = -10, high: int = 10, dtype: torch.dtype = torch.int64
) -> torch.Tensor:
    return torch.randint(low, high, shape, generator=_generator(shape)).to(dtype)


def randbool(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=_generator(shape)) > 0.5


class Function(torch.nn.Module):
    def __init__(self, fn: Callable[..., Any]):
        super().__init__()
        self.fn = fn

    def forward(self, *args: Any) -> Any:
        return self.fn(*args)


def export(
    fn: Callable[..., Any], inputs: tuple[Any, ...], dynamic: tuple[Any, ...] | None = None
) -> torch.export.ExportedProgram:
    """``dynamic``: per input, the dynamic axes as torch.export takes them."""
    module = fn if isinstance(fn, torch.nn.Module) else Function(fn)
    module.eval()  # on its own: what PT2E converts returns None
    parameters = inspect.signature(module.forward).parameters.values()
    packed = any(each.kind is each.VAR_POSITIONAL for each in parameters)  # *args is one argument
    shapes = (dynamic,) if packed and dynamic is not None else dynamic
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.export(module, inputs, dynamic_shapes=shapes, strict=False)


def lower(
    program: torch.export.ExportedProgram,
    precision: ComputePrecision = FP32,
    beyond_edge: Iterable[Any] = (),
    **options: Any,
) -> tuple[Any, CoreMLPartitioner]:
    """(executorch program manager, partitioner with its report).

    Args:
        beyond_edge: Ops that ExecuTorch refuses in a program unless it is told otherwise, although
            a delegate takes them (adaptive max pools, for one).
        options: For ``generate_compile_specs``.
    """
    edge, partitioner = partitioned(program, precision, beyond_edge, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return to_executorch(edge), partitioner


def partitioned(
    program: torch.export.ExportedProgram,
    precision: ComputePrecision = FP32,
    beyond_edge: Iterable[Any] = (),
    **options: Any,
) -> tuple[Any, CoreMLPartitioner]:
    """(edge program manager, partitioner with its report); arguments as for :func:`lower`."""
    specs = CoreMLBackend.generate_compile_specs(compute_precision=precision, **options)
    partitioner = CoreMLPartitioner(compile_specs=specs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        edge = to_edge_transform_and_lower(
            program,
            partitioner=[partitioner],
            compile_config=EdgeCompileConfig(_core_aten_ops_exception_list=list(beyond_edge)),
        )
    return edge, partitioner


def to_executorch(edge: EdgeProgramManager) -> ExecutorchProgramManager:
    """ExecuTorch (1.5) interprets the program of a delegate in each of the passes over the program
    that calls it, to know its outputs: a tenth of the time that lowering takes. Here they are read
    from it, and the file is the same.
    """
    calls = importlib.import_module("torch._higher_order_ops.executorch_call_delegate")
    interpret = calls.call_delegate_cpu

    def outputs(lowered: LoweredBackendModule, *args: Any) -> Any:
        program = lowered.original_module
        results = [node.meta["val"] for node in program.graph.output_node().args[0]]
        modes = {getattr(value, "fake_mode", None) for value in (*args, *results)}
        if not args or None in modes or len(modes) > 1:  # sizes that are open are of one mode
            return interpret(lowered, *args)
        made = [torch.empty_strided(x.shape, x.stride(), dtype=x.dtype) for x in results]
        written = len(results) - len(program.graph_signature.user_outputs)
        return torch.utils._pytree.tree_unflatten(made[written:], program.call_spec.out_spec)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calls, "call_delegate_cpu", outputs)
        return edge.to_executorch()


class EdgeProgram:
    """A program that is lowered in several precisions, or for several targets.

    Both are decided when a delegate is compiled, so the edge program, where most of the time goes,
    is made once. Not where the target says what is decomposed, as it does of attention.

    Attributes:
        delegates: What ExecuTorch cut out of the program for us to compile, the first time.
    """

    def __init__(self, program: torch.export.ExportedProgram, beyond_edge: Iterable[Any] = ()):
        self.delegates: list[torch.export.ExportedProgram] = []
        self._program = program
        self._config = EdgeCompileConfig(_core_aten_ops_exception_list=list(beyond_edge))
        self._edge: torch.export.ExportedProgram | None = None

    def lower(self, precision: ComputePrecision, **options: Any) -> tuple[Any, CoreMLPartitioner]:
        """As :func:`lower`."""
        specs = CoreMLBackend.generate_compile_specs(compute_precision=precision, **options)
        partitioner = CoreMLPartitioner(compile_specs=specs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if self._edge is not None:
                edge = EdgeProgramManager(self._edge, compile_config=self._config)
                return to_executorch(edge.to_backend(partitioner)), partitioner
            edge = to_edge_transform_and_lower(
                self._program,
                partitioner=[partitioner],
                compile_config=self._config,
                generate_etrecord=True,  # which keeps the edge program
            )
            modules = get_lowered_backend_modules(edge.exported_program().graph_module)
            self.delegates = [module.original_module for module in modules]
            lowered = to_executorch(edge)
            self._edge = lowered.get_etrecord().edge_dialect_program
            return lowered, partitioner


@contextmanager
def without_snippets() -> Iterator[None]:
    """OpenVINO compiles without its snippets, as models whose snippets it cannot lay out are."""
    core().set_property("CPU", {"SNIPPETS_MODE": "DISABLE"})
    try:
        yield
    finally:
        core().set_property("CPU", {"SNIPPETS_MODE": "ENABLE"})


def snippets(precision: ComputePrecision) -> AbstractContextManager[None]:
    """Snippets are about half of what OpenVINO takes to compile: tests that run a program in both
    precisions have them in fp16, as an app's model would.
    """
    return nullcontext() if precision is FP16 else without_snippets()


def execute(pte: bytes, inputs: tuple[Any, ...]) -> list[Any]:
    """Runs method ``forward`` in the ExecuTorch runtime."""
    from executorch.runtime import Runtime

    method = Runtime.get().load_program(pte).load_method("forward")
    return [out.clone() if isinstance(out, torch.Tensor) else out for out in method.execute(inputs)]


def flat(value: Any) -> list[Any]:
    return torch.utils._pytree.tree_leaves(value)


def assert_close(got: Any, expected: torch.Tensor, rtol: float, atol: float, what: str) -> None:
    """|got - expected| <= atol + rtol * max|expected|, same shape and dtype; NaN equals NaN."""
    assert got.shape == expected.shape, f"{what}: shape {got.shape}, expected {expected.shape}"
    assert got.dtype == expected.dtype, f"{what}: dtype {got.dtype}, expected {expected.dtype}"
    if not expected.dtype.is_floating_point:
        assert torch.equal(got, expected), f"{what}: integer results differ"
        return
    finite = expected[torch.isfinite(expected)].abs()
    bound = atol + rtol * (finite.max().item() if finite.numel() else 0.0)
    torch.testing.assert_close(
        got, expected, rtol=0, atol=bound, equal_nan=True, msg=lambda text: f"{what}: {text}"
    )


def run_reject(reject: Reject) -> None:
    """Its reason is in the report, or in the error where ExecuTorch has no kernel for the op."""
    options = dict(reject.options)
    beyond = (reject.covers, *options.pop("beyond_edge", ()))
    program = export(reject.fn, reject.inputs, reject.dynamic)
    try:
        _, partitioner = partitioned(program, beyond_edge=beyond, **options)
    except UnsupportedOp as error:
        reasons = {str(reject.covers): str(error) if str(reject.covers) in str(error) else ""}
    else:
        reasons = {d.location.op: d.reason for d in partitioner.report.refused}
    assert str(reject.covers) in reasons, f"{reject.covers} was delegated"
    assert reject.reason in reasons[str(reject.covers)], reasons[str(reject.covers)]
