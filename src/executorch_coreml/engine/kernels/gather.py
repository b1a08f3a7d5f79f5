"""Gathers and scatters.

Semantics: coremltools ``mil/ops/defs/iOS15/scatter_gather.py``, with iOS16 (``batch_dims``) and
iOS17 (``validate_indices``: :mod:`.in_range`).
"""

from __future__ import annotations

import openvino as ov
from openvino import opset15 as ops

from executorch_coreml.engine.kernels.in_range import in_range
from executorch_coreml.engine.kernels.operand import (
    Operand,
    axis_of,
    i64,
    like,
    node,
    rank,
    scalar,
    shape,
    shape_node,
    text,
)
from executorch_coreml.engine.kernels.operand import gather as gather_batched
from executorch_coreml.engine.kernels.table import Family
from executorch_coreml.engine.kernels.violations import Violations
from executorch_coreml.errors import ProgramError

kernels = Family()


@kernels("gather", exact=True)
def gather(
    x: Operand,
    indices: Operand,
    violations: Violations,
    axis: Operand | int = 0,
    batch_dims: Operand | int = 0,
    validate_indices: Operand | bool = False,
) -> ov.Node:
    at, skipped = axis_of(axis, rank(x)), int(scalar(batch_dims, "batch_dims"))
    if not 0 <= skipped <= min(at, rank(indices)):
        raise ProgramError(f"batch_dims is {skipped}, which axis {at} does not come behind")
    checked = in_range(indices, x, at, validate_indices, violations, safe=True)
    return gather_batched(node(x), checked, at, skipped)


@kernels("gather_along_axis", exact=True)
def gather_along_axis(
    x: Operand,
    indices: Operand,
    violations: Violations,
    axis: Operand | int = 0,
    validate_indices: Operand | bool = False,
) -> ov.Node:
    at, value = axis_of(axis, rank(x)), node(x)
    checked = in_range(indices, x, at, validate_indices, violations)
    if value.get_node().get_type_name() == "Slice":
        # OpenVINO 2026.4 drops a Slice in front of GatherElements, then finds that the shapes
        # differ (EliminateSliceBeforeGatherElements). An op that changes nothing keeps them apart.
        value = ops.minimum(value, value).output(0)
    return ops.gather_elements(value, checked, at)


def _indexed(x: Operand, indices: Operand, skipped: int = 0) -> range:
    """The axes that the last dimension of ``indices`` counts along."""
    depth = shape(indices)[-1] if rank(indices) else None
    if depth is None:
        raise ProgramError("needs indices whose last extent is known")
    if not 0 <= skipped <= skipped + depth <= rank(x):
        raise ProgramError(f"indices of {depth} places into {rank(x)} dimensions")
    return range(skipped, skipped + depth)


@kernels("gather_nd", exact=True)
def gather_nd(
    x: Operand,
    indices: Operand,
    violations: Violations,
    batch_dims: Operand | int = 0,
    validate_indices: Operand | bool = False,
) -> ov.Node:
    skipped = int(scalar(batch_dims, "batch_dims"))
    axes = _indexed(x, indices, skipped)
    checked = in_range(indices, x, axes, validate_indices, violations)
    return ops.gather_nd(node(x), checked, skipped)


# MIL mode -> reduction of OpenVINO's scatters. "sub" and "div" are made of "sum" and "prod".
_REDUCTIONS = {
    "update": "none",
    "add": "sum",
    "sub": "sum",
    "mul": "prod",
    "div": "prod",
    "max": "max",
    "min": "min",
}


def _mode(mode: str) -> str:
    chosen = text(mode, "mode")
    if chosen not in _REDUCTIONS:
        raise ProgramError(f"unknown scatter mode {chosen!r}")
    return chosen


def _along_axis(
    data: ov.Output, indices: ov.Output, updates: ov.Output, axis: int, mode: str
) -> ov.Output:
    reduction = _REDUCTIONS[mode]
    if mode == "sub":
        updates = ops.subtract(like(0, updates), updates).output(0)
    if mode == "div":
        ones = ops.broadcast(like(1, data), shape_node(data)).output(0)
        divisor = ops.scatter_elements_update(ones, indices, updates, i64(axis), "prod")
        return ops.divide(data, divisor).output(0)
    return ops.scatter_elements_update(data, indices, updates, i64(axis), reduction).output(0)


@kernels("scatter_along_axis")
def scatter_along_axis(
    data: Operand,
    indices: Operand,
    updates: Operand,
    violations: Violations,
    axis: Operand | int = 0,
    mode: str = "add",
    validate_indices: Operand | bool = False,
) -> ov.Output:
    at = axis_of(axis, rank(data))
    checked = in_range(indices, data, at, validate_indices, violations)
    return _along_axis(node(data), checked, node(updates), at, _mode(mode))


@kernels("scatter")
def scatter(
    data: Operand,
    indices: Operand,
    updates: Operand,
    violations: Violations,
    axis: Operand | int = 0,
    mode: str = "add",
    validate_indices: Operand | bool = False,
) -> ov.Output:
    """``indices`` has rank 1: whole slices along ``axis`` are combined."""
    at, chosen = axis_of(axis, rank(data)), _mode(mode)
    checked = in_range(indices, data, at, validate_indices, violations, from_end=False)
    value, new = node(data), node(updates)
    if chosen == "update":
        return ops.scatter_update(value, checked, new, i64(at)).output(0)
    others = [axis for axis in range(rank(data)) if axis != at]
    column = ops.unsqueeze(checked, i64(others)) if others else checked
    return _along_axis(value, ops.broadcast(column, shape_node(new)).output(0), new, at, chosen)


@kernels("scatter_nd")
def scatter_nd(
    data: Operand,
    indices: Operand,
    updates: Operand,
    violations: Violations,
    mode: str = "add",
    validate_indices: Operand | bool = False,
) -> ov.Output:
    chosen = _mode(mode)
    axes = _indexed(data, indices)
    checked = in_range(indices, data, axes, validate_indices, violations, from_end=False)
    value, new = node(data), node(updates)
    if chosen == "div":
        ones = ops.broadcast(like(1, value), shape_node(value))
        return ops.divide(value, ops.scatter_nd_update(ones, checked, new, "prod")).output(0)
    reduction = "sub" if chosen == "sub" else _REDUCTIONS[chosen]
    return ops.scatter_nd_update(value, checked, new, reduction).output(0)
