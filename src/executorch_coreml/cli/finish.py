"""``etcoreml finish``: compiled models instead of packages in a ``.pte``."""

from __future__ import annotations

import shlex
from pathlib import Path

import click


@click.command("finish")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Where to write; MODEL itself if none."
)
@click.option("--compiler", help="The model compiler; 'xcrun coremlcompiler' if none.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(model: Path, output: Path | None, compiler: str | None, as_json: bool) -> None:
    """Compile the models in a .pte, for the device not to.

    Every Core ML package in MODEL is replaced by what Apple's compiler makes of it; the rest of
    the program stays as it is, and nothing is exported again. That compiler runs on macOS only.
    """
    from executorch_coreml.cli.output import print_json, replacing
    from executorch_coreml.compiler.finish import finish
    from executorch_coreml.errors import PayloadError

    try:
        data = model.read_bytes()
    except OSError as error:
        raise PayloadError(f"{model}: {error.strerror}") from error
    made, count = finish(data, shlex.split(compiler) if compiler else None)
    target = output or model
    with replacing(target) as part:
        part.write_bytes(made)
    if as_json:
        print_json({"path": str(target), "bytes": len(made), "compiled": count})
    else:
        click.echo(f"{target}: {count} model(s) compiled")
