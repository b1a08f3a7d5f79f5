"""A report on a ``.pte``, a package, a compiled model or a payload, without its source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import count

from executorch_coreml import __version__
from executorch_coreml.compiler import payload
from executorch_coreml.errors import OptionsError
from executorch_coreml.mil.artefact import Artefact
from executorch_coreml.mil.pte import Delegate
from executorch_coreml.mil.pte import Method as Calls
from executorch_coreml.mil.summary import summarise
from executorch_coreml.mil.types import Bundle, Description
from executorch_coreml.options import COMPUTE_UNITS, ComputeUnit, compute_unit
from executorch_coreml.report import graph
from executorch_coreml.report.facts import DELEGATE, Facts, Finding, Method, Model, Row
from executorch_coreml.report.models import OpFacts, model_facts, op_facts
from executorch_coreml.report.units import CPU, OUTSIDE

_FROM_SOURCE = "; etcoreml report with the source of the model shows it"


def artefact_facts(found: Artefact) -> Facts:
    """What can be known of an artefact by itself; :attr:`Facts.unknown` says what cannot."""
    numbers = count()
    rows: list[Row] = []
    methods = []
    if found.is_program:
        bundles = dict(zip(_places(found.users), found.models, strict=True))
        for calls in found.methods:
            method, its = _method(calls, found.delegates, bundles, numbers)
            methods.append(method)
            rows += its
    for bundle in () if found.is_program else found.models:
        for name in bundle.descriptions:
            method, its = _function(bundle, name, numbers)
            methods.append(method)
            rows += its
    summaries = [summarise(bundle) for bundle in found.models]
    compilers = {summary.compiler for summary in summaries if summary.compiler}
    oldest = found.minimum_os
    reasons = [s.minimum_os_reason for s in summaries if s.minimum_os == oldest]
    return Facts(
        title=found.path.name,
        source=False,
        program=found.is_program,
        size=found.size,
        versions={"executorch-coreml": __version__}
        | ({"compiled by": ", ".join(sorted(compilers))} if compilers else {}),
        options=_options(found.users),
        minimum_os=oldest,
        reasons=list(dict.fromkeys(reason for reason in reasons if reason)),
        better=[],
        methods=methods,
        rows=rows,
        models=_models(found),
        precision=findings(summary.precision for summary in summaries),
        outside=findings(summary.outside for summary in summaries),
        unknown=_unknown(found, rows),
    )


def _places(users: Iterable[Delegate]) -> list[tuple[str, int]]:
    return [(each.method, each.index) for each in users]


def _method(
    calls: Calls,
    delegates: Iterable[Delegate],
    bundles: Mapping[tuple[str, int], Bundle],
    numbers: count[int],
) -> tuple[Method, list[Row]]:
    backends = {each.index: each for each in delegates if each.method == calls.name}
    reasons = _reasons(b for (method, _), b in bundles.items() if method == calls.name)
    rows: list[Row] = []
    first: Description | None = None
    for step in calls.steps:
        if isinstance(step, str):
            rows.append(_kernel(next(numbers), calls.name, step))
            rows[-1].reason = reasons.get(_packet(step), "")
            continue
        bundle = bundles.get((calls.name, step))
        if bundle is None:
            name = backends[step].id if step in backends else "a delegate"
            rows.append(Row(next(numbers), calls.name, None, name, ""))
            rows[-1].reason = "it is a delegate of another backend"
            continue
        first = first or bundle.descriptions[bundle.default_function]
        unit = _unit(backends[step])
        rows += _rows(bundle, bundle.default_function, calls.name, step, unit, numbers)
    made = graph.in_order(graph.blocks(rows, [], [], []))
    return Method(calls.name, made, None, None, [], exact=False), rows


def _function(bundle: Bundle, name: str, numbers: count[int]) -> tuple[Method, list[Row]]:
    rows = _rows(bundle, name, name, 0, ComputeUnit.ALL, numbers)
    border = bundle.descriptions[name]
    words = [
        [f"{feature.name} {feature.dtype}{list(feature.shape)}" for feature in features]
        for features in ((*border.inputs, *border.states), border.outputs)
    ]
    made = {row.name: row.id for row in rows}
    results = [made[f.name] for f in border.outputs if f.name in made]
    blocks = graph.blocks(rows, words[0], results, words[1])
    for block in blocks:
        if block.kind == DELEGATE:
            block.title = "Core ML"
    return Method(name, blocks, None, None, [], exact=True), rows


def _rows(
    bundle: Bundle,
    function: str,
    method: str,
    delegate: int,
    unit: ComputeUnit,
    numbers: count[int],
) -> list[Row]:
    program = bundle.program.functions[function]
    made = {value.name: -1 - place for place, value in enumerate(program.inputs)}
    rows = []
    for each in op_facts(program, unit):
        row = _row(next(numbers), method, delegate, each)
        row.inputs = list(dict.fromkeys(made[name] for name in each.reads if name in made))
        made |= {value.name: row.id for value in each.op.outputs}
        rows.append(row)
    return rows


def _row(number: int, method: str, delegate: int, found: OpFacts) -> Row:
    kind = found.type
    return Row(
        id=number,
        method=method,
        delegate=delegate,
        op=found.op.type,
        name=found.op.name,
        dtype=kind.dtype if kind is not None else "",
        shape=shape(kind.shape) if kind is not None else "",
        mil=[found.op.type],
        units=list(found.expected.units),
        rules=list(found.expected.rules),
        since=found.since,
        weights=list(dict.fromkeys(weight.encoding for weight in found.weights)),
        bytes=sum(weight.bytes for weight in found.weights),
    )


def _reasons(bundles: Iterable[Bundle]) -> dict[str, str]:
    """Op without its overload -> why it stayed outside, where that is one reason for all calls."""
    found: dict[str, dict[str, None]] = {}
    for bundle in bundles:
        for reason, places in bundle.outside.items():
            for place in places:
                found.setdefault(_packet(place.split(" ")[0]), {})[reason] = None
    return {op: next(iter(reasons)) for op, reasons in found.items() if len(reasons) == 1}


def _packet(op: str) -> str:
    """``"aten.cosh"`` for ``"aten.cosh.default"`` and for the kernel ``"aten.cosh.out"``."""
    return op.rpartition(".")[0]


def _kernel(number: int, method: str, op: str) -> Row:
    return Row(number, method, None, op, "", units=[CPU], rules=[OUTSIDE.key])


def shape(extents: Iterable[int | None]) -> str:
    """``"1x?x8"``: a question mark for what is known at run time only."""
    return "x".join("?" if extent is None else str(extent) for extent in extents)


def _unit(delegate: Delegate) -> ComputeUnit:
    """The unit among the delegate's compile specs; all of them where it has none that is known."""
    specs = {key: bytes(value).decode("utf-8", "replace") for key, value in delegate.compile_specs}
    try:
        return compute_unit(specs.get(COMPUTE_UNITS, "ALL").upper())
    except OptionsError:
        return ComputeUnit.ALL


def _options(users: Iterable[Delegate]) -> dict[str, str]:
    """The compile specs, each with all values that delegates have."""
    found: dict[str, dict[str, None]] = {}
    for user in users:
        for key, value in user.compile_specs:
            text = bytes(value).decode("utf-8", "backslashreplace")
            found.setdefault(key, {})[text] = None
    return {key: ", ".join(value for value in values if value) for key, values in found.items()}


def _models(found: Artefact) -> list[Model]:
    if not found.is_program:
        return [model_facts(found.path.name, bundle) for bundle in found.models]
    titles: dict[str, list[str]] = {}
    once: dict[str, Bundle] = {}
    for user, bundle in zip(found.users, found.models, strict=True):
        name = f"delegate {user.index} of {user.method}"
        shared = payload.is_reference(user.processed)
        key = payload.parse_reference(user.processed).key if shared else name
        titles.setdefault(key, []).append(name)
        once.setdefault(key, bundle)
    return [model_facts(", ".join(titles[key]), bundle) for key, bundle in once.items()]


def findings(noted: Iterable[Mapping[str, tuple[str, ...]]]) -> list[Finding]:
    """Reason -> places of several models or methods as one list."""
    found: dict[str, dict[str, None]] = {}
    for each in noted:
        for reason, places in each.items():
            found.setdefault(reason, {}).update(dict.fromkeys(places))
    return [Finding(reason, list(places)) for reason, places in found.items()]


def _unknown(found: Artefact, rows: Iterable[Row]) -> list[str]:
    unknown = [f"the module and the line that each op comes from{_FROM_SOURCE}"]
    if found.is_program:
        unknown.append(f"what reads the results of which delegate, only the order{_FROM_SOURCE}")
    outside = any(row.delegate is None for row in rows)
    if outside and not any(bundle.outside for bundle in found.models):
        unknown.append(f"why ops stayed outside of the delegates{_FROM_SOURCE}")
    if not found.is_program:
        unknown.append("the compute units that it may use: all are assumed")
    if not any(bundle.facts for bundle in found.models):
        unknown.append("why no older OS will do, and where fp16 was avoided")
    return unknown
