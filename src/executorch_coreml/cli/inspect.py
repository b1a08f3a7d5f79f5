"""``etcoreml inspect``: what a model holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from executorch_coreml.mil.pte import Delegate
    from executorch_coreml.mil.summary import FunctionSummary, Summary
    from executorch_coreml.mil.types import Feature


@click.command("inspect")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(model: Path, as_json: bool) -> None:
    """Show what a model holds.

    MODEL is a .pte, a .mlpackage, a .mlmodelc or a delegate payload. Shown are its delegates, the
    oldest OS that loads it, its functions with their inputs, outputs, states and operations, the
    size of its weights, and what was not computed in fp16 as told, why, and where in the source.
    """
    from executorch_coreml.cli.output import print_json
    from executorch_coreml.mil.bundle import BACKEND_ID, list_delegates, read
    from executorch_coreml.mil.summary import summarise

    delegates = list_delegates(model)
    count = sum(delegate.id == BACKEND_ID for delegate in delegates) if delegates else 1
    models = [summarise(read(model, delegate=i)) for i in range(count)]
    if as_json:
        print_json(
            {"delegates": [_facts(d) for d in delegates], "models": [asdict(m) for m in models]}
        )
        return
    for delegate in delegates:
        _print_delegate(delegate)
    for summary in models:
        _print(summary)


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
        click.echo(f"\nprecision: {reason}")
        for place in places:
            click.echo(f"  {place}")


def _border(function: FunctionSummary) -> Iterator[tuple[str, str, str, str]]:
    for kind, features in (
        ("input", function.inputs),
        ("output", function.outputs),
        ("state", function.states),
    ):
        for feature in features:
            yield kind, feature.name, feature.dtype, _shape(feature)


def _shape(feature: Feature) -> str:
    """The default shape, then whatever else the model allows."""
    others = [str(list(shape)) for shape in feature.enumerated]
    if feature.ranges:
        spans = (f"{low}..{'' if high is None else high}" for low, high in feature.ranges)
        others.append(f"[{', '.join(spans)}]")
    return " or ".join(dict.fromkeys([str(list(feature.shape)), *others]))


def _cells(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    return [(name, f"{count:,}") for name, count in counts.items()]
