"""int8, uint8, int16 and uint16, which iOS17 let into the ops that move, pick and compare."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kernel_case import KernelCase, ints

DTYPES = ("int8", "uint8", "int16", "uint16")
X = ints([7, 0, 12, 3], [1, 100, 2, 127], [64, 5, 9, 8])
AT = ints(2, 0)
GRID = ints([0, 2, 1, 1], [2, 1, 0, 0], [1, 0, 2, 2])

Compute = Callable[[Any, Any, str], Any]


def _put(x: np.ndarray, *places: Any) -> np.ndarray:
    made = x.copy()
    for place, value in places:
        made[place] = value
    return made


def _turned(x: np.ndarray) -> np.ndarray:
    return np.stack([x[0], np.r_[x[1][1::-1], x[1][2:]], x[2][::-1]])


# Op -> what it does with x, in both languages.
_OPS: dict[str, tuple[Compute, Callable[[np.ndarray], Any]]] = {
    "reshape": (lambda mb, x, d: mb.reshape(x=x, shape=[2, 6]), lambda x: x.reshape(2, 6)),
    "reshape_like": (
        lambda mb, x, d: mb.reshape_like(
            x=x, ref_tensors=(mb.transpose(x=x, perm=[1, 0]),), begins=[0], ends=[2],
            end_masks=[True],
        ),
        lambda x: x.reshape(4, 3),
    ),
    "expand_dims": (lambda mb, x, d: mb.expand_dims(x=x, axes=[1]), lambda x: x[:, None]),
    "squeeze": (
        lambda mb, x, d: mb.squeeze(x=mb.expand_dims(x=x, axes=[0]), axes=[0]), lambda x: x
    ),
    "reverse": (lambda mb, x, d: mb.reverse(x=x, axes=[1]), lambda x: x[:, ::-1]),
    "reverse_sequence": (
        lambda mb, x, d: mb.reverse_sequence(x=x, lengths=[1, 2, 4], seq_axis=1, batch_axis=0),
        _turned,
    ),
    "sliding_windows": (
        lambda mb, x, d: mb.sliding_windows(x=x, axis=1, size=2, stride=2),
        lambda x: x.reshape(3, 2, 2),
    ),
    "transpose": (lambda mb, x, d: mb.transpose(x=x, perm=[1, 0]), lambda x: x.T),
    "slice_by_index": (
        lambda mb, x, d: mb.slice_by_index(x=x, begin=[0, 3], end=[3, 0], stride=[2, -2]),
        lambda x: x[::2, 3:0:-2],
    ),
    "slice_by_size": (
        lambda mb, x, d: mb.slice_by_size(x=x, begin=[1, 0], size=[2, 3]), lambda x: x[1:, :3]
    ),
    "gather": (lambda mb, x, d: mb.gather(x=x, indices=AT, axis=0), lambda x: x[AT]),
    "gather_along_axis": (
        lambda mb, x, d: mb.gather_along_axis(x=x, indices=GRID, axis=0),
        lambda x: np.take_along_axis(x, GRID, 0),
    ),
    "gather_nd": (
        lambda mb, x, d: mb.gather_nd(x=x, indices=ints([0, 1], [2, 3])), lambda x: x[[0, 2], [1, 3]]
    ),
    "scatter": (
        lambda mb, x, d: mb.scatter(
            data=x, indices=AT, updates=mb.cast(x=ints([1] * 4, [2] * 4), dtype=d), mode="update"
        ),
        lambda x: _put(x, (2, 1), (0, 2)),
    ),
    "scatter_along_axis": (
        lambda mb, x, d: mb.scatter_along_axis(
            data=x, indices=ints([0, 2, 1, 1])[None],
            updates=mb.cast(x=ints([4, 5, 6, 7])[None], dtype=d), axis=0, mode="update",
        ),
        lambda x: _put(x, ((0, 0), 4), ((2, 1), 5), ((1, 2), 6), ((1, 3), 7)),
    ),
    "scatter_nd": (
        lambda mb, x, d: mb.scatter_nd(
            data=x, indices=ints([0, 1], [2, 3]), updates=mb.cast(x=ints(3, 4), dtype=d),
            mode="update",
        ),
        lambda x: _put(x, ((0, 1), 3), ((2, 3), 4)),
    ),
    "topk": (
        lambda mb, x, d: mb.topk(x=x, k=2, axis=1)[0], lambda x: -np.sort(-x, 1)[:, :2]
    ),
    "reduce_argmax": (lambda mb, x, d: mb.reduce_argmax(x=x, axis=1), lambda x: x.argmax(1)),
    "reduce_argmin": (lambda mb, x, d: mb.reduce_argmin(x=x, axis=1), lambda x: x.argmin(1)),
}  # fmt: skip


def _row(op: str, dtype: str) -> KernelCase:
    compute, expect = _OPS[op]

    def build(mb: Any, t: Any, x: Any) -> Any:
        made = compute(mb, mb.cast(x=x, dtype=dtype), dtype)
        return mb.cast(x=made, dtype="int32")

    return KernelCase(
        f"{op}_{dtype}", op, build, (X,), expect=expect, target="iOS17", half=False, why="no floats"
    )


ROWS = [_row(op, dtype) for op in _OPS for dtype in DTYPES]
