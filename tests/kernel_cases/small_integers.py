"""int8, uint8, int16 and uint16, which iOS17 let into the ops that move and pick elements.

Also as what says where: the boxes, coordinates and shapes of those that resize.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kernel_case import KernelCase, ints, randn

DTYPES = ("int8", "uint8", "int16", "uint16")
X = ints([7, 0, 12, 3], [1, 100, 2, 127], [64, 5, 9, 8])
AT = ints(2, 0)
IMAGE = randn(1, 2, 4, 4)
GRID = ints([0, 2, 1, 1], [2, 1, 0, 0], [1, 0, 2, 2])

Compute = Callable[[Any, Any, str], Any]


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
    "gather": (
        lambda mb, x, d: mb.gather(x=x, indices=mb.cast(x=AT, dtype=d), axis=0), lambda x: x[AT]
    ),
    "gather_along_axis": (
        lambda mb, x, d: mb.gather_along_axis(x=x, indices=mb.cast(x=GRID, dtype=d), axis=0),
        lambda x: np.take_along_axis(x, GRID, 0),
    ),
    "gather_nd": (
        lambda mb, x, d: mb.gather_nd(x=x, indices=mb.cast(x=ints([0, 1], [2, 3]), dtype=d)),
        lambda x: x[[0, 2], [1, 3]],
    ),
    "topk": (
        lambda mb, x, d: mb.topk(x=x, k=2, axis=1)[0], lambda x: -np.sort(-x, 1)[:, :2]
    ),
}  # fmt: skip


def _row(op: str, dtype: str) -> KernelCase:
    compute, expect = _OPS[op]

    def build(mb: Any, t: Any, x: Any) -> Any:
        made = compute(mb, mb.cast(x=x, dtype=dtype), dtype)
        return mb.cast(x=made, dtype="int32")

    return KernelCase(
        f"{op}_{dtype}", op, build, (X,), expect=expect, target="iOS17", half=False, why="no floats"
    )


def _slice_update(dtype: str) -> KernelCase:
    def build(mb: Any, t: Any, x: Any) -> Any:
        small, update = mb.cast(x=x, dtype=dtype), mb.cast(x=AT, dtype=dtype)
        made = mb.slice_update(x=small, update=update, begin=[1, 1], end=[2, 3],
                               squeeze_mask=[True, False])  # fmt: skip
        return mb.cast(x=made, dtype="int32")

    def expect(x: np.ndarray) -> np.ndarray:
        x = x.copy()
        x[1, 1:3] = AT
        return x

    return KernelCase(
        f"slice_update_{dtype}", "slice_update", build, (X,), expect, half=False, why="no floats"
    )


def _resize(dtype: str) -> KernelCase:
    size = np.array([2, 8], dtype)
    return KernelCase(
        f"resize_{dtype}",
        "resize",
        lambda mb, t, x: mb.resize(
            x=x, shape=size, resized_dims=np.uint32(2), interpolation_mode="NEAREST_NEIGHBOR",
            sampling_mode="DEFAULT",
        ),
        (IMAGE,),
        lambda x: np.repeat(x[:, :, 1::2], 2, -1),
        target="iOS17",
    )  # fmt: skip


def _resample(dtype: str) -> KernelCase:
    rows, columns = ints([1, 3], [0, 2]), ints([2, 0], [3, 1])
    places = np.stack([columns, rows], -1)[None]
    return KernelCase(
        f"resample_{dtype}",
        "resample",
        lambda mb, t, x, at: mb.resample(
            x=x, coordinates=mb.cast(x=at, dtype=dtype), sampling_mode="bilinear",
            padding_mode="constant", padding_value=t(0), coordinates_mode="unnormalized",
            align_corners=True,
        ),
        (IMAGE, places),
        lambda x, at: x[:, :, rows, columns],
        target="iOS17",
    )  # fmt: skip


_CROP = KernelCase(
    "crop_resize_uint16",
    "crop_resize",
    lambda mb, t, x, boxes, which: mb.crop_resize(
        x=x, boxes=mb.cast(x=boxes, dtype="uint16"),
        box_indices=mb.cast(x=which, dtype="uint16"), target_height=2, target_width=3,
        normalized_coordinates=False, box_coordinate_mode="CORNERS_HEIGHT_FIRST",
        sampling_mode="ALIGN_CORNERS",
    ),
    (IMAGE, ints([1, 0, 2, 2], [0, 1, 1, 3]), ints(0, 0)),
    lambda x, boxes, which: np.concatenate([x[:, :, 1:3, :3], x[:, :, :2, 1:4]]),
    target="iOS17",
)  # fmt: skip

ROWS = [
    *(_row(op, dtype) for op in _OPS for dtype in DTYPES),
    *(_slice_update(dtype) for dtype in DTYPES),
    *(_resize(dtype) for dtype in ("int16", "uint16", "uint32")),
    *(_resample(dtype) for dtype in DTYPES),
    _CROP,
]
