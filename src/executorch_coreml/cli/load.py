"""Models as commands take them: a Python callable that makes one, or a saved exported program."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module, util
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from executorch_coreml.errors import CompileError
from executorch_coreml.location import raised_at, said

if TYPE_CHECKING:
    import torch

_DEFAULT = "model"
FORMS = f"""\b
MODEL is one of:
  net.py[:callable]     a Python file; without a callable, {_DEFAULT}
  package.net:callable  the same in an importable module
  net.pt2               a program saved by torch.export.save

A callable takes nothing and returns (model, example inputs), the inputs
as a tuple, or an exported program."""


@dataclass(frozen=True, slots=True)
class Source:
    """A model and what to call it with.

    Attributes:
        model: A module, or an exported program.
        inputs: Its example inputs; None if the program holds them itself.
    """

    model: torch.nn.Module | torch.export.ExportedProgram
    inputs: tuple[Any, ...] | None


def load(text: str) -> Source:
    """Loads what a command line names; see :data:`FORMS`.

    Raises:
        CompileError: There is no such file, module or callable, or what it returns is no model.
    """
    if text.endswith(".pt2"):
        return Source(_saved(Path(text)), None)
    place, _, name = text.rpartition(":") if not text.endswith(".py") else (text, "", _DEFAULT)
    if not place:
        raise CompileError(
            f"{text} is no .pt2 file, no Python file and no module:callable",
            hint=f"write {text}:{_DEFAULT} if it is a module",
        )
    return _made(text, _callable(place, name))


def _saved(path: Path) -> torch.export.ExportedProgram:
    import torch

    try:
        return torch.export.load(path)
    except (OSError, RuntimeError, ValueError, KeyError) as cause:
        raise CompileError(
            f"{path} is no program that torch.export.load reads: {cause}",
            hint="save it with torch.export.save",
        ) from cause


def _callable(place: str, name: str) -> Callable[[], Any]:
    try:
        module = _from_file(Path(place)) if place.endswith(".py") else _imported(place)
    except Exception as cause:
        raise CompileError(
            f"{place} cannot be imported: {said(cause)}",
            location=raised_at(cause),
            hint="it must be a file or module that Python can import by itself",
        ) from cause
    found = getattr(module, name, None)
    if not callable(found):
        there = [key for key, value in vars(module).items() if _own(value, module)]
        raise CompileError(
            f"{place} has no callable {name!r}", hint=f"it has {', '.join(there) or 'none'}"
        )
    call: Callable[[], Any] = found
    return call


def _from_file(path: Path) -> ModuleType:
    """The module in a file, which finds others beside it as a script would."""
    spec = util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    module = util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent.resolve()))
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _imported(name: str) -> ModuleType:
    sys.path.insert(0, str(Path.cwd()))
    return import_module(name)


def _own(value: Any, module: ModuleType) -> bool:
    return callable(value) and getattr(value, "__module__", None) == module.__name__


def _made(text: str, call: Callable[[], Any]) -> Source:
    import torch

    try:
        made = call()
    except Exception as cause:
        raise CompileError(
            f"{text} failed: {said(cause)}",
            location=raised_at(cause),
            hint="correct the function; it is called without arguments",
        ) from cause
    if isinstance(made, torch.export.ExportedProgram):
        return Source(made, None)
    if isinstance(made, tuple) and len(made) == 2 and isinstance(made[1], (tuple, list)):
        model, inputs = made
        if isinstance(model, (torch.nn.Module, torch.export.ExportedProgram)):
            return Source(model, tuple(inputs))
    raise CompileError(
        f"{text} returned {_described(made)}, not (model, example inputs)",
        hint="return (torch.nn.Module, tuple of tensors) or an exported program",
    )


def _described(made: Any) -> str:
    if isinstance(made, tuple):
        return f"({', '.join(type(item).__name__ for item in made)})"
    return f"a {type(made).__name__}"
