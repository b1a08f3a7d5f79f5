"""A model as the files of a ``.mlmodelc`` directory, those that :mod:`.compiled` reads.

``model.mil``, ``weights/weight.bin`` and ``metadata.json`` are laid out as Apple's compiler does.
``coremldata.bin``, whose format is not published, is left out: a device loads no such model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from executorch_coreml.mil.compiled import DTYPES, FLEXIBLE, METADATA, TEXT
from executorch_coreml.mil.text_print import WEIGHTS, Version, to_text
from executorch_coreml.mil.types import (
    Bundle,
    Constant,
    Description,
    DictType,
    Feature,
    Function,
    ListType,
    TensorType,
    TupleType,
    Type,
)
from executorch_coreml.mil.weights import WeightWriter

_STRING = TensorType("string", ())
_SHAPE = TensorType("int32", (None,))
_RANGES = ListType(TensorType("int32", (2,)), None)
_WRITTEN = {dtype: name for name, dtype in DTYPES.items()}


def write_compiled(bundle: Bundle, directory: Path) -> Path:
    """Write :func:`compiled_files` into ``directory``, which is made, and return it.

    Raises:
        ProgramError: A name of the program cannot be written as text.
    """
    for name, content in compiled_files(bundle).items():
        target = directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return directory


def compiled_files(
    bundle: Bundle,
    version: Version | None = None,
    attributes: Mapping[str, Constant] | None = None,
) -> dict[str, bytes]:
    """The files of a compiled model, by their path in its directory.

    Args:
        bundle: The model.
        version: Of the text; see :func:`~executorch_coreml.mil.text_print.to_text`.
        attributes: Of the program, in place of its own.

    Raises:
        ProgramError: A name of the program cannot be written as text.
    """
    weights = WeightWriter()
    functions = {
        name: _function(function, bundle.descriptions[name])
        for name, function in bundle.program.functions.items()
    }
    chosen = bundle.program.attributes if attributes is None else attributes
    program = replace(bundle.program, functions=functions, attributes=chosen)
    files = {
        TEXT: to_text(program, weights, version=version).encode(),
        METADATA: json.dumps([_metadata(bundle)], indent=2).encode(),
    }
    return files | ({WEIGHTS: b"".join(weights.parts)} if weights.parts else {})


def _function(function: Function, border: Description) -> Function:
    """Apple's compiler lists inputs by name, and says in an attribute which shapes they take."""
    inputs = tuple(sorted(function.inputs, key=lambda value: value.name))
    flexible = _flexible(sorted(border.inputs, key=lambda feature: feature.name))
    return replace(function, inputs=inputs, attributes={FLEXIBLE: flexible} if flexible else {})


def _flexible(features: Sequence[Feature]) -> Constant | None:
    several = [f for f in features if f.enumerated]
    ranged = [f for f in features if f.ranges]
    parts: list[tuple[str, Type, Any]] = []
    if several or ranged:
        shapes = {f.name: np.array(f.shape, np.int32) for f in several or ranged}
        parts.append(("DefaultShapes", _SHAPE, shapes))
    if several:
        together = {
            f"{i:08x}": {f.name: np.array(f.enumerated[i], np.int32) for f in several}
            for i in range(len(several[0].enumerated))
        }
        parts.append(("EnumeratedShapes", DictType(_STRING, _SHAPE), together))
    if ranged:
        pairs = {
            f.name: tuple(np.array((a, -1 if b is None else b), np.int32) for a, b in f.ranges)
            for f in ranged
        }
        parts.append(("RangeDims", _RANGES, pairs))
    kinds = tuple(TupleType((_STRING, DictType(_STRING, kind))) for _, kind, _ in parts)
    values = tuple((name, value) for name, _, value in parts)
    return Constant(TupleType(kinds), values) if parts else None


def _metadata(bundle: Bundle) -> dict[str, Any]:
    found: dict[str, Any] = {
        "metadataOutputVersion": "3.0",
        "specificationVersion": bundle.specification_version,
        "modelType": {"name": "MLModelType_mlProgram"},
        **_schemas(bundle.descriptions[bundle.default_function]),
    }
    if len(bundle.descriptions) > 1:
        found["functions"] = [
            {"name": name, **_schemas(border)} for name, border in bundle.descriptions.items()
        ]
        found["defaultFunctionName"] = bundle.default_function
    return found


def _schemas(border: Description) -> dict[str, Any]:
    return {
        "inputSchema": [_entry(feature) for feature in border.inputs],
        "outputSchema": [_entry(feature) for feature in border.outputs],
        "stateSchema": [_entry(feature) for feature in border.states],
    }


def _entry(feature: Feature) -> dict[str, str]:
    found = {
        "name": feature.name,
        "isOptional": str(int(feature.optional)),
        "shortDescription": feature.description,
    }
    match feature.kind:
        case "image":
            return found | _image(feature)
        case "dictionary":
            key = {"string": "String", "int64": "Int64"}[feature.dtype]
            return found | {"type": "Dictionary", "keyType": key}
        case "int64" | "double" | "string" as kind:
            return found | {"type": kind.capitalize()}
    found |= {
        "type": "State" if feature.kind == "state" else "MultiArray",
        "dataType": _WRITTEN[feature.dtype],
        "shape": str(list(feature.shape)),
        "hasShapeFlexibility": str(int(bool(feature.ranges or feature.enumerated))),
    }
    if feature.ranges:
        found["shapeRange"] = _pairs(feature.ranges)
    if feature.enumerated:
        found["enumeratedShapes"] = str([list(shape) for shape in feature.enumerated])
    return found


def _image(feature: Feature) -> dict[str, str]:
    """Width comes first."""
    *_, height, width = feature.shape
    found = {
        "type": "Image",
        "colorspace": str(feature.color_space),
        "width": str(width),
        "height": str(height),
    }
    if feature.ranges:
        found["sizeRange"] = _pairs(feature.ranges[:1:-1])
    if feature.enumerated:
        found["enumeratedSizes"] = str([list(shape[:1:-1]) for shape in feature.enumerated])
    return found


def _pairs(ranges: Sequence[tuple[int, int | None]]) -> str:
    return str([[low, -1 if high is None else high] for low, high in ranges])


__all__ = ["compiled_files", "write_compiled"]
