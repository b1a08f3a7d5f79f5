"""Rounding to fp16 as arithmetic, and how OpenVINO is told to keep float32.

OpenVINO's CPU plugin runs fp16 graphs in float32 and removes Convert pairs, so the engine rounds
with float32 arithmetic that no graph pass can remove, bit for bit what IEEE 754 conversion gives
(nearest, ties to even, overflow to infinity, subnormals and the sign of zero kept).

All of it is scaled by 2**-25, which changes no digit, so that the sign needs no constant: the sign
s is x clamped to +-2**-25, and smaller below, where it keeps the sign of a zero. The magnitude
a = x s is 2**-25 |x|, or less for |x| < 2**-25, which is rounded to zero either way. With
t = max(8193 a, 2**-25 3/4), the rounded magnitude is r = t - (t - a):

* |x| >= 2**-13. Let u be the scaled fp16 spacing at x. t - a lies where float32 spacing is u,
  because 8193 = 2**13 + 1 moves 8192 a there; so t - a is rounded to a multiple of u, nearest and
  ties to even, and t - (t - a) is exact. At a tie a = (k + 1/2) u, the product
  8193 a = 8192 a + a is rounded to even itself, so t is an even multiple of u, and of k and k + 1
  the even one results (Veltkamp's splitting; Boldo, "Pitfalls of a full floating-point proof",
  2006).
* |x| < 2**-13, where t is 2**-25 3/4 or slightly more: t - a lies in 2**-25 [1/2, 3/4], where
  spacing is 2**-25 2**-24, and 2**-24 is the spacing of fp16 subnormals and of its first normal
  binade.

The maximum also stands between the product and the subtraction, which would otherwise be compiled
to a fused multiply-add that rounds nothing. From 65520 on fp16 overflows. In OpenVINO 2026.4 a NaN
is lost in clamp and maximum and is greater_equal than anything, but less than nothing: so it is one
in a, is not above the limit, and comes out as r. The result is 2**50 r s. Neither x nor a sign is
multiplied by a constant: graph passes could fold one into the weights that make x, and outside its
snippets OpenVINO computes such a product as one plus zero, which has no negative zero.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import numpy as np
import openvino as ov
from openvino import opset15 as ops

from executorch_coreml.engine.kernels.operand import node

Precision: TypeAlias = Literal["faithful", "float32", "bfloat16"]

_log = logging.getLogger(__name__)

OVERFLOW = 65520.0
"""From this magnitude on a number is rounded to infinity."""

_ROUNDS = "executorch_coreml.rounds"  # a key of ours in the runtime info of a node

_TINY = 2.0**-25
# Nodes are shared by array, so a graph has each of these once.
_SPLIT, _FLOOR, _LARGEST, _INFINITY, _SCALE = (
    np.asarray(value, np.float32)
    for value in (
        8193.0,
        0.75 * _TINY,
        np.nextafter(np.float32(OVERFLOW), np.float32(0)) * _TINY,
        np.inf,
        1 / _TINY**2,
    )
)


def round_to_fp16(x: ov.Output) -> ov.Output:
    """A float32 node with the values of ``x`` rounded to fp16; one fused kernel on the CPU."""
    sign = ops.clamp(x, -_TINY, _TINY)
    magnitude = ops.multiply(x, sign)
    shift = ops.maximum(ops.multiply(magnitude, node(_SPLIT)), node(_FLOOR))
    rest = ops.subtract(shift, ops.subtract(shift, magnitude))
    whole = ops.select(ops.less(node(_LARGEST), magnitude), node(_INFINITY), rest)
    result = ops.multiply(ops.multiply(whole, node(_SCALE)), sign)
    result.get_rt_info()[_ROUNDS] = True
    return result.output(0)


def rounded(found: ov.Node) -> ov.Output | None:
    """What ``found`` is the rounded value of, if :func:`round_to_fp16` made it."""
    if _ROUNDS not in found.get_rt_info():
        return None
    return found.input_value(1).get_node().input_value(0)


@lru_cache(maxsize=1)
def core() -> ov.Core:
    """The one OpenVINO runtime of the process: each would load its own devices, slowly."""
    return ov.Core()


@lru_cache
def _has_bfloat16(device: str) -> bool:
    """Whether a device computes in bfloat16; if it does not, a line of the log, once in a process,
    says so."""
    found = list(core().get_property(device, "OPTIMIZATION_CAPABILITIES"))
    if "BF16" not in found:
        _log.warning("precision bfloat16: the %s here has none; it computes in float32", device)
    return "BF16" in found


def configuration(
    threads: int | None, device: str = "CPU", precision: Precision = "faithful"
) -> dict[str, Any]:
    """OpenVINO properties: float32 arithmetic, unless it is to be bfloat16 and the device has it,
    tuned for one request at a time. ``threads`` are those of the CPU, and mean nothing to a GPU.

    No thread is pinned to a core: OpenVINO (2026.4) counts cores from the first one in each
    process, so that processes side by side would share the first cores while others idle, and
    pins the calling thread anew in every run."""
    kind = "bf16" if precision == "bfloat16" and _has_bfloat16(device) else "f32"
    properties: dict[str, Any] = {"INFERENCE_PRECISION_HINT": kind, "PERFORMANCE_HINT": "LATENCY"}
    if device in ("CPU", "AUTO"):
        properties["ENABLE_CPU_PINNING"] = False
        if threads is not None:
            properties["INFERENCE_NUM_THREADS"] = threads
    return properties
