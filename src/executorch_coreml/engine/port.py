"""What a model takes: the value of one input as an array of the graph's dtype and a legal shape."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from executorch_coreml.engine.image import is_image, to_array
from executorch_coreml.errors import InputError
from executorch_coreml.mil.types import NUMPY_DTYPES, Feature, StateType, TensorType, Value

Array: TypeAlias = "np.ndarray[Any, Any]"


class Port:
    """What one input accepts."""

    def __init__(self, feature: Feature, value: Value):
        tensor = tensor_type(value)
        self.feature = feature
        self.dtype = NUMPY_DTYPES[tensor.dtype]
        self.type = tensor
        self.fixed = None if None in tensor.shape else tensor.shape
        self._only = None if feature.enumerated else self.fixed  # the one shape that is allowed

    def accept(self, value: Any) -> Array:
        """``value`` as an array of the graph's dtype and an allowed shape.

        Raises:
            InputError: it is neither, and cannot safely be made so.
        """
        # Most values need nothing; the checks below cost more than the smallest models.
        if type(value) is np.ndarray and value.shape == self._only and value.dtype == self.dtype:
            return value
        if is_image(value):
            value = to_array(self.feature, value)
        elif hasattr(value, "detach"):  # a torch tensor that requires gradients is no array
            value = value.detach()
        array = np.asarray(value)
        if array.dtype != self.dtype:
            array = converted(f"input {self.feature.name}", self.type.dtype, array)
        if array.shape == self._only:
            return array
        if self.fixed is not None and {array.shape, self.fixed} == {(), (1,)}:
            return array.reshape(self.fixed)
        if not self._allows(array.shape):
            raise InputError(
                f"it cannot have shape {array.shape}; allowed: {self._allowed()}",
                location=f"input {self.feature.name}",
            )
        return array

    def _allows(self, shape: tuple[int, ...]) -> bool:
        if len(shape) != len(self.type.shape):
            return False
        declared = zip(self.type.shape, shape, strict=True)
        if any(want is not None and want != got for want, got in declared):
            return False
        if self.feature.enumerated and shape not in self.feature.enumerated:
            return False
        if len(self.feature.ranges) != len(shape):
            return True
        return all(
            low <= got and (high is None or got <= high)
            for got, (low, high) in zip(shape, self.feature.ranges, strict=True)
        )

    def _allowed(self) -> str:
        if self.feature.enumerated:
            return " or ".join(str(shape) for shape in self.feature.enumerated)
        if self.feature.ranges:
            spans = (
                str(low) if low == high else f"{low}..{'' if high is None else high}"
                for low, high in self.feature.ranges
            )
            return f"({', '.join(spans)})"
        return str(self.type)


def converted(where: str, dtype: str, array: Array) -> Array:
    """``array`` in another dtype, if Core ML would convert it and no value is lost but precision.

    Args:
        where: What is to be converted, for messages: ``"input x"``.
        dtype: As MIL calls it.
        array: Of any shape.

    Raises:
        InputError: floats for integers, non-numbers, or integers that do not fit.
    """
    target = NUMPY_DTYPES[dtype]
    if (array.dtype.kind == "f" and target.kind == "f") or array.dtype == target:
        with np.errstate(over="ignore"):
            return array.astype(target)
    if array.dtype.kind not in "iub" or target.kind not in "iuf":
        raise InputError(f"it takes {dtype}, got {array.dtype}", location=where)
    made = array.astype(target)
    if target.kind != "f" and array.dtype.kind != "b" and not (made == array).all():
        low, high = int(array.min()), int(array.max())
        raise InputError(
            f"it takes {dtype}, got {array.dtype} values from {low} to {high}", location=where
        )
    return made


def tensor_type(value: Value) -> TensorType:
    found = value.type.tensor if isinstance(value.type, StateType) else value.type
    if not isinstance(found, TensorType):
        raise InputError(f"{value.name} is a {found}, no tensor")
    return found
