"""Every row of tests/kernel_cases, in fp32 and in faithful fp16, and every kernel has a row."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from executorch_coreml.engine.kernels import TABLE
from kernel_case import KernelCase, run_case

FAMILIES = sorted(p.stem for p in (Path(__file__).parent / "kernel_cases").glob("[!_]*.py"))
ROWS = [
    (family, row) for family in FAMILIES for row in import_module(f"kernel_cases.{family}").ROWS
]

# Exercised with a state object in test_engine.py.
STATE_OPS = {"read_state", "write_state", "coreml_update_state"}


@pytest.mark.parametrize("case", [pytest.param(row, id=f"{f}-{row.id}") for f, row in ROWS])
@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
def test_case(case: KernelCase, half: bool, tmp_path: Path) -> None:
    if half and not case.half:
        pytest.skip(case.why)
    run_case(case, half, tmp_path)


def test_every_kernel_has_a_case() -> None:
    covered = {row.covers for _, row in ROWS} | STATE_OPS
    assert set(TABLE) == covered


def test_ids_are_unique_and_skips_have_reasons() -> None:
    ids = [f"{family}-{row.id}" for family, row in ROWS]
    assert len(ids) == len(set(ids))
    assert all(row.half or row.why for _, row in ROWS)
