"""``non_maximum_suppression``, against a plain search after the reference of coremltools' tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kernel_case import KernelCase, uniform


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes (centre x, centre y, width, height)."""
    low = np.maximum(a[:2] - a[2:] / 2, b[:2] - b[2:] / 2)
    high = np.minimum(a[:2] + a[2:] / 2, b[:2] + b[2:] / 2)
    shared = float(np.prod(np.maximum(high - low, 0)))
    areas = float(np.prod(a[2:])), float(np.prod(b[2:]))
    return shared / (sum(areas) - shared) if min(areas) > 0 else 0.0


def _search(
    boxes: np.ndarray, scores: np.ndarray, iou: float, least: float, count: int, per_class: bool
) -> tuple[np.ndarray, ...]:
    """boxes [n, B, 4] and scores [n, B, K] -> boxes, scores, indices, numbers of boxes."""
    n, _, classes = scores.shape
    found = np.zeros((n, count, 4)), np.zeros((n, count, classes)), np.full((n, count), -1)
    numbers = np.zeros(n, np.int32)
    for batch in range(n):
        best = scores[batch].max(-1)
        kinds = scores[batch].argmax(-1)
        kept: list[int] = []
        for i in np.argsort(-best, kind="stable"):
            rivals = [k for k in kept if not per_class or kinds[k] == kinds[i]]
            clear = all(_overlap(boxes[batch, k], boxes[batch, i]) <= iou for k in rivals)
            if best[i] >= least and clear:
                kept.append(int(i))
        kept = (kept or [int(best.argmax())])[:count]
        numbers[batch] = len(kept)
        found[0][batch, : len(kept)] = boxes[batch, kept]
        found[1][batch, : len(kept)] = scores[batch, kept]
        found[2][batch, : len(kept)] = kept
    return (*found, numbers)


def _expect(iou: float, least: float, count: int, per_class: bool, new: bool) -> Callable[..., Any]:
    def expect(boxes: np.ndarray, scores: np.ndarray) -> Any:
        if not new:
            return _search(boxes, scores, iou, least, count, per_class)
        turned = boxes.transpose(0, 2, 1), scores.transpose(0, 2, 1)
        b, s, index, _ = _search(*turned, iou, least, count, per_class)
        return b.transpose(0, 2, 1), s.transpose(0, 2, 1), index

    return expect


def _row(
    id: str,
    boxes: np.ndarray,
    scores: np.ndarray,
    iou: float,
    least: float = -np.inf,
    count: int = 6,
    per_class: bool = False,
    target: str = "iOS16",
) -> KernelCase:
    new = target >= "iOS17"

    def build(mb: Any, t: Any, b: Any, s: Any) -> Any:
        more = {} if new else {"score_threshold": t(least)}
        return mb.non_maximum_suppression(
            boxes=b,
            scores=s,
            iou_threshold=t(iou),
            max_boxes=count,
            per_class_suppression=per_class,
            **more,
        )

    given = (boxes.transpose(0, 2, 1).copy(), scores.transpose(0, 2, 1).copy())
    return KernelCase(
        id,
        "non_maximum_suppression",
        build,
        given if new else (boxes, scores),
        expect=_expect(iou, least, count, per_class, new),
        target=target,
    )


def _grid(n: int, count: int) -> np.ndarray:
    """Boxes with corners at whole numbers, so that fp16 holds them and what is made of them."""
    rng = np.random.default_rng(count)
    sizes = 2 * rng.integers(1, 6, (n, count, 2))
    return np.concatenate([rng.integers(0, 16, (n, count, 2)), sizes], 2).astype(np.float32)


BOXES = _grid(2, 12)
SCORES = uniform(2, 12, 3, low=-1, high=1).astype(np.float16).astype(np.float32)
ONE = np.float32([[[0, 0, 0, 0], [1, 1, 1, 1], [2, 2, 2, 2], [3, 3, 3, 3]]])
EQUAL = np.float32([[[0.5], [1.0], [1.0], [0.25]]])

ROWS = [
    _row("of_coremltools", ONE, np.float32([[[-3.5], [9.4], [2.3], [0.7]]]), 0.25, 0.375, 2, True),
    _row("any_class", BOXES, SCORES, 0.125, 0.0),
    _row("per_class", BOXES, SCORES, 0.125, 0.0, per_class=True),
    _row("all_overlap", BOXES, SCORES, 0.0, count=3),
    _row("none_overlaps", BOXES, SCORES, 1.0, count=15),
    _row("no_score_passes", BOXES, SCORES, 0.5, 2.0),
    _row("equal_scores", ONE, EQUAL, 0.5, 0.25),
    _row("ios17", BOXES, SCORES, 0.125, target="iOS17"),
    _row("ios17_per_class", BOXES, SCORES, 0.25, per_class=True, target="iOS17"),
]
