"""Quantizer configs in YAML: the mapping that a file, a stream or a text holds."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import IO, Any, TypeAlias

import yaml

from executorch_coreml.errors import OptionsError

Yaml: TypeAlias = "str | PathLike[str] | IO[str] | IO[bytes]"


def read_yaml(given: Yaml) -> tuple[str, Mapping[str, Any]]:
    """(where it is from, the mapping).

    Args:
        given: A path, an open file, or the YAML text itself: a string that is a mapping.

    Raises:
        OptionsError: There is no such file, or it is no YAML, or no mapping.
    """
    if isinstance(given, str):
        made = _parse("the YAML text", given)
        if isinstance(made, Mapping):
            return "", made
    if isinstance(given, (str, PathLike)):
        source = fspath(given)
        made = _parse(source, _content(source))
    else:
        source = str(getattr(given, "name", ""))
        made = _parse(source or "the YAML stream", given.read())
    if made is None:  # an empty file: the defaults
        return source, {}
    if not isinstance(made, Mapping):
        raise OptionsError(f"a mapping is needed; got {made!r}", location=source or None)
    return source, made


def _content(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as cause:
        raise OptionsError(
            f"cannot be read as a quantizer config: {cause}",
            location=path,
            hint="give the path of a YAML file, or the YAML text of a mapping",
        ) from cause


def _parse(source: str, text: str | bytes) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as cause:
        raise OptionsError(f"it is no YAML: {cause}", location=source) from cause
