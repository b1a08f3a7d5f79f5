"""A file or folder as commands look at it: all delegates, calls and models, no weights read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from executorch_coreml.mil.bundle import BACKEND_ID, read, read_payload
from executorch_coreml.mil.files import map_file
from executorch_coreml.mil.pte import Delegate, Method, is_pte, read_pte
from executorch_coreml.mil.summary import os_name
from executorch_coreml.mil.types import Bundle


@dataclass(frozen=True, slots=True, eq=False)
class Artefact:
    """What was found.

    Attributes:
        path: Where.
        size: In bytes, of all files together.
        methods: Of a ``.pte``: what each method calls.
        delegates: Of a ``.pte``: the delegates of all methods, of Core ML and others.
        models: One per Core ML delegate, in their order; one for everything that is no ``.pte``.
            Constants of less than a byte per element are not unpacked, unless that was asked for.
    """

    path: Path
    size: int
    methods: tuple[Method, ...]
    delegates: tuple[Delegate, ...]
    models: tuple[Bundle, ...]

    @property
    def is_program(self) -> bool:
        """Whether it is a ``.pte``."""
        return bool(self.methods)

    @property
    def minimum_os(self) -> str:
        """The oldest iOS that loads all models, ``"iOS15"``; empty if there are none."""
        versions = [bundle.specification_version for bundle in self.models]
        return os_name(max(versions)) if versions else ""

    @property
    def users(self) -> tuple[Delegate, ...]:
        """The delegate that each of :attr:`models` belongs to; empty if it is no ``.pte``."""
        return tuple(each for each in self.delegates if each.id == BACKEND_ID)


def open_artefact(source: str | os.PathLike[str], *, unpack: bool = False) -> Artefact:
    """Looks at a ``.pte``, ``.mlpackage``, ``.mlmodelc``, ``.mlmodel`` or delegate payload.

    Files are mapped: what is not looked at takes no memory, whatever its size.

    Args:
        source: The path.
        unpack: Read the values of constants of less than a byte per element as well.

    Raises:
        PayloadError: It cannot be read, is none of these, or is damaged.
        ProgramError: A model is no ML Program, or a malformed one.
    """
    path = Path(source)
    if path.is_dir():
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        return Artefact(path, size, (), (), (read(path, unpack=unpack),))
    view = map_file(path)
    if not is_pte(view):
        return Artefact(path, len(view), (), (), (read(path, unpack=unpack),))
    pte = read_pte(view)
    models = tuple(
        read_payload(
            each.processed,
            pte.named_data.__getitem__,
            each.method,
            source=f"{path}, method {each.method!r}, delegate {each.index}",
            unpack=unpack,
        )
        for each in pte.delegates
        if each.id == BACKEND_ID
    )
    return Artefact(path, len(view), pte.methods, pte.delegates, models)
