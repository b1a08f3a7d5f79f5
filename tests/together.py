"""Many cases in one program: lowering a program costs far more than the ops of one case.

Each case is a submodule with inputs of its own, so the report still tells which nodes are whose
and the outputs are compared case by case. When the shared program cannot be made or run, every
case gets a program to itself, and the failure its owner.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from case import (
    FP16,
    Case,
    EdgeProgram,
    Function,
    assert_close,
    execute,
    export,
    flat,
    without_snippets,
)
from executorch_coreml import ComputePrecision, CoreMLError
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


def run_together(
    cases: Sequence[Case], precisions: Sequence[ComputePrecision], snippets: bool = False
) -> Together:
    """
    Args:
        snippets: OpenVINO makes kernels of several ops, as it does in an app. Half of what it takes
            to compile a row is for them; without them it loses the sign of a zero that is
            multiplied by a constant.
    """
    program = _Program(cases)
    outcomes = {}
    for precision in precisions:
        try:
            outcomes[precision] = _run(cases, precision, program, snippets)
        except _FAILURES as error:
            if len(cases) > 1:
                return _one_by_one(cases, precisions, snippets)
            outcomes[precision] = {cases[0].id: Outcome([], 0, [], error)}
    return Together(outcomes, program.delegates)


_FAILURES = (CoreMLError, RuntimeError, ValueError, TypeError, KeyError, AssertionError)


def _one_by_one(
    cases: Sequence[Case], precisions: Sequence[ComputePrecision], snippets: bool
) -> Together:
    alone = [run_together([case], precisions, snippets) for case in cases]
    outcomes: dict[ComputePrecision, dict[str, Outcome]] = {each: {} for each in precisions}
    for one in alone:
        for precision in precisions:
            outcomes[precision] |= one.outcomes[precision]
    return Together(outcomes, [program for one in alone for program in one.delegates])


class _Program:
    """The program of some cases, made when it is first lowered."""

    def __init__(self, cases: Sequence[Case]):
        # Clones: torch.export would make one input of a tensor that two cases share.
        self.inputs = tuple(
            x.clone() if isinstance(x, torch.Tensor) else x for case in cases for x in case.inputs
        )
        self._cases = cases

    @cached_property
    def edge(self) -> EdgeProgram:
        beyond_edge = {op: None for case in self._cases for op in case.ops}
        return EdgeProgram(export(_Together(self._cases), self.inputs), beyond_edge)

    @property
    def delegates(self) -> list[torch.export.ExportedProgram]:
        made: EdgeProgram | None = self.__dict__.get("edge")
        return [] if made is None else made.delegates


def _run(
    cases: Sequence[Case], precision: ComputePrecision, program: _Program, snippets: bool
) -> dict[str, Outcome]:
    lowered, partitioner = program.edge.lower(precision)
    report = partitioner.report
    if len(cases) > 1 and (report.refused or report.delegates != 1):
        raise RuntimeError(str(report))
    with nullcontext() if snippets else without_snippets():
        outputs = execute(lowered.buffer, tuple(flat(program.inputs)))
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
