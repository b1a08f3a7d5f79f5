"""Every row of tests/kernel_cases, in fp32 and in faithful fp16, and every op that coremltools
registers, in every version, has a row or a reason."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

from executorch_coreml.engine.kernels import TABLE
from executorch_coreml.engine.kernels.absent import ABSENT
from kernel_case import KernelCase, ct, run_case, run_together

FAMILIES = sorted(p.stem for p in (Path(__file__).parent / "kernel_cases").glob("[!_]*.py"))
ROWS = [
    (family, row) for family in FAMILIES for row in import_module(f"kernel_cases.{family}").ROWS
]

# Families whose rows of one target are one program: it compiles in the time of a few of them.
TOGETHER = ("control", "lists", "nms", "recurrent", "small_integers")

# Rows that are run again with the opset of an older target, in one program: the ops have a version
# of their own there, and the same semantics.
OLDER: dict[str, tuple[str, ...]] = {}

# Exercised with a state object in test_engine.py.
STATE_OPS = {"read_state", "write_state", "coreml_update_state"}

GROUPS = {
    **{
        f"{family}-{target}": (
            target,
            [row for f, row in ROWS if f == family and row.target == target],
        )
        for family in TOGETHER
        for target in sorted({row.target for f, row in ROWS if f == family})
    },
    **{
        f"older-{target}": (target, [row for f, row in ROWS if f"{f}-{row.id}" in ids])
        for target, ids in OLDER.items()
    },
}


@pytest.mark.parametrize(
    "case", [pytest.param(row, id=f"{f}-{row.id}") for f, row in ROWS if f not in TOGETHER]
)
@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
def test_case(case: KernelCase, half: bool, tmp_path: Path) -> None:
    if half and not case.half:
        pytest.skip(case.why)
    run_case(case, half, tmp_path)


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
def test_cases_together(group: str, half: bool, tmp_path: Path) -> None:
    target, rows = GROUPS[group]
    chosen = [row for row in rows if row.half or not half]
    if not chosen:
        pytest.skip(rows[0].why)
    run_together(chosen, half, tmp_path, target)


def test_every_kernel_has_a_case() -> None:
    covered = {row.covers for _, row in ROWS} | STATE_OPS
    assert set(TABLE) == covered


def test_every_op_of_coremltools_has_a_kernel_or_a_reason_and_every_version_a_case() -> None:
    registered = set(SSAOpRegistry.core_ops) | set(SSAOpRegistry.dialect_ops)
    assert len(registered) > 180
    assert registered - set(TABLE) - set(ABSENT) == set()
    assert not set(TABLE) & set(ABSENT)
    assert set(ABSENT) <= registered

    run = {(row.covers, row.target) for _, row in ROWS}
    run |= {(row.covers, target) for target, rows in GROUPS.values() for row in rows}
    tested = {
        SSAOpRegistry.core_ops[op][getattr(ct.target, target)]
        for op, target in run
        if getattr(ct.target, target) in SSAOpRegistry.core_ops.get(op, {})
    }
    untested = [
        (op, target.name)
        for op, versions in SSAOpRegistry.core_ops.items()
        for target, version in versions.items()
        if op not in ABSENT and op not in STATE_OPS and version not in tested
    ]
    assert not untested


def test_rows_that_run_again_exist() -> None:
    ids = {f"{family}-{row.id}" for family, row in ROWS}
    assert {name for names in OLDER.values() for name in names} <= ids


def test_ids_are_unique_and_skips_have_reasons() -> None:
    ids = [f"{family}-{row.id}" for family, row in ROWS]
    assert len(ids) == len(set(ids))
    assert all(row.half or row.why for _, row in ROWS)
