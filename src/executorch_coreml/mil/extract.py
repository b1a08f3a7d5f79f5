"""The Core ML models inside a ``.pte`` as files that Xcode and coremltools open."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from executorch_coreml.compiler import payload
from executorch_coreml.errors import PayloadError
from executorch_coreml.mil.bundle import BACKEND_ID
from executorch_coreml.mil.files import map_file
from executorch_coreml.mil.pte import Delegate, Pte, is_pte, read_pte

_KINDS = (".mlpackage", ".mlmodelc")


@dataclass(frozen=True, slots=True)
class Extracted:
    """One model that was written.

    Attributes:
        path: The ``.mlpackage``, or the ``.mlmodelc`` of a model that was compiled.
        delegates: Method and index of each delegate that runs it; methods may share one.
    """

    path: Path
    delegates: tuple[tuple[str, int], ...]


def extract(source: str | os.PathLike[str], directory: str | os.PathLike[str]) -> list[Extracted]:
    """Write every Core ML model of a ``.pte``, or the one of a delegate payload.

    A single model is named after ``source``; of several, each carries its method and index.
    Methods that share a model share the file.

    Args:
        source: A ``.pte`` or a file that holds a delegate payload.
        directory: Where to write; made if need be.

    Raises:
        PayloadError: ``source`` cannot be read or is damaged, holds no Core ML delegate, or a
            file is there already. Models that were written whole stay; none is left half-written.
    """
    path, target = Path(source), Path(directory)
    models = _models(path)
    found = []
    for number, (files, delegates) in enumerate(models):
        root, kind = _root(files, path)
        method, index = delegates[0] if delegates else ("model", number)
        name = path.stem if len(models) == 1 else f"{path.stem}_{method}_{index}"
        inside = {
            each.removeprefix(f"{root}/"): data
            for each, data in files.items()
            if each.startswith(f"{root}/")
        }
        written = target / f"{name}{kind}"
        _write(inside, written)
        found.append(Extracted(written, tuple(delegates)))
    return found


def _models(path: Path) -> list[tuple[Mapping[str, memoryview], list[tuple[str, int]]]]:
    """The files of each model and the delegates that run it."""
    view = map_file(path)
    if not is_pte(view):
        return [(payload.unpack(view), [])]
    pte = read_pte(view)
    ours = [each for each in pte.delegates if each.id == BACKEND_ID]
    if not ours:
        raise PayloadError(f"{path}: it has no Core ML delegate")
    users: dict[str, list[Delegate]] = {}
    for each in ours:
        shared = payload.is_reference(each.processed)
        key = payload.parse_reference(each.processed).key if shared else ""
        users.setdefault(key or f"{each.method}/{each.index}", []).append(each)
    return [
        (payload.unpack(_stored(pte, each[0], path)), [(d.method, d.index) for d in each])
        for each in users.values()
    ]


def _stored(pte: Pte, delegate: Delegate, path: Path) -> memoryview:
    if not payload.is_reference(delegate.processed):
        return delegate.processed
    key = payload.parse_reference(delegate.processed).key
    if key not in pte.named_data:
        raise PayloadError(f"{path}: the program has no named data {key!r}")
    return pte.named_data[key]


def _root(files: Mapping[str, memoryview], path: Path) -> tuple[str, str]:
    """The folder of the model among the files of a payload, and its kind."""
    for name in files:
        parts = name.split("/")
        for depth, part in enumerate(parts):
            for kind in _KINDS:
                if part == f"model{kind}":
                    return "/".join(parts[: depth + 1]), kind
    raise PayloadError(f"{path}: there is no model among {list(files)}")


def _write(files: Mapping[str, memoryview], target: Path) -> None:
    """Beside its place first, then moved there."""
    if target.exists():
        raise PayloadError(f"{target} exists", hint="remove it, or write to another folder")
    part: str | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent)
        for name, data in files.items():
            place = Path(part, target.name, name)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        Path(part, target.name).rename(target)
    except OSError as error:
        raise PayloadError(f"{target}: {error.strerror}") from error
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)
