"""Every known failure of today's tools, through the documented flow and ExecuTorch's runtime."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from executorch.exir import EdgeCompileConfig, to_edge

from case import FP16, FP32, Case, assert_close, execute, export, flat, lower
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


both_precisions = pytest.mark.parametrize("precision", PRECISIONS.values(), ids=PRECISIONS)


def case(row: Row) -> Case:
    return Case(row.id, row.fn, row.inputs, covers=())


@cache
def together() -> Together:
    return run_together([case(row) for row in SHARED], list(PRECISIONS.values()))


def run_alone(row: Row, precision: ComputePrecision) -> tuple[Any, Outcome]:
    options = {"minimum_deployment_target": row.target} if row.target else {}
    program = export(row.fn, row.inputs)
    lowered, partitioner = lower(program, precision, row.beyond_edge, **options)
    report = partitioner.report
    outputs = [] if row.broken else execute(lowered.buffer, tuple(flat(row.inputs)))
    return lowered, Outcome(list(report), report.delegates, outputs)


@both_precisions
@named(SHARED)
@pytest.mark.xdist_group("known_failures")
def test_delegated_and_right(row: Row, precision: ComputePrecision) -> None:
    check(case(row), precision, together().outcomes[precision][row.id])


@both_precisions
@named(WHOLE)
def test_whole_program_delegated_and_right(row: Row, precision: ComputePrecision) -> None:
    check(case(row), precision, run_alone(row, precision)[1])


@both_precisions
@named(OUTSIDE)
def test_outside_with_a_reason_and_run_by_executorch(row: Row, precision: ComputePrecision) -> None:
    _, outcome = run_alone(row, precision)
    reasons = {d.location.op: d.reason for d in outcome.decisions if d.reason}
    for op, reason in row.outside.items():
        assert reason in (reasons.get(op) or "delegated"), f"{op}: {reasons.get(op)}"
    if row.broken:
        return
    bounds = (4e-3, 1e-3) if precision is FP16 else (1e-5, 1e-6)
    expected = flat(row.fn(*row.inputs))
    assert len(outcome.outputs) == len(expected)
    for index, (one, other) in enumerate(zip(outcome.outputs, expected, strict=True)):
        assert_close(one, other, *bounds, f"output {index}")


@named([row for row in OUTSIDE if row.broken])
def test_executorch_alone_cannot_run_it_either(row: Row) -> None:
    """Why the rows above are not run; when ExecuTorch learns to, they must be."""
    config = EdgeCompileConfig(_core_aten_ops_exception_list=list(row.beyond_edge))
    try:
        program = to_edge(export(row.fn, row.inputs), compile_config=config).to_executorch()
        got = execute(program.buffer, row.inputs)
    except RuntimeError:
        return
    expected = flat(row.fn(*row.inputs))
    assert not all(torch.equal(one, other) for one, other in zip(got, expected, strict=True))


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
