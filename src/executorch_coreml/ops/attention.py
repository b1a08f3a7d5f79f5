"""Scaled dot-product attention.

For iOS18 and later this is Core ML's fused op; else matrix products around a softmax. With no
target given the model stays as old as it can: attention alone does not ask for iOS18. Both share
the queries' scale, the mask, and the treatment of masked rows.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch

from executorch_coreml.errors import UnsupportedOp
from executorch_coreml.ops.call import Call
from executorch_coreml.ops.checks import one_of
from executorch_coreml.ops.emit import Emit, Var, mil_type
from executorch_coreml.ops.half import FP16_MAX, SENTINEL, SENTINEL_FP16
from executorch_coreml.ops.moves import reshape
from executorch_coreml.ops.rule import BOOL, FLOAT, Family
from executorch_coreml.ops.sizes import fixed_extent, same
from executorch_coreml.options import Target

aten = torch.ops.aten
rules = Family()

FUSED = Target.iOS18  # the first with an op for all of it


@dataclass(frozen=True, slots=True)
class Mask:
    """What a mask comes to.

    Attributes:
        bias: Added to the scores; at least ``_lowest``, so that no row becomes NaN.
        keep: 1 for rows that attend to something, 0 for the others, whose result is zero in
            PyTorch; None if there are no such rows.
    """

    bias: Var
    keep: Var | None


def _lowest(mil: str) -> float:
    """Swamps any score, but stays finite when a score is added."""
    return -SENTINEL_FP16 if mil == "fp16" else -SENTINEL


def _fixed(call: Call, name: str, axis: int) -> int:
    """An extent that decides what is emitted."""
    if (extent := fixed_extent(call.shape(name)[axis])) is None:
        raise UnsupportedOp(
            f"axis {axis} of {name} has a dynamic extent",
            location=str(call.location),
            hint="export the model with a fixed width and number of heads",
        )
    return extent


@rules(
    aten.scaled_dot_product_attention.default,
    types=FLOAT | BOOL,
    better=FUSED,
    checks=[one_of("dropout_p", 0.0)],
    dynamic=True,
)
def attention(mb: Emit, call: Call) -> Var:
    mil = mb.type_of(call.out.dtype)
    query, key, value = (mb.var(call[name], mil) for name in ("query", "key", "value"))
    width = _fixed(call, "query", -1)
    scale = 1 / math.sqrt(width) if call["scale"] is None else float(call["scale"])
    mask = _mask(mb, call, mil)
    fused = _fused(call)
    heads = [_fixed(call, n, -3) if call["enable_gqa"] else 1 for n in ("query", "key", "value")]
    shared = heads[0] // heads[1]
    if (fused and shared > 1) or heads[1] != heads[2]:
        key, value = (_repeat_heads(mb, call, x, n) for x, n in ((key, "key"), (value, "value")))
        shared = 1
    if fused:
        query = _scaled(mb, query, scale * math.sqrt(width))
        out = mb.scaled_dot_product_attention(
            query=query, key=key, value=value, attn_mask=None if mask is None else mask.bias
        )
    else:
        # Scaling the queries first keeps scores within fp16 that would overflow before scaling.
        query = _scaled(mb, query, scale)
        out = _by_products(mb, call, (query, key, value), mask, shared)
    return out if mask is None or mask.keep is None else mb.mul(x=out, y=mask.keep)


def _fused(call: Call) -> bool:
    """Whether the fused op exists for the target and takes these shapes."""
    if call.target is None or call.target < FUSED or call.rank("query") < 3:
        return False
    behind = -3 if call["enable_gqa"] else -2
    query, key, value = (call.shape(name)[:behind] for name in ("query", "key", "value"))
    return same(query, key) and same(key, value)


def _scaled(mb: Emit, query: Var, scale: float) -> Var:
    if math.isclose(scale, 1.0, rel_tol=1e-12):
        return query
    return mb.mul(x=query, y=mb.const(scale, mil_type(query)))


def _by_products(
    mb: Emit, call: Call, operands: tuple[Var, Var, Var], mask: Mask | None, shared: int
) -> Var:
    """softmax(query @ key^T + bias) @ value.

    ``shared`` neighbouring query heads use the same keys and values: their rows are stacked, so
    that keys and values need no copies.
    """
    query, key, value = operands
    rows, keys = call.shape("query"), call.shape("key")
    apart = stacked = rows[:-1]
    if shared > 1:
        stacked = (*rows[:-3], rows[-3] // shared, shared * rows[-2])
        query = reshape(mb, query, [*stacked, rows[-1]])
    scores = mb.matmul(x=query, y=key, transpose_y=True)
    if mask is not None:
        scores = scores if shared == 1 else reshape(mb, scores, [*apart, keys[-2]])
        scores = mb.add(x=scores, y=mask.bias)
    weights = mb.softmax(x=scores, axis=-1)
    if mask is not None and shared > 1:
        weights = reshape(mb, weights, [*stacked, keys[-2]])
    out = mb.matmul(x=weights, y=value)
    return out if shared == 1 else reshape(mb, out, [*apart, call.shape("value")[-1]])


def _repeat_heads(mb: Emit, call: Call, x: Var, name: str) -> Var:
    """The keys or values with as many heads (axis -3) as the queries, each repeated in place."""
    (*batch, heads, length, width), wanted = call.shape(name), call.shape("query")[-3]
    if heads == wanted:
        return x
    flat = reshape(mb, x, [prod(batch) * heads, 1, length, width])
    repeated = mb.tile(x=flat, reps=[1, wanted // heads, 1, 1])
    return reshape(mb, repeated, [*batch, wanted, length, width])


def _mask(mb: Emit, call: Call, mil: str) -> Mask | None:
    if call["is_causal"]:
        return _causal_mask(mb, call, mil)
    given = call["attn_mask"]
    if given is None:
        return None
    known = mb.array(given)
    if known is not None:
        return _known_mask(mb, known, mil)
    return (
        _boolean_mask(mb, given, mil)
        if call.dtype("attn_mask") is torch.bool
        else _float_mask(mb, given, mil)
    )


def _causal_mask(mb: Emit, call: Call, mil: str) -> Mask | None:
    """Each query attends to keys up to its own place; every query has one."""
    counts = [mb.sizes.scalar(call.shape(name)[-2]) for name in ("query", "key")]
    if all(isinstance(count, int) for count in counts):
        return _known_mask(mb, np.tril(np.ones(counts, np.bool_)), mil)
    rows, columns = (mb.range_1d(start=0, end=count, step=1) for count in counts)
    hidden = mb.less(x=mb.expand_dims(x=rows, axes=[1]), y=columns)
    return Mask(mb.mul(x=mb.cast(hidden, mil), y=mb.const(_lowest(mil), mil)), None)


def _known_mask(mb: Emit, mask: np.ndarray[Any, Any], mil: str) -> Mask | None:
    """A constant: stored once for all layers and everything along which it is the same, and not at
    all if it hides nothing. transformers makes such masks, with a copy for each sample."""
    if mask.all() if mask.dtype == np.bool_ else not mask.any():
        return None
    for axis in range(mask.ndim - 2):
        first = mask.take([0], axis)
        mask = first if (mask == first).all() else mask
    if mask.dtype == np.bool_:
        bias, attends = np.where(mask, 0.0, _lowest(mil)), mask.any(-1, keepdims=True)
    else:
        bias = np.maximum(mask.astype(np.float64), _lowest(mil))
        attends = (mask != -np.inf).any(-1, keepdims=True)
    key = ("mask", mil, bias.shape, hashlib.sha256(np.ascontiguousarray(bias).data).digest())
    stored = mb.once(key, lambda: mb.const(bias, mil))
    return Mask(stored, None if attends.all() else mb.const(attends * 1.0, mil))


def _boolean_mask(mb: Emit, given: Any, mil: str) -> Mask:
    allowed = mb.var(given, mil)
    hidden = mb.sub(x=allowed, y=mb.const(1.0, mil))
    bias = mb.mul(x=hidden, y=mb.const(-_lowest(mil), mil))
    return Mask(bias, _row_maximum(mb, allowed))


def _float_mask(mb: Emit, given: Any, mil: str) -> Mask:
    """Rows of -inf give zero. A computed fp16 value that overflowed downwards counts as -inf."""
    mask = mb.as_made(given)  # a float32 input is still fp32, whose lowest value is not -inf
    bias = mb.maximum(x=mask, y=mb.const(_lowest(mil), mask))
    lowest = -FP16_MAX if mil_type(mask) == "fp16" else float(np.finfo(np.float32).min)
    attends = mb.greater_equal(x=mask, y=mb.const(lowest, mask))
    return Mask(mb.cast(bias, mil), _row_maximum(mb, mb.cast(attends, mil)))


def _row_maximum(mb: Emit, mask: Var) -> Var:
    return mb.reduce_max(x=mask, axes=[-1], keep_dims=True)
