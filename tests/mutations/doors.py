"""The public ways in. Each lets a mutant pass, or raises what it raises."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np

from executorch_coreml import Model
from executorch_coreml.cli import main
from executorch_coreml.errors import CoreMLError, InputError
from executorch_coreml.mil.types import NUMPY_DTYPES
from mutations.corpus import FILES, TREES, Sample
from mutations.mutant import Mutant

_MOST = 1 << 22  # elements of an input that is still worth making


def warm(samples: Sequence[Sample], doors: Collection[str]) -> None:
    """Goes through the doors with something sound: what is imported and made once is not counted
    for the first mutant."""
    last = {sample.form: sample for sample in samples}
    with TemporaryDirectory() as directory:
        for form, sample in last.items():
            path = write(Mutant(sample, sample.files, "not at all"), Path(directory, "sound"))
            inspect(path)
            if "model" in doors:
                model(path)
            if form == "pte" and "extract" in doors:
                extract(path)
            if form == "pte" and "delegate" in doors:
                delegate(path)


def write(mutant: Mutant, directory: Path) -> Path:
    """The mutant as a file or a directory, in place of the one before."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    form = mutant.sample.form
    if form in FILES:
        path = directory / FILES[form]
        path.write_bytes(mutant.files[""])
        return path
    path = directory / TREES[form]
    for name, content in mutant.files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def inspect(path: Path) -> None:
    _command("inspect", str(path), *(["--json"] if path.stat().st_ino % 2 else []))


def extract(path: Path) -> None:
    target = path.parent / "extracted"
    try:
        _command("extract", str(path), "--output-dir", str(target))
        for package in sorted(target.iterdir()):
            _command("inspect", str(package))
    finally:
        shutil.rmtree(target, ignore_errors=True)


def run(path: Path) -> None:
    """The command finds that inputs are missing, unless the model has none."""
    _command("run", str(path))


def model(path: Path) -> None:
    """Compiled, and run with the smallest legal inputs if the model says what they are."""
    loaded = Model(path, threads=1)
    state = loaded.make_state() if loaded.states else None
    arrays = [_zeros(feature) for feature in loaded.inputs]
    loaded.run(arrays, state)


def _zeros(feature: Any) -> np.ndarray:
    if prod(feature.shape) > _MOST:
        raise InputError("not tried: an input is too large", location=feature.name)
    return np.zeros(feature.shape, NUMPY_DTYPES.get(feature.dtype, np.dtype(np.float32)))


def delegate(path: Path) -> None:
    """Through ExecuTorch, whose error has ours as its cause."""
    import torch
    from executorch.runtime import Runtime

    import executorch_coreml.runtime  # noqa: F401

    program = Runtime.get().load_program(path.read_bytes())
    for name in sorted(program.method_names):
        try:
            method = program.load_method(name)
            infos = [
                method.metadata.input_tensor_meta(i) for i in range(method.metadata.num_inputs())
            ]
            scalar = {6: torch.float32, 5: torch.float16, 3: torch.int32, 4: torch.int64}
            inputs = [
                torch.zeros(info.sizes(), dtype=scalar.get(info.dtype(), torch.bool))
                for info in infos
            ]
            method.execute(inputs)
        except RuntimeError as error:
            if error.__cause__ is None:
                raise
            raise error.__cause__ from None


def _command(*arguments: str) -> None:
    with _captured():
        try:
            main(list(arguments), standalone_mode=False)
        except click.ClickException as error:
            if not isinstance(error.__cause__, CoreMLError):
                raise
            raise error.__cause__ from None


@contextmanager
def _captured() -> Iterator[None]:
    """A standard output that encodes, as a real one does."""
    before = sys.stdout
    sys.stdout = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    try:
        yield
    finally:
        sys.stdout = before
