"""What may cross the border of a delegate, by the tensor alone."""

from __future__ import annotations

import torch
from torch.fx import Node

from executorch_coreml.compiler.lower import border_type
from executorch_coreml.ops.ranks import MAX_RANK
from executorch_coreml.ops.sizes import (
    INT32_MAX,
    depends_on_values,
    is_size,
    largest,
    may_be_empty,
)
from executorch_coreml.options import Target


def cannot_enter(node: Node, target: Target) -> str | None:
    """Why a delegate cannot take the value of a node as an input, or None if it can."""
    value = node.meta.get("val")
    if isinstance(value, torch.Tensor) and may_be_empty(value.shape):
        return (
            f"has the shape {tuple(value.shape)}, which depends on values: Core ML takes no empty "
            "tensors; keep the ops that select in the delegate as well"
        )
    return _cannot_cross(node, target)


def cannot_leave(node: Node, target: Target) -> str | None:
    """Why a delegate cannot give back the value of a node, or None if it can.

    An extent that depends on values may: ExecuTorch plans memory for the largest it can be, and the
    delegate resizes the tensor after the run.
    """
    value = node.meta.get("val")
    if isinstance(value, torch.Tensor):
        endless = [e for e in value.shape if depends_on_values(e) and largest(e) == INT32_MAX]
        if endless:
            return (
                f"has the shape {tuple(value.shape)}, of which {endless[0]} depends on values and "
                "has no upper bound to plan memory for; select from tensors of bounded size"
            )
    return _cannot_cross(node, target)


def _cannot_cross(node: Node, target: Target) -> str | None:
    value = node.meta.get("val")
    if isinstance(value, (tuple, list)):
        return None  # its getitems cross instead
    if not isinstance(value, torch.Tensor):
        what = "a size" if is_size(node) else f"a {type(value).__name__}"
        return f"is {what}; only tensors cross into Core ML"
    if border_type(value.dtype, target) is None:
        name = str(value.dtype).removeprefix("torch.")
        return f"has dtype {name}, which the delegate does not take"
    if value.dim() > MAX_RANK:
        return f"has rank {value.dim()}; Core ML allows at most {MAX_RANK}"
    return None
