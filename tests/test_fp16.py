"""Weights are rounded to fp16 as numpy rounds them, bit for bit, whichever library does it."""

from __future__ import annotations

import numpy as np
import pytest

from executorch_coreml.ops.half import SENTINEL_FP16, fits_fp16, to_fp16


def around_every_fp16() -> np.ndarray:
    """Every fp16 value, what lies half way to the next, and the float32 neighbours of both."""
    whole = np.arange(2**16, dtype=np.uint16).view(np.float16)
    values = np.unique(whole[np.isfinite(whole)].astype(np.float32))
    exact = np.concatenate([values, (values[1:] + values[:-1]) / 2, [65520, -65520]])
    exact = exact.astype(np.float32)
    infinite = np.float32(np.inf)
    return np.concatenate([exact, np.nextafter(exact, infinite), np.nextafter(exact, -infinite)])


def assert_as_numpy(array: np.ndarray) -> None:
    got = to_fp16(array)
    with np.errstate(over="ignore"):
        expected = array.astype(np.float16)
    assert got.dtype == np.float16
    assert np.array_equal(got.view(np.uint16), expected.view(np.uint16))


@pytest.mark.parametrize("more", [[], [np.nan, -np.nan, np.inf, -np.inf], [1e29, -1e29, 1e-45]])
def test_same_bits_as_numpy(more: list[float]) -> None:
    assert_as_numpy(np.concatenate([around_every_fp16(), np.array(more, np.float32)]))


def test_any_layout() -> None:
    values = around_every_fp16()[: 2**16].reshape(256, 256)
    assert_as_numpy(values[::2, 1:])
    assert_as_numpy(values[::-1])
    assert np.array_equal(to_fp16(values.T), values.astype(np.float16).T)
    values.flags.writeable = False
    assert_as_numpy(values)
    assert_as_numpy(np.array(0.1, np.float32))


def test_sentinels_and_what_does_not_fit() -> None:
    mask = np.array([0, np.finfo(np.float32).min, -np.inf, np.nan], np.float32)
    assert np.array_equal(to_fp16(mask), [0, -SENTINEL_FP16, -np.inf, np.nan], equal_nan=True)
    assert fits_fp16(mask)
    assert fits_fp16(np.array([65504, np.nan], np.float32))
    assert not fits_fp16(np.array([65505, np.nan], np.float32))
    assert not fits_fp16(np.array([-65505], np.float32))
    assert fits_fp16(np.zeros(0, np.float32))
