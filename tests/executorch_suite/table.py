"""The outcomes of the suite as a Markdown page."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from executorch_suite.flows import KINDS, Outcome

_HEAD = """# ExecuTorch's operator suite

Written by `make suite`: every case of `executorch.backends.test.suite` went through our flow in
the ExecuTorch runtime. A case is one model with one set of inputs; several make a test.
"""


def summary(outcomes: Sequence[Outcome]) -> str:
    """The counts in one line."""
    counts = Counter(one.kind for one in outcomes)
    return ", ".join(f"{counts[kind]} {kind}" for kind in KINDS if counts[kind])


def markdown(found: Mapping[str, Sequence[Outcome]]) -> str:
    """Counts per flow, then each case that was not delegated whole, by reason."""
    lines = [_HEAD, f"| cases | {' | '.join(found)} |", "|---|" + "---:|" * len(found)]
    counts = {flow: Counter(one.kind for one in outcomes) for flow, outcomes in found.items()}
    for kind, meaning in KINDS.items():
        lines.append(f"| {meaning} | {' | '.join(str(counts[flow][kind]) for flow in found)} |")
    for flow, outcomes in found.items():
        lines += ["", f"## {flow}: not delegated whole", "", "| reason | cases |", "|---|---|"]
        lines += _reasons(outcomes)
    return "\n".join(lines) + "\n"


def _reasons(outcomes: Sequence[Outcome]) -> list[str]:
    where: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for one in outcomes:
        if one.kind != "whole":
            reason = "; ".join(one.reasons).replace("\n", " ").replace("|", "\\|")
            where[one.kind, reason][one.test] += 1
    order = list(KINDS)
    rows = sorted(where.items(), key=lambda row: (order.index(row[0][0]), row[0][1]))
    return [f"| {kind}: {reason} | {_tests(tests)} |" for (kind, reason), tests in rows]


def _tests(tests: Counter[str]) -> str:
    return ", ".join(
        f"`{test}`" + (f" x{count}" if count > 1 else "") for test, count in sorted(tests.items())
    )
