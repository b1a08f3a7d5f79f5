"""The declared inputs, outputs and states of a model, from its ``ModelDescription`` message.

The meaning of the fields is described in ``mlmodel/format/Model.proto`` and ``FeatureTypes.proto``
of apple/coremltools.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from executorch_coreml.errors import ProgramError
from executorch_coreml.mil.types import Description, Feature

DEFAULT_FUNCTION = "main"
"""The function of a model that does not describe its functions one by one."""

# FeatureTypes.proto, ArrayFeatureType.ArrayDataType.
_ARRAY_DTYPES = {65568: "fp32", 65600: "fp64", 131104: "int32", 131080: "int8", 65552: "fp16"}

# FeatureTypes.proto, ImageFeatureType.ColorSpace -> dtype, channels.
_COLOR_SPACES = {10: ("uint8", 1), 20: ("uint8", 3), 30: ("uint8", 3), 40: ("fp16", 1)}

_Range = tuple[int, int | None]


def read_descriptions(message: Any) -> tuple[Mapping[str, Description], str]:
    """Function name -> its border, and the name of the function that runs by default.

    Args:
        message: A ``ModelDescription`` of :mod:`executorch_coreml.mil.schema`.

    Raises:
        ProgramError: A feature is of a type that an ML Program cannot have, a function is
            described twice, or the default function is not described.
    """
    if not message.functions:
        return {DEFAULT_FUNCTION: _description(message)}, DEFAULT_FUNCTION
    descriptions: dict[str, Description] = {}
    for function in message.functions:
        if function.name in descriptions:
            raise ProgramError("described twice", location=f"function {function.name!r}")
        descriptions[function.name] = _description(function)
    default = message.defaultFunctionName or next(iter(descriptions))
    if default not in descriptions:
        raise ProgramError(f"default function {default!r} is none of {list(descriptions)}")
    return descriptions, default


def _description(message: Any) -> Description:
    return Description(
        inputs=tuple(map(_feature, message.input)),
        outputs=tuple(map(_feature, message.output)),
        states=tuple(map(_feature, message.state)),
    )


def _feature(message: Any) -> Feature:
    kind = message.type.WhichOneof("Type")
    facts: dict[str, Any]
    match kind:
        case "multiArrayType":
            facts = _array(message.type.multiArrayType, message.name)
        case "stateType":
            facts = _array(message.type.stateType.arrayType, message.name) | {"kind": "state"}
        case "imageType":
            facts = _image(message.type.imageType, message.name)
        case "dictionaryType":
            key = message.type.dictionaryType.WhichOneof("KeyType")
            dtype = "string" if key == "stringKeyType" else "int64"
            facts = {"kind": "dictionary", "dtype": dtype, "shape": ()}
        case "int64Type" | "stringType":
            name = kind.removesuffix("Type")
            facts = {"kind": name, "dtype": name, "shape": ()}
        case "doubleType":
            facts = {"kind": "double", "dtype": "fp64", "shape": ()}
        case _:
            raise ProgramError(
                f"an ML Program has no features of type {kind}", location=f"feature {message.name}"
            )
    return Feature(
        name=message.name,
        optional=message.type.isOptional,
        description=message.shortDescription,
        **facts,
    )


def _array(message: Any, name: str) -> dict[str, Any]:
    if message.dataType not in _ARRAY_DTYPES:
        raise ProgramError(
            f"element type {message.dataType} of an array is not known", location=f"feature {name}"
        )
    return {
        "dtype": _ARRAY_DTYPES[message.dataType],
        "shape": tuple(message.shape),
        "enumerated": tuple(tuple(s.shape) for s in message.enumeratedShapes.shapes),
        "ranges": tuple(map(_range, message.shapeRange.sizeRanges)),
    }


def _image(message: Any, name: str) -> dict[str, Any]:
    """An image crosses the border as [1, channels, height, width], as the ML Program takes it."""
    if message.colorSpace not in _COLOR_SPACES:
        raise ProgramError(
            f"colour space {message.colorSpace} is not known", location=f"feature {name}"
        )
    dtype, channels = _COLOR_SPACES[message.colorSpace]
    sizes, extents = message.enumeratedSizes.sizes, message.imageSizeRange
    fixed: tuple[_Range, ...] = ((1, 1), (channels, channels))
    flexible = message.WhichOneof("SizeFlexibility") == "imageSizeRange"
    ranges = (*fixed, _range(extents.heightRange), _range(extents.widthRange))
    return {
        "kind": "image",
        "dtype": dtype,
        "shape": (1, channels, message.height, message.width),
        "enumerated": tuple((1, channels, s.height, s.width) for s in sizes),
        "ranges": ranges if flexible else (),
    }


def _range(message: Any) -> _Range:
    upper = message.upperBound
    return message.lowerBound, None if upper < 0 else upper
