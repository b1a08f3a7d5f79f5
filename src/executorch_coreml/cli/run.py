"""``etcoreml run``: one run of a model with inputs from files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from executorch_coreml.cli.arrays import load_values, named_files
from executorch_coreml.cli.output import number
from executorch_coreml.engine.settings import PRECISIONS
from executorch_coreml.errors import RunError

if TYPE_CHECKING:
    from executorch_coreml.engine.precision import Precision

_SHOWN = 5  # of the labels of a classifier
_COLUMNS = ("name", "dtype", "shape", "min", "max", "mean")


@click.command("run")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--input",
    "inputs",
    multiple=True,
    callback=named_files,
    metavar="NAME=FILE",
    help="An input, repeatable: a .npy file, or an image (with Pillow) for an image.",
)
@click.option("--function", help="A function other than the default one.")
@click.option("--delegate", default=0, show_default=True, help="Which delegate of a .pte.")
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="faithful",
    show_default=True,
    help="Round to fp16 where the model says so, not at all, or compute in bfloat16.",
)
@click.option("--output-dir", type=click.Path(path_type=Path), help="Save outputs here.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    model: Path,
    inputs: dict[str, Path],
    function: str | None,
    delegate: int,
    precision: Precision,
    output_dir: Path | None,
    as_json: bool,
) -> None:
    """Run a model and describe its outputs.

    MODEL is a .pte, a .mlpackage, a .mlmodelc or a delegate payload. States, if it has any, start
    at zero.
    """
    from executorch_coreml.cli.output import print_json, print_table
    from executorch_coreml.engine.model import Model

    values = load_values(inputs)
    loaded = Model(model, function_name=function, precision=precision, delegate=delegate)
    outputs = loaded.predict(values, loaded.make_state() if loaded.states else None)
    if output_dir is not None:
        _save(outputs, output_dir)
    rows = [_facts(name, value) for name, value in outputs.items()]
    if as_json:
        print_json(rows)
        return
    print_table(_COLUMNS, [[_text(row.get(column)) for column in _COLUMNS] for row in rows])
    for row in rows:
        if "value" in row:
            click.echo(f"{row['name']}: {_likeliest(row['value'])}")


def _save(outputs: Mapping[str, Any], directory: Path) -> None:
    """Arrays as .npy, images as .png (.tiff for those of floats), the rest as .json."""
    import numpy as np

    from executorch_coreml.engine.image import is_image

    for name, value in outputs.items():
        if Path(name).name != name:
            raise RunError(f"output {name!r} cannot be the name of a file")
        try:
            directory.mkdir(parents=True, exist_ok=True)
            if is_image(value):
                value.save(directory / f"{name}.{'tiff' if value.mode == 'F' else 'png'}")
            elif isinstance(value, np.ndarray):
                np.save(directory / f"{name}.npy", value)
            else:
                (directory / f"{name}.json").write_text(json.dumps(_plain(value)) + "\n")
        except OSError as error:
            raise RunError(f"output {name} cannot be saved: {error}") from error


def _facts(name: str, value: Any) -> dict[str, Any]:
    """What is printed of an output; the numbers of an empty one are None."""
    import numpy as np

    from executorch_coreml.engine.image import is_image

    if not isinstance(value, np.ndarray) and not is_image(value):
        return {"name": name, "dtype": _kind(value), "value": _plain(value)}
    array = np.asarray(value)
    dtype = f"image {value.mode}" if is_image(value) else str(array.dtype)
    facts = {"name": name, "dtype": dtype, "shape": list(array.shape)}
    if not array.size:
        return facts | {"min": None, "max": None, "mean": None}
    numbers = array.astype("float64") if array.dtype.kind == "f" else array.astype("int64")
    return facts | {
        "min": number(numbers.min().item()),
        "max": number(numbers.max().item()),
        "mean": number(numbers.mean().item()),
    }


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return "dictionary"
    return "string" if isinstance(value, str) else "int64"


def _plain(value: Any) -> Any:
    """The label of a classifier, or its probabilities, as JSON has them: keys are texts."""
    if isinstance(value, dict):
        return {str(label): number(probability) for label, probability in value.items()}
    return value


def _likeliest(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    first = sorted(value.items(), key=lambda item: float(item[1]), reverse=True)[:_SHOWN]
    rest = ", ..." if len(value) > len(first) else ""
    return ", ".join(f"{label} {_text(probability)}" for label, probability in first) + rest


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
