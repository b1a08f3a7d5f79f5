"""Rows for ops/window.py."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from case import Case, Reject, randbool, randint, randn
from cases._moved import moved

aten = torch.ops.aten
STRIDED, DIAGONAL = aten.as_strided_copy.default, aten.diagonal_copy.default
UNFOLD, IM2COL, COL2IM = aten.unfold_copy.default, aten.im2col.default, aten.col2im.default
SHUFFLE, UNSHUFFLE = aten.pixel_shuffle.default, aten.pixel_unshuffle.default

ROWS: list[Case | Reject] = [
    moved("as-strided", STRIDED, lambda x: x.as_strided((2, 2), (1, 3), 1), randn(3, 4)),
    moved("as-strided-overlaps", STRIDED, lambda x: x.as_strided((3, 2), (1, 1)), randn(6)),
    moved("as-strided-rank0", STRIDED, lambda x: x.as_strided((), (), 2), randn(6)),
    moved("as-strided-bool", STRIDED, lambda x: x.as_strided((2, 2), (3, 1)), randbool(6)),
    moved("diagonal", DIAGONAL, lambda x: x.diagonal(), randn(5, 5)),
    moved("diagonal-above", DIAGONAL, lambda x: x.diagonal(1), randn(3, 5)),
    moved("diagonal-below", DIAGONAL, lambda x: x.diagonal(-2), randn(5, 3)),
    moved("diagonal-axes", DIAGONAL, lambda x: x.diagonal(0, -1, 0), randn(3, 2, 4)),
    moved("diagonal-int", DIAGONAL, lambda x: x.diagonal(), randint(3, 3)),
    moved("unfold", UNFOLD, lambda x: x.unfold(1, 3, 2), randn(2, 7)),
    moved("unfold-first-axis", UNFOLD, lambda x: x.unfold(0, 2, 1), randn(4, 3)),
    moved("unfold-rank4", UNFOLD, lambda x: x.unfold(-2, 2, 2), randn(1, 2, 5, 3)),
    moved("unfold-rank0", UNFOLD, lambda x: x.unfold(0, 1, 1), randn()),
    moved("unfold-bool", UNFOLD, lambda x: x.unfold(0, 2, 2), randbool(5)),
    moved("im2col", IM2COL, lambda x: F.unfold(x, 2), randn(1, 2, 4, 3)),
    moved(
        "im2col-all-arguments",
        IM2COL,
        lambda x: F.unfold(x, (3, 2), dilation=(1, 2), padding=(2, 1), stride=(2, 1)),
        randn(2, 3, 5, 6),
    ),
    moved("im2col-unbatched", IM2COL, lambda x: F.unfold(x, 2, padding=1), randn(2, 4, 3)),
    Case("col2im", lambda x: F.fold(x, (4, 5), 2), (randn(1, 8, 12),), covers=COL2IM),
    Case(
        "col2im-all-arguments",
        lambda x: F.fold(x, (5, 6), (3, 2), dilation=(1, 2), padding=(2, 1), stride=(2, 1)),
        (randn(2, 12, 24),),
        covers=COL2IM,
    ),
    Case(
        "col2im-unbatched", lambda x: F.fold(x, (4, 4), 2, stride=2), (randn(8, 4),), covers=COL2IM
    ),
    moved("pixel-shuffle", SHUFFLE, lambda x: F.pixel_shuffle(x, 2), randn(1, 8, 2, 3)),
    moved("pixel-shuffle-rank3", SHUFFLE, lambda x: F.pixel_shuffle(x, 3), randn(9, 2, 2)),
    moved("pixel-shuffle-rank5", SHUFFLE, lambda x: F.pixel_shuffle(x, 2), randn(2, 1, 4, 2, 3)),
    moved("pixel-shuffle-int", SHUFFLE, lambda x: F.pixel_shuffle(x, 2), randint(1, 4, 2, 2)),
    moved("pixel-unshuffle", UNSHUFFLE, lambda x: F.pixel_unshuffle(x, 2), randn(1, 2, 4, 6)),
    moved("pixel-unshuffle-rank3", UNSHUFFLE, lambda x: F.pixel_unshuffle(x, 3), randn(1, 3, 6)),
    moved(
        "channel-shuffle",
        aten.channel_shuffle.default,
        lambda x: F.channel_shuffle(x, 3),
        randn(2, 6, 2, 2),
    ),
    Reject(
        "as-strided-of-transposed",
        lambda x: x.as_strided((2, 2), (1, 2)).relu(),
        (randn(3, 4).t(),),
        covers=STRIDED,
        reason="self is not contiguous",
    ),
    Reject(
        "as-strided-outside",
        lambda x: x.as_strided((2, 2), (3, 1)).relu(),
        (randn(9)[:4],),
        covers=STRIDED,
        reason="it reads element 4 of a tensor of 4",
    ),
]
