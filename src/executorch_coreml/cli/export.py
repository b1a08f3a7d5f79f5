"""``etcoreml export``: a PyTorch model as a ``.pte``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from executorch_coreml.cli.load import FORMS
from executorch_coreml.cli.lowering import (
    SEVERAL,
    Progress,
    chosen,
    lowering_options,
    models_argument,
    output_option,
)

if TYPE_CHECKING:
    from executorch_coreml.partition.report import Report

_HELP = f"""Export a PyTorch model, lower it and write a .pte.

{FORMS}

{SEVERAL}

Printed is what became of it: how much is delegated, why the rest is not, the oldest OS, and where
fp16 was avoided. docs/compile_options.md says what the options do. Quantize in the function that
makes the model (docs/quantization.md); --quantize takes weights as they are."""


@click.command("export", help=_HELP, short_help="Lower a PyTorch model to a .pte.")
@models_argument
@output_option("model.pte", "Where to write the program.")
@click.option(
    "--report",
    "page",
    type=click.Path(path_type=Path),
    metavar="FILE.html",
    help="Write a report as well: one page on all of this, op by op.",
)
@lowering_options
@click.option("-v", "--verbose", is_flag=True, help="Say how long each step takes.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    models: tuple[str, ...],
    output: Path,
    page: Path | None,
    verbose: bool,
    as_json: bool,
    **given: Any,
) -> None:
    from executorch_coreml.cli.lowering import lower
    from executorch_coreml.cli.output import print_json
    from executorch_coreml.mil.artefact import open_artefact

    progress = Progress(verbose)
    made = lower(models, chosen(given), progress)
    programs = None if page is None else made.programs()
    with progress.step("writing"):
        size = made.write(output)
    if page is not None and programs is not None:
        from executorch_coreml.cli.report import source_report, write_page

        with progress.step("reporting"):
            write_page(source_report(", ".join(models), made, programs, output), page)
    oldest = open_artefact(output).minimum_os
    reports = {name: each.report for name, each in made.partitioners.items()}
    if as_json:
        methods = {name: _facts(report) for name, report in reports.items()}
        print_json(
            {
                "path": str(output),
                "bytes": size,
                "minimum_os": oldest or None,
                "report": None if page is None else str(page),
                "methods": methods,
                "seconds": progress.seconds,
            }
        )
        return
    for name, report in reports.items():
        click.echo(f"{name}: {report}" if len(reports) > 1 else str(report))
    click.echo(f"{output}: {size:,} bytes" + (f", {oldest} or later" if oldest else ""))
    if page is not None:
        click.echo(f"{page}: report")


def _facts(report: Report) -> dict[str, Any]:
    minimum = report.minimum
    outside = Counter((each.location.op, each.reason or "") for each in report.refused)
    return {
        "nodes": len(report.decisions),
        "delegated": len(report.delegated),
        "delegates": report.delegates,
        "outside": [
            {"op": op, "reason": reason, "count": count} for (op, reason), count in outside.items()
        ],
        "minimum_os": None if minimum is None else minimum.target.name,
        "minimum_os_reasons": [] if minimum is None else list(minimum.reasons),
        "better": [] if minimum is None else [str(need) for need in minimum.better],
        "buffers": [str(buffer) for buffer in report.buffers],
        "precision": [str(note) for note in report.precision],
    }
