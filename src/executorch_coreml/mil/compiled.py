"""What a compiled model, a ``.mlmodelc`` directory, says: its program and its border.

Apple's compiler writes ``model.mil`` (:mod:`executorch_coreml.mil.text`), ``weights/weight.bin``
(:mod:`executorch_coreml.mil.weights`), ``coremldata.bin`` (not needed) and, if it is the one of
Xcode, ``metadata.json``: a list of one object whose ``inputSchema``, ``outputSchema`` and
``stateSchema`` describe the border of the default function, and those under ``functions`` that of
each function, if there are several. The entries are those of ``FeatureType::toDictionary`` in
``mlmodel/src/DataType.cpp`` of apple/coremltools: strings throughout, shapes as JSON in a string.

Without it the border is what the program says: the types of the values, and the function's
attribute ``FlexibleShapeInformation`` with ``DefaultShapes``, ``RangeDims`` (one [lower, upper] per
dimension) and ``EnumeratedShapes`` (a key for each combination -> the shape of each input).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

from executorch_coreml.errors import PayloadError, ProgramError
from executorch_coreml.mil.description import (
    COLOR_SPACES,
    DEFAULT_FUNCTION,
    Range,
    bounds,
    image_facts,
)
from executorch_coreml.mil.files import OpenFile, read_json, weight_files
from executorch_coreml.mil.text import OPSETS, parse
from executorch_coreml.mil.types import (
    Description,
    DictType,
    Feature,
    Function,
    Program,
    StateType,
    TensorType,
    Value,
)

TEXT, METADATA = "model.mil", "metadata.json"
FLEXIBLE = "FlexibleShapeInformation"
_DATA = "coremldata.bin"
COMPILED_FILES = (TEXT, _DATA)
"""A directory with one of these is a compiled model, whatever it is called."""

_NETWORK = "model.espresso.net"
_KIND = "MLModelType_"

DTYPES = {
    "Float32": "fp32",
    "Float16": "fp16",
    "Double": "fp64",
    "Int32": "int32",
    "Int8": "int8",
}
_PLAIN = {
    "Int64": {"kind": "int64", "dtype": "int64"},
    "Double": {"kind": "double", "dtype": "fp64"},
    "String": {"kind": "string", "dtype": "string"},
}

Compiled = tuple[Program, Mapping[str, Description], str, int]


def read_compiled(
    names: Collection[str], open_file: OpenFile, source: str, *, unpack: bool = True
) -> Compiled:
    """Read a compiled model.

    Args:
        names: The files of its directory, by path inside it.
        open_file: Opens one of them.
        source: What to call the model in messages.
        unpack: As for :class:`~executorch_coreml.mil.weights.WeightFile`.

    Returns:
        The program, the border of each function, the function that runs by default, and the
        specification version.

    Raises:
        PayloadError: A file is missing or damaged.
        ProgramError: The model is no ML Program, or a malformed one.
    """
    what = f"{source}, {METADATA}"
    metadata = _metadata(open_file(METADATA), what) if METADATA in names else {}
    if TEXT not in names:
        _require_program(names, metadata, source)
    text = _text(open_file(TEXT), f"{source}, {TEXT}")
    weights = weight_files(open_file, source, unpack=unpack)
    program = parse(text, weights, f"{source}, {TEXT}")
    if not program.functions:
        raise ProgramError(f"{source}: the program has no functions")
    borders = {name: _signature(f) for name, f in program.functions.items()}
    default = _default(metadata, borders, what)
    for name, described in _described(metadata, default, what):
        if name not in borders:
            raise PayloadError(f"{what}: the program has no function {name!r}")
        borders[name] = _refined(borders[name], described, f"{what}, function {name!r}")
    version = metadata.get("specificationVersion")
    return program, borders, default, version if isinstance(version, int) else _version(program)


def _metadata(data: memoryview, what: str) -> dict[str, Any]:
    models = read_json(data, what)
    if not isinstance(models, list) or len(models) != 1 or not isinstance(models[0], dict):
        raise PayloadError(f"{what}: a list of one JSON object is expected")
    return models[0]


def _text(data: memoryview, what: str) -> str:
    try:
        return bytes(data).decode()
    except UnicodeDecodeError as error:
        raise PayloadError(f"{what}: no UTF-8", offset=error.start) from error


def _require_program(names: Collection[str], metadata: Mapping[str, Any], source: str) -> None:
    """
    Raises:
        ProgramError: The directory holds a compiled model of another kind.
    """
    kind = metadata.get("modelType")
    kind = kind.get("name") if isinstance(kind, dict) else None
    if _NETWORK in names:
        kind = f"neural network ({_NETWORK})"
    elif isinstance(kind, str):
        kind = kind.removeprefix(_KIND)
    elif any(name.startswith("model0/") for name in names):
        kind = "pipeline"
    elif _DATA in names:
        kind = f"model without {TEXT}"
    else:
        return
    raise ProgramError(
        f"{source}: the model is a compiled {kind}, not an ML Program",
        hint="convert it again with coremltools and convert_to='mlprogram'",
    )


def _version(program: Program) -> int:
    """The specification version that came with the newest opset in use."""
    places = {opset: 6 + i for i, opset in enumerate(OPSETS.values())}
    return max(places[function.opset] for function in program.functions.values())


def _default(metadata: Mapping[str, Any], functions: Collection[str], what: str) -> str:
    named = metadata.get("defaultFunctionName")
    if named is None:
        return DEFAULT_FUNCTION if DEFAULT_FUNCTION in functions else next(iter(functions))
    if named not in functions:
        raise PayloadError(f"{what}: default function {named!r} is none of {list(functions)}")
    return str(named)


def _signature(function: Function) -> Description:
    """The border as the program alone tells it."""
    flexible = _Flexible(function)
    made = {value.name: value for op in function.body.operations for value in op.outputs}
    made |= {value.name: value for value in function.inputs}
    states = [v for v in function.inputs if isinstance(v.type, StateType)]
    return Description(
        inputs=tuple(flexible.refine(_feature(v)) for v in function.inputs if v not in states),
        outputs=tuple(_feature(made[name]) for name in function.body.outputs),
        states=tuple(replace(_feature(v), kind="state") for v in states),
    )


def _feature(value: Value) -> Feature:
    if isinstance(value.type, DictType) and isinstance(value.type.key, TensorType):
        return Feature(value.name, value.type.key.dtype, (), "dictionary")
    kind = value.type.tensor if isinstance(value.type, StateType) else value.type
    if not isinstance(kind, TensorType):
        raise ProgramError(f"a {kind} cannot cross the border", location=f"value {value.name!r}")
    if kind.dtype == "string":
        return Feature(value.name, kind.dtype, (), "string")
    shape = tuple(extent for extent in kind.shape if extent is not None)
    return Feature(value.name, kind.dtype, shape if len(shape) == len(kind.shape) else ())


class _Flexible:
    """The attribute of a function that says which shapes its inputs can have."""

    def __init__(self, function: Function):
        self._where = f"function {function.name!r}, attribute {FLEXIBLE}"
        found = function.attributes.get(FLEXIBLE)
        parts = found.data if found is not None else ()
        try:
            entries = {str(name): dict(value) for name, value in parts}
            self._defaults = entries.get("DefaultShapes", {})
            self._ranges = entries.get("RangeDims", {})
            self._together = [dict(e) for e in entries.get("EnumeratedShapes", {}).values()]
        except (TypeError, ValueError) as error:
            raise self._error() from error

    def refine(self, feature: Feature) -> Feature:
        name = feature.name
        try:
            return replace(
                feature,
                shape=_shape(self._defaults.get(name, feature.shape)),
                enumerated=tuple(_shape(each[name]) for each in self._together if name in each),
                ranges=tuple(bounds(*_shape(pair)) for pair in self._ranges.get(name, ())),
            )
        except (TypeError, ValueError) as error:
            raise self._error() from error

    def _error(self) -> ProgramError:
        return ProgramError("no dictionaries of shapes by input", location=self._where)


def _shape(extents: Any) -> tuple[int, ...]:
    return tuple(int(extent) for extent in extents)


def _described(
    metadata: Mapping[str, Any], default: str, what: str
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Functions and the objects that hold their schemas."""
    functions = metadata.get("functions")
    if not functions:
        yield default, metadata
        return
    if not isinstance(functions, list) or not all(isinstance(each, dict) for each in functions):
        raise PayloadError(f"{what}: functions is no list of objects")
    for each in functions:
        yield str(each.get("name")), each


def _refined(border: Description, described: Mapping[str, Any], what: str) -> Description:
    """The border in the order and with the facts of ``metadata.json``."""
    parts = {}
    for part, key in (
        ("inputs", "inputSchema"),
        ("outputs", "outputSchema"),
        ("states", "stateSchema"),
    ):
        entries = described.get(key)
        known = {feature.name: feature for feature in getattr(border, part)}
        if not entries:
            continue
        if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
            raise PayloadError(f"{what}: {key} is no list of objects")
        parts[part] = tuple(_described_feature(each, known, f"{what}, {key}") for each in entries)
    return replace(border, **parts)


def _described_feature(
    entry: Mapping[str, Any], known: Mapping[str, Feature], what: str
) -> Feature:
    name = str(entry.get("name"))
    if name not in known:
        raise PayloadError(f"{what}: {name!r} is not among the program's {list(known)}")
    try:
        facts = _facts(entry, known[name])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise PayloadError(f"{what}: the entry of {name!r} is malformed: {error!r}") from error
    if facts is None:
        raise ProgramError(
            f"an ML Program has no features of type {entry.get('type')}", location=f"feature {name}"
        )
    optional, description = entry.get("isOptional") == "1", str(entry.get("shortDescription", ""))
    return replace(known[name], optional=optional, description=description, **facts)


def _facts(entry: Mapping[str, Any], known: Feature) -> dict[str, Any] | None:
    """Fields of a feature; None for a type that is not known."""
    match entry["type"]:
        case "MultiArray":
            return {
                "dtype": DTYPES[entry["dataType"]],
                "shape": _numbers(entry["shape"]) or known.shape,
                "enumerated": _lists(entry, "enumeratedShapes") or known.enumerated,
                "ranges": _ranges(entry, "shapeRange") or known.ranges,
            }
        case "State":
            return {"dtype": DTYPES[entry["dataType"]], "shape": _numbers(entry["shape"])}
        case "Image":
            if entry["colorspace"] not in COLOR_SPACES:
                raise ValueError(f"colour space {entry['colorspace']!r} is not known")
            size = int(entry["width"]), int(entry["height"])
            sizes, ranges = _lists(entry, "enumeratedSizes"), _ranges(entry, "sizeRange")
            flipped = [each[::-1] for each in sizes]  # width comes first
            return image_facts(entry["colorspace"], size[::-1], flipped, ranges[::-1])
        case "Dictionary":
            key = "string" if entry["keyType"] == "String" else "int64"
            return {"kind": "dictionary", "dtype": key, "shape": ()}
        case kind:
            return {**_PLAIN[kind], "shape": ()} if kind in _PLAIN else None


def _numbers(text: str) -> tuple[int, ...]:
    return _shape(json.loads(text))


def _lists(entry: Mapping[str, Any], key: str) -> tuple[tuple[int, ...], ...]:
    return tuple(_shape(each) for each in json.loads(entry.get(key, "[]")))


def _ranges(entry: Mapping[str, Any], key: str) -> tuple[Range, ...]:
    return tuple(bounds(*pair) for pair in _lists(entry, key))
