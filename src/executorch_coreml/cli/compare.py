"""``etcoreml compare``: PyTorch against the lowered program, op for op."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from executorch_coreml.cli.arrays import load_arrays, named_files
from executorch_coreml.cli.load import FORMS
from executorch_coreml.cli.lowering import TARGETS, files

if TYPE_CHECKING:
    from executorch_coreml.debug import Comparison, Error, Layer, Row

_BEYOND = 3  # exit code
_FIGURES = ("own SNR", "SNR", "float32", "largest error", "relative", "notes")
_HELP = f"""Compare eager PyTorch with the lowered model, op for op.

{FORMS}

For every value that the model computes: the signal-to-noise ratio, accumulated up to there and of
the op by itself, the largest error, what overflows, underflows or becomes NaN, and the module and
line it comes from. The exit code is 3 if a result is bad."""


@click.command("compare", help=_HELP, short_help="Find where the lowered model differs.")
@click.argument("model", shell_complete=files)
@click.option(
    "--input",
    "inputs",
    multiple=True,
    callback=named_files,
    metavar="NAME=FILE.npy",
    help="An input in place of the example; repeatable.",
)
@click.option("--seed", type=int, help="Random inputs like the examples, from this seed.")
@click.option(
    "--reference",
    metavar="MODEL",
    help="The float model that MODEL was quantized from; compares layers with it.",
)
@click.option(
    "--precision",
    type=click.Choice(["float16", "float32"]),
    default="float16",
    show_default=True,
    help="The compute precision to lower with.",
)
@click.option("--target", type=click.Choice(TARGETS), help="The minimum deployment target.")
@click.option(
    "--keep-fp32",
    "keep",
    multiple=True,
    metavar="MODULE[:OP]",
    help="A module to keep in float32; repeatable.",
)
@click.option("--apply", is_flag=True, help="Lower with the proposal as well and compare.")
@click.option("--top", default=10, show_default=True, help="How many ops or modules to list.")
@click.option("--layers", is_flag=True, help="List modules instead of ops.")
@click.option("--min-snr", type=float, help="In dB; values below are bad.  [default: 30]")
@click.option("--tolerance", type=float, help="The largest relative error of a result.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: all values, not the top.")
def command(
    model: str,
    inputs: dict[str, Path],
    seed: int | None,
    reference: str | None,
    precision: str,
    target: str | None,
    keep: tuple[str, ...],
    apply: bool,
    top: int,
    layers: bool,
    min_snr: float | None,
    tolerance: float | None,
    as_json: bool,
) -> None:
    if apply and reference is not None:
        raise click.UsageError("--apply and --reference exclude each other")
    from executorch_coreml.cli.output import plain, print_json, quiet_imports

    with quiet_imports():
        from executorch_coreml import CoreMLBackend
        from executorch_coreml.debug import MIN_SNR, compare

    specs = CoreMLBackend.generate_compile_specs(
        compute_precision=precision, minimum_deployment_target=target, keep_fp32=keep
    )
    program, arguments = _program(model, inputs, seed)
    found = compare(
        program,
        arguments,
        compile_specs=specs,
        reference=None if reference is None else _program(reference, {}, None)[0],
        min_snr=MIN_SNR if min_snr is None else min_snr,
        tolerance=tolerance,
        apply=apply,
    )
    if as_json:
        print_json(plain(facts(found)))
    else:
        _print(found, top, layers or found.layerwise)
    if not (found.applied or found).ok:
        click.get_current_context().exit(_BEYOND)


def _program(model: str, files: dict[str, Path], seed: int | None) -> tuple[Any, Any]:
    """The exported program and its inputs."""
    import torch

    from executorch_coreml.cli.load import load
    from executorch_coreml.cli.output import quiet_imports
    from executorch_coreml.debug.inputs import example_inputs, input_names, random_inputs
    from executorch_coreml.debug.run import exported

    source = load(model)
    with quiet_imports(logging.ERROR):
        program = exported(source.model, source.inputs)
    names = input_names(program)
    given = {name: torch.from_numpy(array) for name, array in load_arrays(files).items()}
    if set(names) <= set(given):
        return program, given
    values = example_inputs(program)
    if seed is not None:
        values = random_inputs(values, seed)
    return program, dict(zip(names, values, strict=True)) | given


def facts(found: Comparison) -> dict[str, Any]:
    """What ``--json`` prints."""
    from dataclasses import asdict

    first = found.first_bad
    return {
        "ok": found.ok,
        "cause": found.cause,
        "min_snr": found.min_snr,
        "tolerance": found.tolerance,
        "outputs": [asdict(output) for output in found.outputs],
        "first_bad": None if first is None else _row(found, first),
        "rows": [_row(found, row) for row in found.rows],
        "layers": [asdict(layer) for layer in found.layers()],
        "keep_fp32": list(found.keep_fp32),
        "proposal": list(found.proposal),
        "applied": None if found.applied is None else facts(found.applied),
    }


def _row(found: Comparison, row: Row) -> dict[str, Any]:
    from dataclasses import asdict

    place = asdict(row.location)
    return (
        place | {k: v for k, v in asdict(row).items() if k != "location"} | {"bad": found.bad(row)}
    )


def _print(found: Comparison, top: int, layers: bool) -> None:
    from executorch_coreml.cli.output import print_table

    if layers:
        worst = dict.fromkeys(row.location.module for row in found.worst())
        modules = {layer.module: layer for layer in found.layers()}
        shown = [modules[name] for name in list(worst)[:top]]
        print_table(["module", *_FIGURES], [_layer_cells(layer) for layer in shown])
    else:
        rows = found.worst(top)
        print_table(["op", "module", "line", "type", *_FIGURES], [_cells(row) for row in rows])
    click.echo(str(found))


def _cells(row: Row) -> list[str]:
    place = row.location
    line = "" if place.file is None else f"{Path(place.file).name}:{place.line}"
    figures = _figures(row.own, row.error, "" if row.float32 is None else f"{row.float32.snr:.1f}")
    return [f"{place.op} ({place.node})", place.module, line, row.dtype, *figures]


def _layer_cells(layer: Layer) -> list[str]:
    return [layer.module or "(the model)", *_figures(layer.own, layer.error, "")]


def _figures(own: Error | None, error: Error, float32: str) -> list[str]:
    from executorch_coreml.debug.comparison import counts

    return [
        "" if own is None else f"{own.snr:.1f}",
        f"{error.snr:.1f}",
        float32,
        f"{error.absolute:.3g}",
        f"{error.relative:.2g}",
        ", ".join(counts(error)),
    ]
