"""Packages in a finished ``.pte`` -> compiled models, without exporting again.

The program is read and written by ExecuTorch's own serialiser; nothing but the payloads of Core ML
delegates, and the compile spec that says what they hold, is touched.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any

from executorch_coreml.compiler import payload
from executorch_coreml.compiler.apple import compile_package
from executorch_coreml.errors import PayloadError
from executorch_coreml.mil.bundle import BACKEND_ID
from executorch_coreml.mil.pte import is_pte, read_pte
from executorch_coreml.options import MODEL_TYPE, ModelType

Rewrite = Callable[[bytes], bytes]

_PACKAGE, _COMPILED = "model.mlpackage", "model.mlmodelc"


def finish(pte: bytes, compiler: Sequence[str] | None = None) -> tuple[bytes, int]:
    """Compiles every package in a program.

    Args:
        pte: The program.
        compiler: The command of the model compiler; Apple's if None.

    Returns:
        The program, and how many models were compiled; those that are already stay as they are.

    Raises:
        PayloadError: No ExecuTorch program, or one without Core ML delegates.
        PackageError: The compiler is missing or failed.
    """
    count = 0

    def compiled(data: bytes) -> bytes:
        nonlocal count
        made = _compiled(data, compiler)
        count += made is not data
        return made

    return rewrite(pte, compiled), count


def rewrite(pte: bytes, change: Rewrite) -> bytes:
    """A program with ``change`` applied to every Core ML payload, once to one that is shared.

    Raises:
        PayloadError: No ExecuTorch program, or one without Core ML delegates.
    """
    if not is_pte(memoryview(pte)):
        raise PayloadError("no ExecuTorch program", offset=4)
    delegates = [d for d in read_pte(memoryview(pte)).delegates if d.id == BACKEND_ID]
    if not delegates:
        raise PayloadError("the program has no Core ML delegates")
    from executorch.exir._serialize._program import deserialize_pte_binary, serialize_pte_binary

    in_segments = bytes(pte[8:12]) == b"eh00"
    file = deserialize_pte_binary(pte)
    ours = [d for plan in file.program.execution_plan for d in plan.delegates if d.id == BACKEND_ID]
    shared: set[str] = set()
    for index in sorted({delegate.processed.index for delegate in ours}):
        blob = file.program.backend_delegate_data[index]
        if payload.is_reference(blob.data):
            shared.add(payload.parse_reference(blob.data).key)
        else:
            blob.data = change(bytes(blob.data))
    for key in sorted(shared):
        _change_named(file.named_data, key, change)
    for delegate in ours:
        for spec in delegate.compile_specs:
            if spec.key == MODEL_TYPE and _holds_compiled(file, delegate):
                spec.value = ModelType.COMPILED_MODEL.value.encode()
    return bytes(serialize_pte_binary(file, extract_delegate_segments=in_segments))


def _change_named(store: Any, key: str, change: Rewrite) -> None:
    if store is None or key not in store.pte_data:
        raise PayloadError(f"the program has no named data {key!r}, which a delegate refers to")
    place = store.pte_data[key].buffer_index
    store.buffers[place] = change(bytes(store.buffers[place]))


def _holds_compiled(file: Any, delegate: Any) -> bool:
    data = file.program.backend_delegate_data[delegate.processed.index].data
    if payload.is_reference(data):
        key = payload.parse_reference(data).key
        data = file.named_data.buffers[file.named_data.pte_data[key].buffer_index]
    return any(f"/{_COMPILED}/" in path for path in payload.unpack(data))


def _compiled(data: bytes, compiler: Sequence[str] | None) -> bytes:
    """The payload with its package compiled; ``data`` itself if it holds none."""
    files = dict(payload.unpack(data))
    inside = {path: content for path, content in files.items() if f"/{_PACKAGE}/" in path}
    if not inside:
        return data
    root = next(iter(inside)).partition(f"/{_PACKAGE}/")[0]
    package = {path.removeprefix(f"{root}/{_PACKAGE}/"): inside[path] for path in inside}
    made = compile_package(package, compiler)
    kept: dict[str, payload.Buffer] = {p: c for p, c in files.items() if p not in inside}
    metadata = json.loads(bytes(files[f"{root}/metadata.json"]))
    metadata["identifier"] = _identifier(metadata["identifier"], made)
    kept[f"{root}/metadata.json"] = json.dumps(metadata, indent=1, sort_keys=True).encode()
    return payload.pack(kept | {f"{root}/{_COMPILED}/{path}": made[path] for path in made})


def _identifier(package: str, compiled: dict[str, bytes]) -> str:
    """Another one than the package's: the device's cache is keyed by it."""
    digest = hashlib.sha256(package.encode())
    for path in sorted(compiled):
        digest.update(f"\0{path}\0{len(compiled[path])}\0".encode())
        digest.update(compiled[path])
    return f"executorch_{digest.hexdigest()[:32]}"
