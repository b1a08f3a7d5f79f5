"""The declared inputs, outputs and states of a model, from its ``ModelDescription`` message.

The meaning of the fields is described in ``mlmodel/format/Model.proto`` and ``FeatureTypes.proto``
of apple/coremltools.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from executorch_coreml.errors import ProgramError
from executorch_coreml.mil.types import Description, Feature

DEFAULT_FUNCTION = "main"
"""The function of a model that does not describe its functions one by one."""

# FeatureTypes.proto, ArrayFeatureType.ArrayDataType.
_ARRAY_DTYPES = {65568: "fp32", 65600: "fp64", 131104: "int32", 131080: "int8", 65552: "fp16"}

# FeatureTypes.proto, ImageFeatureType.ColorSpace.
_COLOR_SPACES = {10: "Grayscale", 20: "RGB", 30: "BGR", 40: "Grayscale16Half"}

COLOR_SPACES = {
    "Grayscale": ("uint8", 1),
    "RGB": ("uint8", 3),
    "BGR": ("uint8", 3),
    "Grayscale16Half": ("fp16", 1),
}
"""Colour space, by its name in coremltools' ``mlmodel/src/DataType.cpp`` -> dtype, channels."""

Range = tuple[int, int | None]


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
    default = message.WhichOneof("defaultOptionalValue")
    return {
        "dtype": _ARRAY_DTYPES[message.dataType],
        "shape": tuple(message.shape),
        "enumerated": tuple(tuple(s.shape) for s in message.enumeratedShapes.shapes),
        "ranges": tuple(map(_range, message.shapeRange.sizeRanges)),
        "default": getattr(message, default) if default is not None else None,
    }


def _image(message: Any, name: str) -> dict[str, Any]:
    if message.colorSpace not in _COLOR_SPACES:
        raise ProgramError(
            f"colour space {message.colorSpace} is not known", location=f"feature {name}"
        )
    extents = message.imageSizeRange
    flexible = message.WhichOneof("SizeFlexibility") == "imageSizeRange"
    return image_facts(
        _COLOR_SPACES[message.colorSpace],
        (message.height, message.width),
        [(size.height, size.width) for size in message.enumeratedSizes.sizes],
        [_range(extents.heightRange), _range(extents.widthRange)] if flexible else [],
    )


def image_facts(
    space: str, size: Sequence[int], sizes: Iterable[Sequence[int]], ranges: Sequence[Range]
) -> dict[str, Any]:
    """An image crosses the border as [1, channels, height, width], as the ML Program takes it.

    Args:
        space: A key of :data:`COLOR_SPACES`.
        size, sizes: Height and width: the default, and all if the model lists them.
        ranges: Those of height and width, or none.

    Returns:
        Fields of a :class:`Feature`.
    """
    dtype, channels = COLOR_SPACES[space]
    fixed: tuple[Range, ...] = ((1, 1), (channels, channels))
    return {
        "kind": "image",
        "color_space": space,
        "dtype": dtype,
        "shape": (1, channels, *size),
        "enumerated": tuple((1, channels, *each) for each in sizes),
        "ranges": (*fixed, *ranges) if ranges else (),
    }


def _range(message: Any) -> Range:
    return bounds(message.lowerBound, message.upperBound)


def bounds(lower: int, upper: int) -> Range:
    """A range whose upper bound is negative if there is none."""
    return lower, None if upper < 0 else upper
