"""What fp16 cannot hold, and what a rule does about it.

Torch's float32 is fp16 under compute precision FLOAT16. Rules ask here whether one call can be
computed in fp16 at all; where it cannot, the call is computed in fp32 between two casts, with a
note for the report.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from executorch_coreml.ops.call import Call
from executorch_coreml.ops.emit import Emit, Var
from executorch_coreml.ops.half import FP16_MAX, FP16_TINY, SENTINEL, SENTINEL_FP16, fits_fp16
from executorch_coreml.ops.rule import INT

BEYOND_FP16 = INT - {torch.int8, torch.uint8}  # fp16 has all integers up to 2048
FP16_NORMAL = 2.0**-14  # smaller fp16 values have fewer than 11 significant bits
LARGE = 1024  # elements; sums of more are accumulated in fp32


def compute_type(mb: Emit, call: Call, dtype: torch.dtype, *names: str, scale: bool = True) -> str:
    """The MIL type to compute in when torch computes in ``dtype``.

    fp32 instead of fp16 where an operand named in ``names`` is a tensor of integers that fp16 may
    not have, or a constant that fp16 cannot stand for.

    Args:
        scale: The operands are factors: a constant that is only subnormal in fp16 counts as well.
            Otherwise, in a sum, it is as good as any other (see :func:`operand`).
    """
    mil = mb.type_of(dtype)
    if mil != "fp16":
        return mil
    for name in names:
        if reason := _beyond_fp16(mb, call[name], scale):
            mb.note(f"{name} {reason}: computed in fp32")
            return "fp32"
    return mil


def _beyond_fp16(mb: Emit, value: Any, scale: bool) -> str | None:
    array = mb.array(value)
    if array is None:
        whole = isinstance(value, Node) and value.meta["val"].dtype in BEYOND_FP16
        return "is an integer tensor" if whole else None
    if array.dtype.kind not in "iuf" or not array.size:
        return None
    if not fits_fp16(array):
        return f"holds values beyond {FP16_MAX:.0f}"
    largest = float(np.abs(array).max())
    if scale and 0 < largest < FP16_NORMAL:
        return f"is at most {largest:.3g}, too small for fp16"
    return None


def overflows(mb: Emit, value: Any) -> bool:
    """Whether a constant is finite but beyond fp16's range, mask sentinels aside."""
    array = mb.array(value)
    return array is not None and array.dtype.kind in "iuf" and not fits_fp16(array)


def operand(mb: Emit, value: Any, mil: str | torch.dtype) -> Var:
    """An addend or a bound as a MIL type or as what stands for a torch dtype; in fp16 a small
    constant does not become zero.

    An epsilon exists to keep something away from zero, so it is at least fp16's smallest value.
    """
    array = mb.array(value) if mil == "fp16" else None
    if array is None or array.dtype.kind != "f" or array.size != 1:
        return mb.var(value, mil)
    number = float(array.reshape(()))
    if not 0 < abs(number) < FP16_TINY:
        return mb.var(value, mil)
    mb.note(f"{number:.3g} is below fp16's smallest value, which replaces it")
    return mb.const(np.full(array.shape, math.copysign(FP16_TINY, number)), mil)


def choice(mb: Emit, value: Any, mil: str | torch.dtype) -> Var:
    """A value to select, as a MIL type or as what stands for a torch dtype; constants beyond
    fp16's range stay finite.

    Masks are filled with values such as -1e9. As -inf they would turn a wholly masked row of a
    softmax into NaN, so they become what the larger mask sentinels become, ±40000.
    """
    if mil != "fp16" or not overflows(mb, value):
        return mb.var(value, mil)
    mb.note(f"a value to select is beyond fp16's range and becomes ±{SENTINEL_FP16:.0f}")
    array = np.asarray(mb.array(value), np.float64)
    beyond = np.isfinite(array) & (np.abs(array) > FP16_MAX)
    return mb.const(np.where(beyond, np.copysign(SENTINEL_FP16, array), array), mil)


def bound(mb: Emit, number: float | None, mil: str) -> float | None:
    """A limit of a clamp that fp16 can hold; None where it limits no fp16 value.

    Mask sentinels (``finfo(float32).max``) become the largest finite fp16 value, which is what
    they mean: they make infinite values finite.
    """
    if number is None or math.isinf(number):
        return None
    if mil != "fp16":
        return float(number)
    if abs(number) >= SENTINEL:
        return math.copysign(FP16_MAX, number)
    if abs(number) > FP16_MAX:
        mb.note(f"the limit {number:g} is beyond fp16's range and has no effect")
        return None
    if 0 < abs(number) < FP16_TINY:
        mb.note(f"{number:.3g} is below fp16's smallest value, which replaces it")
        return math.copysign(FP16_TINY, number)
    return float(number)


def keep_fp32(mb: Emit, dtype: torch.dtype, reason: str) -> str:
    """fp32 where torch's ``dtype`` would be fp16, with a note why; else the type as it is."""
    mil = mb.type_of(dtype)
    if mil != "fp16":
        return mil
    mb.note(f"{reason}: computed in fp32")
    return "fp32"


def result(mb: Emit, call: Call, value: Var) -> Var:
    """``value`` as the type of the call's result."""
    return mb.cast(value, mb.type_of(call.out.dtype))
