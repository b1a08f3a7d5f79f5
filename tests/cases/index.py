"""Rows for ops/index.py."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from case import Case, Reject, randbool, randint, randn
from cases._moved import moved

aten = torch.ops.aten
EMBEDDING, INDEX, GATHER = aten.embedding.default, aten.index.Tensor, aten.gather.default
SELECT, TOPK, SORT = aten.index_select.default, aten.topk.default, aten.sort.default
ARGSORT, ONE_HOT = aten.argsort.default, aten.one_hot.default


def at(*shape: int, low: int = 0, high: int, dtype: torch.dtype = torch.int64) -> torch.Tensor:
    return randint(*shape, low=low, high=high, dtype=dtype)


def shuffled(*shape: int) -> torch.Tensor:
    """Values that fp16 tells apart: the order of equal ones is nobody's promise."""
    count = int(torch.tensor(shape).prod())
    order = torch.randperm(count, generator=torch.Generator().manual_seed(count))
    return order.reshape(shape) * 0.5 - 3


BAGS = [
    ("two", [0, 4], {}),
    ("empty", [0, 3, 3, 6], {}),
    ("last", [0, 3, 5], {"include_last_offset": True}),
    ("padding", [0, 4], {"padding_idx": -2}),
]
BAG, BAG_INNER = aten.embedding_bag.padding_idx, aten._embedding_bag.default
BAG_FORWARD = aten._embedding_bag_forward_only.default


def _bag(mode: str, **options: Any) -> Any:
    return lambda i, w, o: F.embedding_bag(i, w, o, mode=mode, **options)


def _inner(op: Any, *, padding: int = -1) -> Any:
    return lambda i, w, o: op(w, i, o, False, 1, False, None, False, padding)[0]


EMBEDDING_BAGS: list[Case | Reject] = [
    *(
        Case(
            f"embedding_bag-{mode}-{name}",
            _bag(mode, **options),
            (torch.tensor([1, 2, 4, 5, 4, 3, 2, 8]), randn(10, 3), torch.tensor(offsets)),
            covers=BAG,
        )
        for mode in ("sum", "mean", "max")
        for name, offsets, options in BAGS
    ),
    Case(
        "embedding_bag-weights",
        lambda i, w, o, s: F.embedding_bag(i, w, o, mode="sum", per_sample_weights=s),
        (at(6, high=10), randn(10, 3), torch.tensor([0, 2]), randn(6)),
        covers=BAG,
    ),
    Case(
        "embedding_bag-constant-offsets",
        lambda i, w: F.embedding_bag(i, w, torch.tensor([0, 4])),
        (at(6, high=10), randn(10, 3)),
        covers=BAG,
    ),
    Case(
        "embedding_bag-2d",
        lambda i, w: F.embedding_bag(i, w),
        (at(3, 4, high=10), randn(10, 3)),
        covers=BAG,
    ),
    Case(
        "embedding_bag-many",
        _bag("sum"),
        (at(3000, high=10), randn(10, 3) + 2, torch.tensor([0, 2900])),
        covers=BAG,
    ),
    *(
        Case(
            f"{op._schema.name}-{padding}",
            _inner(op, padding=padding),
            (at(6, high=4), randn(4, 3), torch.tensor([0, 2])),
            covers=op,
        )
        for op in (BAG_INNER, BAG_FORWARD)
        for padding in (-1, 2)
    ),
    Reject(
        "embedding_bag-counts",
        lambda i, w, o: aten._embedding_bag.default(w, i, o)[::2],
        (at(6, high=4), randn(4, 3), torch.tensor([0, 2])),
        covers=BAG_INNER,
        reason="result number 2 is used",
    ),
]

MEDIANS = [
    *(
        Case(
            f"median-{dim}-{keep}",
            lambda x, dim=dim, keep=keep: tuple(x.median(dim, keep)),
            (shuffled(3, 4, 5),),
            covers=aten.median.dim,
        )
        for dim in (0, 1, -1)
        for keep in (False, True)
    ),
    Case("median-values", lambda x: x.median(0)[0], (randint(5, 3),), covers=aten.median.dim),
    Case("median-dim-rank0", lambda x: tuple(x.median(0)), (randn(),), covers=aten.median.dim),
    *(
        Case(f"median-all-{x.dtype}-{x.dim()}", torch.median, (x,), covers=aten.median.default)
        for x in (randn(3, 4), randn(7), randn(), randn(2, 3, dtype=torch.float16), randint(4, 2))
    ),
]

ROWS: list[Case | Reject] = [
    *EMBEDDING_BAGS,
    *MEDIANS,
    moved("embedding", EMBEDDING, F.embedding, at(2, 3, high=5), randn(5, 4)),
    moved("embedding-rank0", EMBEDDING, F.embedding, at(high=5), randn(5, 4)),
    moved("embedding-int32", EMBEDDING, F.embedding, at(3, high=5, dtype=torch.int32), randn(5, 4)),
    moved(
        "embedding-padding",
        EMBEDDING,
        lambda i, w: F.embedding(i, w, 0),
        at(3, high=5),
        randn(5, 4),
    ),
    Case(
        "embedding-weight",
        torch.nn.Sequential(torch.nn.Embedding(6, 3), torch.nn.ReLU()),
        (at(2, 2, high=6),),
        covers=EMBEDDING,
    ),
    moved("select", SELECT, lambda x, i: x.index_select(1, i), randn(2, 4), at(3, high=4)),
    moved(
        "select-negative-dim",
        SELECT,
        lambda x, i: x.index_select(-2, i),
        randn(3, 4),
        at(2, high=3),
    ),
    moved("select-rank0-index", SELECT, lambda x, i: x.index_select(0, i), randn(3, 4), at(high=3)),
    moved("select-rank0", SELECT, lambda x, i: x.index_select(0, i), randn(), at(1, high=1)),
    moved("select-int", SELECT, lambda x, i: x.index_select(0, i), randint(3, 2), at(2, high=3)),
    moved("select-bool", SELECT, lambda x, i: x.index_select(0, i), randbool(3, 2), at(2, high=3)),
    moved("gather", GATHER, lambda x, i: x.gather(1, i), randn(2, 4), at(2, 3, high=4)),
    moved(
        "gather-smaller", GATHER, lambda x, i: x.gather(-1, i), randn(3, 4, 2), at(2, 2, 3, high=2)
    ),
    moved("gather-rank0", GATHER, lambda x, i: x.gather(0, i), randn(), at(high=1)),
    moved("gather-int", GATHER, lambda x, i: x.gather(0, i), randint(3, 2), at(2, 2, high=3)),
    moved("gather-bool", GATHER, lambda x, i: x.gather(0, i), randbool(3, 2), at(2, 2, high=3)),
    moved(
        "take-along-dim", GATHER, lambda x, i: x.take_along_dim(i, 1), randn(2, 4), at(2, 3, high=4)
    ),
    moved("index", INDEX, lambda x, i: x[i], randn(4, 3), at(2, 2, low=-4, high=4)),
    moved(
        "index-rank0",
        INDEX,
        lambda x, i: aten.index(x, [i]),
        randn(4, 3),
        at(1, low=-4, high=4).squeeze(),
    ),
    moved("index-to-rank0", INDEX, lambda x, i: aten.index(x, [i]), randn(4), torch.tensor(-2)),
    moved("index-second", INDEX, lambda x, i: x[:, i], randn(2, 4, 3), at(5, low=-4, high=4)),
    moved("index-last", INDEX, lambda x, i: x[..., i], randn(2, 4), at(2, 3, low=-4, high=4)),
    moved("index-constant", INDEX, lambda x: x[:, [2, -1, 0]], randn(2, 4)),
    moved("index-two-constants", INDEX, lambda x: x[[0, -1], [1, -2]], randn(2, 4)),
    moved(
        "index-two",
        INDEX,
        lambda x, i, j: x[i, j],
        randn(3, 4, 2),
        at(2, 1, low=-3, high=3),
        at(5, low=-4, high=4),
    ),
    moved(
        "index-mixed-constant",
        INDEX,
        lambda x, i: x[i, torch.tensor([0, -1])],
        randn(3, 4),
        at(2, low=-3, high=3),
    ),
    moved(
        "index-two-inner",
        INDEX,
        lambda x, i, j: x[:, i, j],
        randn(2, 3, 4, 2),
        at(5, low=-3, high=3),
        at(5, low=-4, high=4),
    ),
    moved(
        "index-apart",
        INDEX,
        lambda x, i, j: x[i, :, j],
        randn(3, 2, 4),
        at(5, low=-3, high=3),
        at(5, low=-4, high=4),
    ),
    moved(
        "index-apart-inner",
        INDEX,
        lambda x, i, j: x[:, i, :, j],
        randn(2, 3, 2, 4),
        at(2, 1, low=-3, high=3),
        at(3, low=-4, high=4),
    ),
    moved("index-int", INDEX, lambda x, i: x[i], randint(4, 2), at(3, low=-4, high=4)),
    moved("index-bool", INDEX, lambda x, i: x[i], randbool(4, 2), at(3, low=-4, high=4)),
    moved(
        "unsafe-index",
        aten._unsafe_index.Tensor,
        lambda x, i: aten._unsafe_index(x, [None, i]),
        randn(2, 4),
        at(3, high=4),
    ),
    Case("one-hot", lambda i: F.one_hot(i, 5), (at(2, 3, high=5),), covers=ONE_HOT),
    Case("one-hot-rank0", lambda i: F.one_hot(i, 5), (at(high=5),), covers=ONE_HOT),
    Case("topk", lambda x: tuple(x.topk(3)), (shuffled(2, 8),), covers=TOPK),
    Case(
        "topk-smallest",
        lambda x: tuple(x.topk(2, 0, largest=False)),
        (shuffled(5, 3),),
        covers=TOPK,
    ),
    Case("topk-int", lambda x: tuple(x.topk(2)), (shuffled(2, 8).mul(2).long(),), covers=TOPK),
    Case("topk-rank0", lambda x: tuple(x.topk(1)), (randn(),), covers=TOPK),
    Case("topk-values-only", lambda x: x.topk(2, -2)[0], (shuffled(4, 3),), covers=TOPK),
    Case("sort", lambda x: tuple(x.sort()), (shuffled(3, 5),), covers=SORT),
    Case(
        "sort-descending",
        lambda x: tuple(x.sort(0, descending=True)),
        (shuffled(5, 2),),
        covers=SORT,
    ),
    Case("sort-int", lambda x: tuple(x.sort(-1)), (shuffled(2, 7).mul(2).int(),), covers=SORT),
    Case("sort-rank0", lambda x: tuple(x.sort()), (randn(),), covers=SORT),
    Case("argsort", torch.argsort, (shuffled(3, 5),), covers=ARGSORT),
    Case(
        "argsort-descending",
        lambda x: x.argsort(0, descending=True),
        (shuffled(5, 2),),
        covers=ARGSORT,
    ),
    Case("argsort-rank0", torch.argsort, (randn(),), covers=ARGSORT),
    Case(
        "kthvalue",
        lambda x: tuple(x.kthvalue(2, 1)),
        (randn(3, 5, 2),),
        covers=aten.kthvalue.default,
    ),
    Case(
        "kthvalue-rank0",
        lambda x: tuple((x + 1).kthvalue(1)),
        (torch.tensor(2.0),),
        covers=aten.kthvalue.default,
    ),
    *(
        Case(
            f"bucketize-{right}",
            lambda x, b, right=right: torch.bucketize(x, b, right=right),
            (torch.tensor([[-9.0, -1, -0.5], [0, 1, float("nan")]]), torch.tensor([-1.0, 0, 0, 1])),
            covers=aten.bucketize.Tensor,
        )
        for right in (False, True)
    ),
    Case(
        "bucketize-int32",
        lambda x, b: torch.bucketize(x, b, out_int32=True),
        (torch.arange(-3, 4), torch.tensor([-1, 2])),
        covers=aten.bucketize.Tensor,
    ),
    Case(
        "searchsorted-rows",
        lambda x, b: torch.searchsorted(b, x),
        (randn(2, 3), randn(2, 5).sort(-1)[0]),
        covers=aten.searchsorted.Tensor,
    ),
    Case(
        "searchsorted-side",
        lambda x, b: torch.searchsorted(b, x, side="right"),
        (torch.arange(6.0).reshape(2, 3), torch.tensor([1.0, 2, 2, 4])),
        covers=aten.searchsorted.Tensor,
    ),
    Case(
        "searchsorted-number-wraps",
        lambda b: torch.searchsorted(b, -1, right=True) + torch.searchsorted(b, 300),
        (torch.tensor([1, 2, 50, 250], dtype=torch.uint8),),
        covers=aten.searchsorted.Scalar,
    ),
    Case(
        "searchsorted-fraction-among-integers",
        lambda b: torch.searchsorted(b, 2.5) + torch.bucketize(1.5, b),
        (torch.tensor([1, 2, 3]),),
        covers=(aten.searchsorted.Scalar, aten.bucketize.Scalar),
    ),
    Case(
        "searchsorted-number",
        lambda b: torch.searchsorted(b, 2),
        (torch.tensor([1.0, 2, 2, 4]),),
        covers=aten.searchsorted.Scalar,
    ),
    Reject(
        "searchsorted-sorter",
        lambda x, b: torch.searchsorted(b, x, sorter=b.argsort()),
        (randn(3), randn(5)),
        covers=aten.searchsorted.Tensor,
        reason="sorter is not supported",
    ),
]
