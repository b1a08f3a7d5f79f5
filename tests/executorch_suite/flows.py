"""Our flows for ExecuTorch's backend test suite, and what becomes of each of its cases."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import executorch.backends.test.harness.stages as stages
import torch
from executorch.backends.test.harness import Tester
from executorch.backends.test.harness.stages import StageType
from executorch.backends.test.suite.flow import TestFlow
from executorch.backends.test.suite.reporting import TestCaseSummary, TestResult
from torch.export import ExportedProgram
from torch.utils._pytree import tree_leaves, tree_map

import executorch_coreml.runtime  # noqa: F401  (registers the backend)
from executorch_coreml import ComputePrecision, CoreMLBackend, CoreMLPartitioner
from executorch_coreml.quantizer import (
    CoreMLQuantizer,
    LinearQuantizerConfig,
    ModuleLinearQuantizerConfig,
    QuantizationScheme,
)

# Tighter than the suite's own 0.1 and 4 %, which would let most wrong answers pass.
TOLERANCES = {
    ComputePrecision.FLOAT32: {"atol": 1e-4, "rtol": 1e-4},
    ComputePrecision.FLOAT16: {"atol": 1e-2, "rtol": 1e-2},
}
RUNS = 256  # of PyTorch's, to see which answers it gives itself: each of several values may flip
SHAKE = 2.0**-12  # of a step: what float32 loses in a sum of 256 products of 8 bits


class PlainTuple(torch.nn.Module):
    """Returns torch's named tuple (``torch.return_types.median``) as a plain one.

    ExecuTorch 1.5.1 cannot serialise a program that returns the named one, with or without a
    backend: "No registered serialization name".
    """

    def __init__(self, module: torch.nn.Module):
        super().__init__()
        self.module = module

    def forward(self, *inputs: Any) -> tuple[Any, ...]:
        return tuple(self.module(*inputs))


class CoreMLTester(Tester):
    """Lowers with our partitioner, which it keeps for its report.

    A flow that quantizes is judged against the quantized eager program, which divides by its
    scales as Core ML does, give or take one step of the output's scale where it has one.
    """

    def __init__(self, precision: ComputePrecision, module: torch.nn.Module, inputs: Any):
        self.named = type(module(*inputs)).__module__ == "torch.return_types"
        module = PlainTuple(module) if self.named else module
        specs = CoreMLBackend.generate_compile_specs(compute_precision=precision)
        self.partitioner = CoreMLPartitioner(compile_specs=specs)
        self.precision = precision
        self.halfway = False  # whether equal to eager only as _within_rounding has it
        lower = partial(stages.ToEdgeTransformAndLower, lambda: self.partitioner)
        classes = {**Tester.default_stage_classes(), StageType.TO_EDGE_TRANSFORM_AND_LOWER: lower}
        super().__init__(module, inputs, classes)
        _made.append(self)

    def run_method_and_compare_outputs(self, inputs: Any = None, **options: Any) -> Tester:
        """With tolerances of our own, and for fp16 on inputs that fp16 holds exactly: rounding or
        an argmax of inputs that differ is another question, with another answer."""
        inputs = next(self.generate_random_inputs()) if inputs is None else inputs
        if self.precision is ComputePrecision.FLOAT16:
            inputs = tree_map(_held_by_fp16, inputs)
        options.update(TOLERANCES[self.precision], qtol=1)
        try:
            return super().run_method_and_compare_outputs(inputs=inputs, **options)
        except AssertionError:
            self.halfway = self._within_rounding(inputs)
            if not self.halfway:
                raise
        return self

    def _within_rounding(self, inputs: Any) -> bool:
        """Whether each value lies where PyTorch's own answers do when what it quantizes changes in
        its last bits, give or take the tolerances.

        A sum in another order may fall on the other side of the middle between two integers. A
        recurrent model carries that one step on from one point in time to the next.
        """
        program = self.stages[StageType.EXPORT].artifact
        quantizers = [node for node in program.graph.nodes if node.target is _quantize]
        _, step = self._calculate_reference_output(program, inputs)
        for node in quantizers:
            node.target = _quantize_shaken
        module = program.module()
        answers = [tree_leaves(module(*inputs)) for _ in range(RUNS if quantizers else 0)]
        got = tree_leaves(self.stages[self.cur].run_artifact(inputs))
        limits = TOLERANCES[self.precision]
        for one, others in zip(got, zip(*answers, strict=True), strict=bool(answers)):
            known = torch.stack(others)
            room = limits["atol"] + (step or 0) + limits["rtol"] * known.abs().amax(0)
            if not ((one >= known.amin(0) - room) & (one <= known.amax(0) + room)).all():
                return False
        return bool(answers)

    @staticmethod
    def _calculate_reference_output(program: ExportedProgram, inputs: Any) -> Any:
        for node in program.graph.nodes:
            if node.target is torch.ops.quantized_decomposed.quantize_per_tensor.default:
                node.target = _quantize
        return Tester._calculate_reference_output(program, inputs)


def _quantize(
    x: torch.Tensor, scale: float, zero_point: int, low: int, high: int, dtype: torch.dtype
) -> torch.Tensor:
    """As the op is defined; PyTorch's own kernel multiplies with the reciprocal of the scale."""
    return (torch.round(x / scale) + zero_point).clamp(low, high).to(dtype)


def _quantize_shaken(x: torch.Tensor, scale: float, *others: Any) -> torch.Tensor:
    return _quantize(x + (torch.rand_like(x) - 0.5) * (2 * SHAKE * scale), scale, *others)


def _held_by_fp16(value: Any) -> Any:
    rounds = isinstance(value, torch.Tensor) and value.dtype is torch.float32
    return value.half().float() if rounds else value


_made: list[CoreMLTester] = []  # the testers of the case at hand: run_test keeps its own to itself


def _flow(name: str, precision: ComputePrecision, quantize: bool = False) -> TestFlow:
    tester = partial(CoreMLTester, precision)
    return TestFlow(
        name, "executorch_coreml", tester, quantize=quantize, quantize_stage_factory=_static_int8
    )


def _static_int8() -> stages.Quantize:
    """As the existing backend's flow ``coreml_static_int8`` has it."""
    config = ModuleLinearQuantizerConfig(
        quantization_scheme=QuantizationScheme.symmetric,
        activation_dtype="quint8",
        weight_dtype="qint8",
        weight_per_channel=True,
    )
    return stages.Quantize(CoreMLQuantizer(LinearQuantizerConfig(global_config=config)))


FLOWS = {
    flow.name: flow
    for flow in (
        _flow("executorch_coreml", ComputePrecision.FLOAT32),
        _flow("executorch_coreml_fp16", ComputePrecision.FLOAT16),
        _flow("executorch_coreml_static_int8", ComputePrecision.FLOAT32, quantize=True),
    )
}


@dataclass(frozen=True)
class Outcome:
    """What became of one case of the suite.

    Attributes:
        test: Name of the test; it may have several cases, ``case`` counts them.
        kind: One of :data:`KINDS`.
        reasons: ``op: why it stays outside``, or the error's first lines.
    """

    test: str
    case: int
    kind: str
    reasons: list[str]


KINDS = {
    "whole": "delegated whole, equal to eager",
    "plain": "the same, with a plain tuple for the named one that it returns",
    "halfway": "delegated whole, equal to eager but where values lie half way between two steps",
    "partly": "delegated in part, equal to eager",
    "outside": "nothing delegated",
    "nothing": "nothing to compute",
    "unrun": "delegated, but not run by the suite",
    "raised": "raised",
    "wrong": "not equal to eager",
    "refused": "PyTorch itself refuses",
}
_NAMED = "ExecuTorch serialises no program that returns a named tuple, with or without a backend"
_HALFWAY = (
    "float32 sums in another order round some values to the other of two neighbouring steps, "
    "as PyTorch's own do when their last bits change"
)
FAILURES = ("unrun", "raised", "wrong")


def judge(summary: TestCaseSummary, test: str) -> Outcome:
    """The outcome of the case that ``summary`` is about, the last one that ran."""
    tester = _made[-1] if _made else None
    _made.clear()
    kind, reasons = _kind(summary, tester)
    return Outcome(test, summary.subtest_index, kind, reasons)


def _kind(summary: TestCaseSummary, tester: CoreMLTester | None) -> tuple[str, list[str]]:
    if summary.result is TestResult.OUTPUT_MISMATCH_FAIL:
        return "wrong", _lines(summary.error)
    if summary.result.is_backend_failure():
        return "raised", _lines(summary.error)
    if tester is None or tester.stages[StageType.TO_EDGE_TRANSFORM_AND_LOWER] is None:
        return "refused", _lines(summary.error)
    report = tester.partitioner.report
    reasons = sorted({f"{d.location.op}: {d.reason}" for d in report.refused})
    if not report.delegates:
        return ("outside" if reasons else "nothing"), reasons
    if summary.result is not TestResult.SUCCESS:
        return "unrun", reasons
    if reasons:
        return "partly", reasons
    if tester.halfway:
        return "halfway", [_HALFWAY]
    return ("plain", [_NAMED]) if tester.named else ("whole", [])


def _lines(error: Exception | None) -> list[str]:
    return [f"{type(error).__name__}: {error}"[:600]]
