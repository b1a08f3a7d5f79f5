"""Many cases in one program: lowering a program costs far more than the ops of one case.

Each case is a submodule with inputs of its own, so the report still tells which nodes are whose
and the outputs are compared case by case. When the shared program cannot be made or run, every
case gets a program to itself, and the failure its owner.

Precision is decided when a delegate is compiled, so the edge program, where most of the time goes,
serves all precisions.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from executorch.exir import EdgeCompileConfig, EdgeProgramManager, to_edge_transform_and_lower
from executorch.exir.lowered_backend_module import get_lowered_backend_modules

from case import FP16, Case, Function, assert_close, execute, export, flat
from executorch_coreml import ComputePrecision, CoreMLBackend, CoreMLError, CoreMLPartitioner
from executorch_coreml.partition import Decision


@dataclass
class Outcome:
    """What became of one case: the decisions about its nodes and its outputs, or the failure."""

    decisions: list[Decision]
    delegates: int
    outputs: list[Any]
    failure: Exception | None = None


class _Together(torch.nn.Module):
    def __init__(self, cases: Sequence[Case]):
        super().__init__()
        self.counts = [len(case.inputs) for case in cases]
        self.rows = torch.nn.ModuleList(
            case.fn if isinstance(case.fn, torch.nn.Module) else Function(case.fn) for case in cases
        )

    def forward(self, *inputs: Any) -> tuple[Any, ...]:
        results, start = [], 0
        for count, row in zip(self.counts, self.rows, strict=True):
            results.append(row(*inputs[start : start + count]))
            start += count
        return tuple(results)


@dataclass
class Together:
    """What became of some cases.

    Attributes:
        outcomes: By precision and case id.
        delegates: What ExecuTorch cut out of their programs for us to compile.
    """

    outcomes: dict[ComputePrecision, dict[str, Outcome]]
    delegates: list[torch.export.ExportedProgram]


def run_together(cases: Sequence[Case], precisions: Sequence[ComputePrecision]) -> Together:
    edge = _EdgeProgram(cases)
    outcomes = {}
    for precision in precisions:
        try:
            outcomes[precision] = _run(cases, precision, edge)
        except _FAILURES as error:
            if len(cases) > 1:
                return _one_by_one(cases, precisions)
            outcomes[precision] = {cases[0].id: Outcome([], 0, [], error)}
    return Together(outcomes, edge.delegates)


_FAILURES = (CoreMLError, RuntimeError, ValueError, TypeError, KeyError, AssertionError)


def _one_by_one(cases: Sequence[Case], precisions: Sequence[ComputePrecision]) -> Together:
    alone = [run_together([case], precisions) for case in cases]
    outcomes: dict[ComputePrecision, dict[str, Outcome]] = {each: {} for each in precisions}
    for one in alone:
        for precision in precisions:
            outcomes[precision] |= one.outcomes[precision]
    return Together(outcomes, [program for one in alone for program in one.delegates])


class _EdgeProgram:
    """The program of some cases; its edge program is kept for the next precision."""

    def __init__(self, cases: Sequence[Case]):
        # Clones: torch.export would make one input of a tensor that two cases share.
        self.inputs = tuple(
            x.clone() if isinstance(x, torch.Tensor) else x for case in cases for x in case.inputs
        )
        self._program = _Together(cases)
        self._config = EdgeCompileConfig(
            _core_aten_ops_exception_list=list({op: None for case in cases for op in case.ops})
        )
        self._edge: torch.export.ExportedProgram | None = None
        self.delegates: list[torch.export.ExportedProgram] = []

    def lower(self, precision: ComputePrecision) -> tuple[Any, CoreMLPartitioner]:
        """(executorch program manager, partitioner with its report)."""
        specs = CoreMLBackend.generate_compile_specs(compute_precision=precision)
        partitioner = CoreMLPartitioner(compile_specs=specs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if self._edge is None:
                edge = to_edge_transform_and_lower(
                    export(self._program, self.inputs),
                    partitioner=[partitioner],
                    compile_config=self._config,
                    generate_etrecord=True,
                )
                modules = get_lowered_backend_modules(edge.exported_program().graph_module)
                self.delegates = [module.original_module for module in modules]
                lowered = edge.to_executorch()
                self._edge = lowered.get_etrecord().edge_dialect_program
            else:
                program = copy.deepcopy(self._edge)
                edge = EdgeProgramManager(program, compile_config=self._config)
                lowered = edge.to_backend(partitioner).to_executorch()
            return lowered, partitioner


def _run(
    cases: Sequence[Case], precision: ComputePrecision, edge: _EdgeProgram
) -> dict[str, Outcome]:
    lowered, partitioner = edge.lower(precision)
    report = partitioner.report
    if len(cases) > 1 and (report.refused or report.delegates != 1):
        raise RuntimeError(str(report))
    outputs = execute(lowered.buffer, tuple(flat(edge.inputs)))
    outcomes, start = {}, 0
    for number, case in enumerate(cases):
        count = len(flat(case.fn(*case.inputs)))
        mine = f"rows.{number}"
        decisions = [d for d in report if d.location.module.split(".")[:2] == mine.split(".")]
        outcomes[case.id] = Outcome(decisions, report.delegates, outputs[start : start + count])
        start += count
    return outcomes


def check(case: Case, precision: ComputePrecision, outcome: Outcome) -> None:
    """Whether the case was delegated whole, through the ops it names, and computes what it must."""
    if outcome.failure is not None:
        raise outcome.failure
    refused = [str(decision) for decision in outcome.decisions if decision.reason]
    assert not refused
    assert outcome.delegates == 1
    present = {decision.location.op for decision in outcome.decisions}
    for op in case.ops:
        assert str(op) in present, f"{op} is not among the delegated ops {sorted(present)}"
    expected = flat(case.fn(*case.inputs))
    assert len(outcome.outputs) == len(expected)
    half = precision is FP16
    rtol, atol = (case.half_rtol, case.half_atol) if half else (case.rtol, case.atol)
    for index, (one, other) in enumerate(zip(outcome.outputs, expected, strict=True)):
        assert_close(one, other, rtol, atol, f"output {index}")
