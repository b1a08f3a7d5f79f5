"""Rows for ops/shape.py."""

from __future__ import annotations

import torch

from case import Case, Reject, randbool, randint, randn
from cases._moved import moved

aten = torch.ops.aten
dim_order = torch.ops.dim_order_ops

HALF = torch.float16
TRANSPOSE, T = aten.transpose_copy.int, aten.t_copy.default
VIEW, PERMUTE, SELECT = aten.view_copy.default, aten.permute_copy.default, aten.select_copy.int
SLICE, SPLIT = aten.slice_copy.Tensor, aten.split_with_sizes_copy.default
EXPAND, CAT, STACK = aten.expand_copy.default, aten.cat.default, aten.stack.default
REPEAT, INTERLEAVE = aten.repeat.default, aten.repeat_interleave.self_int
FLIP, ROLL, TRIL, TRIU = aten.flip.default, aten.roll.default, aten.tril.default, aten.triu.default


def _select_at(x: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    index = at.item()
    torch._check(index >= 0)
    torch._check(index < 3)
    return x.select(0, index).relu()


VIEWS = [
    moved("view", VIEW, lambda x: x.view(3, 2), randn(2, 3)),
    moved("view-minus-one", VIEW, lambda x: x.view(-1, 2), randn(2, 4)),
    moved("view-rank0-to-3", VIEW, lambda x: x.view(1, 1, 1), randn()),
    moved("view-to-rank0", VIEW, lambda x: x.view(()), randn(1, 1)),
    moved("view-rank5", VIEW, lambda x: x.view(1, 2, 1, 3, 4), randn(6, 4)),
    moved("view-fp16", VIEW, lambda x: x.view(3, 2), randn(2, 3, dtype=HALF)),
    moved("view-int32", VIEW, lambda x: x.view(3, 2), randint(2, 3, dtype=torch.int32)),
    moved("view-bool", VIEW, lambda x: x.view(3, 2), randbool(2, 3)),
    moved("flatten", VIEW, lambda x: x.flatten(1), randn(2, 3, 4)),
    moved("flatten-rank0", VIEW, lambda x: x.flatten(), randn()),
    moved("unflatten", VIEW, lambda x: x.unflatten(1, (2, -1)), randn(2, 6)),
    moved("reshape-of-transpose", VIEW, lambda x: x.mT.reshape(-1), randn(2, 3)),
    moved("unsqueeze", aten.unsqueeze_copy.default, lambda x: x.unsqueeze(1), randn(2, 3)),
    moved("unsqueeze-last", aten.unsqueeze_copy.default, lambda x: x.unsqueeze(-1), randn(2, 3)),
    moved("unsqueeze-rank0", aten.unsqueeze_copy.default, lambda x: x.unsqueeze(0), randn()),
    moved("squeeze-dims", aten.squeeze_copy.dims, lambda x: x.squeeze((0, -1)), randn(1, 3, 1)),
    moved("squeeze-dims-kept", aten.squeeze_copy.dims, lambda x: x.squeeze((0, 1)), randn(1, 3)),
    moved("squeeze-dim", aten.squeeze_copy.dims, lambda x: x.squeeze(1), randn(2, 1, 3)),
    moved("squeeze-all", aten.squeeze_copy.dims, lambda x: x.squeeze(), randn(1, 3, 1, 2)),
    moved("squeeze-to-rank0", aten.squeeze_copy.dims, lambda x: x.squeeze(), randn(1, 1)),
]

AXES = [
    moved("permute", PERMUTE, lambda x: x.permute(2, 0, 1), randn(2, 3, 4)),
    moved("permute-negative", PERMUTE, lambda x: x.permute(-1, 0, -2), randn(2, 3, 4)),
    moved("permute-rank5", PERMUTE, lambda x: x.permute(4, 2, 0, 3, 1), randn(2, 1, 3, 2, 2)),
    moved("permute-int", PERMUTE, lambda x: x.permute(1, 0), randint(2, 3)),
    moved("permute-bool", PERMUTE, lambda x: x.permute(1, 0), randbool(2, 3)),
    moved("transpose", TRANSPOSE, lambda x: x.transpose(0, -1), randn(2, 3, 4)),
    moved("t", T, lambda x: x.t(), randn(2, 3)),
    moved("movedim", PERMUTE, lambda x: x.movedim(0, -1), randn(2, 3, 4)),
    moved("expand", EXPAND, lambda x: x.expand(2, 3), randn(1, 3)),
    moved("expand-keep", EXPAND, lambda x: x.expand(4, -1, 2), randn(3, 1)),
    moved("expand-rank0", EXPAND, lambda x: x.expand(2, 2), randn()),
    moved("expand-int", EXPAND, lambda x: x.expand(2, 3), randint(1, 3)),
    moved("expand-bool", EXPAND, lambda x: x.expand(2, 3), randbool(1, 3)),
    moved("flip", FLIP, lambda x: x.flip(0, -1), randn(2, 3, 4)),
    moved("flip-int", FLIP, lambda x: x.flip(1), randint(2, 3)),
    moved("flip-bool", FLIP, lambda x: x.flip(1), randbool(2, 3)),
    moved("roll", ROLL, lambda x: x.roll((1, -2), (0, -1)), randn(3, 4)),
    moved("roll-beyond", ROLL, lambda x: x.roll(7, 1), randn(3, 4)),
    moved("roll-flat", ROLL, lambda x: x.roll(2), randn(3, 4)),
    moved("roll-int", ROLL, lambda x: x.roll(1, 0), randint(3, 4)),
    moved("roll-bool", ROLL, lambda x: x.roll(1, 0), randbool(3, 4)),
]

PARTS = [
    moved("slice", SLICE, lambda x: x[:, 1:3], randn(2, 4)),
    moved("slice-step", SLICE, lambda x: x[:, 1::2], randn(2, 5)),
    moved("slice-negative", SLICE, lambda x: x[..., -3:-1], randn(2, 4)),
    moved("slice-beyond", SLICE, lambda x: x[-9:99, 1:], randn(2, 4)),
    moved("slice-int", SLICE, lambda x: x[1:], randint(3, 2)),
    moved("slice-bool", SLICE, lambda x: x[1:], randbool(3, 2)),
    moved("slice-fp16", SLICE, lambda x: x[1:], randn(3, 2, dtype=HALF)),
    moved("select", SELECT, lambda x: x[:, 1], randn(2, 3, 4)),
    moved("select-negative", SELECT, lambda x: x.select(-1, -2), randn(2, 3, 4)),
    moved("select-to-rank0", SELECT, lambda x: x[1], randn(3)),
    moved("select-to-rank0-int", SELECT, lambda x: x[1], randint(3)),
    moved("select-bool", SELECT, lambda x: x[1], randbool(3, 2)),
    moved("split", SPLIT, lambda x: x.split(2, 1), randn(2, 5)),
    moved("split-sizes", SPLIT, lambda x: x.split([1, 3], -1), randn(2, 4)),
    moved("split-one", SPLIT, lambda x: x.split(4, 0), randn(2, 4)),
    moved("split-int", SPLIT, lambda x: x.split(1, 0), randint(2, 4)),
    moved("split-bool", SPLIT, lambda x: x.split(1, 0), randbool(2, 4)),
    moved("split-one-used", SPLIT, lambda x: x.split(2, 1)[1], randn(2, 5)),
    moved("chunk", SPLIT, lambda x: x.chunk(3, -1), randn(2, 6)),
    moved("unsafe-chunk", aten.unsafe_split.Tensor, lambda x: x.unsafe_chunk(2, 0), randn(4, 2)),
    moved("tensor-split", SLICE, lambda x: x.tensor_split(3), randn(5, 2)),
    moved("unbind", SLICE, lambda x: x.unbind(1), randn(2, 3)),
    moved("unbind-to-rank0", SLICE, lambda x: x.unbind(), randn(3)),
    moved("unbind-int", SLICE, lambda x: x.unbind(-1), randint(2, 3)),
]

JOINS = [
    moved("cat", CAT, lambda x, y: torch.cat([x, y, x], -1), randn(2, 3), randn(2, 1)),
    moved("cat-rank1", CAT, lambda x, y: torch.cat([x, y]), randn(2), randn(3)),
    moved("cat-one", CAT, lambda x: torch.cat([x]), randn(2, 3)),
    moved("cat-promotes", CAT, lambda x, y: torch.cat([x, y]), randn(2), randint(3)),
    moved("cat-promotes-bool", CAT, lambda x, y: torch.cat([x, y]), randint(2), randbool(3)),
    moved("cat-promotes-half", CAT, lambda x, y: torch.cat([x, y]), randn(2), randn(3, dtype=HALF)),
    moved("cat-int", CAT, lambda x, y: torch.cat([x, y], 1), randint(2, 3), randint(2, 1)),
    moved("cat-bool", CAT, lambda x, y: torch.cat([x, y], 1), randbool(2, 3), randbool(2, 1)),
    moved("stack", STACK, lambda x, y: torch.stack([x, y]), randn(2, 3), randn(2, 3)),
    moved("stack-last", STACK, lambda x, y: torch.stack([x, y], -1), randn(2, 3), randn(2, 3)),
    moved("stack-rank0", STACK, lambda x, y: torch.stack([x, y]), randn(), randn()),
    moved("stack-int", STACK, lambda x, y: torch.stack([x, y], 1), randint(2), randint(2)),
    moved("stack-bool", STACK, lambda x: torch.stack([x, x]), randbool(2)),
    moved("repeat", REPEAT, lambda x: x.repeat(2, 3), randn(2, 2)),
    moved("repeat-more-axes", REPEAT, lambda x: x.repeat(2, 1, 3), randn(2, 2)),
    moved("repeat-rank0", REPEAT, lambda x: x.repeat(3), randn()),
    moved("repeat-int", REPEAT, lambda x: x.repeat(2), randint(3)),
    moved("repeat-bool", REPEAT, lambda x: x.repeat(2), randbool(3)),
    moved("repeat-interleave", INTERLEAVE, lambda x: x.repeat_interleave(2, 1), randn(2, 3, 2)),
    moved("repeat-interleave-flat", INTERLEAVE, lambda x: x.repeat_interleave(3), randn(2, 3)),
    moved(
        "repeat-interleave-rank5",
        INTERLEAVE,
        lambda x: x.repeat_interleave(2, -3),
        randn(1, 2, 3, 2, 2),
    ),
]

OTHERS = [
    moved("clone", dim_order._clone_dim_order.default, lambda x: x.clone(), randn(2, 3)),
    moved("alias", aten.alias_copy.default, lambda x: aten.alias(x), randn(2, 3)),
    moved("detach", aten.t_copy.default, lambda x: x.detach().t(), randn(2, 3)),
    moved("contiguous", aten.t_copy.default, lambda x: x.t().contiguous(), randn(2, 3)),
    Case(
        "dropout-in-eval",
        torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.ReLU()),
        (randn(2, 3),),
        covers=aten.relu.default,
    ),
    moved("copy", aten.copy.default, lambda x, y: aten.copy(x, y), randn(2, 3), randint(3)),
    *[
        moved(f"{name}{k:+d}-{kind}", op, lambda x, fn=fn, k=k: fn(x, k), x)
        for name, op, fn in (("tril", TRIL, torch.tril), ("triu", TRIU, torch.triu))
        for k in (-1, 0, 2)
        for kind, x in (
            ("wide", randn(2, 3, 4)),
            ("tall", randn(4, 3)),
            ("int", randint(3, 3)),
            ("bool", randbool(3, 3)),
        )
    ],
    moved(
        "triu-keeps-no-infinity",
        TRIU,
        lambda x: torch.triu(x, 1),
        torch.full((3, 3), -float("inf")),
    ),
]

# Ops that reach the edge dialect only when a model calls them itself: views decompose to others.
DIRECT = [
    moved(f"{op}-rank{x.dim()}", op, lambda x, op=op, args=args: op(x, *args), x)
    for op, x, *args in (
        (aten.squeeze_copy.default, randn(1, 3, 1)),
        (aten.squeeze_copy.dim, randn(1, 3, 1), -1),
        (aten.transpose_copy.int, randn(2, 3, 4), 0, -1),
        (aten.transpose_copy.int, randn(), 0, -1),
        (aten.t_copy.default, randn(2, 3)),
        (aten.t_copy.default, randn(3)),
        (aten.split_copy.Tensor, randn(2, 5), 2, 1),
        (aten.unsafe_split_with_sizes.default, randn(2, 5), [1, 4], -1),
        (aten.unbind_copy.int, randn(2, 3), -1),
        (aten.detach_copy.default, randn(2, 3)),
    )
]

NARROWED = [
    Case(
        "narrow-copy",
        lambda x: torch.narrow_copy(x, 1, -3, 2) + 1,
        (randn(2, 5),),
        covers=aten.narrow_copy.default,
    ),
]

REJECTS = [
    Reject(
        "clone-channels-last",
        lambda x: x.clone(memory_format=torch.channels_last).relu(),
        (randn(1, 2, 3, 4),),
        covers=dim_order._clone_dim_order.default,
        reason="only the contiguous order",
    ),
    Reject(
        "view-rank6",
        lambda x: x.view(1, 2, 1, 3, 1, 4).relu(),
        (randn(6, 4),),
        covers=VIEW,
        reason="rank 6",
    ),
    Reject(
        "select-at-run-time",
        _select_at,
        (randn(3, 4), torch.tensor(1)),
        covers=SELECT,
        reason="index is computed at run time",
    ),
    Reject(
        "data-only",
        lambda x: torch.special.i0(x).t(),
        (randn(2, 3),),
        covers=aten.t_copy.default,
        reason="only moves data",
        options={"beyond_edge": (aten.i0.default,)},
    ),
]

ROWS: list[Case | Reject] = [*VIEWS, *AXES, *PARTS, *JOINS, *OTHERS, *DIRECT, *NARROWED, *REJECTS]
