"""scaled_dot_product_attention, against coremltools' formula in float64."""

from __future__ import annotations

import numpy as np

from kernel_case import KernelCase, bools, randn


def _expect(
    query: np.ndarray, key: np.ndarray, value: np.ndarray, mask: np.ndarray | None = None
) -> np.ndarray:
    score = query.astype(np.float64) @ np.swapaxes(key, -1, -2) / np.sqrt(query.shape[-1])
    if mask is not None:
        score = score + (np.where(mask, 0, -np.inf) if mask.dtype == np.bool_ else mask)
    weight = np.exp(score - score.max(-1, keepdims=True))
    return (weight / weight.sum(-1, keepdims=True) @ value).astype(np.float32)


def _attention(
    case: str, *batch: int, lengths: tuple[int, int] = (5, 7), mask: np.ndarray | None = None
) -> KernelCase:
    target, source = lengths
    inputs = [randn(*batch, target, 8), randn(*batch, source, 8), randn(*batch, source, 6)]
    if mask is not None:
        inputs.append(mask)

    def build(mb, t, query, key, value, *rest):  # type: ignore[no-untyped-def]
        given = {"attn_mask": rest[0]} if rest else {}
        return mb.scaled_dot_product_attention(query=query, key=key, value=value, **given)

    return KernelCase(
        f"scaled_dot_product_attention-{case}",
        "scaled_dot_product_attention",
        build,
        tuple(inputs),
        _expect,
    )


CAUSAL = np.tril(np.ones((5, 7), np.bool_), 2)
NOTHING_KEPT = bools([True] * 7, [False] * 7, [True] * 7, [False] * 6 + [True], [True] * 7)

ROWS = [
    _attention("rank-3", 2),
    _attention("rank-4", 2, 3),
    _attention("rank-5", 2, 2, 3),
    _attention("one-query", 2, 3, lengths=(1, 9)),
    _attention("one-key", 2, 3, lengths=(4, 1)),
    _attention("bool-mask", 2, 3, mask=CAUSAL),
    _attention("bool-mask-rank-3", 2, mask=CAUSAL),
    _attention("bool-mask-rank-5", 2, 2, 3, mask=CAUSAL),
    _attention("bool-mask-row-empty", 2, 3, mask=NOTHING_KEPT),
    _attention("mask", 2, 3, mask=randn(5, 7)),
    _attention("mask-one-row", 2, 3, mask=randn(1, 7)),
    _attention("mask-vector", 2, 3, mask=randn(7)),
    _attention("mask-per-batch", 2, 3, mask=randn(2, 1, 1, 7)),
    _attention("mask-per-head", 2, 3, mask=randn(1, 3, 5, 7)),
    _attention("mask-whole", 2, 3, mask=randn(2, 3, 5, 7)),
    _attention("mask-infinite", 2, 3, mask=np.where(CAUSAL, np.float32(0), np.float32(-np.inf))),
]
