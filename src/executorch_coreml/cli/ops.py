"""``etcoreml ops``: the tables of supported and of refused operators."""

from __future__ import annotations

from dataclasses import asdict

import click


@click.command("ops")
@click.argument("containing", default="", metavar="[TEXT]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print docs/operators.md.")
def command(containing: str, as_json: bool, as_markdown: bool) -> None:
    """List the operators that can be delegated, and those that Core ML cannot express.

    All of them, or those whose name contains TEXT. Their kind is core, if they are in PyTorch's
    Core ATen set, and whole, if they are kept from being decomposed.
    """
    if as_json and as_markdown:
        raise click.UsageError("--json and --markdown exclude each other")
    if as_markdown and containing:
        raise click.UsageError("--markdown is the whole table; TEXT must be left out")
    from executorch_coreml.cli.output import print_json, print_table, quiet_imports

    with quiet_imports():
        from executorch_coreml.ops.catalogue import (
            COLUMNS,
            REFUSAL_COLUMNS,
            entries,
            markdown,
            refusals,
        )

    rows, refused = entries(containing), refusals(containing)
    if as_markdown:
        click.echo(markdown(rows, refused), nl=False)
    elif as_json:
        print_json(
            {
                "delegated": [asdict(row) for row in rows],
                "refused": [asdict(row) for row in refused],
            }
        )
    else:
        print_table(COLUMNS, [row.cells() for row in rows])
        if refused:
            print_table(REFUSAL_COLUMNS, [row.cells() for row in refused])
