"""Movement of data, and tensors made from shapes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from kernel_case import KernelCase, ints, randn

X = randn(2, 3, 4)
IMAGE = randn(2, 8, 4, 6)
HALF_NOTHING = {"half": False, "why": "integers only"}


def _case(
    op: str,
    case: str,
    x: np.ndarray = X,
    expect: Callable[..., Any] | None = None,
    target: str = "iOS18",
    **arguments: Any,
) -> KernelCase:
    return KernelCase(
        f"{op}-{case}", op, lambda mb, t, x: getattr(mb, op)(x=x, **arguments), (x,), expect, target
    )


def _torch(function: Callable[[torch.Tensor], torch.Tensor]) -> Callable[..., np.ndarray]:
    return lambda x: function(torch.from_numpy(x)).numpy()


def _tf_depth_to_space(x: np.ndarray) -> np.ndarray:
    n, c, h, w = x.shape
    blocks = x.reshape(n, 2, 2, c // 4, h, w)
    return blocks.transpose(0, 3, 4, 1, 5, 2).reshape(n, c // 4, 2 * h, 2 * w)


def _tf_space_to_depth(x: np.ndarray) -> np.ndarray:
    n, c, h, w = x.shape
    blocks = x.reshape(n, c, h // 2, 2, w // 2, 2)
    return blocks.transpose(0, 3, 5, 1, 2, 4).reshape(n, 4 * c, h // 2, w // 2)


def _tf_space_to_batch(x: np.ndarray) -> np.ndarray:
    """Block 2x3, paddings ((1, 1), (0, 3)): tf.space_to_batch in NCHW."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (0, 3)))
    n, c, h, w = padded.shape
    blocks = padded.reshape(n, c, h // 2, 2, w // 3, 3)
    return blocks.transpose(3, 5, 0, 1, 2, 4).reshape(6 * n, c, h // 2, w // 3)


def _tf_batch_to_space(x: np.ndarray) -> np.ndarray:
    """Block 2x1, crops ((1, 0), (0, 2)): tf.batch_to_space in NCHW."""
    n, c, h, w = x.shape
    blocks = x.reshape(2, 1, n // 2, c, h, w)
    joined = blocks.transpose(2, 3, 4, 0, 5, 1).reshape(n // 2, c, 2 * h, w)
    return joined[:, :, 1:, :-2]


def _interleaved(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.stack([a, b], 2).reshape(2, 6, 4)


def _reversed_sequence(x: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    result = x.copy()
    for row, length in enumerate(lengths):
        result[row, :length] = x[row, :length][::-1]
    return result


def _pad(case: str, pad: list[int], mode: str, x: np.ndarray = X) -> KernelCase:
    def build(mb: Any, t: Any, x: Any) -> Any:
        return mb.pad(x=x, pad=pad, mode=mode, constant_val=t(1.5))

    return KernelCase(f"pad-{case}", "pad", build, (x,))


ROWS = [
    _case("identity", "x"),
    _case("reshape", "minus-one", shape=[4, -1]),
    _case("reshape", "zero", shape=[0, 2, 6], x=randn(2, 4, 3)),
    _case("reshape", "zero-ios15", shape=[0, 2, 6], x=randn(2, 4, 3), target="iOS15"),
    _case("reshape", "zeros-in-front", shape=[0, 1, 0, -1, 0], x=randn(2, 4, 3)),
    _case("reshape", "zero-of-the-last", shape=[-1, 0], x=randn(2, 4, 3)),
    _case("reshape", "int", ints([1, 2], [3, 4]), shape=[4]),
    KernelCase(
        "reshape-computed",
        "reshape",
        lambda mb, t, x, s: mb.reshape(x=x, shape=s),
        (X, ints(4, 6)),
        lambda x, s: x.reshape(4, 6),
    ),
    KernelCase(
        "reshape_like",
        "reshape_like",
        lambda mb, t, x, a, b: mb.reshape_like(
            x=x, ref_tensors=(a, b), begins=(0, 1), ends=(1, 0), end_masks=(False, True)
        ),
        (X, randn(2, 3), randn(9, 4, 3)),
        lambda x, a, b: x.reshape(2, 4, 3),
    ),
    _case("expand_dims", "two", axes=[0, -1]),
    _case("expand_dims", "inner", axes=[2]),
    _case("squeeze", "all", randn(1, 3, 1, 2)),
    _case("squeeze", "some", randn(1, 3, 1, 2), axes=[-2]),
    _case("squeeze", "longer-stays", randn(1, 3, 2), lambda x: x[0], axes=[0, 1]),
    _case("transpose", "negative", perm=[-1, 0, 1]),
    _case("flatten2d", "default"),
    _case("flatten2d", "negative", axis=-1),
    _case("shape", "x"),
    KernelCase(
        "concat",
        "concat",
        lambda mb, t, a, b: mb.concat(values=(a, b), axis=-2),
        (X, randn(2, 5, 4)),
        lambda a, b: np.concatenate([a, b], 1),
    ),
    KernelCase(
        "concat-one",
        "concat",
        lambda mb, t, a: mb.concat(values=(a,), axis=0),
        (X,),
        lambda a: a,
    ),
    KernelCase(
        "concat-interleave",
        "concat",
        lambda mb, t, a, b: mb.concat(values=(a, b), axis=1, interleave=True),
        (X, X + 1),
        _interleaved,
    ),
    KernelCase(
        "concat-with-constant",
        "concat",
        lambda mb, t, a: mb.concat(values=(a, t(np.ones((2, 1, 4)))), axis=1),
        (X,),
        lambda a: np.concatenate([a, np.ones((2, 1, 4))], 1),
    ),
    KernelCase(
        "stack",
        "stack",
        lambda mb, t, a, b: mb.stack(values=(a, b), axis=-1),
        (X, X + 1),
        lambda a, b: np.stack([a, b], -1),
    ),
    _case("split", "even", num_splits=2, axis=-1),
    _case("split", "sizes", split_sizes=[1, 2], axis=1),
    _case("tile", "x", reps=[1, 3, 2]),
    _case("reverse", "all"),
    _case("reverse", "some", axes=[-1, 0]),
    KernelCase(
        "reverse_sequence",
        "reverse_sequence",
        lambda mb, t, x, n: mb.reverse_sequence(x=x, lengths=n, seq_axis=1, batch_axis=0),
        (X, ints(2, 3)),
        _reversed_sequence,
    ),
    _case("pixel_shuffle", "x", IMAGE, _torch(torch.nn.PixelShuffle(2)), upscale_factor=2),
    _case(
        "pixel_unshuffle",
        "x",
        IMAGE,
        _torch(torch.nn.PixelUnshuffle(2)),
        downscale_factor=np.uint32(2),
    ),
    _case("depth_to_space", "x", IMAGE, _tf_depth_to_space, block_size=2),
    _case("space_to_depth", "x", IMAGE, _tf_space_to_depth, block_size=2),
    _case(
        "space_to_batch",
        "x",
        IMAGE,
        _tf_space_to_batch,
        block_shape=[2, 3],
        paddings=np.array([[1, 1], [0, 3]], np.int32),
    ),
    _case(
        "batch_to_space",
        "x",
        IMAGE,
        _tf_batch_to_space,
        block_shape=[2, 1],
        crops=np.array([[1, 0], [0, 2]], np.int32),
    ),
    _case(
        "sliding_windows",
        "x",
        randn(2, 7, 3),
        lambda x: np.stack([x[:, i : i + 3] for i in (0, 2, 4)], 1),
        axis=1,
        size=3,
        stride=2,
    ),
    *(
        _case("band_part", f"{low}-{up}", randn(2, 4, 5), lower=low, upper=up)
        for low, up in ((0, -1), (-1, 0), (1, 2), (-1, -1))
    ),
    KernelCase(
        "band_part-int",
        "band_part",
        lambda mb, t, x: mb.band_part(x=x, lower=0, upper=0),
        (ints([1, 2], [3, 4]),),
        **HALF_NOTHING,
    ),
    KernelCase(
        "fill",
        "fill",
        lambda mb, t, x: mb.add(x=x, y=mb.fill(shape=[2, 3, 4], value=t(2.5))),
        (X,),
        lambda x: x + 2.5,
    ),
    KernelCase(
        "fill-computed",
        "fill",
        lambda mb, t, s: mb.fill(shape=s, value=np.int32(7)),
        (ints(2, 3),),
        lambda s: np.full((2, 3), 7),
        **HALF_NOTHING,
    ),
    KernelCase(
        "fill_like",
        "fill_like",
        lambda mb, t, x: mb.fill_like(ref_tensor=x, value=t(0.1)),
        (X,),
        lambda x: np.full((2, 3, 4), 0.1),
        atol=1e-4,
    ),
    KernelCase(
        "range_1d-float",
        "range_1d",
        lambda mb, t, x: mb.add(x=x, y=mb.range_1d(start=t(0.5), end=t(3.0), step=t(0.75))),
        (randn(4),),
        lambda x: x + np.arange(0.5, 3.0, 0.75, np.float32),
    ),
    KernelCase(
        "range_1d-computed",
        "range_1d",
        lambda mb, t, a: mb.range_1d(start=mb.squeeze(x=a), end=np.int32(-7), step=np.int32(-2)),
        (ints(4),),
        lambda a: np.arange(4, -7, -2),
        **HALF_NOTHING,
    ),
    KernelCase(
        "range_1d-constant",
        "range_1d",
        lambda mb, t, a: mb.add(
            x=a, y=mb.range_1d(start=np.int32(0), end=np.int32(6), step=np.int32(2))
        ),
        (ints(0),),
        lambda a: np.arange(0, 6, 2),
        **HALF_NOTHING,
    ),
    KernelCase(
        "one_hot",
        "one_hot",
        lambda mb, t, i: mb.one_hot(
            indices=i, one_hot_vector_size=4, axis=1, on_value=t(2.0), off_value=t(-1.0)
        ),
        (ints([0, 3], [1, 2]),),
        lambda i: np.moveaxis(np.eye(4, dtype=np.float32)[i] * 3 - 1, -1, 1),
    ),
    KernelCase(
        "one_hot-int",
        "one_hot",
        lambda mb, t, i: mb.one_hot(indices=i, one_hot_vector_size=4),
        (ints(0, 3, 1),),
        lambda i: np.eye(4)[i].astype(np.int32),
        **HALF_NOTHING,
    ),
    _pad("constant", [0, 0, 1, 2, 3, 0], "constant"),
    _pad("last-dimension", [2, 1], "constant"),
    _pad("reflect", [1, 2, 0, 3], "reflect"),
    _pad("replicate", [2, 0, 1, 1], "replicate"),
    KernelCase(
        "pad-computed",
        "pad",
        lambda mb, t, x, p: mb.pad(x=x, pad=p, mode="constant", constant_val=t(0)),
        (X, ints(0, 1, 2, 0, 1, 1)),
        lambda x, p: np.pad(x, p.reshape(3, 2)),
    ),
]
