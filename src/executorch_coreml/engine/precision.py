"""Rounding to fp16 as arithmetic, and how OpenVINO is told to keep float32.

OpenVINO's CPU plugin runs fp16 graphs in float32 and removes Convert pairs, so the engine rounds
with float32 arithmetic that no graph pass can remove, bit for bit what IEEE 754 conversion gives
(nearest, ties to even, overflow to infinity, subnormals and the sign of zero kept).

With a = |x| and t = max(8193 a, 3/4), the rounded magnitude is r = t - (t - a):

* a >= 2**-13. Let u be the fp16 spacing at a. t - a lies where float32 spacing is u, because
  8193 = 2**13 + 1 moves 8192 a there; so t - a is rounded to a multiple of u, nearest and ties to
  even, and t - (t - a) is exact. At a tie a = (k + 1/2) u, the product 8193 a = 8192 a + a is
  rounded to even itself, so t is an even multiple of u, and of k and k + 1 the even one results
  (Veltkamp's splitting; Boldo, "Pitfalls of a full floating-point proof", 2006).
* a < 2**-13, where t is 3/4 or slightly more: t - a lies in [1/2, 3/4], spacing 2**-24, which is
  the spacing of fp16 subnormals and of its first normal binade.

The maximum also stands between the product and the subtraction, which would otherwise be compiled
to a fused multiply-add that rounds nothing. From 65520 on fp16 overflows: 2**113 a is infinite
there, and NaN for a NaN, which is not less than anything. The sign is x clamped to +-2**-25 and
scaled by 2**25: +-1 wherever the magnitude is not zero, and it keeps the sign of a zero. x itself
is never multiplied by a constant, which graph passes could fold into the weights that make x.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal, TypeAlias

import openvino as ov
from openvino import opset15 as ops

from executorch_coreml.engine.kernels.operand import absolute, f32

Precision: TypeAlias = Literal["faithful", "float32"]

_OVERFLOW = 65520.0  # halfway between the largest fp16, 65504, and 2**16


def round_to_fp16(x: ov.Output) -> ov.Output:
    """A float32 node with the values of ``x`` rounded to fp16; one fused kernel on the CPU."""
    magnitude = absolute(x)
    shift = ops.maximum(ops.multiply(magnitude, f32(8193.0)), f32(0.75))
    rounded = ops.subtract(shift, ops.subtract(shift, magnitude))
    finite = ops.less(magnitude, f32(_OVERFLOW))
    whole = ops.select(finite, rounded, ops.multiply(magnitude, f32(2.0**113)))
    sign = ops.multiply(ops.clamp(x, -(2.0**-25), 2.0**-25), f32(2.0**25))
    return ops.multiply(whole, sign).output(0)


@lru_cache(maxsize=1)
def core() -> ov.Core:
    """The one OpenVINO runtime of the process: each would load its own devices, slowly."""
    return ov.Core()


def configuration(threads: int | None) -> dict[str, Any]:
    """OpenVINO properties: float32 arithmetic, tuned for one request at a time."""
    properties: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    if threads is not None:
        properties["INFERENCE_NUM_THREADS"] = threads
    return properties
