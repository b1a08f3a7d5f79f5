"""A stand-in for Apple's model compiler: it writes the tree that the real one writes.

The text comes from our own printer, so what is read back is checked against what was compiled; that
the printer writes what Apple's compiler does is shown in test_mil_text.py. Called as a script it
takes the arguments of ``coremlcompiler compile``.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from executorch_coreml.mil.bundle import read
from executorch_coreml.mil.text_print import to_text
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

COMPILER = f"{sys.executable} {Path(__file__)}"
WEIGHTS = "weights/weight.bin"

_STRING = TensorType("string", ())
_SHAPE = TensorType("int32", (None,))
_RANGES = ListType(TensorType("int32", (2,)), None)
_DTYPES = {"fp32": "Float32", "fp16": "Float16", "int32": "Int32", "int8": "Int8"}


def compiled(bundle: Bundle, version: Any = None) -> dict[str, bytes]:
    """The files of the ``.mlmodelc``, by path."""
    weights = WeightWriter()
    functions = {
        name: _function(function, bundle.descriptions[name])
        for name, function in bundle.program.functions.items()
    }
    info = Constant(DictType(_STRING, _STRING), {"coremlc-version": "3500.32.1"})
    program = replace(bundle.program, functions=functions, attributes={"buildInfo": info})
    text = to_text(program, weights, version=version)
    files = {
        "model.mil": text.encode(),
        "metadata.json": json.dumps([_metadata(bundle)], indent=2).encode(),
        "coremldata.bin": bytes(16),
        "analytics/coremldata.bin": bytes(16),
    }
    return files | ({WEIGHTS: b"".join(weights.parts)} if weights.parts else {})


def _function(function: Function, border: Description) -> Function:
    """Apple's compiler lists inputs by name, and says in an attribute which shapes they take."""
    inputs = tuple(sorted(function.inputs, key=lambda value: value.name))
    flexible = _flexible(sorted(border.inputs, key=lambda feature: feature.name))
    attributes = {"FlexibleShapeInformation": flexible} if flexible else {}
    return replace(function, inputs=inputs, attributes=attributes)


def _flexible(features: list[Feature]) -> Constant | None:
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
        "type": "State" if feature.kind == "state" else "MultiArray",
        "dataType": _DTYPES[feature.dtype],
        "shape": str(list(feature.shape)),
        "isOptional": str(int(feature.optional)),
        "shortDescription": feature.description,
        "hasShapeFlexibility": str(int(bool(feature.ranges or feature.enumerated))),
    }
    if feature.ranges:
        found["shapeRange"] = str([[a, -1 if b is None else b] for a, b in feature.ranges])
    if feature.enumerated:
        found["enumeratedShapes"] = str([list(shape) for shape in feature.enumerated])
    return found


def write(files: dict[str, bytes], directory: Path) -> Path:
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    return directory


if __name__ == "__main__":
    command, package, target = sys.argv[1:]
    assert command == "compile"
    write(compiled(read(package)), Path(target, Path(package).with_suffix(".mlmodelc").name))
