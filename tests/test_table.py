"""TABLE 1 and TABLE 2 are complete with respect to each other and to the tests."""

from __future__ import annotations

import pytest
import torch

from case import Case, Reject
from executorch_coreml.engine.kernels import TABLE as KERNELS
from executorch_coreml.engine.kernels.table import Family as KernelFamily
from executorch_coreml.engine.kernels.table import merge as merge_kernels
from executorch_coreml.ops import TABLE
from executorch_coreml.ops.refused import REFUSED
from executorch_coreml.ops.rule import Family, merge
from test_ops import ROWS

CASES = [row for _, row in ROWS if isinstance(row, Case)]
REJECTS = [row for _, row in ROWS if isinstance(row, Reject)]


def test_every_rule_has_a_case() -> None:
    covered = {op for case in CASES for op in case.ops}
    # aten.view.default and aten.view_copy.default share a lowering: a case of either proves both.
    proved = {rule.where for op, rule in TABLE.items() if op in covered}
    missing = [str(op) for op, rule in TABLE.items() if rule.where not in proved]
    assert not missing


def test_every_case_covers_an_op_of_the_table() -> None:
    assert all(op in TABLE for case in CASES for op in case.ops)


def test_every_check_has_a_reject() -> None:
    """A check is known by its factory: ``one_of.<locals>.check`` of a rule with a Reject row."""
    rejected = {reject.covers for reject in REJECTS}
    used: dict[str, set[object]] = {}
    for op, rule in TABLE.items():
        for check in rule.checks:
            used.setdefault(check.__qualname__.split(".")[0], set()).add(op)
    missing = [name for name, ops in used.items() if not ops & rejected]
    assert not missing


def test_rows_have_unique_ids() -> None:
    ids = [(family, row.id) for family, row in ROWS]
    assert len(ids) == len(set(ids))


def _core_ops() -> set[object]:
    """Every overload with PyTorch's "core" tag."""
    packets = (getattr(torch.ops.aten, name) for name in dir(torch.ops.aten))
    overloads = (
        getattr(packet, name)
        for packet in packets
        if isinstance(packet, torch._ops.OpOverloadPacket)
        for name in packet.overloads()
    )
    return {op for op in overloads if torch.Tag.core in op.tags}


def test_every_core_op_is_lowered_or_refused_and_no_op_is_both() -> None:
    core = _core_ops()
    assert len(core) > 150
    undecided = [str(op) for op in core - set(TABLE) - set(REFUSED)]
    assert not undecided
    assert not set(TABLE) & set(REFUSED)


def test_refusals_are_sentences_that_say_what_to_do() -> None:
    words = ("use", "run", "export", "keep", "call", "compute", "train")
    for reason in set(REFUSED.values()):
        assert any(word in reason.split() for word in words), reason


def test_table_covers_at_least_eighty_overloads() -> None:
    assert len(TABLE) >= 80


def test_tables_are_read_only_and_duplicates_name_both_places() -> None:
    with pytest.raises(TypeError):
        TABLE[torch.ops.aten.relu.default] = None  # type: ignore[index]
    with pytest.raises(TypeError):
        REFUSED[torch.ops.aten.relu.default] = ""  # type: ignore[index]
    with pytest.raises(TypeError):
        KERNELS["relu"] = None  # type: ignore[index]
    one, two = Family(), Family()
    for family in (one, two):
        family(torch.ops.aten.relu.default)(lambda mb, call: None)
    with pytest.raises(ValueError, match=r"two rules for aten\.relu\.default: .*test_table.*and"):
        merge([one, two])
    first, second = KernelFamily(), KernelFamily()
    for family in (first, second):
        family("relu")(lambda x: x)
    with pytest.raises(ValueError, match=r"two kernels for MIL op 'relu': .*test_table.*and"):
        merge_kernels([first, second])
