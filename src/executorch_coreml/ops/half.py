"""What fp16 can hold, and rounding constants to it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

FP16_MAX = 65504.0
FP16_TINY = 2.0**-24  # smallest positive fp16 value
# Values this large are "minus infinity, but finite" masks (finfo(float32).min and the like). In
# fp16 they become a value that swamps any score and still survives adding one: -65504 would not.
SENTINEL = 1e30
SENTINEL_FP16 = 40000.0
# What torch converts on the calling thread; a second one is slow to come where cores are busy.
_STEP = 32768  # elements


def to_fp16(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Rounds to fp16; mask sentinels become ±40000, which fp16 can hold.

    Other finite values beyond fp16's range become infinite: callers that may meet them ask
    :func:`fits_fp16` first and compute in fp32 instead.
    """
    array = np.asarray(array)
    # Nearly all weights are known to hold no sentinel without further copies of them.
    floats = array.dtype.kind == "f" and array.size  # integers and truth values are far from it
    if floats and not _largest(array) < SENTINEL:  # NaN: look closer
        sentinel = np.isfinite(array) & (np.abs(array) >= SENTINEL)
        array = np.where(sentinel, np.copysign(SENTINEL_FP16, array), array)
    elif floats and _is_torchs(array):
        # The same bits in a seventh of numpy's time; of NaN, which got no further than here, torch
        # does not keep every bit.
        rounded = np.empty(array.shape, np.float16)
        steps = (torch.from_numpy(a).reshape(-1).split(_STEP) for a in (rounded, array))  # type: ignore[no-untyped-call]
        for target, source in zip(*steps, strict=True):
            target.copy_(source)
        return rounded
    with np.errstate(over="ignore"):
        return array.astype(np.float16)


def fits_fp16(value: Any) -> bool:
    """Whether fp16 can stand for the values: no overflow, except for mask sentinels."""
    array = np.asarray(value)
    # Nearly all weights are known to fit without copies of them. NaN compares as False.
    if not array.size or (array.dtype.kind == "f" and _largest(array) <= FP16_MAX):
        return True
    size = np.abs(array.astype(np.float64))
    return not bool(((size > FP16_MAX) & (size < SENTINEL)).any())


def _largest(array: np.ndarray[Any, Any]) -> float:
    """The largest magnitude in an array of floats, NaN if one of them is."""
    return float(max(array.max(), -array.min()))  # torch's aminmax takes two threads


def _is_torchs(array: np.ndarray[Any, Any]) -> bool:
    """Whether torch can work on a float32 array in place, in far less time than numpy."""
    forward = array.flags.writeable and all(stride >= 0 for stride in array.strides)
    return array.dtype == np.float32 and forward
