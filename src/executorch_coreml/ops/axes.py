"""Linear and window operations along one axis of a tensor, whatever its rank.

The axis itself has a fixed extent. Of the others one may be dynamic, the batch's as a rule.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from executorch_coreml.ops.emit import Emit, Var, mil_type
from executorch_coreml.ops.sizes import fixed_extent

Matrix = np.ndarray[Any, Any]


def along_axis(mb: Emit, x: Var, matrix: Matrix, axis: int) -> Var:
    """``matrix`` [out, in] applied to axis ``axis`` (from the front) of ``x``, of extent ``in``."""
    shape = _known(x)
    if axis == len(shape) - 1:
        return mb.matmul(x=x, y=mb.const(matrix.T, mil_type(x)))
    constant = mb.const(matrix, mil_type(x))
    if axis == len(shape) - 2:
        return mb.matmul(x=constant, y=x)
    flat = mb.reshape(x=x, shape=_around(shape, axis))
    shape[axis] = matrix.shape[0]
    return mb.reshape(x=mb.matmul(x=constant, y=flat), shape=shape)


def max_along_axis(mb: Emit, x: Var, windows: list[list[int]], axis: int) -> Var:
    """The maximum over each window, a list of positions along ``axis``; windows may differ in size.

    Shorter windows repeat a position of theirs, which does not change their maximum.
    """
    widest = max(map(len, windows))
    table = [window + window[-1:] * (widest - len(window)) for window in windows]
    shape = _known(x)
    flat = mb.reshape(x=x, shape=_around(shape, axis))
    picked = mb.gather(x=flat, indices=np.array(table, np.int32), axis=1)
    shape[axis] = len(windows)
    return mb.reshape(x=mb.reduce_max(x=picked, axes=[2], keep_dims=False), shape=shape)


def _known(x: Var) -> list[int]:
    """The shape of ``x`` to reshape to; MIL works out what -1, a dynamic extent, stands for."""
    found = (fixed_extent(extent) for extent in x.shape)
    return [-1 if extent is None else extent for extent in found]


def _around(shape: list[int], axis: int) -> list[int]:
    """[product of the extents before ``axis``, its extent, product of those behind]."""
    before, after = shape[:axis], shape[axis + 1 :]
    return [-1 if -1 in part else prod(part) for part in (before, [shape[axis]], after)]


def placement(size: int, step: int, offset: int, length: int) -> Matrix:
    """[length, size]: element ``i`` goes to position ``offset + i * step``; the rest is zero.

    Elements that would land outside are dropped.
    """
    matrix = np.zeros((length, size), np.float32)
    for source in range(size):
        if 0 <= offset + source * step < length:
            matrix[offset + source * step, source] = 1.0
    return matrix


def batched(mb: Emit, x: Var, spatial: int) -> tuple[Var, bool]:
    """``x`` with a batch axis in front, and whether it was added: ``spatial`` + 2 axes in all."""
    if len(x.shape) == spatial + 2:
        return x, False
    return mb.expand_dims(x=x, axes=[0]), True


def unbatched(mb: Emit, y: Var, added: bool) -> Var:
    """Undoes :func:`batched`."""
    return mb.squeeze(x=y, axes=[0]) if added else y
