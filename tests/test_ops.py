"""Every row of tests/cases, in both precisions, through the ExecuTorch runtime."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from case import FP16, FP32, Case, Reject, run_reject
from executorch_coreml import ComputePrecision
from together import Outcome, check, run_together

FAMILIES = sorted(path.stem for path in (Path(__file__).parent / "cases").glob("[!_]*.py"))
ROWS = [(family, row) for family in FAMILIES for row in import_module(f"cases.{family}").ROWS]
TOGETHER = 16  # cases in one program: of more, compiling costs more than what is shared
PRECISIONS = {"fp32": FP32, "fp16": FP16}


def _groups() -> dict[str, list[Case]]:
    """Group name -> the cases that share a program, which all run in the same precisions."""
    groups: dict[str, list[Case]] = {}
    for family in FAMILIES:
        rows = [row for where, row in ROWS if where == family and isinstance(row, Case)]
        for half in (True, False):
            cases = [case for case in rows if case.half is half]
            for start in range(0, len(cases), TOGETHER):
                groups[f"{family}-{len(groups)}"] = cases[start : start + TOGETHER]
    return groups


GROUPS = _groups()


def _precisions(case: Case) -> list[str]:
    return [name for name, precision in PRECISIONS.items() if case.half or precision is FP32]


@cache
def _outcomes(group: str) -> dict[ComputePrecision, dict[str, Outcome]]:
    cases = GROUPS[group]
    return run_together(cases, [PRECISIONS[name] for name in _precisions(cases[0])])


def _cases() -> list[Any]:
    """xdist_group keeps the cases of one program on one worker."""
    return [
        pytest.param(
            case,
            PRECISIONS[name],
            group,
            id=f"{group.split('-')[0]}-{name}-{case.id}",
            marks=pytest.mark.xdist_group(group),
        )
        for group, cases in GROUPS.items()
        for case in cases
        for name in _precisions(case)
    ]


@pytest.mark.parametrize(("case", "precision", "group"), _cases())
def test_case(case: Case, precision: ComputePrecision, group: str) -> None:
    check(case, precision, _outcomes(group)[precision][case.id])


def test_cases_left_out_of_fp16_say_why() -> None:
    assert all(row.half or row.why for _, row in ROWS if isinstance(row, Case))


@pytest.mark.parametrize(
    "reject",
    [pytest.param(row, id=f"{family}-{row.id}") for family, row in ROWS if isinstance(row, Reject)],
)
def test_reject(reject: Reject) -> None:
    run_reject(reject)
