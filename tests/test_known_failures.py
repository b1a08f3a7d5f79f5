"""Every known failure of today's tools, through the documented flow and ExecuTorch's runtime."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from case import FP16, FP32, Case, EdgeProgram, assert_close, execute, export, flat, snippets
from executorch_coreml import ComputePrecision
from executorch_coreml.mil.bundle import read
from known_failures import ELSEWHERE, ROWS, Row
from package_files import main_ops
from together import Outcome, Together, check, run_together

PRECISIONS = {"fp32": FP32, "fp16": FP16}
SHARED = [row for row in ROWS if not (row.outside or row.alone or row.beyond_edge or row.target)]
WHOLE = [row for row in ROWS if row not in SHARED and not row.outside]
OUTSIDE = [row for row in ROWS if row.outside]
EXECUTORCH_ROWS, COREMLTOOLS_ROWS = 32, 38  # of the list of failures known in September 2026


def named(rows: list[Row]) -> Any:
    return pytest.mark.parametrize("row", rows, ids=[f"{row.issue}-{row.id}" for row in rows])


def alone(rows: list[Row]) -> Any:
    """The precisions of a row, which start with one edge program, run in one process."""
    groups = [pytest.mark.xdist_group(f"known_failure_{row.id}") for row in rows]
    params = [
        pytest.param(row, id=f"{row.issue}-{row.id}", marks=group)
        for row, group in zip(rows, groups, strict=True)
    ]
    return pytest.mark.parametrize("row", params)


both_precisions = pytest.mark.parametrize("precision", PRECISIONS.values(), ids=PRECISIONS)


def case(row: Row) -> Case:
    return Case(row.id, row.fn, row.inputs, covers=())


@cache
def together() -> Together:
    return run_together([case(row) for row in SHARED], list(PRECISIONS.values()))


@cache
def program(row_id: str) -> EdgeProgram:
    (row,) = [row for row in ROWS if row.id == row_id]
    return EdgeProgram(export(row.fn, row.inputs), row.beyond_edge)


def run_alone(row: Row, precision: ComputePrecision) -> tuple[Any, Outcome]:
    options = {"minimum_deployment_target": row.target} if row.target else {}
    lowered, partitioner = program(row.id).lower(precision, **options)
    report = partitioner.report
    with snippets(precision):
        outputs = execute(lowered.buffer, tuple(flat(row.inputs)))
    return lowered, Outcome(list(report), report.delegates, outputs)


@both_precisions
@named(SHARED)
@pytest.mark.xdist_group("known_failures")
def test_delegated_and_right(row: Row, precision: ComputePrecision) -> None:
    check(case(row), precision, together().outcomes[precision][row.id])


@both_precisions
@alone(WHOLE)
def test_whole_program_delegated_and_right(row: Row, precision: ComputePrecision) -> None:
    check(case(row), precision, run_alone(row, precision)[1])


@both_precisions
@alone(OUTSIDE)
def test_outside_with_a_reason_and_run_by_executorch(row: Row, precision: ComputePrecision) -> None:
    _, outcome = run_alone(row, precision)
    reasons = {d.location.op: d.reason for d in outcome.decisions if d.reason}
    for op, reason in row.outside.items():
        assert reason in (reasons.get(op) or "delegated"), f"{op}: {reasons.get(op)}"
    bounds = (4e-3, 1e-3) if precision is FP16 else (1e-5, 1e-6)
    expected = flat(row.fn(*row.inputs))
    assert len(outcome.outputs) == len(expected)
    for index, (one, other) in enumerate(zip(outcome.outputs, expected, strict=True)):
        assert_close(one, other, *bounds, f"output {index}")


def test_scale_is_fused_on_ios18() -> None:
    (row,) = [row for row in ROWS if row.id == "scale_iOS18"]
    lowered, _ = run_alone(row, FP16)
    types = {op.type for op in main_ops(read(lowered.buffer)).values()}
    assert "scaled_dot_product_attention" in types
    assert "softmax" not in types


def test_every_known_failure_is_accounted_for() -> None:
    rows, elsewhere = {row.issue for row in ROWS}, {issue for issue, _ in ELSEWHERE}
    assert not rows & elsewhere
    assert len(rows | elsewhere) == EXECUTORCH_ROWS + COREMLTOOLS_ROWS
    assert all(why for _, why in ELSEWHERE)
    assert len({row.id for row in ROWS}) == len(ROWS)
