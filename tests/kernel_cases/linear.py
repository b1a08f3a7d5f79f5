"""linear, matmul and einsum.

coremltools 9.0 cannot build a matmul of vectors: its type inference fails.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernel_case import KernelCase, ints, randn

# Weights are fp16 numbers, so that they are the same in both runs.
WEIGHT = randn(5, 7).astype(np.float16)
BIAS = randn(5).astype(np.float16)


def _linear(case: str, *extents: int, bias: bool) -> KernelCase:
    def build(mb: Any, t: Any, x: Any) -> Any:
        return mb.linear(x=x, weight=t(WEIGHT), **({"bias": t(BIAS)} if bias else {}))

    return KernelCase(f"linear-{case}", "linear", build, (randn(*extents),), atol=1e-5)


def _matmul(case: str, x: tuple[int, ...], y: tuple[int, ...], **flags: bool) -> KernelCase:
    return KernelCase(
        f"matmul-{case}",
        "matmul",
        lambda mb, t, x, y: mb.matmul(x=x, y=y, **flags),
        (randn(*x), randn(*y)),
        lambda x, y: np.matmul(
            np.swapaxes(x, -1, -2) if flags.get("transpose_x") else x,
            np.swapaxes(y, -1, -2) if flags.get("transpose_y") else y,
        ),
        atol=1e-5,
    )


def _einsum(case: str, equation: str, x: tuple[int, ...], y: tuple[int, ...]) -> KernelCase:
    return KernelCase(
        f"einsum-{case}",
        "einsum",
        lambda mb, t, x, y: mb.einsum(values=(x, y), equation=equation),
        (randn(*x), randn(*y)),
        lambda x, y: np.swapaxes(np.swapaxes(x, -2, -3) @ np.swapaxes(y, -2, -3), -2, -3),
        atol=1e-5,
    )


INT_X, INT_Y = ints([1, -2, 300], [40, 5, -6]), ints([7, 8], [-9, 1000], [11, 12])

ROWS = [
    _linear("rank-1", 7, bias=True),
    _linear("rank-2", 3, 7, bias=True),
    _linear("rank-3", 2, 3, 7, bias=True),
    _linear("no-bias", 2, 3, 7, bias=False),
    KernelCase(
        "linear-fp16-weight",
        "linear",
        lambda mb, t, x: mb.linear(x=x, weight=WEIGHT, bias=BIAS),
        (randn(3, 7),),
        lambda x: x @ WEIGHT.astype(np.float32).T + BIAS,
        atol=1e-5,
    ),
    _matmul("rank-2", (3, 4), (4, 5)),
    _matmul("transpose-x", (4, 3), (4, 5), transpose_x=True),
    _matmul("transpose-y", (3, 4), (5, 4), transpose_y=True),
    _matmul("transpose-both", (2, 4, 3), (2, 5, 4), transpose_x=True, transpose_y=True),
    _matmul("broadcast", (6, 3, 4), (2, 1, 4, 5)),
    _matmul("broadcast-extents-of-1", (2, 1, 3, 4), (1, 6, 4, 5)),
    KernelCase(
        "matmul-constant",
        "matmul",
        lambda mb, t, x: mb.matmul(x=t(WEIGHT), y=x),
        (randn(2, 7, 3),),
        lambda x: WEIGHT.astype(np.float32) @ x,
        atol=1e-5,
    ),
    KernelCase(
        "matmul-int",
        "matmul",
        lambda mb, t, x, y: mb.matmul(x=x, y=y),
        (INT_X, INT_Y),
        np.matmul,
        half=False,
        why="integers only",
    ),
    KernelCase(
        "linear-int",
        "linear",
        lambda mb, t, x: mb.linear(x=x, weight=INT_Y.T, bias=ints(5, -6)),
        (INT_X,),
        lambda x: x @ INT_Y + ints(5, -6),
        half=False,
        why="integers only",
    ),
    _einsum("rank-4", "nchw,nwhu->nchu", (2, 3, 4, 5), (2, 5, 4, 6)),
    _einsum("rank-3", "abc,cbd->abd", (3, 4, 5), (5, 4, 6)),
    _einsum("broadcast-h", "nchw,nwhu->nchu", (2, 3, 1, 5), (2, 5, 4, 6)),
    _einsum("broadcast-n", "nchw,nwhu->nchu", (1, 3, 4, 5), (2, 5, 1, 6)),
]
