"""Reading by index: embedding, gather, advanced indexing, and ordering (topk, sort)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.fx import Node

from executorch_coreml.ops.bounds import never_negative
from executorch_coreml.ops.call import Call
from executorch_coreml.ops.checks import only_first_result
from executorch_coreml.ops.convert import not_zero
from executorch_coreml.ops.emit import Var, mil_type
from executorch_coreml.ops.moves import (
    atleast_1d,
    broadcast,
    corner,
    fill,
    numeric,
    of_rank,
    piece,
    reshape,
    take,
    transpose,
)
from executorch_coreml.ops.precision import LARGE, keep_fp32
from executorch_coreml.ops.rule import FLOAT, INT, Family
from executorch_coreml.ops.select import lone_mask, mask_position, masked
from executorch_coreml.ops.sizes import Extent, broadcast_extents, product

if TYPE_CHECKING:
    from executorch_coreml.ops.emit import Emit

aten = torch.ops.aten
rules = Family()


@rules(aten.embedding.default, moves_data=True, dynamic=True, empty=True)
def embedding(mb: Emit, call: Call) -> Var:
    return take(mb, mb.var(call["weight"]), mb.var(call["indices"]), 0)


# Of an embedding bag: what is done with the rows of each bag.
SUM, MEAN, MAX = 0, 1, 2


@rules(
    aten.embedding_bag.padding_idx,
    aten._embedding_bag.default,
    aten._embedding_bag_forward_only.default,
    types=FLOAT | INT,
    checks=[only_first_result],
)
def embedding_bag(mb: Emit, call: Call) -> tuple[Var | None, ...]:
    """A [bags, indices] matrix of what is in which bag, times the rows; or the maximum over it."""
    mode, out, count = call["mode"], call.outs[0], call.shape("indices")[0]
    long = mode != MAX and count > LARGE
    kind = keep_fp32(mb, out.dtype, f"a sum of {count} rows") if long else mb.type_of(out.dtype)
    rows = take(mb, mb.var(call["weight"], kind), mb.var(call["indices"]), 0)
    if mode == MAX:
        value = _largest(mb, rows, _membership(mb, call, to_the_end=True))
    else:
        shares = mb.cast(_membership(mb, call, to_the_end=False), kind)
        if call["per_sample_weights"] is not None:
            shares = mb.mul(x=shares, y=mb.var(call["per_sample_weights"], kind))
        value = mb.matmul(x=shares, y=rows)
    if mode == MEAN:
        counted = mb.cast(_membership(mb, call, to_the_end=True), kind)
        size = mb.reduce_sum(x=counted, axes=[1], keep_dims=True)
        value = mb.real_div(x=value, y=mb.maximum(x=size, y=1.0))
    return mb.cast(value, mb.type_of(out.dtype)), *[None] * (len(call.outs) - 1)


def _membership(mb: Emit, call: Call, to_the_end: bool) -> Var:
    """[bags, indices] bool. A bag has what comes after its offset and before the next one.

    ``include_last_offset`` adds an offset that ends the last bag; it should equal the number of
    indices. Where it does not, PyTorch sums up to it, yet divides by the number of indices, and
    searches the maximum, as if the bag went on to the end.
    """
    bags, count = call.outs[0].shape[0], call.shape("indices")[0]
    offsets = mb.var(call["offsets"])
    if to_the_end:
        offsets = piece(mb, offsets, 0, 0, bags)
    place = mb.const(np.arange(count), "int32")
    begun = mb.greater_equal(x=place, y=reshape(mb, offsets, [offsets.shape[0], 1]))
    number = mb.reduce_sum(x=mb.cast(begun, "int32"), axes=[0], keep_dims=True)
    member = mb.equal(x=number, y=mb.const(np.arange(1, bags + 1)[:, None], "int32"))
    if (padding := _padding(call)) is not None:
        counted = mb.not_equal(x=mb.var(call["indices"]), y=padding)
        member = mb.logical_and(x=member, y=counted)
    return member


def _padding(call: Call) -> int | None:
    """The index whose rows do not count. Only the composite op has negative ones mean one."""
    given = call["padding_idx"]
    if call.op is aten.embedding_bag.padding_idx:
        return None if given is None else int(given) % call.shape("weight")[0]
    return int(given) if given >= 0 else None


def _largest(mb: Emit, rows: Var, member: Var) -> Var:
    """The maximum of the rows of each bag; of none, zero."""
    (bags, count), width = member.shape, rows.shape[1]
    inside = broadcast(mb, reshape(mb, member, [bags, count, 1]), [bags, count, width])
    every = broadcast(mb, rows, [bags, count, width])
    lowest = fill(mb, every.shape, -np.inf, mil_type(rows))
    largest = mb.reduce_max(x=mb.select(cond=inside, a=every, b=lowest), axes=[1], keep_dims=False)
    some = not_zero(mb, mb.reduce_max(x=mb.cast(inside, "int32"), axes=[1], keep_dims=False))
    return mb.select(cond=some, a=largest, b=fill(mb, largest.shape, 0, mil_type(rows)))


@rules(aten.index_select.default, moves_data=True, dynamic=True, empty=True)
def index_select(mb: Emit, call: Call) -> Var:
    x, index = atleast_1d(mb, mb.var(call["self"])), atleast_1d(mb, mb.var(call["index"]))
    return of_rank(mb, take(mb, x, index, call.dim()), call.out.dim())


@rules(aten.gather.default, moves_data=True, dynamic=True, empty=True)
def gather(mb: Emit, call: Call) -> Var:
    x, index, axis = mb.var(call["self"]), mb.var(call["index"]), call.dim()
    x = corner(mb, x, call.shape("self"), call.shape("index"), but=axis)
    x, index = atleast_1d(mb, x), atleast_1d(mb, index)
    result = mb.gather_along_axis(x=numeric(mb, x), indices=index, axis=axis)
    return of_rank(mb, mb.cast(result, mil_type(x)), call.out.dim())


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
    shape: list[Extent]

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
            shape=broadcast_extents(*(node.meta["val"].shape for node in given.values())),
        )

    def merged(self, shape: Sequence[Extent]) -> list[Extent]:
        """``shape``, one like x's, with the indexed axes merged into one, at ``front``."""
        extents = [shape[axis] for axis in self.order]
        stop = self.front + len(self.positions)
        return [*extents[: self.front], product(extents[self.front : stop]), *extents[stop:]]

    def merge(self, mb: Emit, x: Var, shape: Sequence[Extent]) -> Var:
        """``x``, of ``shape``, with its indexed axes merged."""
        if len(self.positions) == 1:
            return x
        return reshape(mb, transpose(mb, x, self.order), self.merged(shape))

    def split(self, mb: Emit, x: Var, shape: Sequence[Extent]) -> Var:
        """The reverse of :meth:`merge`."""
        if len(self.positions) == 1:
            return x
        x = reshape(mb, x, [shape[axis] for axis in self.order])
        return transpose(mb, x, [int(axis) for axis in np.argsort(self.order)])

    def linear(self, mb: Emit, shape: Sequence[Extent]) -> Any:
        """Positions along the merged axis, of shape ``self.shape``: an int array or a value."""
        extents = [shape[axis] for axis in self.positions]
        pairs = zip(self.nodes, extents, strict=True)
        total, *places = (from_front(mb, node, extent) for node, extent in pairs)
        for place, extent in zip(places, extents[1:], strict=True):
            total = _place_within(mb, total, mb.sizes.scalar(extent), place)
        return total


def _place_within(mb: Emit, row: Any, extent: Any, place: Any) -> Any:
    """``row * extent + place``, an int array if all are known."""
    if isinstance(extent, int) and all(isinstance(part, np.ndarray) for part in (row, place)):
        return np.asarray(row * extent + place)
    row, place = value_of(mb, row), value_of(mb, place)
    return mb.add(x=row if extent == 1 else mb.mul(x=row, y=extent), y=place)


def value_of(mb: Emit, index: Any) -> Var:
    """Of an index that is an int array if it is known when compiling."""
    return mb.const(index, "int32") if isinstance(index, np.ndarray) else index


def from_front(mb: Emit, index: Node, extent: Extent) -> Any:
    """Negative indices counted from the front: gather and scatter take none from iOS17 on.

    An int array where all is known, else a value.
    """
    array, size = mb.array(index), mb.sizes.scalar(extent)
    if array is not None and (isinstance(size, int) or array.min() >= 0):
        return np.asarray(array % size) if isinstance(size, int) else array
    places = mb.var(index)
    if never_negative(index):
        return places
    negative = mb.less(x=places, y=0)
    return mb.select(cond=negative, a=mb.add(x=places, y=size), b=places)


def no_uint8_mask(call: Call) -> str | None:
    """No index is uint8, which PyTorch takes for a mask."""
    given = [node.meta["val"].dtype for node in call["indices"] if node is not None]
    return "an index is uint8, an old form of a mask; use bool" if torch.uint8 in given else None


@rules(
    aten.index.Tensor,
    aten._unsafe_index.Tensor,
    checks=[no_uint8_mask, lone_mask],
    moves_data=True,
    dynamic=True,
    empty=True,
    selects=True,
)
def index_tensor(mb: Emit, call: Call) -> Var:
    if (position := mask_position(call)) is not None:
        return masked(mb, call, position)
    indexed = Indexed.of(call)
    x = indexed.merge(mb, mb.var(call["self"]), call.shape("self"))
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


@rules(aten.topk.default, types=FLOAT | INT, in_range=True)
def topk(mb: Emit, call: Call) -> tuple[Var, Var]:
    return _ordered(mb, call, call["k"], not call["largest"])


@rules(aten.sort.default, types=FLOAT | INT, in_range=True)
def sort(mb: Emit, call: Call) -> tuple[Var, Var]:
    count = call.shape("self")[call.dim()] if call.rank("self") else 1
    return _ordered(mb, call, count, not call["descending"])


@rules(aten.argsort.default, types=FLOAT | INT)
def argsort(mb: Emit, call: Call) -> Var:
    x = mb.var(call["self"])
    x = reshape(mb, x, x.shape or [1])
    order = mb.argsort(x=x, axis=call.dim(), ascending=not call["descending"])
    return reshape(mb, order, call.out.shape)


@rules(aten.median.default, aten.median.dim, types=FLOAT | INT, in_range=True)
def median(mb: Emit, call: Call) -> Any:
    """The lower of the two middle values of an even number, and where it stands."""
    x, axis = mb.var(call["self"]), call.dim() if "dim" in call.args else 0
    if "dim" not in call.args or not x.shape:
        x = reshape(mb, x, [prod(x.shape)])
    middle = (x.shape[axis] + 1) // 2
    found = mb.topk(x=x, k=middle, axis=axis, ascending=True)
    values, indices = (
        reshape(mb, piece(mb, part, axis, middle - 1, middle), call.outs[0].shape) for part in found
    )
    return (values, indices) if "dim" in call.args else values


@rules(aten.kthvalue.default, types=FLOAT | INT, in_range=True)
def kthvalue(mb: Emit, call: Call) -> tuple[Var, Var]:
    """The last of the k smallest, and where it stands."""
    x, axis, k = mb.var(call["self"]), call.dim(), call["k"]
    x = reshape(mb, x, x.shape or [1])
    values, indices = (
        reshape(mb, piece(mb, part, axis, k - 1, k), call.outs[0].shape)
        for part in mb.topk(x=x, k=k, axis=axis, ascending=True)
    )
    return values, indices


def _no_sorter(call: Call) -> str | None:
    """The sequence itself is sorted: there is no sorter."""
    return None if call.args.get("sorter") is None else "sorter is not supported; sort beforehand"


def _sought(call: Call) -> tuple[Any, torch.dtype]:
    """The value, and the dtype that it and the boundaries are compared in.

    A number takes on the dtype of the boundaries as in ``boundaries + number``: -1 among uint8 is
    255, and 2.5 among integers makes floats of them.
    """
    boundaries = call.dtype("boundaries" if "boundaries" in call.args else "sorted_sequence")
    value = call["self"]
    if isinstance(value, Node):
        return value, torch.promote_types(boundaries, value.meta["val"].dtype)
    dtype = torch.result_type(torch.empty(1, dtype=boundaries), value)
    return torch.tensor(value).to(dtype).item(), dtype


@rules(
    aten.bucketize.Tensor,
    aten.bucketize.Scalar,
    aten.searchsorted.Tensor,
    aten.searchsorted.Scalar,
    types=FLOAT | INT,
    checks=[_no_sorter],
)
def searchsorted(mb: Emit, call: Call) -> Var:
    """How many boundaries are below each value, which is where it belongs; NaN comes last."""
    value, dtype = _sought(call)
    kind = mb.type_of(dtype)
    values = mb.var(value, kind)
    boundaries = mb.var(
        call["boundaries" if "boundaries" in call.args else "sorted_sequence"], kind
    )
    *rows, count = boundaries.shape
    batch, shape = prod(rows), call.out.shape
    values = reshape(mb, values, [batch, prod(values.shape) // batch, 1])
    boundaries = reshape(mb, boundaries, [batch, 1, count])
    right = call["right"] or call.args.get("side") == "right"
    reached = mb.op("greater" if right else "greater_equal", x=boundaries, y=values)
    below = mb.cast(mb.logical_not(x=reached), "int32")
    return reshape(mb, mb.reduce_sum(x=below, axes=[2], keep_dims=False), shape)
