"""Data movement that several families emit.

Extents may be dynamic (see :mod:`.sizes`) where a function says so. Shared because MIL is uneven
here: rank 0 has ops of its own, gather and scatter take no bool, and slices of constants to rank 0
lose their dtype.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from executorch_coreml.ops.emit import Var, mil_type
from executorch_coreml.ops.sizes import Extent, expression, fixed_extent, same

if TYPE_CHECKING:
    from executorch_coreml.ops.emit import Emit


def reshape(mb: Emit, x: Var, shape: Sequence[Extent]) -> Var:
    """``x`` in another shape of as many elements; nothing is emitted when it has it already.

    The extents may be dynamic.
    """
    if same(x.shape, shape):
        return x
    if any(fixed_extent(extent) is None for extent in shape):
        return mb.shaped(mb.reshape(x=x, shape=mb.sizes.shape(shape)), shape)
    if not x.shape:
        return mb.expand_dims(x=x, axes=list(range(len(shape))))
    if shape:
        return mb.reshape(x=x, shape=[int(extent) for extent in shape])
    return mb.squeeze(x=reshape(mb, x, [1]), axes=[0])


def atleast_1d(mb: Emit, x: Var) -> Var:
    """``x``, or a rank-0 ``x`` with an axis, which ops that work along one need."""
    return x if x.shape else mb.expand_dims(x=x, axes=[0])


def of_rank(mb: Emit, x: Var, rank: int) -> Var:
    """Undoes :func:`atleast_1d` for a result of ``rank``."""
    return x if len(x.shape) == rank else mb.squeeze(x=x, axes=[0])


def transpose(mb: Emit, x: Var, perm: Sequence[int]) -> Var:
    """``x`` with its axes in the order ``perm``."""
    return x if list(perm) == sorted(perm) else mb.transpose(x=x, perm=list(perm))


def broadcast(mb: Emit, x: Var, shape: Sequence[Extent]) -> Var:
    """``x`` repeated to ``shape``, whose extents may be dynamic, by the broadcasting rules."""
    if missing := len(shape) - len(x.shape):
        x = mb.expand_dims(x=x, axes=list(range(missing)))
    reps = [want if have == 1 else 1 for want, have in zip(shape, x.shape, strict=True)]
    once = all(fixed_extent(rep) == 1 for rep in reps)
    return x if once else mb.shaped(mb.tile(x=x, reps=mb.sizes.vector(reps)), shape)


def piece(mb: Emit, x: Var, axis: int, start: Extent, stop: Extent, step: int = 1) -> Var:
    """``x[start:stop:step]`` along ``axis``; 0 <= start < stop <= extent, which may be dynamic."""
    rank = len(x.shape)
    if same([start, stop, step], [0, x.shape[axis], 1]):
        return x
    others = [other != axis for other in range(rank)]
    return mb.slice_by_index(
        x=x,
        begin=mb.sizes.vector([0 if other else start for other in others]),
        end=mb.sizes.vector([0 if other else stop for other in others]),
        stride=None if step == 1 else [1 if other else step for other in others],
        begin_mask=others,
        end_mask=others,
    )


def corner(
    mb: Emit, x: Var, shape: Sequence[Extent], wanted: Sequence[Extent], but: int | None = None
) -> Var:
    """The first ``wanted`` elements of ``x`` along each axis but one.

    Args:
        shape: PyTorch's shape of ``x``.
    """
    for axis, (have, want) in enumerate(zip(shape, wanted, strict=True)):
        if axis != but and not same([have], [want]):
            x = piece(mb, x, axis, 0, want)
    return x


def pick(mb: Emit, x: Var, axis: int, index: Extent) -> Var:
    """``x[index]`` along ``axis``, which disappears; 0 <= index < extent, which may be dynamic."""
    if fixed_extent(index) is None:
        return take(mb, x, mb.sizes.scalar(index), axis)
    return mb.squeeze(x=piece(mb, x, axis, index, index + 1), axes=[axis])


def concat(mb: Emit, values: Sequence[Var], axis: int) -> Var:
    return values[0] if len(values) == 1 else mb.concat(values=list(values), axis=axis)


def numeric(mb: Emit, x: Var) -> Var:
    """``x`` in a type that gather and scatter take: bool travels as int32."""
    return mb.cast(x, "int32") if mil_type(x) == "bool" else x


def take(mb: Emit, x: Var, indices: Any, axis: int) -> Var:
    """``x`` at ``indices`` along ``axis``, which the axes of ``indices`` replace.

    Args:
        indices: A MIL value or an int array, non-negative: from iOS17 on gather counts negative
            indices as out of bounds. Of rank 0, the axis disappears.
    """
    if isinstance(indices, np.ndarray):
        indices = indices.astype(np.int32)
    result = mb.gather(x=numeric(mb, x), indices=indices, axis=axis)
    return mb.cast(result, mil_type(x))


def clamped(mb: Emit, index: Var, extent: Extent) -> Var:
    """``index`` moved into [0, extent)."""
    last = mb.sizes.scalar(expression(extent) - 1)
    return mb.minimum(x=mb.maximum(x=index, y=0), y=last)


def fill(mb: Emit, shape: Sequence[Extent], value: Any, dtype: str) -> Var:
    """A constant of one number, stored once whatever the shape, whose extents may be dynamic.

    ``dtype`` is a MIL type.
    """
    scalar = mb.const(value, dtype)
    if not shape:
        return scalar
    return mb.shaped(mb.fill(shape=mb.sizes.vector(shape), value=scalar), shape)


def fill_like(mb: Emit, x: Var, value: Any) -> Var:
    """One number in the shape and type of ``x``."""
    if all(fixed_extent(extent) is not None for extent in x.shape):
        return fill(mb, x.shape, value, mil_type(x))
    return mb.fill(shape=mb.shape(x=x), value=mb.const(value, x))
