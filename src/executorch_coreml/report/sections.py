"""The parts of a report that show without a script."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from executorch_coreml.report.artefact import shape
from executorch_coreml.report.drawing import drawing
from executorch_coreml.report.facts import Facts, Finding, Model, Row
from executorch_coreml.report.graph import size_text
from executorch_coreml.report.markup import bar, counts, meter, table
from executorch_coreml.report.units import ALL_RULES, CPU, GPU, NE, OUTSIDE

# The preferred unit -> its colour, and in words what an op can run on then.
_UNITS = (
    ("ne", NE, "can run on the Neural Engine"),
    ("gpu", GPU, "GPU or CPU"),
    ("cpu", CPU, "CPU only"),
)
_SHOWN = 400  # weights that are listed; the rest are counted


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page: its anchor, its name in the navigation (none if empty), its HTML."""

    id: str
    name: str
    html: str


def sections(facts: Facts) -> list[Section]:
    """All parts, in the order of the page; those with nothing to say are left out."""
    made = [
        _section("overview", "Overview", _overview(facts), plain=True),
        _section("unknown", "", _unknown(facts), plain=True),
        _section("graph", "Graph", _graph(facts)),
        _section("ops", "Ops", _ops(facts)),
        _section("outside", "Outside", _outside(facts)),
        _section("precision", "Precision", _precision(facts)),
        _section("weights", "Weights", _weights(facts)),
        _section("models", "Models", _models(facts)),
        _section("units", "Units", _units(facts)),
        _section("options", "Options", _options(facts)),
    ]
    return [section for section in made if section.html]


def _section(anchor: str, name: str, body: str, *, plain: bool = False) -> Section:
    kind = ' class="plain"' if plain else ""
    html = f'<section id="{anchor}"{kind}>{body}</section>' if body else ""
    return Section(anchor, name, html)


def _head(title: str, lead: str) -> str:
    return f'<h2>{escape(title)}</h2><p class="lead">{lead}</p>'


# -- overview -------------------------------------------------------------------------------------


def _overview(facts: Facts) -> str:
    cards = [_delegated(facts), _oldest(facts), _size(facts), _where(facts.rows)]
    return f'<h2 hidden>Overview</h2><div class="cards">{"".join(cards)}</div>'


def _card(label: str, value: str, *rest: str) -> str:
    return (
        f'<div class="card"><div class="label">{label}</div><div class="value">{value}</div>'
        f"{''.join(rest)}</div>"
    )


def _delegated(facts: Facts) -> str:
    if not facts.program:
        functions = len(facts.methods)
        return _card(
            "Core ML ops",
            f"{len(facts.rows):,}",
            f"<p>in {functions} function{'s' if functions != 1 else ''}</p>",
        )
    inside = sum(row.delegate is not None for row in facts.rows)
    total, what = len(facts.rows), "ops"
    known = [(m.delegated, m.total) for m in facts.methods if m.total is not None]
    if known:
        inside, total = sum(d or 0 for d, _ in known), sum(t or 0 for _, t in known)
        what = "nodes"
    share = 100 * inside / total if total else 0
    models = len({(row.method, row.delegate) for row in facts.rows if row.delegate is not None})
    return _card(
        "Delegated to Core ML",
        f"{inside:,} <small>of {total:,} {what}</small>",
        meter([("in", inside), ("out", total - inside)]),
        f"<p>{share:.0f} % in {models} delegate{'s' if models != 1 else ''}</p>",
    )


def _oldest(facts: Facts) -> str:
    why = "; ".join(facts.reasons)
    text = f"because: {escape(why)}" if why else "nothing in it needs a newer one"
    better = f"<p>Better from a newer OS on: {len(facts.better)} ops</p>" if facts.better else ""
    return _card(
        "Oldest OS",
        f"{escape(facts.minimum_os or '—')} <small>or later</small>",
        f"<p>{text}</p>",
        better,
    )


def _size(facts: Facts) -> str:
    weights = sum(weight.bytes for model in facts.models for weight in model.weights)
    full = sum(weight.full for model in facts.models for weight in model.weights)
    note = f"{size_text(weights)} of weights"
    if weights and full / weights > 1.05:
        note += f", {full / weights:.1f} times smaller than as float16"
    return _card("Size", escape(size_text(facts.size)), f"<p>{note}</p>")


def _where(rows: Sequence[Row]) -> str:
    first = Counter(row.units[0] for row in rows if row.units)
    legend = "".join(
        f'<span><b class="fill-{kind}"></b>{first[unit]:,} {words}</span>'
        for kind, unit, words in _UNITS
        if first[unit]
    )
    share = 100 * first[NE] / max(first.total(), 1)
    return _card(
        "Expected compute units",
        f"{share:.0f} % <small>may use the Neural Engine</small>",
        meter([(kind, first[unit]) for kind, unit, _ in _UNITS]),
        f'<div class="legend">{legend}</div>',
    )


def _unknown(facts: Facts) -> str:
    if not facts.unknown:
        return ""
    items = "".join(f"<li>{escape(text)}</li>" for text in facts.unknown)
    return (
        '<div class="callout"><strong>Not known from this file alone:</strong>'
        f"<ul>{items}</ul></div>"
    )


# -- graph and ops --------------------------------------------------------------------------------


def _graph(facts: Facts) -> str:
    parts = []
    first = 0
    for method in facts.methods:
        if len(facts.methods) > 1:
            parts.append(f"<h3>{escape(method.name)}</h3>")
        parts.append(f'<div class="graph" tabindex="-1">{drawing(method, first)}</div>')
        parts += [f'<p class="lead">{escape(text)}</p>' for text in method.buffers]
        first += len(method.blocks)
    order = all(method.exact for method in facts.methods)
    lead = "What Core ML runs (blue) and what ExecuTorch's kernels run (amber). "
    lead = f"{lead if facts.program else ''}Choose a block to list its ops."
    if not order:
        lead += " Dashed lines show the order only."
    return _head("Graph", lead) + "".join(parts) + _map(facts)


def _map(facts: Facts) -> str:
    kinds = [(kind, words) for kind, _, words in _UNITS]
    if facts.program:
        kinds.append(("out", "outside"))
    kinds.append(("none", "no MIL op of its own"))
    legend = "".join(f'<span><b class="fill-{kind}"></b>{words}</span>' for kind, words in kinds)
    return (
        "<h3>Every op, in order</h3>"
        f'<div class="legend">{legend}</div><div id="map" class="map" aria-hidden="true"></div>'
    )


def _ops(facts: Facts) -> str:
    names = [method.name for method in facts.methods]
    choice = ""
    if len(names) > 1:
        options = "".join(f"<option>{escape(name)}</option>" for name in names)
        choice = (
            '<select id="method" aria-label="Method">'
            f'<option value="">all methods</option>{options}</select>'
        )
    filters = "".join(
        f'<option value="{value}">{text}</option>'
        for value, text in (
            ("all", "all ops"),
            ("inside", "delegated"),
            ("outside", "outside"),
            ("not-ne", "not on the Neural Engine"),
            ("precision", "with a precision finding"),
            ("weights", "with weights"),
            ("newer", "newer than iOS15"),
        )
    )
    columns = (
        ("op", ""),
        ("module and line", ""),
        ("runs in", ""),
        ("result", ""),
        ("expected on", ""),
        ("since", ""),
        ("weights", "num"),
    )
    head = "".join(f'<th scope="col" class="{kind}">{name}</th>' for name, kind in columns)
    return (
        _head(
            "Ops",
            "Each op where it stands. Open one for its line, its neighbours and the rules "
            "about it.",
        )
        + '<div class="tools"><input id="search" type="search" autocomplete="off" '
        'spellcheck="false" aria-label="Search ops" aria-controls="rows" '
        'placeholder="Search: op, module, file:line, type, reason …">'
        f'<select id="filter" aria-label="Which ops">{filters}</select>{choice}'
        '<button id="block" type="button" hidden></button>'
        '<output id="count" aria-live="polite"></output></div>'
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody id="rows"></tbody>'
        '</table><p id="none" class="lead" hidden style="padding:1rem">No op has all these words.'
        '</p></div><button id="more" type="button" hidden></button>'
    )


# -- findings -------------------------------------------------------------------------------------


def _outside(facts: Facts) -> str:
    if not facts.outside:
        return ""
    lead = "Why ops are in no delegate. ExecuTorch runs them with its own kernels, on the CPU."
    return _head("Outside", lead) + _findings(facts.outside)


def _precision(facts: Facts) -> str:
    if not facts.precision:
        return ""
    lead = (
        "Where float16 could not hold what the model computes, or was not wanted, and what was "
        "done instead."
    )
    return _head("Precision", lead) + _findings(facts.precision)


def _findings(found: Sequence[Finding]) -> str:
    opened = " open" if len(found) <= 3 else ""
    return "".join(
        f"<details{opened}><summary>{escape(each.reason)} "
        f'<span class="soft">({len(each.places)})</span></summary><ul>'
        + "".join(f'<li class="mono">{escape(place)}</li>' for place in each.places)
        + "</ul></details>"
        for each in found
    )


# -- weights and models ---------------------------------------------------------------------------


def _weights(facts: Facts) -> str:
    found = [weight for model in facts.models for weight in model.weights]
    if not found:
        return ""
    found.sort(key=lambda weight: -weight.bytes)
    encodings: Counter[str] = Counter()
    for weight in found:
        encodings[weight.encoding] += weight.bytes
    rows = [
        [
            f"<code>{escape(weight.name)}</code>",
            escape(weight.encoding),
            f'<span class="mono">{shape(weight.shape)}</span>',
            size_text(weight.bytes),
            size_text(weight.full),
            bar(weight.bytes, found[0].bytes),
            f"<code>{escape(', '.join(weight.users[:3]))}</code>"
            + (f" and {len(weight.users) - 3} more" if len(weight.users) > 3 else ""),
        ]
        for weight in found[:_SHOWN]
    ]
    rest = f'<p class="lead">{len(found) - _SHOWN} more</p>' if len(found) > _SHOWN else ""
    head = ("weight", "stored as", "shape", "#size", "#as float16", "", "read by")
    return (
        _head("Weights", "How each weight is stored, the largest first.")
        + counts(encodings, size_text)
        + "<h3>One by one</h3>"
        + table(head, rows, "short")
        + rest
    )


def _models(facts: Facts) -> str:
    if not facts.models:
        return ""
    lead = "What Core ML gets: functions, their inputs, outputs and states, and the MIL ops."
    return _head("Models", lead) + "".join(_model(model) for model in facts.models)


def _model(model: Model) -> str:
    why = f" because: {escape(model.reason)}" if model.reason else ""
    borders = "".join(
        f"<h3>function {escape(name)} <span class='soft'>({escape(opset)})</span></h3>"
        + table(
            ("kind", "name", "type", "shape"),
            [
                [escape(f.kind), f"<code>{escape(f.name)}</code>", escape(f.dtype), escape(f.shape)]
                for f in features
            ],
            "short",
        )
        for name, (opset, features) in model.functions.items()
    )
    return (
        f"<details open><summary><strong>{escape(model.title)}</strong>, "
        f"{escape(model.minimum_os)} or later{why}</summary>"
        f'<div class="two"><div>{borders}</div>'
        f"<div><h3>ops</h3>{counts(model.ops, lambda n: f'{n:,}')}"
        f"<h3>constants by type</h3>{counts(model.dtypes, size_text)}</div></div></details>"
    )


# -- units and options ----------------------------------------------------------------------------


def _units(facts: Facts) -> str:
    used = Counter(key for row in facts.rows for key in row.rules)
    if not used:
        return ""
    rows = []
    for key, rule in ALL_RULES.items():
        if used[key]:
            links = ", ".join(
                f'<a href="{escape(each.url)}" rel="noreferrer">{escape(each.who)}</a>'
                for each in rule.sources
            )
            says = escape(rule.says)
            find = (
                f'<button type="button" data-find="{escape(rule.says[:60])}">{used[key]:,}</button>'
            )
            rows.append([says, find, links])
    lead = (
        "An expectation, not a measurement. Core ML decides on the device and there is no list of "
        "what each unit takes; these are the public statements that apply to this model, each "
        "with its source."
    )
    if used[OUTSIDE.key] == sum(used.values()):
        lead = "Nothing is delegated."
    return _head("Expected compute units", lead) + table(("rule", "#ops", "said by"), rows, "")


def _options(facts: Facts) -> str:
    rows = [
        [f"<code>{escape(key)}</code>", escape(value) or '<span class="soft">default</span>']
        for key, value in facts.options.items()
    ]
    if not rows and not facts.better:
        return ""
    html = _head("Options", "The compile specs of the delegates.")
    html += table(("option", "value"), rows, "short") if rows else ""
    if facts.better:
        items = "".join(f"<li>{escape(text)}</li>" for text in dict.fromkeys(facts.better))
        html += f"<details><summary>Better from a newer OS on</summary><ul>{items}</ul></details>"
    return html
