"""The indices of gathers and scatters.

coremltools ``mil/ops/defs/iOS17/scatter_gather.py``: with ``validate_indices`` an index that is not
in [0, extent) is an error of the run, or of loading where it is known; without, what comes of it is
undefined but memory safe. Up to iOS16 indices in [-extent, 0) count from the end; here they do so
in every opset, unless they are validated. Any other index counts as the nearest legal one, but for
that ``gather`` gives zeros.

OpenVINO 2026.4's GatherElements and GatherND read whatever memory an index points at, and a scatter
with an index out of range leaves its whole result unwritten.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import openvino as ov
from openvino import opset15 as ops

from executorch_coreml.engine.kernels.operand import (
    Operand,
    cast,
    i64,
    is_known,
    like,
    node,
    scalar,
    shape,
    shape_node,
)
from executorch_coreml.engine.kernels.shape import extent_of
from executorch_coreml.engine.kernels.violations import Violations
from executorch_coreml.errors import ProgramError


def in_range(
    indices: Operand,
    x: Operand,
    axes: int | Sequence[int],
    validate: Operand | bool,
    violations: Violations,
    *,
    safe: bool = False,
    from_end: bool = True,
) -> ov.Output:
    """``indices`` as a node that leads nowhere outside ``x``.

    Args:
        axes: The axis that they count along; or one for each element of their last dimension.
        validate: The op's ``validate_indices``.
        safe: The op does no harm whatever the indices are.
        from_end: It takes negative ones, too.

    Returns:
        int64 if the program says so, int32 otherwise.

    Raises:
        ProgramError: They are known, and to be validated, and not all in range.
    """
    value = node(indices)
    value = value if value.get_element_type() == ov.Type.i64 else cast(value, ov.Type.i32)
    single = isinstance(axes, int)
    along = [axes] if isinstance(axes, int) else list(axes)
    strict = bool(scalar(validate, "validate_indices"))
    known = [shape(x)[axis] for axis in along]
    if is_known(indices) and None not in known:
        given = np.asarray(indices, np.int64)
        limits = np.array(known[0] if single else known, np.int64)
        if _all_legal(given, limits, strict) and (from_end or not (given < 0).any()):
            return value
    extents = extent_of(x, along[0]) if single else _extents(x, along)
    if strict:
        violations.require(value, extents)
    if safe:
        return value
    extents = cast(extents, value.get_element_type())
    legal = _nearest(value, extents)
    return legal if from_end else from_front(legal, extents)


def _all_legal(
    indices: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
    limits: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
    strict: bool,
) -> bool:
    wrong = (indices < (0 if strict else -limits)) | (indices >= limits)
    if strict and wrong.any():
        place = tuple(np.argwhere(wrong)[0])
        limit = np.broadcast_to(limits, indices.shape)[place]
        raise ProgramError(
            f"index {indices[place]} is out of range: it must be in [0, {limit})",
            hint="the op was built with validate_indices=True",
        )
    return not wrong.any()


def _extents(x: Operand, axes: list[int]) -> ov.Output:
    return ops.gather(shape_node(x), i64(axes), i64(0)).output(0)


def _nearest(indices: ov.Output, extents: ov.Output) -> ov.Output:
    """In arithmetic of integers: the CPU plugin selects in float32, which has not all of them."""
    low = ops.negative(extents)
    high = ops.subtract(extents, like(1, extents))
    return ops.minimum(ops.maximum(indices, low), high).output(0)


def from_front(indices: ov.Output, extents: ov.Output | ov.Node) -> ov.Output:
    """Those that count from the end, counted from the front; in arithmetic of integers, too."""
    behind = ops.convert(ops.less(indices, like(0, indices)), indices.get_element_type())
    return ops.add(indices, ops.multiply(behind, extents)).output(0)
