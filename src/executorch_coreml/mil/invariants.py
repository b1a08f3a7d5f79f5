"""What holds of every program, whichever form it is read from.

The readers of both forms, protobuf and text, know where they are; so a check here gets the
function that turns a sentence into an error with their location.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from executorch_coreml.errors import ProgramError
from executorch_coreml.mil.types import NUMPY_DTYPES, TensorType
from executorch_coreml.mil.weights import SUB_BYTE_BITS

Fail = Callable[[str], ProgramError]

_MAX_RANK = 32  # numpy 1 has no more axes
_MAX_BYTES = 2**62
_MAX_EXTENT = 2**63 - 1  # shapes are of int64, here and in Core ML


class Scope:
    """The names that a block sees: its own and those of the blocks around it."""

    def __init__(self, outer: Scope | None = None):
        self._own: set[str] = set()
        self._outer = outer

    def __contains__(self, name: str) -> bool:
        scope: Scope | None = self
        while scope is not None:
            if name in scope._own:
                return True
            scope = scope._outer
        return False

    def define(self, name: str, fail: Fail) -> None:
        """
        Raises:
            ProgramError: The name is empty, or there is a value of that name.
        """
        if not name:
            raise fail("a value has no name")
        if name in self:
            raise fail("the name is defined twice")
        self._own.add(name)

    def require(self, name: str, fail: Fail) -> None:
        """
        Raises:
            ProgramError: No value of that name comes before.
        """
        if name not in self:
            raise fail(f"refers to {name!r}, which is not defined before it")

    def require_output(self, name: str, fail: Fail) -> None:
        """
        Raises:
            ProgramError: The block returns a value that it does not see.
        """
        if name not in self:
            raise fail("the block returns a value that is not defined")


def require_extent(extent: int, fail: Fail) -> int:
    """
    Raises:
        ProgramError: No tensor can be so long.
    """
    if extent > _MAX_EXTENT:
        raise fail(f"a tensor has no extent of {extent}")
    return extent


def constant_shape(kind: TensorType, fail: Fail) -> tuple[int, ...]:
    """The shape of a constant.

    Raises:
        ProgramError: An extent is unknown, or no array can have that shape.
    """
    shape = tuple(extent for extent in kind.shape if extent is not None)
    size = math.prod(max(extent, 1) for extent in shape)
    if len(shape) != len(kind.shape) or len(shape) > _MAX_RANK or size > _MAX_BYTES // 8:
        raise fail(f"a constant cannot be of type {kind}")
    return shape


def require_length(what: str, declared: int | None, found: int, fail: Fail) -> None:
    """
    Raises:
        ProgramError: A list or tuple has not as many values as its type says.
    """
    if declared not in (None, found):
        raise fail(f"{what} of {declared} elements has {found} values")


def integer_range(dtype: str) -> tuple[int, int]:
    """The least value of an integer dtype, and the first beyond the greatest."""
    bits = SUB_BYTE_BITS.get(dtype, NUMPY_DTYPES[dtype].itemsize * 8)
    if dtype.startswith("u"):
        return 0, 2**bits
    return -(2 ** (bits - 1)), 2 ** (bits - 1)
