"""A stand-in for Apple's model compiler: it writes the tree that the real one writes.

The text comes from our own printer, so what is read back is checked against what was compiled; that
the printer writes what Apple's compiler does is shown in test_mil_text.py. Called as a script it
takes the arguments of ``coremlcompiler compile``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from executorch_coreml import Model
from executorch_coreml.mil.bundle import read
from executorch_coreml.mil.compiled_print import compiled_files
from executorch_coreml.mil.types import Bundle, Constant, DictType, TensorType

COMPILER = f"{sys.executable} {Path(__file__)}"
WEIGHTS = "weights/weight.bin"

_STRING = TensorType("string", ())


def compiled(bundle: Bundle, version: Any = None) -> dict[str, bytes]:
    """The files of the ``.mlmodelc``, by path."""
    info = Constant(DictType(_STRING, _STRING), {"coremlc-version": "3500.32.1"})
    files = compiled_files(bundle, version, {"buildInfo": info})
    return files | {"coremldata.bin": bytes(16), "analytics/coremldata.bin": bytes(16)}


def load_text(
    body: str, directory: Path, inputs: str, output: str = "y", threads: int = 1
) -> Model:
    """A program of iOS18, written as MIL text, as a compiled model."""
    text = f"program(1.3)\n{{\n func main<ios18>({inputs}) {{\n{body}\n }} -> ({output});\n}}"
    return Model(write({"model.mil": text.encode()}, directory / "m.mlmodelc"), threads=threads)


def write(files: dict[str, bytes], directory: Path) -> Path:
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    return directory


if __name__ == "__main__":
    command, package, target = sys.argv[1:]
    assert command == "compile"
    write(compiled(read(package)), Path(target, Path(package).with_suffix(".mlmodelc").name))
