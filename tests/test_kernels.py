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
OLDER: dict[str, tuple[str, ...]] = {
    "iOS15": (
        "norm-batch_norm-rank-3-gamma-True-beta-True",
        "elementwise-cast-to-int",
        "activation-clamped_relu",
        "elementwise-clip",
        "conv-conv_transpose-1d",
        "activation-elu",
        "shape-expand_dims-two",
        "norm-instance_norm-rank-3-gamma-True-mean-0",
        "elementwise-inverse",
        "norm-l2_norm-rank-3",
        "activation-leaky_relu",
        "linear-linear-rank-1",
        "activation-linear_activation",
        "norm-local_response_norm-1-rank-3",
        "elementwise-log",
        "linear-matmul-rank-2",
        "activation-prelu",
        "reduce-reduce_argmax-default",
        "reduce-reduce_argmin-default",
        "sample-resample-bilinear-border-0-unnormalized-align-True",
        "shape-reshape-minus-one",
        "shape-reverse-all",
        "shape-reverse_sequence",
        "elementwise-rsqrt",
        "activation-scaled_tanh",
        "index-scatter_along_axis-update",
        "index-scatter_nd-update",
        "activation-sigmoid_hard",
        "index-slice_by_index-plain",
        "index-slice_by_size",
        "shape-sliding_windows-x",
        "activation-softplus_parametric",
        "shape-squeeze-all",
        "activation-thresholded_relu",
        "index-topk-default",
        "shape-transpose-negative",
    ),
    "iOS16": (
        "quant-constexpr_cast",
        "index-gather_along_axis-negative",
        "sample-resample-bilinear-border-0-unnormalized-align-True",
        "shape-reshape_like",
        "index-topk-default",
    ),
}

# Of those, what has no fp16 form there.
OLDER_IN_FP32 = {
    ("iOS15", "sample-resample-bilinear-border-0-unnormalized-align-True"),
    ("iOS16", "quant-constexpr_cast"),
}

# Exercised with a state object in test_engine.py.
STATE_OPS = {"read_state", "write_state", "coreml_update_state"}


def _groups() -> dict[str, tuple[str, list[KernelCase], list[KernelCase]]]:
    """Programs of several rows: target, rows in fp32, rows in fp16."""
    named = {f"{family}-{row.id}": row for family, row in ROWS}
    found = {}
    for family in TOGETHER:
        rows = [row for f, row in ROWS if f == family]
        for target in sorted({row.target for row in rows}):
            chosen = [row for row in rows if row.target == target]
            found[f"{family}-{target}"] = target, chosen, [row for row in chosen if row.half]
    for target, ids in OLDER.items():
        half = [named[name] for name in ids if (target, name) not in OLDER_IN_FP32]
        found[f"older-{target}"] = target, [named[name] for name in ids], half
    return found


GROUPS = _groups()


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
    target, wide, narrow = GROUPS[group]
    if half and not narrow:
        pytest.skip(wide[0].why)
    run_together(narrow if half else wide, half, tmp_path, target)


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
    run |= {(row.covers, target) for target, rows, _ in GROUPS.values() for row in rows}
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


def test_every_kernel_is_of_the_opset_that_introduced_its_op() -> None:
    numbers = {"iOS16": 6, "iOS17": 7, "iOS18": 8}
    first = {op: min(t.name for t in versions) for op, versions in SSAOpRegistry.core_ops.items()}
    declared = {op: kernel.since for op, kernel in TABLE.items() if op in first}
    assert declared == {op: numbers.get(first[op], 5) for op in declared}


def test_the_docs_list_what_has_no_kernel_and_why() -> None:
    page = (Path(__file__).parents[1] / "docs" / "engine.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    for op, reason in ABSENT.items():
        assert any(f"`{op}`" in row and reason in row for row in rows), op


def test_ids_are_unique_and_skips_have_reasons() -> None:
    ids = [f"{family}-{row.id}" for family, row in ROWS]
    assert len(ids) == len(set(ids))
    assert all(row.half or row.why for _, row in ROWS)
