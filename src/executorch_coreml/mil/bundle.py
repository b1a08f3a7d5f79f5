"""Any form of a Core ML model -> :class:`~executorch_coreml.mil.types.Bundle`.

Paths are memory-mapped and memory is viewed in place; nothing is written to disk. The weights of a
bundle keep the map or the buffer alive.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

from google.protobuf.message import DecodeError

from executorch_coreml.compiler import payload
from executorch_coreml.errors import PayloadError, ProgramError
from executorch_coreml.mil.compiled import COMPILED_FILES, read_compiled
from executorch_coreml.mil.description import read_descriptions
from executorch_coreml.mil.files import OpenFile, inside, map_file, read_object, weight_files
from executorch_coreml.mil.proto import read_program
from executorch_coreml.mil.pte import Delegate, is_pte, read_pte
from executorch_coreml.mil.schema import Model
from executorch_coreml.mil.types import Bundle, Description, Feature, Function, Program

__all__ = ["read", "read_model", "read_payload"]

Buffer: TypeAlias = "bytes | bytearray | memoryview | mmap.mmap"

BACKEND_ID = "CoreMLBackend"
"""The name of Core ML delegates in a ``.pte``."""

_NamedData: TypeAlias = Callable[[str], Buffer]

_PACKAGE, _COMPILED = "model.mlpackage", "model.mlmodelc"


def read(
    source: str | os.PathLike[str] | Buffer, *, delegate: int = 0, unpack: bool = True
) -> Bundle:
    """Read a model.

    Args:
        source: The path of a ``.mlpackage``, a ``.mlmodelc``, a ``.mlmodel``, a ``.pte`` or a file
            that holds a delegate payload; or the bytes of a ``.pte`` or a payload.
        delegate: For a ``.pte``, which of its Core ML delegates, counted from 0 over all methods.
        unpack: As for :class:`~executorch_coreml.mil.weights.WeightFile`: False for who looks at a
            model and does not run it.

    Raises:
        PayloadError: The source does not exist, is none of these, or is damaged.
        ProgramError: The model is no ML Program, or a malformed one.
    """
    if not isinstance(source, str | os.PathLike):
        view = _view(source)
        return _read_buffer(view, f"{len(view)} bytes in memory", delegate, unpack)
    path = Path(source)
    if path.suffix == ".mlmodelc" or any((path / name).exists() for name in COMPILED_FILES):
        names = [file.relative_to(path).as_posix() for file in path.rglob("*")]
        found = read_compiled(names, lambda name: map_file(path / name), str(path), unpack=unpack)
        return _bundle(*found, source=str(path))
    if path.is_dir():
        return _read_package(lambda name: map_file(path / name), str(path), unpack)
    if path.suffix == ".mlmodel":
        beside = path.parent
        return read_model(
            map_file(path), lambda name: map_file(beside / name), str(path), unpack=unpack
        )
    return _read_buffer(map_file(path), str(path), delegate, unpack)


def read_payload(
    data: Buffer,
    named_data: _NamedData | None = None,
    method_name: str | None = None,
    *,
    source: str = "delegate payload",
    unpack: bool = True,
) -> Bundle:
    """Read what a Core ML delegate gets at initialisation.

    Args:
        data: The processed bytes: a payload, or a reference to one that several methods share.
        named_data: Gives the program's named data by key, or raises ``KeyError``; needed for
            references only.
        method_name: The ExecuTorch method. In a model of several methods it picks the order of
            arguments, and the function where the reference does not.
        source: What to call the payload in messages.
        unpack: As for :func:`read`.

    Raises:
        PayloadError: The payload is damaged, or a reference leads nowhere.
        ProgramError: The model is no ML Program, or a malformed one.
    """
    view, function = _view(data), None
    if payload.is_reference(view):
        reference = payload.parse_reference(view)
        view = _shared(reference.key, named_data, source)
        function = reference.function_name or method_name
    files = payload.unpack(view)
    root = _root(files, source)
    bundle = _read_packed(files, root, source, unpack)
    metadata = read_object(files[f"{root}/metadata.json"], f"{source}, metadata.json")
    if (debug_info := files.get(f"{root}/debug_info.json")) is not None:
        what = f"{source}, debug_info.json"
        info = read_object(debug_info, what)
        bundle = replace(
            bundle,
            precision=_places(info, payload.PRECISION_NOTES, what),
            outside=_places(info, payload.OUTSIDE, what),
            facts=_facts(info),
            debug_handles=_debug_handles(info),
        )
    return _for_delegate(bundle, metadata, function, method_name)


def _places(debug_info: Mapping[str, Any], key: str, what: str) -> dict[str, tuple[str, ...]]:
    """An entry of ``debug_info.json`` that maps reasons to places in the user's model."""
    notes = debug_info.get(key, {})
    if not isinstance(notes, dict) or not all(
        isinstance(places, list) for places in notes.values()
    ):
        raise PayloadError(f"{what}: {key} is no object of lists")
    return {reason: tuple(map(str, places)) for reason, places in notes.items()}


def _read_buffer(view: memoryview, source: str, delegate: int, unpack: bool) -> Bundle:
    if not is_pte(view):
        return read_payload(view, source=source, unpack=unpack)
    pte = read_pte(view)
    ours = [d for d in pte.delegates if d.id == BACKEND_ID]
    if not 0 <= delegate < len(ours):
        raise PayloadError(
            f"{source}: there is no Core ML delegate {delegate}; {_listing(pte.delegates)}"
        )
    chosen = ours[delegate]
    name = f"{source}, method {chosen.method!r}, delegate {chosen.index}"
    named_data = pte.named_data.__getitem__
    return read_payload(chosen.processed, named_data, chosen.method, source=name, unpack=unpack)


def _listing(delegates: Iterable[Delegate]) -> str:
    lines = [f"{d.index} of method {d.method!r} for {d.id}" for d in delegates]
    return "its delegates are: " + "; ".join(lines) if lines else "it has no delegates at all"


def _shared(key: str, named_data: _NamedData | None, source: str) -> memoryview:
    if named_data is None:
        raise PayloadError(
            f"{source}: the model is shared, and stored under {key!r} in the program's named data",
            hint="read the whole .pte",
        )
    try:
        return _view(named_data(key))
    except KeyError:
        raise PayloadError(f"{source}: the program has no named data {key!r}") from None


def _root(files: Mapping[str, memoryview], source: str) -> str:
    """The directory that holds ``metadata.json`` beside the model, which nests at most once."""
    paths = map(PurePosixPath, files)
    found = [str(p) for p in paths if p.name == "metadata.json" and _COMPILED not in p.parts]
    if not found:
        raise PayloadError(f"{source}: there is no metadata.json among {list(files)}")
    return str(PurePosixPath(min(found, key=lambda name: name.count("/"))).parent)


def _read_packed(files: Mapping[str, memoryview], root: str, source: str, unpack: bool) -> Bundle:
    """The package or the compiled model in the directory ``root`` of a payload."""
    compiled = f"{root}/{_COMPILED}/"
    names = [name.removeprefix(compiled) for name in files if name.startswith(compiled)]
    folder = compiled if names else f"{root}/{_PACKAGE}/"

    def open_file(name: str) -> memoryview:
        if folder + name not in files:
            raise PayloadError(f"{source}: there is no {folder + name!r} among {list(files)}")
        return files[folder + name]

    if names:
        found = read_compiled(names, open_file, source, unpack=unpack)
        return _bundle(*found, source=source)
    return _read_package(open_file, source, unpack)


def _for_delegate(
    bundle: Bundle, metadata: Mapping[str, Any], function: str | None, method: str | None
) -> Bundle:
    """The bundle with ``function`` as its default and with the delegate's order of arguments.

    ``metadata.json`` lists one order for a model of one function, or one per method. A method runs
    the function of its own name, except that ``method``, if given, runs the default.
    """
    default = bundle.default_function if function is None else function
    if default not in bundle.descriptions:
        raise PayloadError(
            f"{bundle.source}: there is no function {default!r} in {list(bundle.descriptions)}"
        )
    orders = metadata.get("methods")
    if orders is None:
        orders = {default: metadata}
    elif not isinstance(orders, dict) or (method is not None and method not in orders):
        raise PayloadError(f"{bundle.source}: metadata.json does not describe method {method!r}")
    elif method is not None:
        orders = orders | {default: orders[method]}
    inputs, outputs = dict(bundle.input_names), dict(bundle.output_names)
    for name in orders:
        if name in bundle.descriptions:
            inputs[name] = _ordered(orders[name], "inputNames", inputs[name], bundle.source)
            outputs[name] = _ordered(orders[name], "outputNames", outputs[name], bundle.source)
    return replace(bundle, default_function=default, input_names=inputs, output_names=outputs)


def _facts(debug_info: Mapping[str, Any]) -> dict[str, str]:
    """Text entries of ``versionInfo``, where our compiler says what the model does not."""
    found = debug_info.get("versionInfo")
    items = found.items() if isinstance(found, dict) else ()
    return {key: value for key, value in items if isinstance(value, str)}


def _debug_handles(debug_info: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Only a trace needs them: what is no list of integers is left out."""
    found = debug_info.get(payload.DEBUG_HANDLES)
    items = found.items() if isinstance(found, dict) else ()
    return {
        symbol: tuple(handles)
        for symbol, handles in items
        if isinstance(handles, list) and all(isinstance(each, int) for each in handles)
    }


def _ordered(order: Any, key: str, declared: tuple[str, ...], source: str) -> tuple[str, ...]:
    names = order.get(key) if isinstance(order, dict) else None
    if not isinstance(names, list) or not all(name in declared for name in names):
        raise PayloadError(
            f"{source}: {key} in metadata.json is {names!r}, the model has {list(declared)}"
        )
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise PayloadError(f"{source}: {key} in metadata.json has {twice!r} more than once")
    return tuple(names)


def _read_package(open_file: OpenFile, source: str, unpack: bool) -> Bundle:
    """Read a ``.mlpackage``; ``open_file`` takes paths inside it."""
    manifest = read_object(open_file("Manifest.json"), f"{source}, Manifest.json")
    try:
        entry = manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"]
    except (LookupError, TypeError) as error:
        raise PayloadError(f"{source}: Manifest.json names no root model: {error!r}") from error
    path = PurePosixPath("Data") / inside(entry, source)
    beside = path.parent
    return read_model(
        open_file(str(path)), lambda name: open_file(f"{beside}/{name}"), source, unpack=unpack
    )


def read_model(
    data: memoryview, open_file: OpenFile, source: str, *, unpack: bool = True
) -> Bundle:
    """Read the bytes of a ``.mlmodel``; ``open_file`` takes paths beside it.

    Raises:
        PayloadError: The bytes are no model, or a file is missing or damaged.
        ProgramError: The model is no ML Program, or a malformed one.
    """
    model = _parse(data, source)
    program = read_program(model.mlProgram, weight_files(open_file, source, unpack=unpack))
    descriptions, default = read_descriptions(model.description)
    return _bundle(program, descriptions, default, model.specificationVersion, source=source)


def _bundle(
    program: Program,
    descriptions: Mapping[str, Description],
    default: str,
    version: int,
    *,
    source: str,
) -> Bundle:
    """A bundle whose descriptions fit the program; arguments are in the order described."""
    for name, description in descriptions.items():
        if name not in program.functions:
            raise ProgramError(f"{source}: there is no function {name!r}, which it describes")
        _check_border(program.functions[name], description)
    return Bundle(
        program=program,
        descriptions=descriptions,
        specification_version=version,
        default_function=default,
        input_names={name: _names(d.inputs) for name, d in descriptions.items()},
        output_names={name: _names(d.outputs) for name, d in descriptions.items()},
        source=source,
    )


def _parse(data: memoryview, source: str) -> Any:
    try:
        model = Model.FromString(bytes(data))
    except DecodeError as error:
        raise PayloadError(f"{source}: no Core ML model: {error}") from error
    kind = model.WhichOneof("Type")
    if kind is None:
        raise PayloadError(f"{source}: the file holds no model of a known type")
    if kind != "mlProgram":
        raise ProgramError(
            f"{source}: the model is a {kind}, not an ML Program",
            hint="convert it again with coremltools and convert_to='mlprogram'",
        )
    return model


def _check_border(function: Function, description: Description) -> None:
    """Every described feature must be one of the function's inputs or outputs."""
    inputs = {value.name for value in function.inputs}
    outputs = set(function.body.outputs)
    for features, values, kind in (
        (description.inputs, inputs, "input"),
        (description.states, inputs, "state"),
        (description.outputs, outputs, "output"),
    ):
        if missing := [feature.name for feature in features if feature.name not in values]:
            raise ProgramError(
                f"the description declares {kind}s that the program lacks: {missing}",
                location=f"function {function.name!r}",
            )


def _names(features: Iterable[Feature]) -> tuple[str, ...]:
    return tuple(feature.name for feature in features)


def _view(data: Buffer) -> memoryview:
    return memoryview(data).toreadonly().cast("B")
