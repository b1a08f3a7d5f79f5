"""Each form that stores weights in few bits is decoded when it is made: wrong ones are errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from executorch_coreml import Target
from executorch_coreml.compiler.quiet import quiet_coremltools
from executorch_coreml.compiler.weight_quantization import scale_of
from executorch_coreml.errors import LoweringError
from executorch_coreml.ops.compressed import Affine, affine, narrow, pack, table
from executorch_coreml.ops.decoded import near, same
from executorch_coreml.ops.emit import Emit

with quiet_coremltools():
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder, Function

SHAPE = (6, 40000)  # more than is compared at once
_RANDOM = np.random.default_rng(0)


@contextmanager
def _emitting(target: Target, mil: str) -> Iterator[Emit]:
    with Function({}, opset_version=ct.target(target.value)):
        yield Emit(Builder, mil == "fp16", {})


def _integers(blocks: tuple[int, ...], low: int, high: int, zeros: bool) -> tuple[Affine, Any]:
    """Integers, and what they stand for, worked out here."""
    data = _RANDOM.integers(low, high + 1, SHAPE).astype(np.int8)
    scale = _RANDOM.uniform(0.5, 2.0, blocks).astype(np.float16).astype(np.float64)
    zero = _RANDOM.integers(low, high + 1, blocks).astype(np.int8) if zeros else None
    spread = [n // b for n, b in zip(SHAPE, blocks, strict=True)]
    whole = data - (0 if zero is None else np.kron(zero.astype(np.int64), np.ones(spread, int)))
    reference = whole * np.kron(scale, np.ones(spread))
    return Affine(data, scale, zero, low, high), reference.astype(np.float32)


FORMS = {
    "constexpr_affine_dequantize": (Target.iOS16, (6, 1), -128, 127),
    "constexpr_blockwise_shift_scale": (Target.iOS18, (6, 1250), -8, 7),
}


@pytest.mark.parametrize("mil", ["fp32", "fp16"])
@pytest.mark.parametrize("zeros", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_wrong_integers_scales_and_zero_points(form: str, zeros: bool, mil: str) -> None:
    target, blocks, low, high = FORMS[form]
    right, reference = _integers(blocks, low, high, zeros)
    with _emitting(target, mil) as mb:
        assert affine(mb, right, reference, mil).op.op_type == form
    data, scale = right.data.copy(), right.scale.copy()
    data[-1, -1] = low if data[-1, -1] > 0 else high
    scale[-1, 0] *= 1.01
    wrong = [
        Affine(data, right.scale, right.zero, low, high),
        Affine(right.data, scale, right.zero, low, high),
        Affine(
            right.data, right.scale * np.where(scale == scale[0, 0], np.nan, 1), None, low, high
        ),
        Affine(right.data, np.roll(right.scale, 1, 0), right.zero, low, high),
    ]
    if right.zero is not None:
        zero = right.zero.copy()
        zero[2, 0] += 1 if zero[2, 0] < high else -1
        wrong.append(Affine(right.data, right.scale, zero, low, high))
    for one in wrong:
        with _emitting(target, mil) as mb, pytest.raises(LoweringError, match=f"{form} does not"):
            affine(mb, one, reference, mil)


@pytest.mark.parametrize("mil", ["fp32", "fp16"])
@pytest.mark.parametrize(
    ("target", "blocks", "bits"),
    [(Target.iOS16, (1, 1), 4), (Target.iOS18, (1, 1), 3), (Target.iOS18, (6, 1), 5)],
)
def test_wrong_indices_and_tables(
    target: Target, blocks: tuple[int, int], bits: int, mil: str
) -> None:
    indices = _RANDOM.integers(0, 2**bits, SHAPE).astype(np.uint8)
    tables = _RANDOM.standard_normal((*blocks, 2**bits, 1)).astype(np.float16).astype(np.float32)
    rows = np.arange(SHAPE[0])[:, None] * (blocks[0] > 1)
    reference = tables[rows, 0, indices, 0]
    with _emitting(target, mil) as mb:
        var = table(mb, indices, tables, bits, target, reference, mil)
        assert var.op.op_type == "constexpr_lut_to_dense"
    other, shifted, lost = indices.copy(), tables.copy(), tables.copy()
    other[-1, -1] ^= 1
    shifted[-1, 0, 1, 0] += 0.01
    lost[-1, 0, 1, 0] = np.nan
    for i, t in [(other, tables), (indices, shifted), (indices, lost)]:
        with _emitting(target, mil) as mb, pytest.raises(LoweringError, match="does not decode"):
            table(mb, i, t, bits, target, reference, mil)


def test_another_shape_than_the_weight_has() -> None:
    right, reference = _integers((6, 1), -128, 127, False)
    with _emitting(Target.iOS16, "fp32") as mb, pytest.raises(LoweringError, match="shape"):
        affine(mb, right, reference.T, "fp32")


def test_what_is_not_finite_is_kept() -> None:
    indices = np.arange(4, dtype=np.uint8).reshape(2, 2)
    tables = np.array([np.inf, -np.inf, np.nan, 1.0], np.float32).reshape(1, 1, 4, 1)
    with _emitting(Target.iOS16, "fp32") as mb:
        table(mb, indices, tables, 2, Target.iOS16, tables[0, 0, indices, 0], "fp32")


# -- weights of a finished program -----------------------------------------------------------------


def _rounded(mil: str, blocks: tuple[int, int], most: int) -> tuple[Any, Any, Any]:
    """(weight, integers, scales): symmetric, worked out here."""
    weight = _RANDOM.standard_normal(SHAPE).astype(np.float16 if mil == "fp16" else np.float32)
    sizes = [n // b for n, b in zip(SHAPE, blocks, strict=True)]
    cut = np.abs(weight).reshape(blocks[0], sizes[0], blocks[1], sizes[1])
    scale = (cut.max((1, 3)) / most).astype(weight.dtype)
    spread = np.kron(scale.astype(np.float32), np.ones(sizes, np.float32))
    integers = np.clip(np.round(weight.astype(np.float32) / spread), -most, most)
    return weight, integers.astype(np.int8), scale


@pytest.mark.parametrize("mil", ["fp32", "fp16"])
@pytest.mark.parametrize(
    ("target", "blocks", "most"),
    [(Target.iOS16, (6, 1), 127), (Target.iOS16, (1, 1), 127), (Target.iOS18, (6, 1250), 7)],
)
def test_wrong_integers_of_a_rounded_weight(
    target: Target, blocks: tuple[int, int], most: int, mil: str
) -> None:
    weight, right, scale = _rounded(mil, blocks, most)

    def check(integers: Any, scale: Any, weight: Any) -> None:
        with _emitting(target, mil) as mb:
            if target is Target.iOS18:
                kept = narrow(integers, "int4")
                var = mb.op("constexpr_blockwise_shift_scale", data=kept, scale=scale)
            else:
                steps = scale.reshape(-1) if blocks != (1, 1) else scale[0, 0]
                zero = np.zeros_like(steps, np.int8)[()]
                var = mb.op(
                    "constexpr_affine_dequantize",
                    quantized_data=integers,
                    zero_point=zero,
                    scale=steps,
                    axis=0,
                )
            near(var.op, weight, scale_of(var.op, 2))

    check(right, scale, weight)
    other, larger = right.copy(), scale.copy()
    other[-1, -1] += 3 if right[-1, -1] < 0 else -3
    larger[-1, -1] *= 1.25
    for integers, steps, given in (
        (other, scale, weight),
        (right, larger, weight),
        (np.roll(right, 1, 1), scale, weight),
        (right, np.where(scale == scale[0, 0], np.nan, scale).astype(scale.dtype), weight),
        (right, scale, weight.T),
    ):
        with pytest.raises(LoweringError, match="does not decode to the weight it encodes"):
            check(integers, steps, given)


@pytest.mark.parametrize("mil", ["fp32", "fp16"])
@pytest.mark.parametrize("target", [Target.iOS16, Target.iOS18])
def test_wrong_elements_and_masks_of_a_sparse_weight(target: Target, mil: str) -> None:
    weight = _RANDOM.standard_normal(SHAPE).astype(np.float16 if mil == "fp16" else np.float32)
    weight[_RANDOM.uniform(size=SHAPE) < 0.7] = 0
    weight[2, 3] = np.nan

    def check(kept: Any, mask: Any, weight: Any) -> None:
        given = {"mask": narrow(mask, "uint1")}
        if target is Target.iOS16:
            given = {"mask": pack(mask.astype(np.uint8), 1), "shape": np.uint32(SHAPE)}
        with _emitting(target, mil) as mb:
            same(mb.op("constexpr_sparse_to_dense", nonzero_data=kept, **given).op, weight)

    mask = weight != 0
    kept = weight[mask]
    check(kept, mask, weight)
    other, lost = kept.copy(), kept.copy()
    other[-1] *= 1.001 if mil == "fp32" else 1.01
    lost[-1] = np.nan
    for elements, places in ((other, mask), (lost, mask), (kept, np.roll(mask, 1, 1))):
        with pytest.raises(LoweringError, match="does not decode to the weight it encodes"):
            check(elements, places, weight)
    with pytest.raises(LoweringError, match="shape"):
        check(kept, mask, weight.T)
