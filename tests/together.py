"""Many cases in one program: lowering a program costs far more than the ops of one case.

Each case is a submodule with inputs of its own, so the report still tells which nodes are whose
and the outputs are compared case by case. When the shared program cannot be made or run, every
case gets a program to itself, and the failure its owner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from case import FP16, Case, Function, assert_close, execute, export, flat, lower
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


def run_together(cases: Sequence[Case], precision: ComputePrecision) -> dict[str, Outcome]:
    """Case id -> its outcome."""
    try:
        return _run(cases, precision)
    except (CoreMLError, RuntimeError, ValueError, TypeError, KeyError, AssertionError) as error:
        if len(cases) == 1:
            return {cases[0].id: Outcome([], 0, [], error)}
        return {
            name: outcome
            for case in cases
            for name, outcome in run_together([case], precision).items()
        }


def _run(cases: Sequence[Case], precision: ComputePrecision) -> dict[str, Outcome]:
    # Clones: torch.export would make one input of a tensor that two cases share.
    inputs = tuple(
        x.clone() if isinstance(x, torch.Tensor) else x for case in cases for x in case.inputs
    )
    ops = dict.fromkeys(op for case in cases for op in case.ops)
    lowered, partitioner = lower(export(_Together(cases), inputs), precision, ops)
    report = partitioner.report
    if len(cases) > 1 and (report.refused or report.delegates != 1):
        raise RuntimeError(str(report))
    outputs = execute(lowered.buffer, tuple(flat(inputs)))
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
