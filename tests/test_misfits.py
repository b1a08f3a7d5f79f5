"""Shapes that fit what is declared and not each other are an error of the run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compiled_files import load_text
from executorch_coreml.errors import RunError

THREADS = pytest.mark.parametrize("threads", [1, 2])
A, AB = "tensor<fp32, [?]> a", "tensor<fp32, [?]> a, tensor<fp32, [?]> b"
BODIES = {
    "add": (AB, "tensor<fp32, [?]> y = add(x = a, y = b);"),
    "sum": (
        AB,
        "tensor<fp32, [?]> c = add(x = a, y = b);\n"
        'tensor<int32, [1]> i = const()[name = string("i"), val = tensor<int32, [1]>([0])];\n'
        'bool k = const()[name = string("k"), val = bool(true)];\n'
        "tensor<fp32, [1]> y = reduce_sum(x = c, axes = i, keep_dims = k);",
    ),
}


@THREADS
@pytest.mark.parametrize("name", BODIES)
def test_operands_that_do_not_fit(name: str, threads: int, tmp_path: Path) -> None:
    inputs, body = BODIES[name]
    model = load_text(body, tmp_path, inputs, threads=threads)
    one, other = np.float32([1, 2, 3]), np.float32([1, 2])
    (right,) = model.run([one, one])
    for _ in range(2):
        with pytest.raises(RunError, match=r"m\.mlmodelc cannot run on these inputs: .*"):
            model.run([one, other])
        assert np.array_equal(model.run([one, one])[0], right)


@THREADS
def test_a_shape_that_does_not_fit(threads: int, tmp_path: Path) -> None:
    body = "tensor<fp32, [?, ?]> y = reshape(x = a, shape = s);"
    model = load_text(body, tmp_path, f"{A}, tensor<int32, [2]> s", threads=threads)
    x = np.arange(6, dtype=np.float32)
    for shape in ([2, 3], [6, 1]):
        assert model.run([x, np.int32(shape)])[0].shape == tuple(shape)
        with pytest.raises(RunError, match="cannot run on these inputs"):
            model.run([x, np.int32([4, 2])])


@THREADS
def test_sizes_that_no_tensor_has(threads: int, tmp_path: Path) -> None:
    body = "tensor<fp32, [?, ?]> y = fill(shape = s);"
    model = load_text(body, tmp_path, "tensor<int32, [2]> s", threads=threads)
    refused = {
        (2**23, 2**23): "cannot run on these inputs",
        (-1, 3): "op fill y: a size of -1: none may be negative",
    }
    for size, words in refused.items():
        with pytest.raises(RunError, match=words):
            model.run([np.int32(size)])
        assert model.run([np.int32([2, 3])])[0].shape == (2, 3)
