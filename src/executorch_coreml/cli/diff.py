"""``etcoreml diff``: what differs between two models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from executorch_coreml.mil.difference import Difference, FunctionDifference, WeightDifference

_DIFFERENT = 3  # exit code
_SIDES = ("first", "second")


@click.command("diff", short_help="Show what differs between two models.")
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@click.option("--top", default=20, show_default=True, help="How many weights to list each.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: all weights, not the top.")
def command(first: Path, second: Path, top: int, as_json: bool) -> None:
    """Show what differs between two models: ops, weights, borders, options, sizes.

    FIRST and SECOND are each a .pte, a .mlpackage, a .mlmodelc or a delegate payload. The exit code
    is 3 if they differ in anything but their bytes: names of equal weights, say, make no
    difference.
    """
    from dataclasses import asdict

    from executorch_coreml.cli.output import plain, print_json
    from executorch_coreml.mil.artefact import open_artefact
    from executorch_coreml.mil.difference import difference

    found = difference(open_artefact(first, unpack=True), open_artefact(second, unpack=True))
    if as_json:
        print_json(plain({"equal": found.equal} | asdict(found)))
    else:
        _print(found, top)
    if not found.equal:
        click.get_current_context().exit(_DIFFERENT)


def _print(found: Difference, top: int) -> None:
    one, other = found.bytes
    click.echo(f"size: {one:,} bytes, {other:,} bytes ({other - one:+,})")
    if found.minimum_os is not None:
        click.echo("oldest OS: {}, {}".format(*found.minimum_os))
    for title, pairs in (
        ("compile spec", found.options),
        ("delegates of", found.delegates),
        ("calls outside", found.outside),
        ("weight bytes", found.weight_bytes),
    ):
        _print_pairs(title, pairs)
    for function in found.functions:
        _print_function(function, top)
    if found.equal:
        click.echo("no difference in methods, options, ops and weights")
    elif found.equal_functions:
        click.echo(f"{found.equal_functions} functions are equal")


def _print_function(function: FunctionDifference, top: int) -> None:
    from executorch_coreml.cli.output import print_table

    if not all(function.there):
        click.echo(f"\n{function.name}: in the {_SIDES[function.there[1]]} only")
        return
    click.echo(f"\n{function.name}: {function.equal_weights} equal weights")
    if function.opset is not None:
        click.echo("opset: {}, {}".format(*function.opset))
    _print_pairs("border", function.border)
    _print_pairs("op", function.ops)
    if function.weights:
        shown = [_cells(each) for each in function.weights[:top]]
        print_table(["weight", *_SIDES, "bytes", "largest difference"], shown)
        if len(function.weights) > top:
            click.echo(f"and {len(function.weights) - top} more weights")


def _print_pairs(title: str, pairs: Mapping[str, Any]) -> None:
    from executorch_coreml.cli.output import print_table

    if pairs:
        print_table([title, *_SIDES], list(_rows(pairs)))


def _rows(pairs: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for name, pair in pairs.items():
        yield name, *(_text(each) for each in pair)


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _cells(weight: WeightDifference) -> list[str]:
    forms = zip(weight.encoding, weight.shape, strict=True)
    sides = ["-" if form is None else f"{form} {shape}" for form, shape in forms]
    one, other = (each or 0 for each in weight.bytes)
    apart = "" if weight.values is None else f"{weight.values:.3g}"
    return [weight.name, *sides, f"{other - one:+,}", apart]
