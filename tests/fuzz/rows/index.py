"""Rows for the ops of ops/index.py, ops/put.py and ops/scatter.py."""

from __future__ import annotations

from typing import Any

import torch

from fuzz.draw import ALL, BOOL, F32, FLOATS, I32, I64, PLAIN, Draw, Invalid, Slot, row

aten = torch.ops.aten


def _indices(d: Draw, shape: list[int], extent: int, negative: bool = False) -> Slot:
    low = -extent if negative and d.flag() else 0
    return d.tensor(shape, I64, low=low, high=extent - 1)


def _distinct(d: Draw, shape: list[int], dim: int, extent: int) -> Slot:
    """Indices along ``dim`` in which none occurs twice."""
    shape = list(shape)
    if not shape:
        return d.add(torch.tensor(0))
    make = torch.Generator().manual_seed(d.integer(0, 9999))
    count = shape[dim] = min(shape[dim], extent)
    order = torch.rand([*shape[:dim], extent, *shape[dim:][1:]], generator=make).argsort(dim)
    return d.add(order.narrow(dim, 0, count).contiguous(), d.integer(0, 4) == 4)


@row(aten.embedding.default)
def embedding(d: Draw, op: Any) -> None:
    weight = d.tensor([d.integer(1, 7), d.integer(1, 5)], d.choice(*FLOATS), PLAIN)
    rows = d.of(weight).shape[0]
    d.call(op, weight, _indices(d, d.shape(0, 4, 100), rows), d.choice(-1, 0))


@row(
    aten._embedding_bag.default,
    aten._embedding_bag_forward_only.default,
    aten.embedding_bag.padding_idx,
)
def embedding_bag(d: Draw, op: Any) -> None:
    mode = d.integer(0, 2)
    weight = d.tensor([d.integer(1, 7), d.integer(1, 5)], F32, PLAIN)
    count = d.integer(1, 9)
    indices = _indices(d, [count], d.of(weight).shape[0])
    cuts = sorted({0, *[d.integer(0, count - 1) for _ in range(d.integer(0, 3))]})
    last = d.flag()
    offsets = d.add(torch.tensor(cuts + ([count] if last else [])), d.flag())
    scale = d.tensor([count], F32, PLAIN) if mode == 0 and d.flag() else None
    padding = d.choice(-1, 0) if op is not aten.embedding_bag.padding_idx else d.choice(None, 0)
    d.call(op, weight, indices, offsets, False, mode, False, scale, last, padding, keep=(0,))


@row(aten.index_select.default)
def index_select(d: Draw, op: Any) -> None:
    x = d.operand(ALL)
    dim = d.dim(d.of(x).dim())
    extent = d.of(x).shape[dim] if d.of(x).dim() else 1
    d.call(op, x, dim, _indices(d, [d.integer(1, 6)], extent))


@row(aten.gather.default)
def gather(d: Draw, op: Any) -> None:
    x = d.operand(ALL)
    shape = list(d.of(x).shape)
    dim = d.dim(len(shape))
    extent = shape[dim] if shape else 1
    at = [d.integer(1, n) for n in shape]
    if at:
        at[dim] = d.integer(1, 7)
    d.call(op, x, dim, _indices(d, at, extent))


def _places(d: Draw, shape: list[int], distinct: bool) -> tuple[list[Slot | None], list[int]]:
    """An index list for a tensor of ``shape``, and the shape of what it selects."""
    start = d.integer(0, len(shape) - 1)
    count = d.integer(1, min(3, len(shape) - start))
    if distinct:
        place = _distinct(d, [d.integer(1, 4)], 0, shape[start])
        picked: list[int] = [*d.of(place).shape]
        return [None] * start + [place], [*shape[:start], *picked, *shape[start + 1 :]]
    at = d.shape(0, 2, 12)
    places: list[Slot | None] = [None] * start
    for number in range(count):
        shape_of = at if number == 0 else d.broadcasts(at)
        places.append(_indices(d, shape_of, shape[start + number], negative=True))
    return places, [*shape[:start], *at, *shape[start + count :]]


@row(aten.index.Tensor, aten._unsafe_index.Tensor)
def index(d: Draw, op: Any) -> None:
    x = d.operand(ALL, 1, 4)
    places, _ = _places(d, list(d.of(x).shape), distinct=False)
    ranks = {d.of(place).dim() for place in places if place is not None}
    if 0 in ranks and len(ranks) > 1:
        raise Invalid("PyTorch 2.13 exports another shape than it computes if one index has rank 0")
    d.call(op, x, places)


@row(aten.index_put.default, aten._unsafe_index_put.default)
def index_put(d: Draw, op: Any) -> None:
    add = d.flag()
    x = d.operand((F32, I64, torch.float16) if add else ALL, 1, 4, kinds=PLAIN)
    places, shape = _places(d, list(d.of(x).shape), distinct=not add)
    d.call(op, x, places, d.tensor(d.broadcasts(shape), d.of(x).dtype, PLAIN), add)


@row(aten.scatter.src, aten.scatter.value)
def scatter(d: Draw, op: Any) -> None:
    x = d.operand(ALL)
    shape, dtype = list(d.of(x).shape), d.of(x).dtype
    dim = d.dim(len(shape))
    place = _distinct(d, [d.integer(1, n) for n in shape], dim % max(len(shape), 1),
                      shape[dim] if shape else 1)  # fmt: skip
    if op is aten.scatter.value:
        d.call(op, x, dim, place, d.number(dtype))
    else:
        grown = [n + d.integer(0, 1) for n in d.of(place).shape]
        d.call(op, x, dim, place, d.tensor(grown, dtype))


@row(aten.scatter_add.default, aten.scatter_reduce.two)
def scatter_add(d: Draw, op: Any) -> None:
    x = d.operand((F32, I64, torch.float16, I32), kinds=PLAIN)
    shape, dtype = list(d.of(x).shape), d.of(x).dtype
    dim = d.dim(len(shape))
    at = [d.integer(1, n) for n in shape]
    place = _indices(d, at, shape[dim] if shape else 1)
    source = d.tensor(at, dtype, PLAIN)
    if op is aten.scatter_add.default:
        d.call(op, x, dim, place, source)
    else:
        mode = d.choice("sum", "prod", "mean", "amax", "amin")
        d.call(op, x, dim, place, source, mode, include_self=d.flag())


@row(aten.slice_scatter.default)
def slice_scatter(d: Draw, op: Any) -> None:
    x = d.operand(ALL, 1)
    shape, dtype = list(d.of(x).shape), d.of(x).dtype
    dim, step = d.dim(len(shape)), d.integer(1, 3)
    start, end = d.integer(-shape[dim], shape[dim] - 1), d.integer(-shape[dim], shape[dim] + 2)
    shape[dim] = len(range(shape[dim])[start:end:step])
    if not shape[dim]:
        start, end, step, shape[dim] = 0, 1, 1, 1
    d.call(op, x, d.tensor(shape, dtype), dim, start, end, step)


@row(aten.select_scatter.default)
def select_scatter(d: Draw, op: Any) -> None:
    x = d.operand(ALL, 1)
    shape, dtype = list(d.of(x).shape), d.of(x).dtype
    dim = d.dim(len(shape))
    extent = shape.pop(dim)
    d.call(op, x, d.tensor(shape, dtype), dim, d.integer(-extent, extent - 1))


@row(aten.diagonal_scatter.default)
def diagonal_scatter(d: Draw, op: Any) -> None:
    x = d.operand(ALL, 2)
    axes = d.dims(d.of(x).dim(), 2)[:2]
    offset = d.integer(-2, 2)
    diagonal = d.of(x).diagonal(offset, *axes)
    if not diagonal.numel():
        offset, diagonal = 0, d.of(x).diagonal(0, *axes)
    d.call(op, x, d.tensor(diagonal.shape, d.of(x).dtype), offset, *axes)


@row(aten.masked_scatter.default)
def masked_scatter(d: Draw, op: Any) -> None:
    x = d.operand(ALL)
    mask = d.tensor(d.broadcasts(d.of(x).shape), BOOL)
    d.call(op, x, mask, d.tensor([d.of(x).numel() + d.integer(0, 2)], d.of(x).dtype))


@row(aten.index_reduce.default)
def index_reduce(d: Draw, op: Any) -> None:
    x = d.operand(d.types(op), 1, kinds=PLAIN)
    shape, dtype = list(d.of(x).shape), d.of(x).dtype
    dim = d.dim(len(shape))
    place = _indices(d, [d.integer(1, 6)], shape[dim])
    shape[dim] = d.of(place).numel()
    mode = d.choice("prod", "mean", "amax", "amin")
    d.call(op, x, dim, place, d.tensor(shape, dtype, PLAIN), mode, include_self=d.flag())


@row(aten.put.default)
def put(d: Draw, op: Any) -> None:
    x = d.operand(d.types(op), kinds=PLAIN)
    extent, add = d.of(x).numel(), d.flag()
    count = [d.integer(1, 6)]
    place = _indices(d, count, extent, negative=True) if add else _distinct(d, count, 0, extent)
    d.call(op, x, place, d.tensor(d.of(place).shape, d.of(x).dtype, PLAIN), add)


@row(aten.kthvalue.default)
def kthvalue(d: Draw, op: Any) -> None:
    x = d.operand(FLOATS, kinds=("distinct",))
    dim = d.dim(d.of(x).dim())
    extent = d.of(x).shape[dim] if d.of(x).dim() else 1
    d.call(op, x, d.integer(1, extent), dim, d.flag())


@row(aten.narrow_copy.default)
def narrow_copy(d: Draw, op: Any) -> None:
    x = d.operand(ALL, 1)
    dim = d.dim(d.of(x).dim())
    start = d.integer(0, d.of(x).shape[dim] - 1)
    d.call(op, x, dim, start, d.integer(1, d.of(x).shape[dim] - start))


@row(
    aten.bucketize.Tensor,
    aten.bucketize.Scalar,
    aten.searchsorted.Tensor,
    aten.searchsorted.Scalar,
)
def searchsorted(d: Draw, op: Any) -> None:
    dtype = d.choice(*[kind for kind in d.types(op) if kind is not BOOL])
    many = op is aten.searchsorted.Tensor and d.flag()
    lead = d.shape(1, 2, 12) if many else []
    drawn = d.tensor([*lead, d.integer(1, 7)], dtype, ("grid", "hundreds"))
    order = d.add(d.of(drawn).sort(-1).values, d.flag())
    options = {"out_int32": d.flag(), "right": d.flag()}
    if "Scalar" in str(op):
        number = d.number(dtype)
        d.call(op, *((order, number) if "searchsorted" in str(op) else (number, order)), **options)
        return
    x = d.tensor([*lead, d.integer(1, 5)] if many else d.shape(), dtype, ("grid", "hundreds"))
    d.call(op, *((order, x) if "searchsorted" in str(op) else (x, order)), **options)
