"""Every row of tests/cases, in both precisions, through the ExecuTorch runtime; and its targets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from case import FP16, FP32, Case, Reject, flat, run_reject
from executorch_coreml import CompileOptions, ComputePrecision, Target
from executorch_coreml.compiler.graph import delegated_graph
from executorch_coreml.compiler.lower import lower as lower_program
from executorch_coreml.compiler.target import choose, needs
from executorch_coreml.engine.bounds import is_ordinary
from executorch_coreml.engine.kernels import TABLE as KERNELS
from executorch_coreml.errors import UnsupportedOp
from together import Together, check, run_together

FAMILIES = sorted(path.stem for path in (Path(__file__).parent / "cases").glob("[!_]*.py"))
ROWS = [(family, row) for family in FAMILIES for row in import_module(f"cases.{family}").ROWS]
TOGETHER = 16  # cases in one program: of more, compiling costs more than what is shared
PRECISIONS = {"fp32": FP32, "fp16": FP16}


@dataclass(frozen=True)
class Group:
    """Cases that share a program.

    Attributes:
        precisions: That it runs in.
        ordinary: Whether their inputs are finite numbers; others compile the program once more.
    """

    name: str
    cases: tuple[Case, ...]
    precisions: tuple[str, ...]
    ordinary: bool


def _precisions(case: Case) -> tuple[str, ...]:
    """Both, but one for what has no floating-point numbers: its program is the same in both."""
    if not case.half:
        return ("fp32",)
    weights = case.fn.state_dict() if isinstance(case.fn, torch.nn.Module) else {}
    if not _floats((case.inputs, weights)) and not _floats(case.fn(*case.inputs)):
        return ("fp16",)
    return ("fp32", "fp16")


def _floats(values: Any) -> bool:
    return any(isinstance(x, torch.Tensor) and x.dtype.is_floating_point for x in flat(values))


def _ordinary(case: Case) -> bool:
    arrays = (x.detach().numpy() for x in flat(case.inputs) if isinstance(x, torch.Tensor))
    return all(is_ordinary(array) for array in arrays)


def _groups() -> list[Group]:
    alike: dict[Any, list[Case]] = {}
    for family, row in ROWS:
        if isinstance(row, Case):
            case = replace(row, id=f"{family}-{row.id}")
            alike.setdefault((_precisions(row), _ordinary(row)), []).append(case)
    return [
        Group(f"ops-{number}-{start}", tuple(cases[start : start + TOGETHER]), *kind)
        for number, (kind, cases) in enumerate(alike.items())
        for start in range(0, len(cases), TOGETHER)
    ]


GROUPS = {group.name: group for group in _groups()}


@cache
def _together(name: str) -> Together:
    group = GROUPS[name]
    precisions = [PRECISIONS[each] for each in group.precisions]
    return run_together(group.cases, precisions, snippets=not group.ordinary)


def _cases() -> list[Any]:
    """xdist_group keeps the cases of one program on one worker."""
    return [
        pytest.param(
            case,
            PRECISIONS[precision],
            group.name,
            id=f"{precision}-{case.id}",
            marks=pytest.mark.xdist_group(group.name),
        )
        for group in GROUPS.values()
        for case in group.cases
        for precision in group.precisions
    ]


@pytest.mark.parametrize(("case", "precision", "group"), _cases())
def test_case(case: Case, precision: ComputePrecision, group: str) -> None:
    check(case, precision, _together(group).outcomes[precision][case.id])


def _introduced(op: Any) -> int | None:
    """coremltools' word on the first specification version that has an op; None: not its own."""
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

    versions = SSAOpRegistry.core_ops.get(op.op_type)
    return None if versions is None else min(int(version) for version in versions)


@pytest.mark.parametrize(
    "group", [pytest.param(group, marks=pytest.mark.xdist_group(group)) for group in GROUPS]
)
def test_nothing_newer_than_the_target_is_emitted(group: str) -> None:
    """By coremltools' registry and by our kernels, for the oldest target of the program, where a
    rule has most to avoid, and from one group to the next for one after that or one before. Not for
    iOS26: a rule emits the same for it as for iOS18."""
    walked = 0
    for number, program in enumerate(_together(group).delegates, list(GROUPS).index(group)):
        free = CompileOptions()
        oldest = choose(needs(delegated_graph(program), free), free)
        targets = [target for target in Target if target is not Target.iOS26]
        before, after = ([t for t in targets if t < oldest], [t for t in targets if t > oldest])
        other = before[-1:] if number % 2 else after[number // 2 % max(len(after), 1) :][:1]
        for target in (oldest, *other):
            options = CompileOptions(minimum_deployment_target=target, compute_precision=FP16)
            if target < oldest:
                with pytest.raises(UnsupportedOp, match="or later; minimum_deployment_target is"):
                    lower_program(program, options)
                continue
            lowered = lower_program(program, options)
            for op in lowered.program.functions["main"].operations:
                first = _introduced(op)
                if first is None:
                    assert op.op_type in ("coreml_update_state", "const"), op.op_type
                    continue
                assert first <= target, f"{op.op_type} for {target.name}"
                kernel = KERNELS.get(op.op_type)
                # Opsets count from CoreML5 = iOS15, targets from 6 = iOS15.
                assert kernel is None or kernel.since + 1 <= target, op.op_type
                walked += 1
    assert walked


def test_cases_left_out_of_fp16_say_why() -> None:
    assert all(row.half or row.why for _, row in ROWS if isinstance(row, Case))


@pytest.mark.parametrize(
    "reject",
    [pytest.param(row, id=f"{family}-{row.id}") for family, row in ROWS if isinstance(row, Reject)],
)
def test_reject(reject: Reject) -> None:
    run_reject(reject)
