"""Arrays from ``.npy`` files, as commands take them: ``--input name=file.npy``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from executorch_coreml.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    Array: TypeAlias = "np.ndarray[Any, Any]"


def named_files(
    ctx: click.Context, param: click.Parameter, given: tuple[str, ...]
) -> dict[str, Path]:
    """A click callback: the options as name -> file."""
    files: dict[str, Path] = {}
    for text in given:
        name, _, path = text.partition("=")
        if not (name and path):
            raise click.BadParameter(f"{text!r} is not of the form name=file.npy")
        if name in files:
            raise click.BadParameter(f"{name} is given twice")
        files[name] = Path(path)
    return files


def load_arrays(inputs: Mapping[str, Path]) -> dict[str, Array]:
    """
    Raises:
        InputError: A file that cannot be read, or is no array.
    """
    import numpy as np

    arrays: dict[str, Array] = {}
    for name, path in inputs.items():
        try:
            with path.open("rb") as file:
                arrays[name] = np.lib.format.read_array(file, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise InputError(f"input {name} cannot be read: {error}", location=str(path)) from error
    return arrays
