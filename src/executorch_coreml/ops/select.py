"""Selecting by value: ``nonzero``, ``masked_select`` and masks as indices.

How many elements are selected is a symbol of torch.export's that belongs to no input. The MIL op
``non_zero`` gives it at run time, as the first extent of its result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.fx import Node

from executorch_coreml.ops.call import Call
from executorch_coreml.ops.emit import Var
from executorch_coreml.ops.moves import broadcast, reshape, take
from executorch_coreml.ops.rule import Family
from executorch_coreml.ops.sizes import Extent, broadcast_extents, product

if TYPE_CHECKING:
    from executorch_coreml.ops.emit import Emit

aten = torch.ops.aten
rules = Family(dynamic=True, empty=True)


@rules(aten.nonzero.default, in_range=True, selects=True)
def nonzero(mb: Emit, call: Call) -> Var:
    """One row of indices per element that is not zero, in row-major order."""
    return mb.shaped(mb.non_zero(x=mb.var(call["self"])), call.out.shape)


@rules(aten.masked_select.default, moves_data=True, selects=True)
def masked_select(mb: Emit, call: Call) -> Var:
    """Of the broadcast tensors, flattened."""
    shape = broadcast_extents(call.shape("self"), call.shape("mask"))
    x = broadcast(mb, mb.var(call["self"]), shape)
    mask = broadcast(mb, mb.var(call["mask"]), shape)
    return take(mb, reshape(mb, x, [product(shape)]), _selected(mb, mask, shape), 0)


def mask_position(call: Call) -> int | None:
    """The position of the boolean mask among the indices, if there is one."""
    for position, node in enumerate(call["indices"]):
        if node is not None and node.meta["val"].dtype is torch.bool:
            return position
    return None


def lone_mask(call: Call) -> str | None:
    """A boolean mask is the only index."""
    if mask_position(call) is None or sum(node is not None for node in call["indices"]) == 1:
        return None
    return "a boolean mask is combined with other indices; index with one after the other"


def merged_at_mask(call: Call, position: int) -> list[Extent]:
    """The shape of self with the axes that the mask covers merged into one, at ``position``."""
    shape, covered = call.shape("self"), call["indices"][position].meta["val"].dim()
    after = position + covered
    return [*shape[:position], product(shape[position:after]), *shape[after:]]


def places(mb: Emit, mask: Node) -> Var:
    """Where a mask selects, counted in the flattened mask: int32, rank 1."""
    return _selected(mb, mb.var(mask), mask.meta["val"].shape)


def _selected(mb: Emit, mask: Var, shape: list[Extent]) -> Var:
    flat = reshape(mb, mask, [product(shape)])
    return mb.squeeze(x=mb.non_zero(x=flat), axes=[1])


def masked(mb: Emit, call: Call, position: int) -> Var:
    """``self`` where the mask at ``position`` selects."""
    x = reshape(mb, mb.var(call["self"]), merged_at_mask(call, position))
    return take(mb, x, places(mb, call["indices"][position]), position)
