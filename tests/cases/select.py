"""Rows for ops/select.py, and for what other rules do with how much was selected.

What is selected from is far enough from zero to be so in fp16 as well. Whether a program also holds
for other numbers of elements, none of them among those, is tests/test_select.py's.
"""

from __future__ import annotations

import torch

from case import Case, Reject, randbool, randint, randn

aten = torch.ops.aten
NONZERO, MASKED_SELECT, INDEX = aten.nonzero.default, aten.masked_select.default, aten.index.Tensor
INDEX_PUT = aten.index_put.default
X = randint(3, 4, low=-2, high=3).float()
NONE = torch.zeros(3, 4)
BITS = randbool(2, 3, 4)

ROWS: list[Case | Reject] = [
    *(
        Case(f"nonzero-{name}", torch.nonzero, (x,), covers=NONZERO)
        for name, x in (
            ("float", X),
            ("half", X.half()),
            ("vector", X[1]),
            ("int32", X.int()),
            ("int64", X.long()),
            ("int16", X.to(torch.int16)),
            ("uint8", X.abs().to(torch.uint8)),
            ("bool", BITS),
            ("rank5", BITS[None, None]),
            ("none", NONE),
            ("none-bool", ~torch.ones(2, 3, dtype=torch.bool)),
            ("all", torch.ones(2, 3)),
            ("nan", torch.tensor([0.0, float("nan"), -0.0, float("-inf")])),
        )
    ),
    # OpenVINO drops the conversion, which makes zeros, from in front of its NonZero.
    Case("nonzero-converted", lambda x: (x / 2).int().nonzero(), (X,), covers=NONZERO),
    Case("where", lambda x: torch.where(x > 0), (X,), covers=NONZERO),
    Case("argwhere", lambda x: torch.argwhere(x) * 2, (X,), covers=NONZERO),
    Case("nonzero_numpy", lambda x: x.nonzero(as_tuple=True)[1], (X,), covers=NONZERO),
    Case("nonzero-number", lambda x: x.nonzero().shape[0] * x, (X,), covers=NONZERO),
    Case("nonzero-sum", lambda x: x.nonzero().sum(0), (NONE,), covers=NONZERO),
    Reject(
        "nonzero-rank0",
        lambda x: x.nonzero() + 1,
        (torch.tensor(2.0),),
        covers=NONZERO,
        reason="the result is empty: its shape is (u",
    ),
    Reject(
        "nonzero-rank6",
        lambda x: x.nonzero() + 1,
        (BITS[None, None, None],),
        covers=NONZERO,
        reason="rank 6; Core ML allows at most 5",
    ),
    *(
        Case(f"masked_select-{name}", torch.masked_select, (x, m), covers=MASKED_SELECT)
        for name, x, m in (
            ("float", X, X > 0),
            ("int", X.long(), X > 0),
            ("bool", X < 1, X > 0),
            ("row", X, X[0] > 0),
            ("column", X[1], X[:, :1] > 0),
            ("none", X, X > 9),
        )
    ),
    *(
        Case(f"mask-{name}", lambda x, m: x[m] * 2, (x, m), covers=INDEX)
        for name, x, m in (
            ("whole", X, X > 0),
            ("rows", X, X[:, 1] > 0),
            ("int", X.int(), X > 0),
            ("planes", randn(2, 3, 4), BITS[:, :, 0].contiguous()),
            ("none", X, X > 9),
            ("all", X, X < 9),
        )
    ),
    Case("mask-bool", lambda x: (x < 1)[x > 0], (X,), covers=INDEX),
    Case("mask-columns", lambda x: x[:, x[0] > -1].sum(1), (X,), covers=INDEX),
    Case("mask-inner", lambda x, m: x[:, m].sum(1), (randn(2, 3, 4), BITS[0]), covers=INDEX),
    Case("mask-of-mask", lambda x: (y := x[x > 0])[y > 1] * 2, (X,), covers=INDEX),
    Case("by-places", lambda x: x[torch.where(x > 0)[1]] * 2, (randn(4, 4),), covers=INDEX),
    Case(
        "put-selected",
        lambda x: x.index_put((x > 0,), x[x > 0] * 3) + 1,
        (X,),
        covers=INDEX_PUT,
    ),
    Case(
        "put-selected-rows",
        lambda x: x.index_put((x[:, 1] > -1,), x[x[:, 1] > -1] * 3, accumulate=True),
        (X,),
        covers=INDEX_PUT,
    ),
    Case(
        "put-at-places",
        lambda x: x.index_put(torch.where(x > 0), x[x > 0] * 3) + 1,
        (X,),
        covers=INDEX_PUT,
    ),
    Reject(
        "mask-and-index",
        lambda x, m, i: x[m, i] * 2,
        (X, X[:, 1] > -9, torch.tensor([1])),
        covers=INDEX,
        reason="a boolean mask is combined with other indices",
    ),
    Case("mean-of-none", lambda x: (x[x > 9].mean(), x[x[:, 0] > 9].mean(0)), (X,), covers=INDEX),
    Case(
        "any-of-none",
        lambda x: ((x[x > 9] > 0).any(), (x[x[:, 0] > 9] > 0).all(0)),
        (X,),
        covers=INDEX,
    ),
    Case("ones-of-none", lambda x: torch.ones_like(x[x > 9]) + 1, (X,), covers=INDEX),
    Case("count-of-none", lambda x: torch.count_nonzero(x[x > 9]), (X,), covers=INDEX),
    # torch.export itself asserts that there is an element here.
    Case("amax-of-some", lambda x: x[x[:, 1] > -9].amax(0), (X,), covers=aten.amax.default),
    Reject(
        "max-of-none",
        lambda x: x[x > 0].max() * 2,
        (X,),
        covers=aten.max.default,
        reason="may be 0, of which it has no value",
    ),
    Reject(
        "pool-of-none",
        lambda x: torch.nn.functional.max_pool1d(x[x[:, 1] > 0][:, None], 2),
        (X,),
        covers=aten.max_pool2d_with_indices.default,
        reason="depends on values and may be empty",
    ),
]
