"""quantize, dequantize and compressed weights.

A compressed weight is added to an input: alone it would be a program without computation. The
references are coremltools' own decompression.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernel_case import KernelCase, randn

GENERATOR = np.random.default_rng(0)
INT8 = GENERATOR.integers(-128, 128, (4, 6), np.int8)
UINT8 = GENERATOR.integers(0, 256, (4, 6), np.uint8)
SCALES = np.float16([0.037, 0.5, 2.3, 0.011])


def _quantize(
    case: str,
    dtype: type,
    scale: Any,
    zero: Any = None,
    axis: int | None = None,
    x: np.ndarray | None = None,
) -> KernelCase:
    given: dict[str, Any] = {} if axis is None else {"axis": np.int32(axis)}
    if zero is not None:
        given["zero_point"] = np.asarray(zero, dtype)
    steps = np.float16(scale).astype(np.float32)

    def build(mb: Any, t: Any, x: Any) -> Any:
        codes = mb.quantize(input=x, scale=t(steps), output_dtype=dtype.__name__, **given)
        return mb.cast(x=codes, dtype="int32")

    def expect(x: np.ndarray) -> np.ndarray:
        spread = [1] * x.ndim
        if axis is not None:
            spread[axis] = -1
        offset = np.asarray(0 if zero is None else zero, np.float32)
        if axis is not None:
            codes = np.round(x / steps.reshape(spread)) + offset.reshape(spread)
        else:
            codes = np.round(x / steps) + offset
        limits = np.iinfo(dtype)
        return np.clip(codes, limits.min, limits.max).astype(np.int32)

    values = randn(4, 50, scale=2) if x is None else x
    return KernelCase(f"quantize-{case}", "quantize", build, (values,), expect)


def _dequantize(case: str, dtype: type, scale: Any, zero: Any = None, **axis: int) -> KernelCase:
    given: dict[str, Any] = {name: np.int32(value) for name, value in axis.items()}
    if zero is not None:
        given["zero_point"] = np.asarray(zero, dtype)
    steps = np.float16(scale).astype(np.float32)
    spread = [1, 1]
    if axis:
        spread[axis["axis"]] = -1

    def build(mb: Any, t: Any, x: Any) -> Any:
        codes = mb.cast(x=x, dtype=dtype.__name__)
        return mb.dequantize(input=codes, scale=t(steps), **given)

    def expect(x: np.ndarray) -> np.ndarray:
        offset = np.asarray(0 if zero is None else zero, np.float32)
        if axis:
            return steps.reshape(spread) * (x - offset.reshape(spread))
        return steps * (x - offset)

    codes = (INT8 if dtype is np.int8 else UINT8).astype(np.int32)
    return KernelCase(f"dequantize-{case}", "dequantize", build, (codes,), expect)


def _compressed(op: str, case: str, target: str, want: np.ndarray, **arguments: Any) -> KernelCase:
    """``x`` plus the weight; ``arguments`` that are functions are called with the float type."""

    def build(mb: Any, t: Any, x: Any) -> Any:
        given = {k: v(t) if callable(v) else v for k, v in arguments.items()}
        weight = getattr(mb, op)(**given)
        return mb.add(x=x, y=weight)

    # fp32, as the compressed weight is rounded to fp16 before it is added.
    return KernelCase(
        f"{op}-{case}",
        op,
        build,
        (np.zeros(want.shape, np.float32),),
        lambda x: x + want.astype(np.float32),
        target,
    )


def _float(values: Any) -> Any:
    """An argument of the float type under test, of fp16 numbers."""
    return lambda t: t(np.float16(values))


def _wide(values: Any) -> np.ndarray:
    return np.float16(values).astype(np.float32)


def _packed(indices: np.ndarray, bits: int) -> np.ndarray:
    """Low bits first, as documented for constexpr_lut_to_dense of iOS16."""
    every = (indices.reshape(-1, 1).astype(np.uint32) >> np.arange(bits)) & 1
    return np.packbits(every.reshape(-1).astype(np.uint8), bitorder="little")


def _affine(case: str, data: np.ndarray, zero: Any, scale: Any, axis: int) -> KernelCase:
    spread = [1] * data.ndim
    spread[axis] = -1
    zeros, scales = np.asarray(zero, data.dtype), _wide(scale)
    want = data.astype(np.float32) - (zeros.reshape(spread) if zeros.ndim else zeros).astype(
        np.float32
    )
    return _compressed(
        "constexpr_affine_dequantize",
        case,
        "iOS16",
        (scales.reshape(spread) if scales.ndim else scales) * want,
        quantized_data=data,
        zero_point=zeros,
        scale=_float(scale),
        axis=np.int32(axis),
    )


def _palette16(bits: int) -> KernelCase:
    indices = GENERATOR.integers(0, 2**bits, (5, 7), np.uint8)
    table = randn(2**bits)
    return _compressed(
        "constexpr_lut_to_dense",
        f"ios16-{bits}-bit",
        "iOS16",
        _wide(table)[indices],
        indices=_packed(indices, bits),
        lut=_float(table),
        shape=np.uint32([5, 7]),
    )


def _narrow(values: np.ndarray, name: str) -> Any:
    """A constant of a sub-byte type of coremltools."""
    from coremltools.converters.mil.mil import types

    return values.astype(types.nptype_from_builtin(types.string_to_builtin(name)))


def _palette18(
    case: str, bits: int, blocks: tuple[int, int], length: int = 1, axis: int | None = None
) -> KernelCase:
    indices = GENERATOR.integers(0, 2**bits, (4, 6), np.uint8)
    table = randn(*blocks, 2**bits, length)
    extents = [4, 6]
    if axis is not None:
        extents[axis] *= length
    want = np.empty(extents, np.float32)
    for row, column in np.ndindex(4, 6):
        entries = _wide(table)[row * blocks[0] // 4, column * blocks[1] // 6, indices[row, column]]
        for part, value in enumerate(entries):
            place = [row, column]
            if axis is not None:
                place[axis] = place[axis] * length + part
            want[tuple(place)] = value
    given = {} if axis is None else {"vector_axis": np.int32(axis)}
    return _compressed(
        "constexpr_lut_to_dense",
        case,
        "iOS18",
        want,
        indices=_narrow(indices, f"uint{bits}"),
        lut=_float(table),
        **given,
    )


def _blockwise(
    case: str, name: str, blocks: tuple[int, int], offset: bool, float_offset: bool = False
) -> KernelCase:
    low, high = {"int4": (-8, 8), "uint4": (0, 16), "int8": (-128, 128), "uint8": (0, 256)}[name]
    data = GENERATOR.integers(low, high, (4, 6))
    scale, zero = randn(*blocks), GENERATOR.integers(low, high, blocks)
    repeats = [4 // blocks[0], 6 // blocks[1]]

    def spread(values: np.ndarray) -> np.ndarray:
        return np.repeat(np.repeat(values, repeats[0], 0), repeats[1], 1)

    given: dict[str, Any] = {}
    shift: Any = 0
    if offset:
        zeros = zero + 0.5 if float_offset else zero
        given["offset"] = _float(zeros) if float_offset else _narrow(zero, name)
        shift = spread(zeros)
    return _compressed(
        "constexpr_blockwise_shift_scale",
        case,
        "iOS18",
        (spread(_wide(scale)) * (data - shift)).astype(np.float32),
        data=_narrow(data, name),
        scale=_float(scale),
        **given,
    )


MASK = GENERATOR.integers(0, 2, (5, 7), np.uint8)
KEPT = randn(int(MASK.sum()))
SPARSE = np.zeros(MASK.shape, np.float32)
SPARSE[MASK != 0] = _wide(KEPT)


def _through_sparse(op: str, case: str, want: np.ndarray, arguments: dict[str, Any]) -> KernelCase:
    """The two results of a sparse op, made dense again."""

    def build(mb: Any, t: Any, x: Any) -> Any:
        given = {k: v(t) if callable(v) else v for k, v in arguments.items()}
        mask, values = getattr(mb, op)(**given)
        return mb.add(x=x, y=mb.constexpr_sparse_to_dense(nonzero_data=values, mask=mask))

    return KernelCase(
        f"{op}-{case}",
        op,
        build,
        (np.zeros(want.shape, np.float32),),
        lambda x: x + want,
    )


# The example of the op's documentation.
LUT_MASK = np.uint8(
    [[1, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 1], [0, 1, 1, 0, 1, 0], [0, 0, 0, 1, 0, 0]]
)
LUT_INDICES = np.uint8([0, 1, 1, 0, 1, 1, 0, 0, 1])
LUT_DENSE = np.zeros(LUT_MASK.shape, np.float32)
LUT_DENSE[LUT_MASK != 0] = np.float32([2, 3])[LUT_INDICES]
SCALE_MASK = np.uint8([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1], [1, 1, 0, 0]])
SCALE_VALUES = np.int8([10, 11, 3, 4, 5, 6, 7, 8, 9])
SCALE_DENSE = np.zeros(SCALE_MASK.shape, np.float32)
SCALE_DENSE[SCALE_MASK != 0] = SCALE_VALUES
SCALE_DENSE = np.where(
    SCALE_MASK != 0, (SCALE_DENSE - [1, 2, 3, 4]) * np.float32([0.125, 0.25, 0.5, 1]), 0
).astype(np.float32)

TIES = np.arange(-300, 300, dtype=np.float32) * np.float32(0.5) * np.float32(np.float16(0.037))

ROWS = [
    _quantize("int8", np.int8, 0.037),
    _quantize("uint8", np.uint8, 0.02, 128),
    _quantize("zero-point", np.int8, 0.05, -7),
    _quantize("axis", np.uint8, SCALES, [0, 3, 128, 255], axis=0),
    _quantize("axis-negative", np.int8, randn(50) ** 2 + 0.1, axis=-1),
    _quantize("ties", np.int8, 0.037, x=TIES),
    _quantize("saturate", np.int8, 0.5, x=np.float32([-1e4, -64.3, -64.2, 63.4, 63.8, 6e4])),
    _dequantize("int8", np.int8, 0.037),
    _dequantize("uint8", np.uint8, 0.037, 128),
    _dequantize("axis", np.int8, SCALES, [0, 3, -128, 127], axis=0),
    _dequantize("axis-last", np.uint8, [0.5, 0.3, 2, 1, 0.1, 7], axis=1),
    KernelCase(
        "dequantize-constant",
        "dequantize",
        lambda mb, t, x: mb.add(
            x=x, y=mb.dequantize(input=INT8, scale=t(0.5), zero_point=INT8[0, 0])
        ),
        (np.zeros((4, 6), np.float32),),
        lambda x: x + 0.5 * (INT8.astype(np.float32) - INT8[0, 0]),
    ),
    _affine("int8", INT8, 3, 0.037, 0),
    _affine("uint8", UINT8, 128, 0.037, 0),
    _affine("axis", INT8, [1, -2, 3, -4], SCALES, 0),
    _affine("axis-last", UINT8, [1, 2, 3, 4, 255, 0], [0.5, 0.3, 2, 1, 0.1, 7], 1),
    *(_palette16(bits) for bits in (1, 2, 4, 6, 8)),
    *(_palette18(f"ios18-{bits}-bit", bits, (1, 1)) for bits in (1, 2, 3, 4, 6, 8)),
    _palette18("ios18-groups", 2, (2, 1)),
    _palette18("ios18-blocks", 2, (2, 3)),
    _palette18("ios18-vector-0", 2, (1, 1), 3, 0),
    _palette18("ios18-vector-1-groups", 2, (2, 1), 2, 1),
    *(
        _blockwise(f"{name}-offset", name, (4, 2), True)
        for name in ("int4", "uint4", "int8", "uint8")
    ),
    _blockwise("channel", "int8", (4, 1), False),
    _blockwise("tensor", "int4", (1, 1), False),
    _blockwise("blocks", "int4", (2, 3), True),
    _blockwise("float-offset", "uint4", (2, 3), True, float_offset=True),
    _compressed(
        "constexpr_sparse_to_dense",
        "ios16",
        "iOS16",
        SPARSE,
        nonzero_data=_float(KEPT),
        mask=_packed(MASK, 1),
        shape=np.uint32([5, 7]),
    ),
    _compressed(
        "constexpr_sparse_to_dense",
        "ios18",
        "iOS18",
        SPARSE,
        nonzero_data=_float(KEPT),
        mask=_narrow(MASK, "uint1"),
    ),
    KernelCase(
        "constexpr_cast",
        "constexpr_cast",
        lambda mb, t, x: mb.add(
            x=x, y=mb.constexpr_cast(source_val=np.float16(SCALES), output_dtype="fp32")
        ),
        (np.zeros(4, np.float32),),
        lambda x: x + SCALES.astype(np.float32),
        half=False,
        why="gives fp32 only",
    ),
    _through_sparse(
        "constexpr_lut_to_sparse",
        "scalar",
        LUT_DENSE,
        {
            "indices_mask": _narrow(LUT_MASK, "uint1"),
            "indices_nonzero_data": _narrow(LUT_INDICES, "uint1"),
            "lut": _float([[[[2.0], [3.0]]]]),
        },
    ),
    _through_sparse(
        "constexpr_lut_to_sparse",
        "vector",
        np.repeat(LUT_DENSE, 2, 0),
        {
            "indices_mask": _narrow(LUT_MASK, "uint1"),
            "indices_nonzero_data": _narrow(LUT_INDICES, "uint1"),
            "lut": _float([[[[2.0, 2.0], [3.0, 3.0]]]]),
            "vector_axis": np.int32(0),
        },
    ),
    _through_sparse(
        "constexpr_sparse_blockwise_shift_scale",
        "documented",
        SCALE_DENSE,
        {
            "data_mask": _narrow(SCALE_MASK, "uint1"),
            "nonzero_data": SCALE_VALUES,
            "scale": _float([[0.125, 0.25, 0.5, 1]]),
            "offset": np.int8([[1, 2, 3, 4]]),
        },
    ),
]
