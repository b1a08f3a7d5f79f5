"""A short fixed slice of ``make fuzz``, and what the rows of the fuzzer reach."""

from __future__ import annotations

import pytest

from executorch_coreml.ops import TABLE
from fuzz.rows import ROWS
from fuzz.run import Tally, run
from fuzz.strategies import batch
from fuzz.undrawn import UNDRAWN


def test_every_op_is_drawn_or_listed() -> None:
    assert {str(op) for op in TABLE if op not in ROWS} == UNDRAWN


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
@pytest.mark.filterwarnings("ignore")  # PyTorch's own, about what was drawn
def test_slice(half: bool) -> None:
    tally = Tally()
    for number in range(2):
        run(batch(number, half, 14), half, tally)
    assert tally.programs > 24
    assert not tally.findings, "\n\n".join(map(str, tally.findings))
