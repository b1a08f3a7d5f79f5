"""The files of a model, wherever they lie: a directory, or a payload in memory."""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

from executorch_coreml.errors import PayloadError
from executorch_coreml.mil.weights import WeightFile

CHECK_PATH = "check the path and who may read it"

OpenFile: TypeAlias = Callable[[str], memoryview]
"""Opens a file by its path inside a model; raises ``PayloadError`` if there is none."""


def map_file(path: Path) -> memoryview:
    """The contents of a file, read as they are touched.

    Raises:
        PayloadError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                return memoryview(b"")
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise PayloadError(f"{path}: {error.strerror}", hint=CHECK_PATH) from error
    except ValueError as error:  # a NUL, or half of a character, in the name
        raise PayloadError(
            f"{str(path)!r} is no name of a file: {error}", hint=CHECK_PATH
        ) from error


def inside(name: Any, source: str) -> str:
    """``name`` if it is a relative path that stays where it is.

    Raises:
        PayloadError: It is none.
    """
    if not isinstance(name, str) or not name or name.startswith("/") or ".." in name.split("/"):
        raise PayloadError(f"{source}: {name!r} is no path inside a model")
    return name


def read_json(data: memoryview, what: str) -> Any:
    """
    Raises:
        PayloadError: ``data``, to be called ``what``, is no JSON.
    """
    try:
        return json.loads(bytes(data).decode())
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise PayloadError(f"{what}: no valid JSON: {error}") from error


def read_object(data: memoryview, what: str) -> dict[str, Any]:
    """
    Raises:
        PayloadError: ``data``, to be called ``what``, is no JSON object.
    """
    value = read_json(data, what)
    if not isinstance(value, dict):
        raise PayloadError(f"{what}: a JSON object is expected")
    return value


def weight_files(
    open_file: OpenFile, source: str, *, unpack: bool = True
) -> Callable[[str], WeightFile]:
    """Opens weight files, each once, by the name that a program calls them.

    ``unpack``: as for :class:`~executorch_coreml.mil.weights.WeightFile`.
    """

    @lru_cache(None)
    def weights(name: str) -> WeightFile:
        path = inside(name.removeprefix("@model_path/"), source)
        return WeightFile(open_file(path), f"{source}, {path}", unpack=unpack)

    return weights
