"""Every row of tests/cases, in both precisions, through the ExecuTorch runtime."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from case import FP16, FP32, Case, Reject, run_reject
from together import Outcome, check, run_together

FAMILIES = sorted(path.stem for path in (Path(__file__).parent / "cases").glob("[!_]*.py"))
ROWS = [(family, row) for family in FAMILIES for row in import_module(f"cases.{family}").ROWS]
TOGETHER = 16  # cases in one program: of more, compiling costs more than what is shared
PRECISIONS = {"fp32": FP32, "fp16": FP16}


def _groups() -> dict[str, list[Case]]:
    """Group name (family, precision, number) -> the cases that share a program."""
    groups: dict[str, list[Case]] = {}
    for name, precision in PRECISIONS.items():
        for family in FAMILIES:
            cases = [row for where, row in ROWS if where == family and isinstance(row, Case)]
            cases = [case for case in cases if case.half or precision is FP32]
            for number in range(0, len(cases), TOGETHER):
                groups[f"{family}-{name}-{number}"] = cases[number : number + TOGETHER]
    return groups


GROUPS = _groups()


@cache
def _outcomes(group: str) -> dict[str, Outcome]:
    return run_together(GROUPS[group], PRECISIONS[group.split("-")[1]])


def _cases() -> list[Any]:
    """xdist_group keeps the cases of one program on one worker."""
    return [
        pytest.param(
            case,
            group,
            id=f"{group.rsplit('-', 1)[0]}-{case.id}",
            marks=pytest.mark.xdist_group(group),
        )
        for group, cases in GROUPS.items()
        for case in cases
    ]


@pytest.mark.parametrize(("case", "group"), _cases())
def test_case(case: Case, group: str) -> None:
    check(case, PRECISIONS[group.split("-")[1]], _outcomes(group)[case.id])


def test_cases_left_out_of_fp16_say_why() -> None:
    assert all(row.half or row.why for _, row in ROWS if isinstance(row, Case))


@pytest.mark.parametrize(
    "reject",
    [pytest.param(row, id=f"{family}-{row.id}") for family, row in ROWS if isinstance(row, Reject)],
)
def test_reject(reject: Reject) -> None:
    run_reject(reject)
