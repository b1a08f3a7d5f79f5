"""``etcoreml inspect``: what a model holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from executorch_coreml.mil.artefact import Artefact
    from executorch_coreml.mil.pte import Delegate, Method
    from executorch_coreml.mil.summary import FunctionSummary, Summary


@click.command("inspect", short_help="Show what a model holds.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(model: Path, as_json: bool) -> None:
    """Show what a model holds.

    MODEL is a .pte, a .mlpackage, a .mlmodelc or a delegate payload. Shown are its delegates, what
    stayed outside of them and why, the oldest OS that loads it, its functions with their inputs,
    outputs, states and operations, the size of its weights, and what was not computed in fp16 as
    told, why, and where in the source. Weights are not read: large models take no longer.
    """
    from executorch_coreml.cli.output import plain, print_json
    from executorch_coreml.mil.artefact import open_artefact
    from executorch_coreml.mil.summary import summarise

    found = open_artefact(model)
    models = [summarise(each) for each in found.models]
    if as_json:
        print_json(plain(facts(found, models)))
        return
    click.echo(f"{found.path}: {found.size:,} bytes")
    for delegate in found.delegates:
        _print_delegate(delegate)
    for method in found.methods:
        _print_outside(method, _reasons(found, models, method.name))
    for summary in models:
        _print(summary)


def facts(found: Artefact, models: list[Summary]) -> dict[str, Any]:
    """What ``--json`` prints."""
    return {
        "path": str(found.path),
        "bytes": found.size,
        "methods": [_method(m, _reasons(found, models, m.name)) for m in found.methods],
        "delegates": [_facts(d) for d in found.delegates],
        "models": [asdict(m) for m in models],
    }


def _method(method: Method, reasons: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    return {
        "name": method.name,
        "delegate_calls": sum(isinstance(step, int) for step in method.steps),
        "outside": _outside(method),
        "reasons": reasons,
    }


def _outside(method: Method) -> dict[str, int]:
    """The kernels that ExecuTorch runs itself, and how often."""
    return dict(Counter(step for step in method.steps if isinstance(step, str)).most_common())


def _reasons(found: Artefact, models: list[Summary], method: str) -> dict[str, tuple[str, ...]]:
    """Why ops stayed outside, as the first delegate of the method tells it."""
    reasons: dict[str, tuple[str, ...]] = {}
    for user, summary in zip(found.users, models, strict=True):
        if user.method == method:
            reasons |= summary.outside
    return reasons


def _facts(delegate: Delegate) -> dict[str, Any]:
    return {
        "method": delegate.method,
        "index": delegate.index,
        "backend": delegate.id,
        "bytes": len(delegate.processed),
        "compile_specs": {
            key: bytes(value).decode("utf-8", "backslashreplace")
            for key, value in delegate.compile_specs
        },
    }


def _print_delegate(delegate: Delegate) -> None:
    facts = _facts(delegate)
    specs = "".join(f", {key}={value}" for key, value in facts["compile_specs"].items())
    click.echo(
        f"delegate {facts['index']} of method {facts['method']}: {facts['backend']}, "
        f"{facts['bytes']:,} bytes{specs}"
    )


def _print_outside(method: Method, reasons: Mapping[str, tuple[str, ...]]) -> None:
    from executorch_coreml.cli.output import print_table

    outside = _outside(method)
    if not outside:
        click.echo(f"outside the delegates of method {method.name}: nothing")
        return
    count = sum(outside.values())
    click.echo(f"\noutside the delegates of method {method.name}: {count} kernel calls")
    print_table(["kernel", "calls"], _cells(outside))
    if not reasons:
        click.echo(
            "the program does not say why; etcoreml report with the source of the model does"
        )
    for reason, places in reasons.items():
        _print_places(f"outside: {reason}", places)


def _print(summary: Summary) -> None:
    from executorch_coreml.cli.output import print_table

    reason = f", because: {summary.minimum_os_reason}" if summary.minimum_os_reason else ""
    click.echo(f"\n{summary.source}: {summary.minimum_os} or later{reason}")
    for function in summary.functions:
        default = ", default" if function.name == summary.default_function else ""
        click.echo(f"\nfunction {function.name} (opset {function.opset}{default})")
        print_table(["kind", "name", "dtype", "shape"], list(_border(function)))
        print_table(["op", "count"], _cells(function.ops))
    print_table(["weights", "bytes"], _cells(summary.weights))
    for reason, places in summary.precision.items():
        _print_places(f"precision: {reason}", places)


def _print_places(title: str, places: tuple[str, ...]) -> None:
    click.echo(f"\n{title}")
    for place in places:
        click.echo(f"  {place}")


def _border(function: FunctionSummary) -> Iterator[tuple[str, str, str, str]]:
    from executorch_coreml.mil.summary import shape_text

    for kind, features in (
        ("input", function.inputs),
        ("output", function.outputs),
        ("state", function.states),
    ):
        for feature in features:
            yield kind, feature.name, feature.dtype, shape_text(feature)


def _cells(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    return [(name, f"{count:,}") for name, count in counts.items()]
