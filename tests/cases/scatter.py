"""Rows for ops/scatter.py."""

from __future__ import annotations

import torch
from torch.export import Dim

from case import Case, Reject, randbool, randint, randn
from cases._moved import moved

aten = torch.ops.aten
SRC, VALUE, ADD = aten.scatter.src, aten.scatter.value, aten.scatter_add.default
REDUCE, PUT = aten.scatter_reduce.two, aten.index_put.default
SLICE, SELECT = aten.slice_scatter.default, aten.select_scatter.default

# Every target is written once: of several writes, any may win.
ONCE = torch.tensor([[2, 0], [1, 3]])
TWICE = torch.tensor([[2, 0, 2], [3, 3, 3]])


def reduced(id: str, x: torch.Tensor, src: torch.Tensor, reduce: str, own: bool = True) -> Case:
    return Case(
        f"reduce-{id}",
        lambda x, i, s: x.scatter_reduce(1, i, s, reduce, include_self=own),
        (x, TWICE, src),
        covers=REDUCE,
    )


def put(
    id: str, x: torch.Tensor, places: tuple[object, ...], values: object, add: bool = False
) -> Case:
    """``places`` holds index tensors, which become inputs, and None."""
    indices = tuple(i for i in places if i is not None)

    def fn(x: torch.Tensor, values: torch.Tensor, *given: torch.Tensor) -> torch.Tensor:
        at = iter(given)
        return aten.index_put(x, [None if i is None else next(at) for i in places], values, add)

    return Case(f"put-{id}", fn, (x, values, *indices), covers=PUT)


ROWS: list[Case | Reject] = [
    moved("src", SRC, lambda x, i, s: x.scatter(1, i, s), randn(2, 4), ONCE, randn(2, 2)),
    moved("src-larger", SRC, lambda x, i, s: x.scatter(-1, i, s), randn(2, 4), ONCE, randn(3, 3)),
    moved(
        "src-smaller-index", SRC, lambda x, i, s: x.scatter(0, i, s), randn(4, 3), ONCE, randn(2, 2)
    ),
    moved(
        "src-smaller-index-rank3",
        SRC,
        lambda x, i, s: x.scatter(1, i, s),
        randn(3, 4, 4),
        torch.tensor([[[2, 0], [1, 3]]]),
        randn(1, 2, 2),
    ),
    moved("src-rank0", SRC, lambda x, i, s: x.scatter(0, i, s), randn(), torch.tensor(0), randn()),
    moved("src-int", SRC, lambda x, i, s: x.scatter(1, i, s), randint(2, 4), ONCE, randint(2, 2)),
    moved(
        "src-bool", SRC, lambda x, i, s: x.scatter(1, i, s), randbool(2, 4), ONCE, randbool(2, 2)
    ),
    moved("value", VALUE, lambda x, i: x.scatter(1, i, 1.5), randn(2, 4), TWICE),
    moved("value-int", VALUE, lambda x, i: x.scatter(0, i, 7), randint(4, 2), ONCE),
    moved("value-bool", VALUE, lambda x, i: x.scatter(1, i, True), randbool(2, 4), TWICE),
    Case(
        "add", lambda x, i, s: x.scatter_add(1, i, s), (randn(2, 4), TWICE, randn(2, 3)), covers=ADD
    ),
    Case(
        "add-int",
        lambda x, i, s: x.scatter_add(1, i, s),
        (randint(2, 4), TWICE, randint(2, 3)),
        covers=ADD,
    ),
    Case(
        "add-smaller",
        lambda x, i, s: x.scatter_add(1, i, s),
        (randn(3, 4), TWICE, randn(2, 5)),
        covers=ADD,
    ),
    Case(
        "add-to-constants",
        lambda x: x * torch.ones(2, 4).scatter_add(1, TWICE, torch.ones(2, 3)),
        (randn(2, 4),),
        covers=ADD,
    ),
    *[
        reduced(f"{reduce}-{'own' if own else 'new'}-{kind}", x, src, reduce, own)
        for reduce in ("sum", "prod", "amax", "amin", "mean")
        for own in (True, False)
        for kind, x, src in (
            ("float", randn(2, 4), randn(2, 3)),
            ("int", randint(2, 4), randint(2, 3)),
        )
        if (reduce, kind) != ("mean", "int")
    ],
    put("rows", randn(4, 3), (torch.tensor([1, -1]),), randn(2, 3)),
    put("broadcast", randn(4, 3), (torch.tensor([1, -1]),), randn(3)),
    put("rank0-value", randn(4, 3), (torch.tensor([1, -1]),), randn()),
    put("rank0-index", randn(4, 3), (torch.tensor(-2),), randn(3)),
    put("second-axis", randn(2, 4, 3), (None, torch.tensor([2, 0])), randn(2, 2, 3)),
    put("two", randn(3, 4), (torch.tensor([0, -1]), torch.tensor([3, 1])), randn(2)),
    put(
        "two-broadcast", randn(3, 4), (torch.tensor([[0], [2]]), torch.tensor([3, 1])), randn(2, 2)
    ),
    put("apart", randn(3, 2, 4), (torch.tensor([0, -1]), None, torch.tensor([3, 1])), randn(2, 2)),
    put("accumulate", randn(4, 3), (torch.tensor([1, 1, -3]),), randn(3, 3), add=True),
    put("accumulate-int", randint(4, 3), (torch.tensor([1, 1, -3]),), randint(3, 3), add=True),
    put("int", randint(4, 3), (torch.tensor([1, -1]),), randint(2, 3)),
    put("bool", randbool(4, 3), (torch.tensor([1, -1]),), randbool(2, 3)),
    put("mask", randn(2, 3), (randbool(2, 3),), randn()),
    put("mask-one-value", randn(2, 3), (randbool(2, 3),), randn(1)),
    put("mask-rows", randn(4, 3), (randbool(4),), randn(3)),
    put("mask-columns", randn(2, 4), (None, randbool(4)), randn()),
    put("mask-accumulate", randint(2, 3), (randbool(2, 3),), randint(), add=True),
    Case(
        "put-constant-places",
        lambda x, v: aten.index_put(x, [None, torch.tensor([0, -1])], v),
        (randn(2, 4), randn(2, 2)),
        covers=PUT,
    ),
    Case(
        "unsafe-put",
        lambda x, i, v: aten._unsafe_index_put(x, [i], v),
        (randn(4, 3), torch.tensor([0, 2]), randn(2, 3)),
        covers=aten._unsafe_index_put.default,
    ),
    *[
        moved(f"slice-{id}", SLICE, lambda x, s, a=arguments: x.slice_scatter(s, *a), x, src)
        for id, x, src, arguments in (
            ("inner", randn(4, 3), randn(2, 3), (0, 1, 3)),
            ("start", randn(4, 3), randn(4, 1), (1, 0, 1)),
            ("end", randn(4, 3), randn(4, 2), (-1, -2, 9)),
            ("all", randn(4, 3), randn(4, 3), (0,)),
            ("step", randn(2, 5), randn(2, 2), (1, 1, 5, 2)),
            ("int", randint(4, 3), randint(2, 3), (0, 1, 3)),
            ("single", randint(1), randint(1), (0, -1, 1, 2)),
            ("bool", randbool(4, 3), randbool(2, 3), (0, 1, 4, 2)),
        )
    ],
    moved("select", SELECT, lambda x, s: x.select_scatter(s, 1, -1), randn(2, 3), randn(2)),
    moved("select-rank1", SELECT, lambda x, s: x.select_scatter(s, 0, 1), randn(3), randn()),
    Reject(
        "reduce-mean-int",
        lambda x, i, s: x.scatter_reduce(1, i, s, "mean").sum(),
        (randint(2, 4), TWICE, randint(2, 3)),
        covers=REDUCE,
        reason="'mean' of integers",
    ),
    Reject(
        "value-beyond-int32",
        lambda x, i: x.scatter(1, i, 2**40) * 2,
        (randint(2, 4), TWICE),
        covers=VALUE,
        reason="does not fit int32",
    ),
    Reject(
        "put-mask-each",
        lambda x, m, v: aten.index_put(x, [m], v).relu(),
        (randn(4), torch.tensor([True, False, True, False]), randn(2)),
        covers=PUT,
        reason="one value for each element",
    ),
    Reject(
        "put-mask-and-index",
        lambda x, m, i, v: aten.index_put(x, [m, i], v).relu(),
        (randn(2, 3), torch.tensor([True, True]), torch.tensor([0, 1]), randn()),
        covers=PUT,
        reason="combined with other indices",
    ),
    Reject(
        "put-rank6",
        lambda x, i, v: aten.index_put(x, [i], v).relu(),
        (randn(2, 1, 2, 1, 2), torch.tensor([[0, 1]]), randn()),
        covers=PUT,
        reason="rank 6",
    ),
    Case(
        "masked-scatter",
        lambda x, m, y: x.masked_scatter(m, y),
        (randn(3, 4), randbool(3, 4), randn(2, 6)),
        covers=aten.masked_scatter.default,
    ),
    Case(
        "masked-scatter-broadcast-mask",
        lambda x, m, y: x.masked_scatter(m, y) + 1,
        (randint(2, 3, 4), randbool(3, 1), randint(30)),
        covers=aten.masked_scatter.default,
    ),
    Case(
        "masked-scatter-nothing",
        lambda x, y: x.masked_scatter(x > 100, y),
        (randn(3, 4), randn(12)),
        covers=aten.masked_scatter.default,
    ),
    *(
        Case(
            f"index-reduce-{reduce}-{include}",
            lambda x, i, y, r=reduce, s=include: x.index_reduce(1, i, y, r, include_self=s),
            (randn(2, 4, 3), torch.tensor([1, 1, 3]), randn(2, 3, 3)),
            covers=aten.index_reduce.default,
        )
        for reduce in ("prod", "mean", "amax", "amin")
        for include in (True, False)
    ),
    Reject(
        "index-reduce-mean-int",
        lambda x, i, y: x.index_reduce(0, i, y, "mean"),
        (randint(3, 2), torch.tensor([1, 1]), randint(2, 2)),
        covers=aten.index_reduce.default,
        reason="'mean' of integers",
    ),
    Case(
        "put",
        lambda x, i, y: x.put(i, y),
        (randn(3, 4), torch.tensor([[0, -1], [5, 7]]), randn(2, 2)),
        covers=aten.put.default,
    ),
    Case(
        "take-put-accumulate",
        lambda x, i, y: x.put(i, y, accumulate=True),
        (randint(3, 4), torch.tensor([5, 5, 0]), randint(3)),
        covers=aten.put.default,
    ),
    *(
        Case(
            f"diagonal-scatter-{offset}-{first}-{second}",
            lambda x, y, o=offset, a=first, b=second: x.diagonal_scatter(y, o, a, b) + 1,
            (randn(*shape), randn(*source)),
            covers=aten.diagonal_scatter.default,
        )
        for shape, source, offset, first, second in (
            ((4, 4), (4,), 0, 0, 1),
            ((3, 5), (3,), 1, 0, 1),
            ((5, 3), (2,), -3, 0, 1),
            ((5, 2, 3), (2, 3), 1, 2, 0),
            ((2, 3, 4), (2, 2), -1, 1, 2),
        )
    ),
    Reject(
        "dynamic-shorter-index",
        lambda x, i: x.scatter_add(1, i, x[: i.shape[0]] * 2),
        (randn(6, 4), randint(3, 4, low=0, high=4)),
        aten.scatter_add.default,
        "may be shorter than self",
        dynamic=({}, {0: Dim("n", min=2, max=6)}),
    ),
]
