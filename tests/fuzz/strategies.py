"""hypothesis strategies of programs, built from the rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from fuzz.draw import Draw, Invalid
from fuzz.program import Program
from fuzz.rows import ROWS

OPS = tuple(ROWS)


@st.composite
def program(
    draw: Callable[[st.SearchStrategy[Any]], Any], half: bool, ops: Sequence[Any] = OPS
) -> Program | None:
    """One call, or up to five that feed each other; None where PyTorch refuses what was drawn."""
    drawn = Draw(draw, half)
    count = draw(st.integers(2, 5)) if draw(st.integers(0, 4)) == 4 else 1
    for _ in range(count):
        op = draw(st.sampled_from(ops))
        try:
            ROWS[op](drawn, op)
        except Invalid:
            break
    return drawn.finished()


def batch(number: int, half: bool, size: int, ops: Sequence[Any] = OPS) -> list[Program]:
    """Up to ``size`` different programs; the same for the same number."""
    drawn: list[Program | None] = []

    # The first example is the simplest, the second is random; more would be mutations of that one,
    # the same programs over again but for one or two.
    @seed(number)
    @settings(
        max_examples=2,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(program(half, ops), min_size=size, max_size=size))
    def draw(example: list[Program | None]) -> None:
        drawn[:] = example

    draw()
    return list({str(one): one for one in drawn if one is not None}.values())
