"""Every row of tests/cases, in both precisions, through the ExecuTorch runtime."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from case import FP16, FP32, Case, Reject, run_case, run_reject

FAMILIES = sorted(path.stem for path in (Path(__file__).parent / "cases").glob("[!_]*.py"))
ROWS = [
    (family, row)
    for family in FAMILIES
    for row in import_module(f"cases.{family}").ROWS
]


def _params(kind: type) -> list[Any]:
    return [
        pytest.param(row, id=f"{family}-{row.id}") for family, row in ROWS if isinstance(row, kind)
    ]


@pytest.mark.parametrize("case", _params(Case))
@pytest.mark.parametrize("precision", [FP32, FP16], ids=["fp32", "fp16"])
def test_case(case: Case, precision: Any) -> None:
    if precision is FP16 and not case.half:
        pytest.skip(case.why)
    run_case(case, precision)


@pytest.mark.parametrize("reject", _params(Reject))
def test_reject(reject: Reject) -> None:
    run_reject(reject)
