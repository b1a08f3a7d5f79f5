"""Rounding to fp16 in float32 arithmetic, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import openvino as ov
import pytest
from openvino import opset15 as ops

from case import without_snippets
from executorch_coreml.engine.precision import configuration, core, round_to_fp16


@pytest.fixture(autouse=True, params=["kernels of several ops", "one kernel for each op"])
def _compiled(request: pytest.FixtureRequest) -> Iterator[None]:
    """Both ways that OpenVINO compiles a graph (engine/snippets.py)."""
    whole = request.param == "kernels of several ops"
    with nullcontext() if whole else without_snippets():
        yield


def _graph(build: Callable[..., Any], *shapes: list[int]) -> Callable[..., np.ndarray]:
    parameters = [ops.parameter(shape, ov.Type.f32) for shape in shapes]
    result = ops.result(build(*(p.output(0) for p in parameters)))
    model = core().compile_model(ov.Model([result], parameters, "m"), "CPU", configuration(None))
    return lambda *arrays: model(list(arrays))[0]


def _numpy_round(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        return x.astype(np.float16).astype(np.float32)


def _assert_same_bits(got: np.ndarray, want: np.ndarray) -> None:
    nan = np.isnan(want)
    assert np.isnan(got[nan]).all()
    assert np.array_equal(got[~nan].view(np.uint32), want[~nan].view(np.uint32))


def _structured() -> np.ndarray:
    """All fp16 numbers, all midpoints of neighbours, both sides of each, and the special ones."""
    half = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float32)
    finite = np.unique(half[np.isfinite(half)])
    middle = ((finite[1:].astype(np.float64) + finite[:-1]) / 2).astype(np.float32)
    points = np.concatenate([finite, middle])
    up, down = np.float32(np.inf), np.float32(-np.inf)
    special = np.float32(
        [0.0, -0.0, 1e-45, -1e-45, 1e-40, 65504, 65519.996, 65520, 65536, 1e38, 3.4e38, up, np.nan]
    )
    return np.concatenate(
        [half, points, np.nextafter(points, up), np.nextafter(points, down), special, -special]
    )


@pytest.mark.parametrize("exponent", [-15, -14, -13, 0, 15])
def test_rounding_is_exact_for_every_mantissa(exponent: int) -> None:
    """Scaling by two changes neither path of the formula, so these binades stand for all."""
    bits = np.arange(2**23, dtype=np.uint32) | np.uint32((127 + exponent) << 23)
    x = bits.view(np.float32)
    rounded = _graph(round_to_fp16, [x.size])
    for signed in (x, -x):
        _assert_same_bits(rounded(signed), _numpy_round(signed))


def test_rounding_is_exact_where_it_is_hard() -> None:
    x = _structured()
    _assert_same_bits(_graph(round_to_fp16, [x.size])(x), _numpy_round(x))


def test_rounding_is_exact_on_random_bits() -> None:
    bits = np.random.default_rng(7).integers(0, 2**32, 2**22, dtype=np.uint64).astype(np.uint32)
    x = bits.view(np.float32)
    _assert_same_bits(_graph(round_to_fp16, [x.size])(x), _numpy_round(x))


def test_rounding_of_a_product_of_constants_keeps_the_sign() -> None:
    x = np.array([1, 0.5, -0.25, 0.0, 3], np.float32)
    product = ops.multiply(ops.constant(x), ops.constant(np.float32(-0.5))).output(0)
    model = ov.Model([ops.result(round_to_fp16(product))], [], "constants")
    got = core().compile_model(model, "CPU", configuration(None))([])[0]
    assert np.array_equal(got, x * np.float32(-0.5))


def test_rounding_survives_fusion_with_neighbours() -> None:
    """Scales by constants, sums and relu around it must not be merged into the formula."""
    x = np.random.default_rng(1).standard_normal((4, 4096)).astype(np.float32) * 30
    y = np.random.default_rng(2).standard_normal((4, 4096)).astype(np.float32)
    third, seventh = np.float32(1 / 3), np.float32(1 / 7)

    def build(a: ov.Output, b: ov.Output) -> ov.Node:
        first = round_to_fp16(ops.multiply(a, third).output(0))
        second = round_to_fp16(ops.multiply(first, seventh).output(0))
        return ops.relu(round_to_fp16(ops.add(second, b).output(0)))

    second = _numpy_round(_numpy_round(x * third) * seventh)
    want = np.maximum(_numpy_round(second + y), 0)
    assert np.array_equal(_graph(build, [4, 4096], [4, 4096])(x, y), want)


def test_rounding_is_not_folded_into_weights() -> None:
    """The product it rounds is the one that the same graph computes without it."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((8, 64)).astype(np.float32)
    weight = ops.constant(rng.standard_normal((64, 32)).astype(np.float32))
    bias = ops.constant(rng.standard_normal(32).astype(np.float32))

    def linear(a: ov.Output) -> ov.Output:
        return ops.add(ops.matmul(a, weight, False, False), bias).output(0)

    plain = _graph(linear, [8, 64])(x)
    rounded = _graph(lambda a: round_to_fp16(linear(a)), [8, 64])(x)
    assert np.array_equal(rounded, _numpy_round(plain))
