"""How far one tensor is from another, in figures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from executorch_coreml.ops.half import FP16_MAX, FP16_TINY, SENTINEL, SENTINEL_FP16

Array: TypeAlias = "np.ndarray[Any, Any]"

_NEAR = 0.05  # of the stand-in for a mask: a score may have been added to it


@dataclass(frozen=True, slots=True)
class Error:
    """What ``got`` is in place of ``expected``, element by element.

    Mask sentinels (``finfo(float32).min``, -1e9 where fp16 has -40000 for it) count as equal.

    Attributes:
        elements: How many were compared.
        snr: Signal-to-noise ratio in dB, ``10 log10(sum(expected^2) / sum((got - expected)^2))``,
            over elements that are finite in both. inf where they are equal, -inf where none is
            left. 20 dB more are one decimal digit more.
        absolute: The largest ``|got - expected|``.
        relative: ``absolute`` over the largest ``|expected|``; infinite if that is 0.
        overflow: Elements that became infinite.
        underflow: Elements below fp16's smallest value that became zero.
        nan: Elements that became NaN.
        unlike: Elements that should be infinite or NaN, and are something else.
        expected_nan: Elements that are NaN in ``expected`` already.
    """

    elements: int
    snr: float
    absolute: float
    relative: float
    overflow: int = 0
    underflow: int = 0
    nan: int = 0
    unlike: int = 0
    expected_nan: int = 0

    @property
    def broken(self) -> bool:
        """Whether some element is infinite or NaN in one of the two only."""
        return bool(self.overflow or self.nan or self.unlike)

    def beyond(self, min_snr: float, tolerance: float | None = None) -> bool:
        """Whether it is broken, below ``min_snr``, or beyond ``tolerance`` of the largest."""
        too_far = tolerance is not None and not self.relative <= tolerance
        return self.broken or too_far or self.snr < min_snr


def measure(expected: Array, got: Array) -> Error:
    """Compares two arrays of one shape; numbers of any dtype, and truth values."""
    wanted, found = expected.astype(np.float64).ravel(), got.astype(np.float64).ravel()
    magnitude, size = np.abs(wanted), np.abs(found)
    finite, finite_found = np.isfinite(wanted), np.isfinite(found)
    masked = _masked(wanted, found, magnitude, size)
    nan = np.isnan(found) & ~np.isnan(wanted)
    overflow = finite & np.isinf(found) & ~masked
    both = finite & finite_found & ~masked
    with np.errstate(over="ignore"):
        noise = np.where(both, found - wanted, 0.0) if not both.all() else found - wanted
    signal = magnitude if both.all() else np.where(both, magnitude, 0.0)
    lost = not both.any() and bool(overflow.any() or nan.any())
    absolute = float(np.abs(noise).max(initial=0.0))
    largest = float(signal.max(initial=0.0))
    same = (wanted == found) | (np.isnan(wanted) & np.isnan(found))
    return Error(
        elements=wanted.size,
        snr=_decibels(float((signal**2).sum()), float((noise**2).sum()), none=lost),
        absolute=absolute,
        relative=absolute / largest if largest else (math.inf if absolute else 0.0),
        overflow=int(overflow.sum()),
        underflow=int(((magnitude > 0) & (magnitude < FP16_TINY) & (size == 0)).sum()),
        nan=int(nan.sum()),
        unlike=int((~finite & ~nan & ~same & ~masked).sum()),
        expected_nan=int(np.isnan(wanted).sum()),
    )


def representable(values: Array) -> bool:
    """Whether no element is beyond fp16, mask sentinels aside; NaN and infinities are."""
    size = np.abs(values)
    return not bool(((size > FP16_MAX) & (size < SENTINEL)).any())


def _masked(wanted: Array, found: Array, magnitude: Array, size: Array) -> Array:
    """Where both are "minus infinity, but finite", or plus: see :mod:`executorch_coreml.ops.half`.

    fp16 has ±40000 for it, and float32 may have added many of them up.
    """
    large = magnitude > FP16_MAX
    if not large.any():
        return large
    stands = np.abs(size - SENTINEL_FP16) <= _NEAR * SENTINEL_FP16
    sentinel = (magnitude >= SENTINEL) & (size >= SENTINEL_FP16 * (1 - _NEAR))
    same: Array = large & (np.sign(wanted) == np.sign(found)) & (stands | sentinel)
    return same


def _decibels(signal: float, noise: float, *, none: bool) -> float:
    """``none``: nothing is left of the signal."""
    if noise == 0:
        return -math.inf if none else math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf
