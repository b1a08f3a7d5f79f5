"""Each form that stores weights in few bits is decoded when it is made: wrong ones are errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from executorch_coreml import Target
from executorch_coreml.compiler.quiet import quiet_coremltools
from executorch_coreml.errors import LoweringError
from executorch_coreml.ops.compressed import Affine, affine, table
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
