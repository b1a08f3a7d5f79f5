"""``etcoreml extract``: the Core ML models of a ``.pte`` as packages."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("extract")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output-dir",
    type=click.Path(path_type=Path),
    default=Path(),
    help="Where to write; the current folder if none.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(model: Path, output_dir: Path, as_json: bool) -> None:
    """Write the Core ML models of a .pte as .mlpackage folders.

    Xcode and coremltools open them. MODEL is a .pte or a delegate payload; models that were
    compiled come out as .mlmodelc. Nothing is overwritten.
    """
    from executorch_coreml.cli.output import print_json
    from executorch_coreml.mil.extract import extract

    found = extract(model, output_dir)
    if as_json:
        print_json([{"path": str(each.path), "delegates": list(each.delegates)} for each in found])
        return
    for each in found:
        users = ", ".join(f"delegate {index} of {method}" for method, index in each.delegates)
        click.echo(f"{each.path}" + (f": {users}" if users else ""))
