"""``random_uniform``, ``random_normal``, ``random_bernoulli`` and ``random_categorical``.

Semantics: coremltools ``mil/ops/defs/iOS15/random.py``. The distributions are those of the ops; the
values differ from Apple's, whose generator is not documented. With a ``seed`` other than -1 the
sequence of values over the runs of a loaded model is the same whenever the model is loaded.
"""

from __future__ import annotations

import math
import secrets

import numpy as np
import openvino as ov
from openvino import opset15 as ops

from executorch_coreml.engine.kernels.operand import (
    Operand,
    cast,
    f32,
    i64,
    node,
    rank,
    scalar,
    shape_node,
    text,
)
from executorch_coreml.engine.kernels.table import Family
from executorch_coreml.engine.kernels.violations import Violations
from executorch_coreml.errors import ProgramError
from executorch_coreml.mil.types import NUMPY_DTYPES, TensorType

kernels = Family()

_UNSEEDED = -1


def _seed_of(seed: Operand | int) -> int:
    """The seed; a fresh one where the program gives none."""
    value = int(scalar(seed, "seed"))
    return secrets.randbits(32) if value == _UNSEEDED else value % 2**32


def _unit(extents: ov.Output, seed: int, stream: int = 1) -> ov.Node:
    """Uniform in [0, 1); streams of one seed are independent.

    The Roll moves nothing. Without it OpenVINO 2026.4 evaluates what depends on no input but a
    RandomUniform at load, in some branches of the graph and not in others, so that uses of one
    sample disagree; it cannot evaluate a Roll.
    """
    drawn = ops.random_uniform(extents, f32(0.0), f32(1.0), "f32", stream, seed)
    return ops.roll(drawn, i64([0]), i64([0]))


@kernels("random_uniform")
def random_uniform(
    shape: Operand,
    out: tuple[TensorType, ...],
    violations: Violations,
    low: Operand | float = 0.0,
    high: Operand | float = 1.0,
    seed: Operand | int = _UNSEEDED,
) -> ov.Node:
    """In [low, high): no rounding, to fp16 either, lets a value reach ``high``."""
    start, stop = float(scalar(low, "low")), float(scalar(high, "high"))
    dtype = NUMPY_DTYPES[out[0].dtype].type
    largest = float(np.nextafter(dtype(stop), dtype(start)))
    drawn = _unit(violations.sizes(shape), _seed_of(seed))
    value = ops.add(ops.multiply(drawn, f32(stop - start)), f32(start))
    return ops.minimum(value, f32(largest))


@kernels("random_normal")
def random_normal(
    shape: Operand,
    violations: Violations,
    mean: Operand | float = 0.0,
    stddev: Operand | float = 1.0,
    seed: Operand | int = _UNSEEDED,
) -> ov.Node:
    """Box and Muller's transform of two uniform streams."""
    start = _seed_of(seed)
    extents = violations.sizes(shape)
    positive = ops.subtract(f32(1.0), _unit(extents, start))
    radius = ops.sqrt(ops.multiply(ops.log(positive), f32(-2.0)))
    angle = ops.multiply(_unit(extents, start, stream=2), f32(2.0 * math.pi))
    standard = ops.multiply(radius, ops.cos(angle))
    deviation = ops.multiply(standard, f32(scalar(stddev, "stddev")))
    return ops.add(deviation, f32(scalar(mean, "mean")))


@kernels("random_bernoulli", exact=True)
def random_bernoulli(
    shape: Operand,
    violations: Violations,
    prob: Operand | float = 0.5,
    seed: Operand | int = _UNSEEDED,
) -> ov.Output:
    """1 with probability ``prob``, else 0."""
    drawn = _unit(violations.sizes(shape), _seed_of(seed))
    return cast(ops.less(drawn, f32(scalar(prob, "prob"))).output(0), ov.Type.f32)


@kernels("random_categorical")
def random_categorical(
    x: Operand,
    mode: Operand | str = "logits",
    size: Operand | int = 1,
    seed: Operand | int = _UNSEEDED,
) -> ov.Output:
    """``size`` indices, as floats, drawn with replacement from each row of the last dimension.

    ``probs`` need not sum to 1: their logarithms are logits.
    """
    kind = text(mode, "mode")
    if kind not in ("logits", "probs"):
        raise ProgramError(f"mode must be 'logits' or 'probs', got {kind!r}")
    weights = ops.softmax(node(x), -1) if kind == "logits" else node(x)
    last = rank(x) - 1
    cumulative = ops.cum_sum(weights, i64(last))
    total = ops.reduce_max(cumulative, i64([last]), True)
    leading = ops.slice(shape_node(x), i64([0]), i64([last]), i64([1]))
    draws = ops.concat([leading, i64([int(scalar(size, "size"))])], 0)
    point = ops.multiply(_unit(draws.output(0), _seed_of(seed)), total)
    passed = ops.less_equal(
        ops.unsqueeze(cumulative, i64(last)), ops.unsqueeze(point, i64(last + 1))
    )
    index = ops.reduce_sum(ops.convert(passed, "f32"), i64([last + 1]), False)
    classes = ops.convert(ops.gather(shape_node(x), i64(last), i64(0)), "f32")
    return ops.minimum(index, ops.subtract(classes, f32(1.0))).output(0)
