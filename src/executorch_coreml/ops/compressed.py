"""Weights in few bits: the ``constexpr_*`` op for each kind, the oldest form that holds it.

====================================  =====================================  ======
scale * (data - zero)                 op                                     since
====================================  =====================================  ======
8 bits, one scale or one per channel  ``constexpr_affine_dequantize``        iOS16
8 bits in blocks, 4 bits              ``constexpr_blockwise_shift_scale``    iOS18
====================================  =====================================  ======

==========================================  ==========================================  ======
table[index]                                op                                          since
==========================================  ==========================================  ======
one table of 2, 4, 16, 64 or 256 values     ``constexpr_lut_to_dense``, packed indices  iOS16
a table per block, or of 8 values           ``constexpr_lut_to_dense``                  iOS18
==========================================  ==========================================  ======

Each encoding is decoded again by coremltools and compared with what PyTorch computes from the same
integers (:mod:`.decoded`): a wrong one is an error, never a model with other weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from executorch_coreml.ops.decoded import compare
from executorch_coreml.ops.emit import Emit, Var
from executorch_coreml.ops.half import FP16_MAX
from executorch_coreml.options import Target

Array = np.ndarray[Any, Any]

_TABLE_BITS = {5: 6, 7: 8}  # Core ML has no tables of 32 and 128 values


@dataclass(frozen=True, slots=True)
class Affine:
    """Integers that stand for scale * (data - zero).

    Attributes:
        data: int8 or uint8.
        scale: Of as many dimensions as ``data``, one value per block.
        zero: The same, or None for 0.
        low, high: The range of ``data``.
    """

    data: Array
    scale: Array
    zero: Array | None
    low: int
    high: int


def integer_bits(low: int, high: int) -> str:
    """The narrowest Core ML integer for the range: ``int4``, ``uint4``, ``int8`` or ``uint8``."""
    if low < 0:
        return "int4" if low >= -8 and high <= 7 else "int8"
    return "uint4" if high <= 15 else "uint8"


def channel_axis(shape: Sequence[int], blocks: Sequence[int]) -> int | None:
    """The axis that has one block per extent where no other is divided; -1 if none is at all."""
    divided = [axis for axis, count in enumerate(blocks) if count > 1]
    if not divided:
        return -1
    axis = divided[0]
    return axis if len(divided) == 1 and blocks[axis] == shape[axis] else None


def affine_target(shape: Sequence[int], blocks: Sequence[int], low: int, high: int) -> Target:
    """The oldest target that can hold such integers."""
    plain = channel_axis(shape, blocks) is not None and integer_bits(low, high).endswith("8")
    return Target.iOS16 if plain else Target.iOS18


def table_target(blocks: Sequence[int], bits: int) -> Target:
    """The oldest target that can hold such tables."""
    return Target.iOS16 if all(count == 1 for count in blocks) and bits != 3 else Target.iOS18


def affine(mb: Emit, weight: Affine, reference: Array, mil: str) -> Var:
    """The weight as a MIL value of type ``mil`` that is stored as integers."""
    mil = _float_type(mb, mil, weight.scale, reference)
    blocks, shape = weight.scale.shape, weight.data.shape
    scale = weight.scale.astype(np.float16 if mil == "fp16" else np.float32)
    if affine_target(shape, blocks, weight.low, weight.high) is Target.iOS16:
        return _once(mb, _per_channel, weight.data, scale, weight.zero, reference)
    kind = integer_bits(weight.low, weight.high)
    return _once(mb, _blockwise(kind), weight.data, scale, weight.zero, reference)


def _per_channel(mb: Emit, data: Array, scale: Array, zero: Array | None) -> Var:
    axis = channel_axis(data.shape, scale.shape)
    assert axis is not None
    zero = np.zeros_like(scale) if zero is None else zero
    flat = (scale.reshape(-1), _zero(zero, data.dtype, np.float32).reshape(-1))
    steps, zeros = flat if axis >= 0 else (flat[0][0], flat[1][0])
    return mb.op(
        "constexpr_affine_dequantize",
        quantized_data=data,
        zero_point=zeros,
        scale=steps,
        axis=max(axis, 0),
    )


def _blockwise(kind: str) -> Callable[[Emit, Array, Array, Array | None], Var]:
    def encode(mb: Emit, data: Array, scale: Array, zero: Array | None) -> Var:
        if zero is not None:
            zero = narrow(_zero(zero, data.dtype, scale.dtype), kind)
        return mb.op(
            "constexpr_blockwise_shift_scale", data=narrow(data, kind), scale=scale, offset=zero
        )

    return encode


def _zero(zero: Array, integer: Any, other: Any) -> Array:
    """Zero points as the integers of the data, or as floats where they are no such integers."""
    whole = zero.astype(integer)
    return whole if np.array_equal(whole, zero) else zero.astype(other)


def narrow(data: Array, kind: str) -> Array:
    """Integers marked as what Core ML is to store: ``uint3``, ``int4``, ..."""
    from coremltools.converters.mil.mil import types

    if data.dtype.kind == "f":
        return data
    return data.astype(types.nptype_from_builtin(types.string_to_builtin(kind)))


def table(
    mb: Emit, indices: Array, tables: Array, bits: int, target: Target, reference: Array, mil: str
) -> Var:
    """The weight as a MIL value of type ``mil`` that is stored as indices into tables.

    Args:
        indices: One per element.
        tables: Of shape [*blocks, 2**bits, 1].
    """
    mil = _float_type(mb, mil, tables, reference)
    tables = tables.astype(np.float16 if mil == "fp16" else np.float32)
    if bits in _TABLE_BITS:
        bits = _TABLE_BITS[bits]
        more = [(0, 0)] * tables.ndim
        more[-2] = (0, 2**bits - tables.shape[-2])
        tables = np.pad(tables, more)
    return _once(mb, _looked_up(bits, target), indices.astype(np.uint8), tables, None, reference)


def _looked_up(bits: int, target: Target) -> Callable[[Emit, Array, Array, Array | None], Var]:
    def encode(mb: Emit, indices: Array, tables: Array, _: Array | None) -> Var:
        if target >= Target.iOS18:
            kept = narrow(indices, f"uint{bits}")
            return mb.op("constexpr_lut_to_dense", indices=kept, lut=tables)
        return mb.op(
            "constexpr_lut_to_dense",
            indices=pack(indices, bits),
            lut=tables.reshape(-1),
            shape=np.asarray(indices.shape, np.uint32),
        )

    return encode


def pack(indices: Array, bits: int) -> Array:
    """Unsigned integers of ``bits`` each in a row, low bits first."""
    spread = (indices.reshape(-1, 1) >> np.arange(bits, dtype=np.uint8)) & 1
    return np.packbits(spread.astype(np.uint8).reshape(-1), bitorder="little")


def half_suits(scale: Array, largest: float, count: float = 255.0) -> bool:
    """Whether fp16 scales of up to ``count`` steps are as good as fp16 values themselves are.

    Scales below 6e-5 lose bits, which matters unless the whole tensor is far larger (a channel of
    zeros has such a scale).
    """
    if scale.size and np.abs(scale).max() > FP16_MAX:
        return False
    with np.errstate(over="ignore", under="ignore"):
        lost = np.abs(scale - scale.astype(np.float16).astype(np.float64))
    bound = np.maximum(np.abs(scale) * 2.0**-11 * count, largest * 2.0**-9)
    return bool((lost * count <= bound).all())


def _float_type(mb: Emit, mil: str, scale: Array, reference: Array) -> str:
    if mil != "fp16":
        return mil
    largest = float(np.abs(reference).max())
    if largest <= FP16_MAX and half_suits(scale, largest):
        return mil
    mb.note("scales are beyond fp16: the weight is fp32")
    return "fp32"


def _once(
    mb: Emit,
    encode: Callable[[Emit, Array, Array, Array | None], Var],
    data: Array,
    scale: Array,
    zero: Array | None,
    reference: Array,
) -> Var:
    """One op for all equal weights, which tied layers have, verified."""
    digest = hashlib.sha256(np.ascontiguousarray(data).data).digest()
    extra = b"" if zero is None else zero.tobytes()
    key = (digest, data.shape, str(data.dtype), scale.tobytes(), scale.shape, extra)

    def make() -> Var:
        var = encode(mb, data, scale, zero)
        compare(var, reference, scale.dtype == np.float16)
        return var

    return mb.once((*key, str(scale.dtype)), make)
