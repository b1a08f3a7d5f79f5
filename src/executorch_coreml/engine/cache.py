"""Compiled models on disk, so that a program is compiled once for all processes.

An entry is one file, named by what its contents depend on: the function with its weights
(:mod:`executorch_coreml.mil.digest`), how it is compiled and for what device, OpenVINO's version
and the sources of this engine. It is written beside its place and renamed, so processes may share a
directory. Nothing is ever removed. The file, little-endian::

    0    "ETCOREML", length of the facts u32, length of the compiled model u64
    20   the facts, a JSON object, with spaces up to a multiple of 64
         the compiled model, as OpenVINO exports it
         SHA-256 of all of that, 32 bytes

An entry that is damaged or that OpenVINO does not take any more is made anew.
"""

from __future__ import annotations

import json
import logging
import os
import struct
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from executorch_coreml.engine.kernels.operand import shareable
from executorch_coreml.engine.pages import given_back
from executorch_coreml.engine.precision import core
from executorch_coreml.errors import PayloadError
from executorch_coreml.mil.digest import digest
from executorch_coreml.mil.files import map_file
from executorch_coreml.mil.types import Function

_log = logging.getLogger(__name__)

_HEADER = struct.Struct("<8sIQ")
_MAGIC = b"ETCOREML"
_ALIGNMENT = 64  # of the compiled model, whose constants OpenVINO may use in place
_SUFFIX = ".ovmodel"

Facts = dict[str, Any]


class Entry:
    """The place of one compiled model in a cache.

    Args:
        directory: Of the cache; made when there is something to write.
        function: What is compiled.
        how: What else decides the result: device, precision, OpenVINO's properties.
    """

    def __init__(
        self, directory: str | os.PathLike[str], function: Function, how: Mapping[str, Any]
    ):
        self._device = str(how["device"])
        self._properties = dict(how["properties"])
        told = {**how, "machine": _machine(self._device), "engine": _engine()}
        name = sha256(digest(function) + json.dumps(told, sort_keys=True, default=str).encode())
        self._path = Path(directory) / f"{name.hexdigest()}{_SUFFIX}"

    def load(self) -> tuple[ov.CompiledModel, Facts] | None:
        """The compiled model and the facts that were stored with it; None if there is no entry that
        can be used."""
        if not self._path.exists():
            return None
        try:
            facts, model = _read(map_file(self._path))
            array = np.asarray(model)
            blob = ov.Tensor(shareable(array), shared_memory=True)
            with given_back([array]):
                compiled = core().import_model(blob, self._device, self._properties)
            compiled._blob = blob  # OpenVINO reads constants in it, and does not keep it alive
            return compiled, facts
        except (PayloadError, RuntimeError, ValueError) as error:
            _log.warning("%s cannot be used and is made anew: %s", self._path, _line(error))
            return None

    def store(self, compiled: ov.CompiledModel, facts: Facts) -> None:
        """Write the entry, in place of one that may be there."""
        try:
            stream = BytesIO()
            compiled.export_model(stream)
            self._path.parent.mkdir(parents=True, exist_ok=True)
            _write(self._path, json.dumps(facts).encode(), stream.getbuffer())
        except (OSError, RuntimeError) as error:
            _log.warning("a compiled model cannot be stored as %s: %s", self._path, _line(error))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _read(data: memoryview) -> tuple[Facts, memoryview]:
    """
    Raises:
        PayloadError: The file is damaged.
    """
    if len(data) < _HEADER.size + sha256().digest_size:
        raise PayloadError(f"{len(data)} bytes are too few")
    magic, facts, model = _HEADER.unpack_from(data)
    end = _HEADER.size + facts + model
    if magic != _MAGIC or end + sha256().digest_size != len(data):
        raise PayloadError("the header does not fit the file", offset=0)
    if sha256(data[:end]).digest() != data[end:]:
        raise PayloadError("the checksum is wrong", offset=end)
    split = _HEADER.size + facts
    return json.loads(bytes(data[_HEADER.size : split])), data[split:end]


def _write(path: Path, facts: bytes, model: memoryview) -> None:
    facts += b" " * (-(_HEADER.size + len(facts)) % _ALIGNMENT)
    header = _HEADER.pack(_MAGIC, len(facts), len(model))
    whole = sha256()
    file, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=_SUFFIX)
    try:
        with os.fdopen(file, "wb") as stream:
            for part in (header, facts, model):
                stream.write(part)
                whole.update(part)
            stream.write(whole.digest())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@lru_cache
def _machine(device: str) -> tuple[str, ...]:
    """What OpenVINO compiles for, and which OpenVINO."""
    names = ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")
    known = set(core().get_property(device, "SUPPORTED_PROPERTIES"))
    facts = [str(core().get_property(device, name)) for name in names if name in known]
    return (ov.get_version(), *facts)


@lru_cache
def _engine() -> str:
    """The sources of everything that makes a graph of a program."""
    whole = sha256()
    root = Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        whole.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return whole.hexdigest()


__all__ = ["Entry"]
