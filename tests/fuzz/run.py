"""Lowers many programs together, runs them, and says which went wrong and how."""

from __future__ import annotations

import signal
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from executorch.exir import to_edge

from case import FP16, FP32, execute, export, lower
from executorch_coreml import CoreMLError
from executorch_coreml.location import locate
from executorch_coreml.ops import TABLE
from executorch_coreml.ops.call import Call, normalise
from executorch_coreml.partition import Report
from fuzz.judge import complaint
from fuzz.program import Module, Program

EXPORT_ERRORS = (
    RuntimeError,
    ValueError,
    TypeError,
    KeyError,
    AssertionError,
    NotImplementedError,
    ArithmeticError,  # a training batch norm of one value
)
SECONDS = 10  # processor time; more than this for one program is a hang


@dataclass
class Finding:
    """A program that went wrong."""

    program: Program
    half: bool
    what: str

    def __str__(self) -> str:
        precision = "FLOAT16" if self.half else "FLOAT32"
        return f"# compute precision {precision}: {self.what}\n{self.program}"


@dataclass
class Tally:
    """What a run has seen."""

    findings: list[Finding] = field(default_factory=list)
    refusals: Counter[tuple[str, str]] = field(default_factory=Counter)
    delegated: Counter[str] = field(default_factory=Counter)
    programs: int = 0

    def found(self, program: Program, half: bool, what: str) -> None:
        self.findings.append(Finding(program, half, what))


class _Together(torch.nn.Module):
    def __init__(self, programs: Sequence[Program]):
        super().__init__()
        self.rows = torch.nn.ModuleList(map(Module, programs))

    def forward(self, *inputs: Any) -> tuple[Any, ...]:
        results, rest = [], iter(inputs)
        for row in self.rows:
            count = len(row.program.inputs) - len(row.program.constant)
            results.extend(row(*(next(rest) for _ in range(count))))
        return tuple(results)


def run(programs: Sequence[Program], half: bool, tally: Tally) -> None:
    """Judges every program; those with a refused call after the others."""
    tally.programs += len(programs)
    for refused, group in _by_refusal(programs).items():
        _halves(group, half, tally, refused)


def _by_refusal(programs: Sequence[Program]) -> dict[bool, list[Program]]:
    """Whether a rule refuses one of its calls -> programs; those torch.export refuses left out.

    One refused call decomposes the op wherever it stands, hence the two groups.
    """
    groups: dict[bool, list[Program]] = {False: [], True: []}
    try:
        refused = _refused_early(programs)
    except EXPORT_ERRORS:
        programs = [program for program in programs if _exports(program)]
        refused = _refused_early(programs)
    for number, program in enumerate(programs):
        groups[number in refused].append(program)
    return groups


def _exports(program: Program) -> bool:
    """Whether torch.export takes the program at all; if not, that is not for us to mend."""
    try:
        export(Module(program), tuple(x.clone() for x in program.given()))
    except EXPORT_ERRORS:
        return False
    return True


def _export(programs: Sequence[Program]) -> torch.export.ExportedProgram:
    return export(_Together(programs), tuple(x.clone() for p in programs for x in p.given()))


def _refused_early(programs: Sequence[Program]) -> set[int]:
    """The numbers of programs with a call that its own rule refuses, so that it is decomposed."""
    found = set()
    for node in _export(programs).graph.nodes:
        rule = TABLE.get(normalise(node.target)) if node.op == "call_function" else None
        if rule is not None and rule.refuse(Call(node)):
            found.add(_number(locate(node).module))
    return found - {None}


def _number(module: str) -> int | None:
    words = module.split(".")
    return int(words[1]) if words[0] == "rows" and len(words) > 1 else None


def _halves(programs: Sequence[Program], half: bool, tally: Tally, refused: bool = False) -> None:
    """All in one program; where that fails, each half by itself.

    Args:
        refused: Some call is left outside, where ExecuTorch may fail without our doing.
    """
    if not programs:
        return
    try:
        with _limit(SECONDS * (1 + len(programs) // 4)):
            _together(programs, half, tally)
    except TimeoutError as error:
        _split(programs, half, tally, str(error), refused)
    except Exception as error:
        ours = isinstance(error, CoreMLError) or "executorch_coreml" in "".join(
            frame.filename for frame in traceback.extract_tb(error.__traceback__)
        )
        what = f"{type(error).__name__}: {error}"
        if len(programs) > 1 or ours or (not refused and _is_edge(programs[0])):
            _split(programs, half, tally, what, refused)


def _is_edge(program: Program) -> bool:
    """Whether ExecuTorch takes the program without any delegate."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            to_edge(_export([program]))
    except Exception:
        return False
    return True


def _split(programs: Sequence[Program], half: bool, tally: Tally, what: str, refused: bool) -> None:
    if len(programs) == 1:
        tally.found(programs[0], half, what[:1500])
        return
    middle = len(programs) // 2
    _halves(programs[:middle], half, tally, refused)
    _halves(programs[middle:], half, tally, refused)


def _together(programs: Sequence[Program], half: bool, tally: Tally) -> None:
    ops = dict.fromkeys(step.op for program in programs for step in program.steps)
    lowered, partitioner = lower(_export(programs), FP16 if half else FP32, ops)
    refused = _refused(programs, partitioner.report, half, tally)
    if refused:
        rest = [program for number, program in enumerate(programs) if number not in refused]
        _halves(rest, half, tally)
        return
    outputs = execute(lowered.buffer, tuple(x for p in programs for x in p.given()))
    for decision in partitioner.report.delegated:
        tally.delegated[decision.location.op] += 1
    start = 0
    for program in programs:
        count = len(program.outputs())
        if wrong := complaint(program, outputs[start : start + count], half):
            number, what = wrong
            tally.found(program.towards(program.outputs()[number]), half, what)
        start += count


def _refused(programs: Sequence[Program], report: Report, half: bool, tally: Tally) -> set[int]:
    """The numbers of the programs with refused nodes, whose reasons are judged here."""
    numbers = set()
    for decision in report.refused:
        number = _number(decision.location.module)
        if number is None:
            number = 0
        numbers.add(number)
        op, reason = decision.location.op, decision.reason or ""
        tally.refusals[op, reason] += 1
        known = {str(op) for op in TABLE}
        if not reason or (reason == "no rule lowers this op" and op in known):
            tally.found(programs[number], half, f"{op} refused without a reason: {reason!r}")
    return numbers


@contextmanager
def _limit(seconds: int) -> Iterator[None]:
    """Raises TimeoutError after so much processor time: the machine may be busy with other work."""

    def late(*_: Any) -> None:
        raise TimeoutError(f"still running after {seconds} s")

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
