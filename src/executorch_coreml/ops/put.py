"""Writing by several index tensors, or where a mask selects: index_put, put and masked_scatter.

A bool tensor is written as int32: MIL's scatters take numbers only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from executorch_coreml.ops.call import Call
from executorch_coreml.ops.emit import Var, mil_type
from executorch_coreml.ops.index import Indexed, from_front, no_uint8_mask, value_of
from executorch_coreml.ops.moves import broadcast, clamped, numeric, reshape, take
from executorch_coreml.ops.ranks import MAX_RANK
from executorch_coreml.ops.rule import FLOAT, INT, Family
from executorch_coreml.ops.select import lone_mask, mask_position, merged_at_mask, places
from executorch_coreml.ops.sizes import Extent, depends_on_values, fixed_extent, product

if TYPE_CHECKING:
    from executorch_coreml.ops.emit import Emit


aten = torch.ops.aten
rules = Family(dynamic=True, empty=True)


@rules(aten.put.default, types=FLOAT | INT)
def put(mb: Emit, call: Call) -> Var:
    """Written into the flattened tensor."""
    count, number = product(call.shape("self")), product(call.shape("index"))
    index = value_of(mb, from_front(mb, call["index"], count))
    updates = reshape(mb, mb.var(call["source"], call.out.dtype), [number])
    mode = "add" if call["accumulate"] else "update"
    x = reshape(mb, mb.var(call["self"]), [count])
    index = reshape(mb, index, [number])
    x = mb.scatter(data=x, indices=index, updates=updates, axis=0, mode=mode)
    return reshape(mb, x, call.out.shape)


def _after_mask(call: Call, position: int) -> int:
    """How many axes of self follow those that the mask covers."""
    covered: int = call["indices"][position].meta["val"].dim()
    return call.rank("self") - position - covered


def _selects(call: Call) -> str | None:
    """Where a boolean mask selects, one value is written, or what a mask has selected."""
    position = mask_position(call)
    if position is None:
        return None
    few = call.rank("values") <= _after_mask(call, position)
    if few or _single(call) or _selected(call, position) is not None:
        return None
    return "one value for each element that a boolean mask selects: their number is unknown"


def _selected(call: Call, position: int) -> Extent | None:
    """How many values there are, if each is for one element that the mask selects."""
    shape, after = call.shape("values"), _after_mask(call, position)
    number = shape[-1 - after] if len(shape) > after else 1
    return number if depends_on_values(number) else None


def _single(call: Call) -> bool:
    """Whether one value is written everywhere."""
    return fixed_extent(product(call.shape("values"))) == 1


def _values_rank(call: Call) -> str | None:
    """The written values fit Core ML's rank limit in the shape that the indices ask for."""
    if mask_position(call) is not None:
        return None
    indexed = Indexed.of(call)
    rank = call.rank("self") - len(indexed.positions) + len(indexed.shape)
    if rank <= MAX_RANK:
        return None
    return f"the written values have rank {rank}; Core ML allows at most {MAX_RANK}"


@rules(
    aten.index_put.default,
    aten._unsafe_index_put.default,
    checks=[no_uint8_mask, lone_mask, _selects, _values_rank],
)
def index_put(mb: Emit, call: Call) -> Var:
    position = mask_position(call)
    if position is None:
        return _put(mb, call)
    number = _selected(call, position)
    if number is not None:
        return _put_each(mb, call, position, number)
    return _put_masked(mb, call, position)


def _put_each(mb: Emit, call: Call, position: int, number: Extent) -> Var:
    """One value for each element that the mask selects."""
    merged = merged_at_mask(call, position)
    x = reshape(mb, numeric(mb, mb.var(call["self"])), merged)
    values = mb.cast(mb.var(call["values"]), mil_type(x))
    values = broadcast(mb, values, [*merged[:position], number, *merged[position + 1 :]])
    mode = "add" if call["accumulate"] else "update"
    indices = places(mb, call["indices"][position])
    x = mb.scatter(data=x, indices=indices, updates=values, axis=position, mode=mode)
    return mb.cast(reshape(mb, x, call.out.shape), mb.type_of(call.out.dtype))


def _put_masked(mb: Emit, call: Call, position: int) -> Var:
    x, mask = mb.var(call["self"]), mb.var(call["indices"][position])
    values = mb.var(call["values"])
    rank, shape = call.rank("self"), call.shape("self")
    added = [*range(position), *range(rank - _after_mask(call, position), rank)]
    mask = mb.expand_dims(x=mask, axes=added) if added else mask
    if _single(call):
        values = reshape(mb, values, [])
    if call["accumulate"]:
        total = mb.add(x=numeric(mb, x), y=numeric(mb, values))
        values = mb.cast(total, mil_type(x))
    mask, values = broadcast(mb, mask, shape), broadcast(mb, values, shape)
    return mb.select(cond=mask, a=values, b=x)


def _put(mb: Emit, call: Call) -> Var:
    indexed, shape = Indexed.of(call), call.shape("self")
    x = indexed.merge(mb, numeric(mb, mb.var(call["self"])), shape)
    front, count, merged = indexed.front, product(indexed.shape), indexed.merged(shape)
    before, after = merged[:front], merged[front + 1 :]
    values = mb.cast(mb.var(call["values"]), mil_type(x))
    values = broadcast(mb, values, [*before, *indexed.shape, *after])
    linear = indexed.linear(mb, shape)
    if isinstance(linear, np.ndarray):
        linear = np.broadcast_to(linear, [int(extent) for extent in indexed.shape])
    indices = value_of(mb, linear)
    if len(indexed.shape) != 1:
        values = reshape(mb, values, [*before, count, *after])
        indices = reshape(mb, broadcast(mb, indices, indexed.shape), [count])
    mode = "add" if call["accumulate"] else "update"
    x = mb.scatter(data=x, indices=indices, updates=values, axis=front, mode=mode)
    return mb.cast(indexed.split(mb, x, shape), mb.type_of(call.out.dtype))


@rules(aten.masked_scatter.default, moves_data=True)
def masked_scatter(mb: Emit, call: Call) -> Var:
    """The nth place that the mask selects takes the nth value of ``source``."""
    shape, count = call.out.shape, product(call.shape("source"))
    mask = broadcast(mb, mb.var(call["mask"]), shape)
    x, source = broadcast(mb, mb.var(call["self"]), shape), mb.var(call["source"], call.out.dtype)
    chosen = mb.cast(reshape(mb, mask, [product(shape)]), "int32")
    number = mb.sub(x=mb.cumsum(x=chosen, axis=0), y=1)
    number = clamped(mb, number, count)  # where nothing is selected
    values = reshape(mb, take(mb, reshape(mb, source, [count]), number, 0), shape)
    return mb.select(cond=mask, a=values, b=x)
