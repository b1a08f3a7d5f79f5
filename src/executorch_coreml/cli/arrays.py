"""Arrays and images from files, as commands take them: ``--input name=file.npy``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from executorch_coreml.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    Array: TypeAlias = "np.ndarray[Any, Any]"

_IMAGES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


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
    return {name: _load(name, path, _array) for name, path in inputs.items()}


def load_values(inputs: Mapping[str, Path]) -> dict[str, Any]:
    """Arrays, and Pillow images of files that are named as such.

    Raises:
        InputError: A file that cannot be read, or is neither.
        RunError: A file is an image, and Pillow is not installed.
    """
    return {
        name: _load(name, path, _image if path.suffix.lower() in _IMAGES else _array)
        for name, path in inputs.items()
    }


def _load(name: str, path: Path, read: Callable[[Any], Any]) -> Any:
    try:
        with path.open("rb") as file:
            return read(file)
    except (OSError, ValueError) as error:
        raise InputError(f"input {name} cannot be read: {error}", location=str(path)) from error


def _array(file: Any) -> Array:
    import numpy as np

    return np.lib.format.read_array(file, allow_pickle=False)


def _image(file: Any) -> Any:
    from executorch_coreml.engine.image import pillow

    image = pillow(f"{file.name} is an image").open(file)
    image.load()
    return image
