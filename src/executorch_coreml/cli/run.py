"""``etcoreml run``: one run of a model with inputs from files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import click

from executorch_coreml.cli.arrays import load_arrays, named_files
from executorch_coreml.cli.output import number
from executorch_coreml.errors import RunError

if TYPE_CHECKING:
    import numpy as np

    Array: TypeAlias = "np.ndarray[Any, Any]"


_COLUMNS = ("name", "dtype", "shape", "min", "max", "mean")


@click.command("run")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--input",
    "inputs",
    multiple=True,
    callback=named_files,
    metavar="NAME=FILE.npy",
    help="An input; repeatable.",
)
@click.option("--function", help="A function other than the default one.")
@click.option("--delegate", default=0, show_default=True, help="Which delegate of a .pte.")
@click.option(
    "--precision",
    type=click.Choice(["faithful", "float32"]),
    default="faithful",
    show_default=True,
    help="Round to fp16 where the model says so, or not at all.",
)
@click.option("--output-dir", type=click.Path(path_type=Path), help="Save <output>.npy here.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    model: Path,
    inputs: dict[str, Path],
    function: str | None,
    delegate: int,
    precision: Literal["faithful", "float32"],
    output_dir: Path | None,
    as_json: bool,
) -> None:
    """Run a model and describe its outputs.

    MODEL is a .pte, a .mlpackage, a .mlmodelc or a delegate payload. States, if it has any, start
    at zero.
    """
    from executorch_coreml.cli.output import print_json, print_table
    from executorch_coreml.engine.model import Model

    arrays = load_arrays(inputs)
    loaded = Model(model, function_name=function, precision=precision, delegate=delegate)
    outputs = loaded.predict(arrays, loaded.make_state() if loaded.states else None)
    if output_dir is not None:
        _save(outputs, output_dir)
    rows = [_facts(name, array) for name, array in outputs.items()]
    if as_json:
        print_json(rows)
    else:
        print_table(_COLUMNS, [[_text(row[column]) for column in _COLUMNS] for row in rows])


def _save(outputs: Mapping[str, Array], directory: Path) -> None:
    import numpy as np

    for name, array in outputs.items():
        if Path(name).name != name:
            raise RunError(f"output {name!r} cannot be the name of a file")
        try:
            directory.mkdir(parents=True, exist_ok=True)
            np.save(directory / f"{name}.npy", array)
        except OSError as error:
            raise RunError(f"output {name} cannot be saved: {error}") from error


def _facts(name: str, array: Array) -> dict[str, Any]:
    """What is printed of an output; the numbers of an empty one are None."""
    facts = {"name": name, "dtype": str(array.dtype), "shape": list(array.shape)}
    if not array.size:
        return facts | {"min": None, "max": None, "mean": None}
    numbers = array.astype("float64") if array.dtype.kind == "f" else array.astype("int64")
    return facts | {
        "min": number(numbers.min().item()),
        "max": number(numbers.max().item()),
        "mean": number(numbers.mean().item()),
    }


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
