"""``quantize``, ``dequantize`` and the ``constexpr_*`` family of compressed weights.

Semantics: coremltools ``mil/ops/defs/iOS16/constexpr_ops.py``, ``iOS17/quantization_ops.py`` and
``iOS18/compression.py``. The ``constexpr_*`` ops take constants only; they are computed here, at
load, and stay numpy arrays for the kernels behind them. All arithmetic is float32, rounded once to
the declared dtype.
"""

from __future__ import annotations

import math

import numpy as np
import openvino as ov
from openvino import opset15 as ops

from executorch_coreml.engine.kernels.operand import (
    Array,
    Operand,
    axis_of,
    cast,
    constant,
    f32,
    integers,
    is_known,
    node,
    output_type,
    rank,
    text,
)
from executorch_coreml.engine.kernels.table import Family
from executorch_coreml.errors import ProgramError
from executorch_coreml.mil.types import TensorType

kernels = Family()

# The runtime-info key by which OpenVINO's ConvertDivide leaves a Divide alone. It would multiply by
# the reciprocal, which is off by one unit in the last place for one quotient in five, and then
# rounds ties the wrong way (2026.4; ov::NonconvertibleDivide).
_KEEP_DIVIDE = "nonconvertable_divide_0"


def _per_channel(values: Array, axis: Operand | None, of: int) -> Array:
    """A scalar as it is, a vector shaped to lie along ``axis`` of ``of`` dimensions."""
    if values.ndim == 0:
        return values
    if axis is None:
        raise ProgramError("axis is needed where scale or zero_point is a vector")
    spread = [1] * of
    spread[axis_of(axis, of)] = -1
    return values.reshape(spread)


@kernels("quantize", since=7)
def quantize(
    input: Operand,
    scale: Operand,
    output_dtype: Operand | str,
    out: tuple[TensorType, ...],
    zero_point: Operand | None = None,
    axis: Operand | None = None,
) -> ov.Output:
    """clip(round(input / scale) + zero_point), ties to even."""
    limits = {"int8": (-128.0, 127.0), "uint8": (0.0, 255.0)}
    dtype = text(output_dtype, "output_dtype")
    if dtype not in limits:
        raise ProgramError(f"output_dtype must be 'int8' or 'uint8', got {dtype!r}")
    steps = f32(_per_channel(constant(scale, "scale"), axis, rank(input)))
    quotient = ops.divide(node(input), steps)
    quotient.get_rt_info()[_KEEP_DIVIDE] = True
    value = ops.round(quotient, "half_to_even")
    if zero_point is not None:
        zero = _per_channel(constant(zero_point, "zero_point"), axis, rank(input))
        value = ops.add(value, f32(zero.astype(np.float32)))
    return cast(ops.clamp(value, *limits[dtype]).output(0), output_type(out))


@kernels("dequantize", since=7)
def dequantize(
    input: Operand,
    scale: Operand,
    zero_point: Operand | None = None,
    axis: Operand | None = None,
) -> Operand | ov.Node:
    """scale * (input - zero_point); a constant where ``input`` is one."""
    steps = _per_channel(constant(scale, "scale"), axis, rank(input))
    zero = None
    if zero_point is not None:
        zero = _per_channel(constant(zero_point, "zero_point"), axis, rank(input))
    if is_known(input):
        return _scaled(constant(input, "input"), steps, zero)
    value = cast(input, ov.Type.f32)
    if zero is not None:
        value = ops.subtract(value, f32(zero)).output(0)
    return ops.multiply(value, f32(steps))


def _scaled(data: Array, scale: Array, offset: Array | None) -> Array:
    """scale * (data - offset) by numpy's broadcasting, in the dtype of ``scale``."""
    result = data.astype(np.float32)
    if offset is not None:
        result -= offset.astype(np.float32)
    result = result * scale.astype(np.float32)
    with np.errstate(over="ignore"):
        return result.astype(scale.dtype)


@kernels("constexpr_affine_dequantize", since=6)
def constexpr_affine_dequantize(
    quantized_data: Operand, zero_point: Operand, scale: Operand, axis: Operand
) -> Array:
    data = constant(quantized_data, "quantized_data")
    steps = _per_channel(constant(scale, "scale"), axis, data.ndim)
    return _scaled(data, steps, _per_channel(constant(zero_point, "zero_point"), axis, data.ndim))


@kernels("constexpr_cast", since=6)
def constexpr_cast(source_val: Operand, output_dtype: Operand | str) -> Array:
    if text(output_dtype, "output_dtype") != "fp32":
        raise ProgramError("constexpr_cast gives fp32 only")
    return constant(source_val, "source_val").astype(np.float32)


def unpack(packed: Array, bits: int, count: int) -> Array:
    """``count`` unsigned integers of ``bits`` (at most 8) each, stored low bits first.

    An element may straddle bytes. So many bytes as hold whole elements are read as one number.
    """
    per_word = 8 // math.gcd(bits, 8)
    bytes_per_word = per_word * bits // 8
    words = -(-count // per_word)
    padded = np.zeros(words * bytes_per_word, np.uint8)
    used = -(-count * bits // 8)
    padded[:used] = packed.reshape(-1)[:used]
    if bits == 8:
        return padded
    columns = padded.reshape(words, bytes_per_word)
    word = np.zeros(words, np.uint32)
    for place in range(bytes_per_word):
        word |= columns[:, place].astype(np.uint32) << np.uint32(8 * place)
    shifts = np.arange(per_word, dtype=np.uint32) * np.uint32(bits)
    elements = (word[:, None] >> shifts) & np.uint32(2**bits - 1)
    flat: Array = elements.astype(np.uint8).reshape(-1)
    return flat[:count]


def _needs(packed: Array, bits: int, count: int, what: str) -> None:
    if packed.size != -(-bits * count // 8):
        raise ProgramError(
            f"{what} has {packed.size} bytes, and {count} elements of {bits} bits need "
            f"{-(-bits * count // 8)}"
        )


@kernels("constexpr_lut_to_dense", since=6)
def constexpr_lut_to_dense(
    indices: Operand,
    lut: Operand,
    shape: Operand | None = None,
    vector_axis: Operand | None = None,
) -> Array:
    """Palettised weights. With ``shape``, the iOS16 form: packed indices into one table."""
    table, keys = constant(lut, "lut"), constant(indices, "indices")
    if shape is None:
        return _look_up(keys, table, vector_axis)
    extents, bits = integers(shape, "shape"), table.size.bit_length() - 1
    if table.size != 1 << bits or not 1 <= bits <= 8:
        raise ProgramError(f"lut has {table.size} entries, which is no power of 2 up to 256")
    _needs(keys, bits, math.prod(extents), "indices")
    return table.reshape(-1)[unpack(keys, bits, math.prod(extents))].reshape(extents)


def _look_up(indices: Array, lut: Array, vector_axis: Operand | None) -> Array:
    """Each index replaced by its entry in the table of its block (iOS18).

    ``lut`` has shape [*blocks, entries, vector]; a vector is laid out along ``vector_axis``.
    """
    *blocks, entries, length = lut.shape
    blocked = _in_blocks(indices, blocks, "lut")
    first = np.arange(math.prod(blocks)).reshape([n for block in blocks for n in (block, 1)])
    found: Array = lut.reshape(-1, length)[first * entries + blocked]
    if length == 1:
        scalars: Array = found.reshape(indices.shape)
        return scalars
    if vector_axis is None:
        raise ProgramError("vector_axis is needed where the entries of lut are vectors")
    axis = axis_of(vector_axis, indices.ndim, "vector_axis")
    extents = list(indices.shape)
    extents[axis] *= length
    vectors = found.reshape(*indices.shape, length)
    return np.ascontiguousarray(np.moveaxis(vectors, -1, axis + 1)).reshape(extents)


def _in_blocks(data: Array, blocks: list[int], what: str) -> Array:
    """``data`` with each dimension split in (number of blocks, block size)."""
    extents: list[int] = []
    if len(blocks) != data.ndim or any(n % b for n, b in zip(data.shape, blocks, strict=True)):
        raise ProgramError(f"data of shape {data.shape} has no {blocks} blocks, as {what} says")
    for extent, count in zip(data.shape, blocks, strict=True):
        extents += [count, extent // count]
    return data.reshape(extents)


@kernels("constexpr_blockwise_shift_scale", since=8)
def constexpr_blockwise_shift_scale(
    data: Operand, scale: Operand, offset: Operand | None = None
) -> Array:
    return _blockwise(constant(data, "data"), scale, offset)


def _blockwise(data: Array, scale: Operand, offset: Operand | None) -> Array:
    steps = constant(scale, "scale")
    spread = [extent for count in steps.shape for extent in (count, 1)]
    blocked = _in_blocks(data, list(steps.shape), "scale")
    shift = None if offset is None else constant(offset, "offset").reshape(spread)
    result: Array = _scaled(blocked, steps.reshape(spread), shift).reshape(data.shape)
    return result


@kernels("constexpr_sparse_to_dense", since=6)
def constexpr_sparse_to_dense(
    nonzero_data: Operand, mask: Operand, shape: Operand | None = None
) -> Array:
    """With ``shape``, the iOS16 form, whose mask is packed."""
    bits = constant(mask, "mask")
    if shape is not None:
        extents = integers(shape, "shape")
        _needs(bits, 1, math.prod(extents), "mask")
        bits = unpack(bits, 1, math.prod(extents)).reshape(extents)
    return _dense(constant(nonzero_data, "nonzero_data"), bits)


def _dense(nonzero: Array, mask: Array) -> Array:
    kept = mask != 0
    if np.count_nonzero(kept) != nonzero.size:
        raise ProgramError(
            f"mask keeps {np.count_nonzero(kept)} elements, and there are {nonzero.size}"
        )
    result = np.zeros(mask.shape, nonzero.dtype)
    result[kept] = nonzero.reshape(-1)
    return result


@kernels("constexpr_lut_to_sparse", since=8)
def constexpr_lut_to_sparse(
    indices_mask: Operand,
    indices_nonzero_data: Operand,
    lut: Operand,
    vector_axis: Operand | None = None,
) -> tuple[Array, Array]:
    """The mask and the elements it keeps, for ``constexpr_sparse_to_dense``."""
    mask, table = constant(indices_mask, "indices_mask"), constant(lut, "lut")
    indices = _dense(constant(indices_nonzero_data, "indices_nonzero_data"), mask)
    dense = _look_up(indices, table, vector_axis)
    if vector_axis is not None:
        mask = np.repeat(mask, table.shape[-1], axis_of(vector_axis, mask.ndim, "vector_axis"))
    return mask, dense[mask != 0]


@kernels("constexpr_sparse_blockwise_shift_scale", since=8)
def constexpr_sparse_blockwise_shift_scale(
    data_mask: Operand, nonzero_data: Operand, scale: Operand, offset: Operand | None = None
) -> tuple[Array, Array]:
    """The mask and the elements it keeps, for ``constexpr_sparse_to_dense``."""
    mask = constant(data_mask, "data_mask")
    dense = _dense(constant(nonzero_data, "nonzero_data"), mask)
    return mask, _blockwise(dense, scale, offset)[mask != 0]
