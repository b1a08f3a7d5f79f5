"""Reading by index: embedding, gather, advanced indexing, and ordering (topk, sort)."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.fx import Node

from executorch_coreml.ops.call import Call
from executorch_coreml.ops.emit import Var, mil_type
from executorch_coreml.ops.moves import numeric, piece, reshape, take, transpose
from executorch_coreml.ops.rule import FLOAT, INT, Family

if TYPE_CHECKING:
    from executorch_coreml.ops.emit import Emit

aten = torch.ops.aten
rules = Family()


@rules(aten.embedding.default, moves_data=True)
def embedding(mb: Emit, call: Call) -> Var:
    return take(mb, mb.var(call["weight"]), mb.var(call["indices"]), 0)


@rules(aten.index_select.default, moves_data=True)
def index_select(mb: Emit, call: Call) -> Var:
    x, index = mb.var(call["self"]), mb.var(call["index"])
    x = reshape(mb, x, x.shape or [1])
    return reshape(mb, take(mb, x, index, call.dim()), call.out.shape)


@rules(aten.gather.default, moves_data=True)
def gather(mb: Emit, call: Call) -> Var:
    x, index, axis = mb.var(call["self"]), mb.var(call["index"]), call.dim()
    x, index = reshape(mb, x, x.shape or [1]), reshape(mb, index, index.shape or [1])
    for other, extent in enumerate(index.shape):
        if other != axis:
            x = piece(mb, x, other, 0, extent)
    result = mb.gather_along_axis(x=numeric(mb, x), indices=index, axis=axis)
    return reshape(mb, mb.cast(result, mil_type(x)), call.out.shape)


# -- advanced indexing ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Indexed:
    """How PyTorch reads ``x[i, :, j]``: where the index tensors stand and where their axes go.

    Attributes:
        order: The axes of x with the indexed ones next to each other; not the identity only if
            other axes stand between them, which moves the indexed ones to the front.
        positions: The indexed axes.
        front: Where the indexed axes start in ``order``; the axes of the indices end up there.
        nodes: The index tensors.
        shape: What the index tensors broadcast to.
    """

    order: list[int]
    positions: list[int]
    front: int
    nodes: list[Node]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, call: Call) -> Indexed:
        given = {axis: node for axis, node in enumerate(call["indices"]) if node is not None}
        positions = list(given)
        others = [axis for axis in range(call.rank("self")) if axis not in given]
        adjacent = positions == list(range(positions[0], positions[-1] + 1))
        front = positions[0] if adjacent else 0
        return cls(
            order=others[:front] + positions + others[front:],
            positions=positions,
            front=front,
            nodes=list(given.values()),
            shape=np.broadcast_shapes(*(tuple(n.meta["val"].shape) for n in given.values())),
        )

    def merge(self, mb: Emit, x: Var) -> Var:
        """``x`` with its indexed axes merged into one, at ``front``."""
        extents = [x.shape[axis] for axis in self.order]
        stop = self.front + len(self.positions)
        merged = [*extents[: self.front], prod(extents[self.front : stop]), *extents[stop:]]
        return reshape(mb, transpose(mb, x, self.order), merged)

    def split(self, mb: Emit, x: Var, shape: tuple[int, ...]) -> Var:
        """The reverse of :meth:`merge` for a tensor that had ``shape`` before."""
        x = reshape(mb, x, [shape[axis] for axis in self.order])
        return transpose(mb, x, [int(axis) for axis in np.argsort(self.order)])

    def linear(self, mb: Emit, shape: tuple[int, ...]) -> Any:
        """Positions along the merged axis, of shape ``self.shape``: an int array or a value."""
        extents = [shape[axis] for axis in self.positions]
        known = [array for node in self.nodes if (array := mb.array(node)) is not None]
        strides = [prod(extents[number + 1 :]) for number in range(len(extents))]
        if len(known) == len(self.nodes):
            terms = [
                array % extent * stride
                for array, extent, stride in zip(known, extents, strides, strict=True)
            ]
            return sum(terms[1:], np.asarray(terms[0]))
        total = None
        for node, extent, stride in zip(self.nodes, extents, strides, strict=True):
            term = _from_front(mb, mb.var(node), extent)
            if stride != 1:
                term = mb.mul(x=term, y=stride)
            total = term if total is None else mb.add(x=total, y=term)
        return total


def _from_front(mb: Emit, index: Var, extent: int) -> Var:
    """Negative indices counted from the front: gather and scatter take none from iOS17 on."""
    negative = mb.less(x=index, y=0)
    return mb.select(cond=negative, a=mb.add(x=index, y=extent), b=index)


@rules(aten.index.Tensor, aten._unsafe_index.Tensor, moves_data=True)
def index_tensor(mb: Emit, call: Call) -> Var:
    indexed = Indexed.of(call)
    x = indexed.merge(mb, mb.var(call["self"]))
    return take(mb, x, indexed.linear(mb, call.shape("self")), indexed.front)


@rules(aten.one_hot.default, types=INT)
def one_hot(mb: Emit, call: Call) -> Var:
    return mb.one_hot(
        indices=mb.var(call["self"]),
        one_hot_vector_size=call.out.shape[-1],
        axis=-1,
        on_value=1,
        off_value=0,
    )


# -- ordering ------------------------------------------------------------------------------------


def _ordered(mb: Emit, call: Call, count: int, ascending: bool) -> tuple[Var, Var]:
    """The first ``count`` (values, indices) along the call's axis."""
    x = mb.var(call["self"])
    x = reshape(mb, x, x.shape or [1])
    values, indices = mb.topk(x=x, k=count, axis=call.dim(), ascending=ascending)
    shape = call.outs[0].shape
    return reshape(mb, values, shape), reshape(mb, indices, shape)


@rules(aten.topk.default, types=FLOAT | INT)
def topk(mb: Emit, call: Call) -> tuple[Var, Var]:
    return _ordered(mb, call, call["k"], not call["largest"])


@rules(aten.sort.default, types=FLOAT | INT)
def sort(mb: Emit, call: Call) -> tuple[Var, Var]:
    count = call.shape("self")[call.dim()] if call.rank("self") else 1
    return _ordered(mb, call, count, not call["descending"])


@rules(aten.argsort.default, types=FLOAT | INT)
def argsort(mb: Emit, call: Call) -> Var:
    x = mb.var(call["self"])
    x = reshape(mb, x, x.shape or [1])
    order = mb.argsort(x=x, axis=call.dim(), ascending=not call["descending"])
    return reshape(mb, order, call.out.shape)
