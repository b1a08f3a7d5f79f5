"""The outcomes of coremltools' tests as a Markdown page."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from conformance.outcome import JUDGED, KINDS, MEANT_FOR_FP16, Outcome, kind_of_reason
from conformance.reasons import FOR_FP16, known

_HEAD = """# coremltools' own tests

Written by `make conformance`: the tests that coremltools 9.0 ships in its wheel, with our engine in
the place of Core ML ([coremltools.md](coremltools.md)) and with coremltools' own tolerances. Each
runs for ML Programs in both precisions. A test counts if it reaches the engine: if it predicts, or
a model that it wants to predict with does not load. Seeds are fixed. 2,000 of those that reach
the engine are part of `make test`, where each failure must be one of those below with a reason.

Some tests for fp32, whose tolerance is 1e-4, make models with fp16 inputs, weights or outputs all
the same (`dtype=np.float16`), or compute what they expect in fp16, whose last place is 4.9e-4 from
0.5 on. Two kinds of their failures are counted apart, and told from ours without our arithmetic:

- The model gives fp16 numbers, and one of those that the test expects has no fp16 number within
  the tolerance: the test fails whatever the numbers that come out.
- The test draws numbers, computes what it expects of them, and then rounds them, or what it
  expects, to fp16. It is run once more with numpy and torch drawing multiples of 1/64, which fp16
  holds. Counted is what passes then, with the test's own tolerance.

coremltools runs its tests for fp32 only where `INCLUDE_MIL_FP32_UNIT_TESTS=1` asks for it, as is
done here.
"""


def summary(outcomes: Sequence[Outcome]) -> str:
    """The counts in one line."""
    counts = Counter(one.kind for one in outcomes)
    seconds = sum(one.seconds for one in outcomes)
    listed = ", ".join(f"{counts[kind]} {kind}" for kind in KINDS if counts[kind])
    return f"{listed}; {seconds:.0f} s CPU, {seconds / max(len(outcomes), 1):.2f} s a test"


def markdown(outcomes: Sequence[Outcome], sample: int | None = None) -> str:
    """Counts by precision and by part, then why tests fail that reach the engine."""
    drawn = (
        f"This is a sample: up to {sample} tests of each function in each precision, as far as "
        "they have run.\n"
        if sample
        else ""
    )
    lines = [
        _HEAD,
        *filter(None, [drawn]),
        *_counts(outcomes),
        "",
        "## By part",
        "",
        *_parts(outcomes),
    ]
    lines += ["", "## Failing, and why", "", *_failures(outcomes)]
    lines += ["", "## Failing before a prediction", "", *_before(outcomes)]
    return "\n".join(lines) + "\n"


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _counts(outcomes: Sequence[Outcome]) -> list[str]:
    by = {p: Counter(o.kind for o in outcomes if o.precision == p) for p in ("fp16", "fp32")}
    lines = [_row("tests that reach the engine", *by), "|---" + "|---:" * len(by) + "|"]
    totals = {p: sum(count[kind] for kind in JUDGED) for p, count in by.items()}
    lines.append(_row("all", *totals.values()))
    lines += [
        _row(KINDS[kind], *(_share(count[kind], totals[p]) for p, count in by.items()))
        for kind in JUDGED
        if any(count[kind] for count in by.values())
    ]
    possible = {p: totals[p] - sum(count[k] for k in MEANT_FOR_FP16) for p, count in by.items()}
    if possible != totals:
        shares = (_share(count["passed"], possible[p]) for p, count in by.items())
        lines.append(_row("passed, of the others", *shares))
    others = Counter(one.kind for one in outcomes if one.kind not in JUDGED)
    lines += ["", _row("tests that do not", "number"), "|---|---:|"]
    lines += [_row(KINDS[kind], others[kind]) for kind in KINDS if others[kind]]
    return lines


def _share(count: int, total: int) -> str:
    return f"{count} ({count / total:.1%})" if count else "0"


def _parts(outcomes: Sequence[Outcome]) -> list[str]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    seconds: dict[str, float] = defaultdict(float)
    for one in outcomes:
        counts[one.file]["judged"] += one.kind in JUDGED
        counts[one.file]["passed"] += one.kind == "passed"
        seconds[one.file] += one.seconds
    lines = [_row("file", "reach", "pass", "CPU seconds"), "|---|---:|---:|---:|"]
    return lines + [
        _row(f"`{file}`", count["judged"], count["passed"], f"{seconds[file]:.0f}")
        for file, count in sorted(counts.items())
        if count["judged"]
    ]


def _failures(outcomes: Sequence[Outcome]) -> list[str]:
    found: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for one in outcomes:
        if one.kind in JUDGED and one.kind != "passed":
            found[KINDS[one.kind], _why(one)][one.name] += 1
    return [_row("what", "why", "tests"), "|---|---|---|", *_rows(found)]


def _why(one: Outcome) -> str:
    """What is known about it, or else what it says."""
    if one.kind in FOR_FP16:
        return FOR_FP16[one.kind]
    found = known(one.test)
    return found.why if found else kind_of_reason(one.reason).replace("|", "\\|")


def _before(outcomes: Sequence[Outcome]) -> list[str]:
    found: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for one in outcomes:
        if one.kind == "before":
            found["", kind_of_reason(one.reason).replace("|", "\\|")][one.file] += 1
    return [_row("", "error", "tests"), "|---|---|---|", *_rows(found)]


def _rows(found: dict[tuple[str, str], Counter[str]]) -> list[str]:
    order = sorted(found.items(), key=lambda item: (item[0][0], -item[1].total(), item[0][1]))
    return [
        _row(what, why, ", ".join(f"`{test}` x{n}" for test, n in sorted(tests.items())))
        for (what, why), tests in order
    ]
