"""Pillow images and the [1, channels, height, width] arrays that an ML Program computes with.

Scale and bias of an image input are ops of the program, so pixels enter it as they are: 0 to 255
for 8 bits, in the channel order of the declared colour space. Pillow is loaded only by its users:
an image that is given proves that it is there.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any, TypeAlias

import numpy as np

from executorch_coreml.errors import InputError, RunError
from executorch_coreml.mil.types import Feature

Array: TypeAlias = "np.ndarray[Any, Any]"

# Colour space -> mode of the Pillow image, as coremltools' MLModel demands it.
_MODES = {"RGB": "RGB", "BGR": "RGB", "Grayscale": "L", "Grayscale16Half": "F"}


def is_image(value: Any) -> bool:
    """Whether ``value`` is a Pillow image."""
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(value, pillow.Image)


def to_array(feature: Feature, image: Any) -> Array:
    """The pixels of ``image``: uint8, or float16 for ``Grayscale16Half``, of shape [1, C, H, W].

    Raises:
        InputError: ``feature`` is no image, or one of another mode.
    """
    if feature.color_space is None:
        raise InputError(f"input {feature.name} is a {feature.kind}, and takes no image")
    mode = _MODES[feature.color_space]
    if image.mode != mode:
        raise InputError(
            f"input {feature.name} is a {feature.color_space} image and takes Pillow images of "
            f"mode {mode}, got mode {image.mode}",
            hint=f"image.convert({mode!r})",
        )
    pixels = np.asarray(image)
    if mode == "F":
        with np.errstate(over="ignore"):
            pixels = pixels.astype(np.float16)
    planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    if feature.color_space == "BGR":
        planes = planes[::-1]
    return planes[None]


def from_array(feature: Feature, array: Array) -> Any:
    """An image output as coremltools gives it: mode RGBA, opaque, for colours; L or F for grey.

    Args:
        array: [1, C, H, W]. 8 bits are the nearest integers, from 0 to 255.

    Raises:
        RunError: Pillow is not installed.
    """
    image = pillow(f"output {feature.name} is an image")
    if feature.color_space == "Grayscale16Half":
        return image.fromarray(np.ascontiguousarray(array[0, 0], np.float32))
    pixels = np.clip(np.rint(np.nan_to_num(array[0].astype(np.float32))), 0, 255).astype(np.uint8)
    if feature.color_space == "Grayscale":
        return image.fromarray(pixels[0])
    planes = pixels[::-1] if feature.color_space == "BGR" else pixels
    opaque = np.full_like(planes[:1], 255)
    return image.fromarray(np.concatenate([planes, opaque]).transpose(1, 2, 0).copy())


def pillow(reason: str) -> Any:
    """The module ``PIL.Image``.

    Raises:
        RunError: It is not installed, and ``reason`` needs it.
    """
    try:
        return import_module("PIL.Image")
    except ImportError as error:
        raise RunError(
            f"{reason}, and Pillow is not installed", hint="pip install pillow, or use arrays"
        ) from error


__all__ = ["from_array", "is_image", "pillow", "to_array"]
