"""The outcomes of the suite as a Markdown page."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from executorch_suite.flows import KINDS, Outcome

# ExecuTorch 1.5.1's own Core ML backend in the same suite on Linux, where its programs cannot run.
EXISTING = Counter(whole=812, outside=90, raised=23)

_HEAD = """# ExecuTorch's operator suite

Written by `make suite`: every case of `executorch.backends.test.suite.operators` went through our
flows: exported, lowered, run in the ExecuTorch runtime and compared with eager PyTorch. A case is
one model with one set of inputs; several make a test. Tests that the suite itself skips (NaN and
infinity, some activations in place) are not counted.

The tolerances are tighter than the suite's own (0.1 and 4 %): 1e-4 in float32, 1e-2 in fp16, both
absolute and relative. In fp16 the inputs are first rounded to fp16, because `round` or `argmax` of
another input has another answer. Seeds are fixed; `--suite-seed` chooses others.

The int8 flow computes in float32 and is judged against the quantized program in PyTorch, give or
take one step of the output's scale. PyTorch's kernel quantizes by multiplying with the reciprocal
of the scale; Core ML divides, as the op is defined, and so does the program that judges. A float32
sum in another order may still end on the other side of the middle between two steps, which an LSTM
carries on from one point in time to the next: then each value must lie where 256 runs of PyTorch's
program do when what they quantize is shaken by 1/4096 of a step.

The *existing* column is ExecuTorch 1.5.1's own Core ML backend on Linux, where its programs can be
lowered but not run, so its answers are not judged.
"""


def summary(outcomes: Sequence[Outcome]) -> str:
    """The counts in one line."""
    counts = Counter(one.kind for one in outcomes)
    return ", ".join(f"{counts[kind]} {kind}" for kind in KINDS if counts[kind])


def markdown(found: Mapping[str, Sequence[Outcome]]) -> str:
    """Counts per flow beside the existing backend's, then each case not delegated whole."""
    counts = {flow: Counter(one.kind for one in outcomes) for flow, outcomes in found.items()}
    counts["existing"] = EXISTING
    lines = [_HEAD, _row("cases", *counts), "|---" + "|---:" * len(counts) + "|"]
    taken = {flow: count.total() - count["refused"] for flow, count in counts.items()}
    lines.append(_row("that PyTorch itself accepts", *taken.values()))
    lines += [
        _row(meaning, *(_share(count[kind], taken[flow]) for flow, count in counts.items()))
        for kind, meaning in KINDS.items()
        if kind != "refused" and any(count[kind] for count in counts.values())
    ]
    lines += ["", "## Not delegated whole, and why", ""]
    lines += [_row("reason", "cases", "flows"), "|---|---|---|", *_reasons(found)]
    return "\n".join(lines) + "\n"


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _share(count: int, total: int) -> str:
    return f"{count} ({count / total:.1%})" if count else "0"


def _reasons(found: Mapping[str, Sequence[Outcome]]) -> list[str]:
    tests: dict[tuple[str, str], dict[str, Counter[str]]] = defaultdict(dict)
    for flow, outcomes in found.items():
        for one in outcomes:
            if one.kind != "whole":
                reason = "; ".join(one.reasons).replace("\n", " ").replace("|", "\\|")
                tests[one.kind, reason].setdefault(flow, Counter())[one.test] += 1
    order = list(KINDS)
    rows = []
    for kind, reason in sorted(tests, key=lambda key: (order.index(key[0]), key[1])):
        flows: dict[str, list[str]] = defaultdict(list)
        for flow, count in tests[kind, reason].items():
            flows[_tests(count)].append(flow)
        rows += [
            _row(f"*{KINDS[kind]}*: {reason}", cases, ", ".join(where))
            for cases, where in flows.items()
        ]
    return rows


def _tests(tests: Counter[str]) -> str:
    return ", ".join(
        f"`{test}`" + (f" x{count}" if count > 1 else "") for test, count in sorted(tests.items())
    )
