"""``aten._int_mm``: products of 8-bit matrices, as dynamically quantized layers compute them.

Core ML has no product of integer matrices. One in float32 gives the exact sums while none of them
can reach 2**24, in whatever order they are added: every number on the way is an integer that
float32 has. Longer sums are cut into such pieces, which are added as int32.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch

from executorch_coreml.ops.call import Call
from executorch_coreml.ops.compressed import Affine, Array, affine
from executorch_coreml.ops.emit import Emit, Var
from executorch_coreml.ops.rule import INT, Family
from executorch_coreml.options import Target

aten = torch.ops.aten
rules = Family(dynamic=True)

EXACT = 2**24  # the integers below it are float32's
_LARGEST = {torch.int8: 128, torch.uint8: 255}


def _oldest(call: Call) -> Target:
    return Target.iOS16 if call.known("mat2") else Target.iOS15


@rules(aten._int_mm.default, types=INT, since_of=_oldest)
def int_mm(mb: Emit, call: Call) -> Var:
    """The weight stays 8 bits in the file, with a scale of 1."""
    largest = _LARGEST[call.dtype("self")]
    length = call.shape("mat2")[0]
    data = mb.array(call["mat2"])
    most = np.full((length, 1), 128) if data is None else np.abs(data.astype(np.int64))
    x, y = mb.var(call["self"], "fp32"), None
    if data is None:
        y = mb.var(call["mat2"], "fp32")
    total: Var = None
    for start, stop in exact_pieces(most * largest):
        left = _columns(mb, x, start, stop, length)
        right = _rows(mb, y, start, stop, length) if data is None else _weight(mb, data[start:stop])
        piece = mb.cast(mb.matmul(x=left, y=right), "int32")
        total = piece if total is None else mb.add(x=total, y=piece)
    return total


def exact_pieces(most: Array) -> list[tuple[int, int]]:
    """Ranges of rows, as even as can be, so that no sum of a column over one reaches 2**24.

    Args:
        most: The largest magnitude of every summand, at most 2**15.
    """
    length = len(most)
    sums = np.concatenate([np.zeros_like(most[:1]), np.cumsum(most, axis=0)])
    for count in range(1, length + 1):
        cuts = [length * n // count for n in range(count + 1)]
        if all((sums[b] - sums[a]).max() < EXACT for a, b in pairwise(cuts)):
            return list(pairwise(cuts))
    raise AssertionError("a single product is below 2**24")


def _weight(mb: Emit, data: Array) -> Var:
    one = np.ones([1] * data.ndim)
    info = np.iinfo(data.dtype)
    weight = Affine(np.ascontiguousarray(data), one, None, info.min, info.max)
    return affine(mb, weight, data.astype(np.float64), "fp32")


def _columns(mb: Emit, x: Var, start: int, stop: int, length: int) -> Var:
    if stop - start == length:
        return x
    return mb.slice_by_index(
        x=x, begin=[0, start], end=[0, stop], begin_mask=[True, False], end_mask=[True, False]
    )


def _rows(mb: Emit, y: Var, start: int, stop: int, length: int) -> Var:
    if stop - start == length:
        return y
    return mb.slice_by_index(
        x=y, begin=[start, 0], end=[stop, 0], begin_mask=[False, True], end_mask=[False, True]
    )
