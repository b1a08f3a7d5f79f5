"""``etcoreml report``: one page on a model, op by op."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
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
    from executorch_coreml.cli.lowering import Lowered, Lowering
    from executorch_coreml.report.facts import Facts
    from executorch_coreml.report.source import Program

_ARTEFACTS = (".pte", ".mlpackage", ".mlmodelc", ".mlmodel")
_SOURCES = (".py", ".pt2")
_HELP = f"""Write a report on a model: one HTML file that needs no network.

It shows the graph as delegated and not, each op with its line, type and size, where fp16 was
avoided and why, how weights are stored, the oldest OS and its reason, and the compute unit that
each op is expected to run on, with the rule that says so and its source.

{FORMS}

{SEVERAL}

Or MODEL is a .pte, a .mlpackage, a .mlmodelc or a delegate payload. The page then says what cannot
be known without the source. Options for lowering are for sources only."""


@click.command("report", help=_HELP, short_help="Write a page on a model, op by op.")
@models_argument
@output_option("report.html", "Where to write the page.")
@lowering_options
@click.option("-v", "--verbose", is_flag=True, help="Say how long each step takes.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of writing a page.")
def command(
    models: tuple[str, ...], output: Path, verbose: bool, as_json: bool, **given: Any
) -> None:
    from dataclasses import asdict

    from executorch_coreml.cli.output import print_json

    options, progress = chosen(given), Progress(verbose)
    if len(models) == 1 and is_artefact(models[0]):
        found = _of_artefact(Path(models[0]), progress)
    else:
        found = _of_source(models, options, progress)
    if as_json:
        print_json(asdict(found))
        return
    with progress.step("writing"):
        write_page(found, output)
    click.echo(f"{output}: {len(found.rows):,} ops")


def is_artefact(text: str) -> bool:
    """Whether a model is given as it was made, and not by its source.

    A payload may have any name: what exists and is no source is taken for an artefact.
    """
    known = text.rstrip("/").endswith(_ARTEFACTS)
    return known or (Path(text).exists() and not text.endswith(_SOURCES))


def _of_artefact(path: Path, progress: Progress) -> Facts:
    from executorch_coreml.mil.artefact import open_artefact
    from executorch_coreml.report.artefact import artefact_facts

    with progress.step("reading"):
        return artefact_facts(open_artefact(path))


def _of_source(models: tuple[str, ...], options: Lowering, progress: Progress) -> Facts:
    from executorch_coreml.cli.lowering import lower

    made = lower(models, options, progress)
    with tempfile.TemporaryDirectory() as folder:
        path, programs = Path(folder, "model.pte"), made.programs()
        with progress.step("writing"):
            made.write(path)
        with progress.step("reporting"):
            return source_report(", ".join(models), made, programs, path)


def source_report(title: str, made: Lowered, programs: Mapping[str, Program], path: Path) -> Facts:
    """The facts of a model that was lowered to the file ``path``."""
    from executorch_coreml.mil.artefact import open_artefact
    from executorch_coreml.report.source import source_facts

    reports = {name: each.report for name, each in made.partitioners.items()}
    return source_facts(title, programs, reports, open_artefact(path))


def write_page(found: Facts, path: Path) -> None:
    from executorch_coreml.cli.output import replacing
    from executorch_coreml.report.page import page

    with replacing(path) as part:
        part.write_text(page(found), encoding="utf-8")
