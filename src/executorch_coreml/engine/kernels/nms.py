"""``non_maximum_suppression``.

Semantics: coremltools ``mil/ops/defs/iOS15/tensor_operation.py``, ``iOS17/tensor_operation.py``
and the reference of its tests. A box counts with its best class. The best of the boxes that are
left is selected (the first of equals), and all whose intersection over union with it exceeds
``iou_threshold`` are dropped, with ``per_class_suppression`` only those of its class. Where no
score reaches ``score_threshold`` the best box is selected all the same. Unused places of the result
hold zeros and the index -1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import openvino as ov
from openvino import opset15 as ops

from executorch_coreml.engine.kernels.operand import (
    Operand,
    cast,
    f32,
    gather,
    i64,
    scalar,
    shape_node,
    shared_nodes,
)
from executorch_coreml.engine.kernels.subgraph import Subgraph
from executorch_coreml.engine.kernels.table import Family

kernels = Family()

# Not infinity: the CPU plugin takes -FLT_MAX for the maximum of nothing but -inf (2026.4).
_DROPPED = float(np.finfo(np.float32).min)


@kernels("non_maximum_suppression")
def non_maximum_suppression(
    boxes: Operand,
    scores: Operand,
    iou_threshold: Operand,
    max_boxes: Operand,
    opset: int,
    score_threshold: Operand | None = None,
    per_class_suppression: Operand | bool = False,
) -> tuple[ov.Output, ...]:
    """Up to iOS16 boxes [n, B, 4] and scores [n, B, K], and the number of boxes as a fourth
    result; from iOS17 on [n, 4, B] and [n, K, B]."""
    new = opset >= 7
    turn = i64([0, 2, 1])
    places, marks = (cast(x, ov.Type.f32) for x in (boxes, scores))
    if new:
        places, marks = (ops.transpose(x, turn).output(0) for x in (places, marks))
    least = None if score_threshold is None else float(scalar(score_threshold, "score_threshold"))
    found = _Search(
        places,
        marks,
        float(scalar(iou_threshold, "iou_threshold")),
        bool(scalar(per_class_suppression, "per_class_suppression")),
    ).select(int(scalar(max_boxes, "max_boxes")), least)
    used = ops.greater_equal(found, _i32(0))
    at = ops.maximum(found, _i32(0)).output(0)
    weight = ops.unsqueeze(ops.convert(used, "f32"), i64(2))
    picked = [
        ops.select(ops.not_equal(weight, f32(0.0)), gather(x, at, 1, 1), f32(0.0))
        for x in (places, marks)
    ]
    if new:
        return (*(ops.transpose(x, turn).output(0) for x in picked), found)
    count = ops.reduce_sum(ops.convert(used, "i32"), i64([1]), False)
    return (*(x.output(0) for x in picked), found, count.output(0))


def _i32(value: int) -> ov.Output:
    return ops.constant(np.int32(value)).output(0)


@dataclass(frozen=True)
class _Search:
    """boxes [n, B, 4] as centre x, centre y, width, height; scores [n, B, K]."""

    boxes: ov.Output
    scores: ov.Output
    iou_threshold: float
    per_class: bool

    def select(self, count: int, least: float | None) -> ov.Output:
        """The indices [n, count] of the selected boxes, best first, -1 behind the last."""
        best = ops.reduce_max(self.scores, i64([2]), False)
        alone = ops.constant(np.array(False)).output(0)
        left = best
        if least is not None:
            passing = ops.greater_equal(best, f32(least))
            none = ops.logical_not(ops.reduce_logical_or(passing, i64([1]), True))
            left = ops.select(ops.logical_or(passing, none), best, f32(_DROPPED))
            alone = none.output(0)
        return self._loop(left.output(0), alone, count)

    def _classes(self) -> ov.Output:
        top = ops.topk(self.scores, i64(1), 2, "max", "value", index_element_type="i32")
        return ops.squeeze(top.output(1), i64([2])).output(0)

    def _loop(self, left: ov.Output, alone: ov.Output, count: int) -> ov.Output:
        """``left`` holds the scores of the boxes that are left; where ``alone``, one is enough."""
        number = ops.convert(ops.gather(shape_node(left), i64(1), i64(0)), "i32")
        order = ops.range(_i32(0), number, _i32(1), "i32")
        sources = [self.boxes, order.output(0), alone]
        if self.per_class:
            sources.append(self._classes())
        graph = Subgraph()
        with shared_nodes():
            given = [graph.enter_like(source) for source in sources]
            scores = graph.enter_like(left)
            chosen, rest = self._round(scores.value, *(entry.value for entry in given))
            shown, after = ops.result(chosen), ops.result(rest)
            go_on = ops.result(ops.constant(np.array(True)))
        loop = ops.loop(i64(count), ops.constant(np.array(True)).output(0))
        loop.set_function(ov.Model([go_on, shown, after], graph.parameters, "round"))
        loop.set_special_body_ports([-1, 0])
        for entry, source in zip(given, sources, strict=True):
            loop.set_invariant_input(entry.parameter, source)
        loop.set_merged_input(scores.parameter, left, after.output(0))
        return loop.get_concatenated_slices(shown.output(0), 0, 1, 1, -1, 1)

    def _round(
        self,
        scores: ov.Output,
        boxes: ov.Output,
        order: ov.Output,
        alone: ov.Output,
        classes: ov.Output | None = None,
    ) -> tuple[ov.Output, ov.Output]:
        """One selection: the index [n, 1], and the scores with what it drops."""
        best = ops.reduce_max(scores, i64([1]), True)
        usable = ops.greater(best, f32(_DROPPED))
        behind = _i32(2**30)
        equal = ops.logical_and(ops.equal(scores, best), usable)
        first = ops.reduce_min(ops.select(equal, order, behind), i64([1]), True)
        index = ops.select(usable, first, _i32(-1)).output(0)
        at = ops.maximum(index, _i32(0)).output(0)
        overlap = _overlap(gather(boxes, at, 1, 1).output(0), boxes)
        dropped = ops.greater(overlap, f32(self.iou_threshold))
        if classes is not None:
            same = ops.equal(gather(classes, at, 1, 1), classes)
            dropped = ops.logical_and(dropped, same)
        gone = ops.logical_or(ops.logical_or(dropped, alone), ops.equal(order, index))
        return index, ops.select(gone, f32(_DROPPED), scores).output(0)


def _overlap(one: ov.Output, boxes: ov.Output) -> ov.Output:
    """Intersection over union of ``one`` [n, 1, 4] with each of ``boxes`` [n, B, 4]; 0 where a box
    has no area."""
    first, others = _Extent.of(one), _Extent.of(boxes)
    shared = ops.multiply(*(a.shared(b) for a, b in zip(first, others, strict=True)))
    areas = [ops.multiply(*(side.size for side in sides)) for sides in (first, others)]
    whole = ops.subtract(ops.add(*areas), shared)
    solid = ops.greater(ops.minimum(*areas), f32(0.0))
    share = ops.select(solid, ops.divide(shared, whole), f32(0.0))
    return ops.squeeze(share, i64([2])).output(0)


@dataclass(frozen=True)
class _Extent:
    """Boxes along one axis, [n, B, 1] each."""

    low: ov.Node
    high: ov.Node
    size: ov.Output

    @classmethod
    def of(cls, boxes: ov.Output) -> tuple[_Extent, _Extent]:
        columns = ops.split(boxes, i64(2), 4).outputs()
        sides = []
        for centre, size in zip(columns[:2], columns[2:], strict=True):
            half = ops.multiply(size, f32(0.5))
            sides.append(cls(ops.subtract(centre, half), ops.add(centre, half), size))
        return sides[0], sides[1]

    def shared(self, other: _Extent) -> ov.Node:
        """The length that both cover."""
        end, start = ops.minimum(self.high, other.high), ops.maximum(self.low, other.low)
        return ops.maximum(ops.subtract(end, start), f32(0.0))
