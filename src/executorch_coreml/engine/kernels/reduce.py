"""Reductions, arg-reductions and ``cumsum``.

Semantics: coremltools ``mil/ops/defs/iOS15/reduction.py`` and ``tensor_operation.py`` (cumsum).
``axes`` left out means all of them.

OpenVINO's CPU plugin reduces integers in float32, which is exact up to 2**24 only (seen in 2026.4).
Its running sums, its TopK and its arithmetic are exact for all of int32, and sums and products wrap
around: integers are reduced by those.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import openvino as ov
from openvino import opset15 as ops

from executorch_coreml.engine.kernels.operand import (
    Operand,
    axis_of,
    cast,
    i64,
    integers,
    is_float,
    like,
    node,
    output_type,
    rank,
    scalar,
    shape,
)
from executorch_coreml.engine.kernels.table import Family
from executorch_coreml.mil.types import TensorType

kernels = Family()

# (value, axes, keep dimensions) -> reduced
Reduction = Callable[[ov.Output, ov.Output, bool], ov.Node]


# Integers along one axis, whose extent becomes 1.
Step = Callable[[ov.Output, int], "ov.Node | ov.Output"]


def _reduction(
    op: str, apply: Reduction, *, integer: Step | None = None, exact: bool = False
) -> None:
    def kernel(
        x: Operand,
        out: tuple[TensorType, ...],
        axes: Operand | None = None,
        keep_dims: Operand | bool = False,
    ) -> ov.Output:
        over = range(rank(x)) if axes is None else integers(axes, "axes")
        over = sorted(axis_of(axis, rank(x), "axes") for axis in over)
        keep = bool(scalar(keep_dims, "keep_dims"))
        if integer is not None and not is_float(x):
            return cast(_integers(integer, cast(x, ov.Type.i32), over, keep), output_type(out))
        value = node(x) if is_float(x) else cast(x, ov.Type.f32)
        return cast(apply(value, i64(over), keep).output(0), output_type(out))

    kernels(op, exact=exact)(kernel)


def _integers(step: Step, x: ov.Output, axes: list[int], keep: bool) -> ov.Output:
    for axis in axes:
        x = node(step(x, axis))
    return x if keep or not axes else ops.squeeze(x, i64(axes)).output(0)


def _total(x: ov.Output, axis: int) -> ov.Node:
    """The last of the running sums; a 0 in front gives one where there is nothing to add up."""
    if shape(x)[axis] is None:
        ahead = i64([int(other == axis) for other in range(rank(x))])
        none = i64([0] * rank(x))
        x = ops.pad(x, ahead, none, "constant", like(0, x)).output(0)
    return ops.gather(ops.cum_sum(x, i64(axis)), i64([-1]), i64(axis))


def _extreme(mode: str) -> Step:
    return lambda x, axis: ops.topk(x, i64(1), axis, mode, "none", "i32").output(0)


def _product(x: ov.Output, axis: int) -> ov.Node | ov.Output:
    """Half by half. An axis of unknown extent is left to OpenVINO, in float32."""
    extent = shape(x)[axis]
    if extent is None:
        return cast(ops.reduce_prod(cast(x, ov.Type.f32), i64(axis), True), x.get_element_type())

    def part(start: int, stop: int) -> ov.Node:
        return ops.slice(x, i64([start]), i64([stop]), i64([1]), i64([axis]))

    while extent > 1:
        half = extent // 2
        product = ops.multiply(part(0, half), part(half, 2 * half))
        rest = [part(extent - 1, extent)] if extent % 2 else []
        x = ops.concat([product, *rest], axis).output(0)
        extent = half + extent % 2
    return x


def _log_sum_exp(x: ov.Output, axes: ov.Output, keep: bool) -> ov.Node:
    """log(sum(exp(x))) without overflow: the largest element, made finite, is taken out first."""
    limit = float(np.finfo(np.float32).max)
    largest = ops.clamp(ops.reduce_max(x, axes, True), -limit, limit)
    total = ops.reduce_sum(ops.exp(ops.subtract(x, largest)), axes, keep)
    back = largest if keep else ops.squeeze(largest, axes)
    return ops.add(ops.log(total), back)


def _exactly(apply: Callable[..., ov.Node], nothing: float) -> Reduction:
    """The largest or smallest value; NaN where one of them is.

    OpenVINO 2026.4 passes over NaN, and starts from the largest finite number, which is what it
    gives for values that are all infinite (``nothing``).
    """

    def reduce(x: ov.Output, axes: ov.Output, keep: bool) -> ov.Node:
        one = ops.convert(ops.not_equal(x, like(nothing, x)), ov.Type.f32)
        state = ops.reduce_max(ops.select(ops.equal(x, x), one, like(2.0, x)), axes, keep)
        value = ops.select(ops.less(state, like(0.5, x)), like(nothing, x), apply(x, axes, keep))
        return ops.select(ops.less(state, like(1.5, x)), value, like(float("nan"), x))

    return reduce


LARGEST = _exactly(ops.reduce_max, -float("inf"))
SMALLEST = _exactly(ops.reduce_min, float("inf"))

_reduction("reduce_l1_norm", ops.reduce_l1)
_reduction("reduce_l2_norm", ops.reduce_l2)
_reduction("reduce_log_sum", lambda x, axes, keep: ops.log(ops.reduce_sum(x, axes, keep)))
_reduction("reduce_log_sum_exp", _log_sum_exp)
_reduction("reduce_max", LARGEST, integer=_extreme("max"), exact=True)
_reduction("reduce_mean", ops.reduce_mean)
_reduction("reduce_min", SMALLEST, integer=_extreme("min"), exact=True)
_reduction("reduce_prod", ops.reduce_prod, integer=_product)
_reduction("reduce_sum", ops.reduce_sum, integer=_total)
_reduction(
    "reduce_sum_square", lambda x, axes, keep: ops.reduce_sum(ops.multiply(x, x), axes, keep)
)


def _nan_first(x: ov.Output, mode: str) -> ov.Output:
    """``x`` with NaN where it ranks first, as in numpy; infinity makes room for it."""
    if not x.get_element_type().is_real():
        return x
    limit = float(np.finfo(np.float32).max)
    first = float("inf") if mode == "max" else -float("inf")
    return ops.select(ops.equal(x, x), ops.clamp(x, -limit, limit), like(first, x)).output(0)


def _arg_reduction(op: str, mode: str) -> None:
    def kernel(
        x: Operand,
        out: tuple[TensorType, ...],
        axis: Operand | int = -1,
        keep_dims: Operand | bool = False,
        output_dtype: str = "int32",
    ) -> ov.Output:
        """The first of equal elements wins. ``output_dtype`` is what ``out`` declares."""
        over = axis_of(axis, rank(x))
        found = ops.topk(
            _nan_first(node(x), mode), i64(1), over, mode, "value", "i32", stable=True
        ).output(1)
        if not scalar(keep_dims, "keep_dims"):
            found = ops.squeeze(found, i64([over])).output(0)
        return cast(found, output_type(out))

    kernels(op, exact=True)(kernel)


_arg_reduction("reduce_argmax", "max")
_arg_reduction("reduce_argmin", "min")


@kernels("cumsum")
def cumsum(
    x: Operand,
    axis: Operand | int = 0,
    exclusive: Operand | bool = False,
    reverse: Operand | bool = False,
) -> ov.Node:
    return ops.cum_sum(
        node(x),
        i64(axis_of(axis, rank(x))),
        bool(scalar(exclusive, "exclusive")),
        bool(scalar(reverse, "reverse")),
    )
