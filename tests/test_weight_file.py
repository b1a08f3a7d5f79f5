"""Weight files: ours are coremltools' own, byte for byte, and read back as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from coremltools.libmilstoragepython import _BlobStorageWriter

from executorch_coreml.mil.types import NUMPY_DTYPES
from executorch_coreml.mil.weights import SUB_BYTE_BITS, WeightFile, WeightWriter

WRITERS = {"fp32": "write_float_data", "fp16": "write_fp16_data"}
WHOLE = ("fp16", "fp32", "int8", "uint8", "int16", "uint16", "int32", "uint32")
PACKED = ("int4", "uint1", "uint2", "uint3", "uint4", "uint6")


def elements(dtype: str, count: int) -> np.ndarray:
    generator = np.random.default_rng(count)
    if dtype in SUB_BYTE_BITS:
        low = -8 if dtype == "int4" else 0
        return generator.integers(low, low + 2 ** SUB_BYTE_BITS[dtype], count).astype(
            np.int8 if low else np.uint8
        )
    return (generator.standard_normal(count) * 100).astype(NUMPY_DTYPES[dtype])


def write(blobs: list[tuple[np.ndarray, str]]) -> tuple[bytes, list[int]]:
    writer = WeightWriter()
    offsets = [writer.add(array, dtype) for array, dtype in blobs]
    return b"".join(writer.parts), offsets


@pytest.mark.parametrize("dtype", WHOLE + PACKED)
@pytest.mark.parametrize("count", [10, 64, 101])
def test_same_bytes_as_coremltools_and_read_back(dtype: str, count: int, tmp_path: Path) -> None:
    blobs = [(elements(dtype, count + more), dtype) for more in (0, 1, 7)]
    data, offsets = write(blobs)
    path = tmp_path / "weight.bin"
    theirs = _BlobStorageWriter(str(path))
    for array, _ in blobs:
        stored = array.view(np.uint16) if dtype == "fp16" else array
        getattr(theirs, WRITERS.get(dtype, f"write_{dtype}_data"))(stored)
    del theirs
    assert data == path.read_bytes()
    read = WeightFile(memoryview(data), "ours")
    for offset, (array, _) in zip(offsets, blobs, strict=True):
        assert np.array_equal(read.read(offset, dtype, array.size), array)


def test_arrays_of_any_layout_are_written_row_by_row() -> None:
    array = elements("fp32", 12).reshape(3, 4)
    assert write([(array.T, "fp32")])[0] == write([(array.T.copy(), "fp32")])[0]


def test_no_blobs_make_no_file() -> None:
    assert WeightWriter().parts == ()
