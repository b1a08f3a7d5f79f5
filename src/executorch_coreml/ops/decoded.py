"""What a compressed weight decodes to, against the weight: a wrong encoding is an error.

Every ``constexpr_*`` op that stores a weight is decoded by coremltools as soon as it is made.

==========================  ======================================================================
encoding of                 decodes to
==========================  ======================================================================
integers or tables          the values that PyTorch computes from the same (:func:`compare`)
a float weight, quantized   within half a step of the weight (:func:`near`)
a float weight, pruned      the pruned weight, exactly (:func:`same`)
==========================  ======================================================================
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np

from executorch_coreml.errors import LoweringError

Array = np.ndarray[Any, Any]

FP16_STEP = 2.0**-24  # the distance of the smallest fp16 values
_CHUNK = 2**16  # elements compared at a time
_MOST_STEPS = 255.0  # from the zero point to the end of 8 bits


def decoded(op: Any) -> Array:
    """What a ``constexpr_*`` op of one result stands for."""
    return np.asarray(op.materialized_val_inference())


def compare(var: Any, reference: Array, half: bool) -> None:
    """What ``var`` decodes to against the values that PyTorch computes.

    Raises:
        LoweringError: They differ by more than rounding.
    """
    for part, expected in _parts(var.op, reference):
        off = _distance(part, expected, half)
        if off:
            wrong(var.op, f"off by {off:.3g}")


def same(op: Any, reference: Array) -> None:
    """What ``op`` decodes to against the very weight it stands for.

    Raises:
        LoweringError: An element differs.
    """
    for part, expected in _parts(op, reference):
        if not np.array_equal(part, expected, equal_nan=True):
            wrong(op, "an element is another")


def near(op: Any, weight: Array, scale: Array) -> None:
    """What ``op`` decodes to against a float weight that was rounded to integers.

    Args:
        op: The last ``constexpr_*`` op on the way to the weight.
        scale: One step per block, of as many dimensions as ``weight``.

    Raises:
        LoweringError: An element is further away than half a step and what rounding adds.
    """
    found = decoded(op)
    if found.shape != weight.shape:
        wrong(op, f"shape {found.shape}, not {weight.shape}")
    sizes = [n // blocks for n, blocks in zip(weight.shape, scale.shape, strict=True)]
    rows, steps = weight.shape[0], np.repeat(scale.astype(np.float32), sizes[0], axis=0)
    blocked = [n for pair in zip(scale.shape[1:], sizes[1:], strict=True) for n in pair]
    spread = [n for blocks in scale.shape[1:] for n in (blocks, 1)]
    taken = max(1, _CHUNK * rows // max(weight.size, 1))
    for start in range(0, rows, taken):
        part = slice(start, start + taken)
        one = found[part].astype(np.float32).reshape(-1, *blocked)
        other = weight[part].astype(np.float32).reshape(-1, *blocked)
        bound = _half_a_step(steps[part], weight.dtype == np.float16).reshape(-1, *spread)
        off = np.abs(one - other)
        if not (off <= bound).all():
            wrong(op, f"off by {np.nan_to_num(off, nan=np.inf).max():.3g}")


def _half_a_step(steps: Array, half: bool) -> Array:
    """Half a step, and the rounding of weight, scale and zero point on their way.

    In fp16 each of them has 11 bits, less if it is below 6e-5.
    """
    relative, absolute = (2.0**-10, FP16_STEP) if half else (2.0**-20, 2.0**-140)
    bound: Array = np.abs(steps) * np.float32(0.5 + _MOST_STEPS * relative)
    bound += np.float32(_MOST_STEPS * absolute)
    return bound


def _parts(op: Any, reference: Array) -> Iterator[tuple[Array, Array]]:
    """(decoded, expected) elements, a cacheful at a time."""
    found = decoded(op)
    if found.shape != reference.shape:
        wrong(op, f"shape {found.shape}, not {reference.shape}")
    flat, expected = found.reshape(-1), reference.reshape(-1)
    for start in range(0, flat.size, _CHUNK):
        part = slice(start, start + _CHUNK)
        yield flat[part], expected[part]


def _distance(found: Array, expected: Array, half: bool) -> float:
    """The largest difference that is beyond rounding; 0.0 if there is none."""
    relative, absolute = (2.0**-9, 256 * FP16_STEP) if half else (2.0**-20, 2.0**-140)
    expected = expected.astype(np.float32, copy=False)
    with np.errstate(invalid="ignore"):
        off = np.abs(found.astype(np.float32, copy=False) - expected)
    bound = np.abs(expected)
    bound *= np.float32(relative)
    bound += np.float32(absolute)
    beyond = ~(off <= bound)  # NaN is no less than anything
    if not beyond.any():
        return 0.0
    equal = (found == expected) | (np.isnan(found) & np.isnan(expected))
    left = off[beyond & ~equal]
    return float(np.nan_to_num(left, nan=np.inf).max()) if left.size else 0.0


def wrong(op: Any, how: str) -> NoReturn:
    """
    Raises:
        LoweringError: Always.
    """
    raise LoweringError(f"{op.op_type} does not decode to the weight it encodes ({op.name}): {how}")
