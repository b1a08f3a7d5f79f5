"""Programs that no compiler makes, each as text: refused with a typed error that says which op.

What ``make mutate`` found comes here, one by one.
"""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from compiled_files import load_text
from executorch_coreml import Model
from executorch_coreml.engine.state import State
from executorch_coreml.errors import PayloadError, ProgramError, RunError
from executorch_coreml.mil.types import StateType, TensorType, Value

X = "tensor<fp32, [2, 3]> x"
I = 'tensor<int32, [2]> i = const()[name = string("i"), val = tensor<int32, [2]>([0, 1])];'  # noqa: E741


def load(body: str, directory: Path, inputs: str = X, output: str = "y") -> Model:
    return load_text(body, directory, inputs, output)


# What is declared, and what is said of it.
REFUSED = {
    "no such operand": (
        'tensor<fp32, [2, 3]> y = relu(x = string("a"));',
        "op relu y: cannot be built from these inputs",
    ),
    "a tuple for a tensor": (
        "tensor<fp32, [2, 3]> y = relu(x = (x, x));",
        "op relu y: cannot be built from these inputs",
    ),
    "too many splits": (
        "tensor<fp32, [1, 3]> y, tensor<fp32, [1, 3]> z = "
        "split(x = x, num_splits = int32(2147483647), axis = int32(0));",
        "op split y: num_splits is 2147483647, with 2 outputs",
    ),
    "a long range": (
        "tensor<int32, [3]> y = "
        "range_1d(start = int32(0), end = int32(2147483647), step = int32(1));",
        r"op range_1d y: makes \[2147483647\], and declares int32\[3\]",
    ),
    "batch_dims": (
        f"{I} tensor<fp32, [2, 2]> y = "
        "gather(x = x, indices = i, axis = int32(1), batch_dims = int32(1000000000));",
        "op gather y: batch_dims is 1000000000, which axis 1 does not come behind",
    ),
    "indices beyond the rank": (
        "tensor<fp32, []> y = gather_nd(x = x, indices = tensor<int32, [3]>([0, 0, 0]));",
        "op gather_nd y: indices of 3 places into 2 dimensions",
    ),
    "scalar indices": (
        "tensor<fp32, [3]> y = gather_nd(x = x, indices = int32(0));",
        "op gather_nd y: needs indices whose last extent is known",
    ),
    "a table of one entry": (
        "tensor<fp32, [65536, 65536]> y = constexpr_lut_to_dense()["
        "indices = tensor<uint8, [0]>([]), lut = tensor<fp32, [1]>([1]), "
        "shape = tensor<uint32, [2]>([65536, 65536])];",
        "op constexpr_lut_to_dense y: lut has 1 entries",
    ),
    "another constant than declared": (
        "tensor<fp32, [2]> y = constexpr_cast()[source_val = tensor<fp16, [3]>([1, 2, 3]), "
        'output_dtype = string("fp32")];',
        r"op constexpr_cast y: declares y as fp32\[2\], computes float32 \[3\]",
    ),
    "a string": ("string y = relu(x = x);", r"op relu y: y is a string\[\], no tensor"),
    "another rank": (
        "tensor<fp32, [6]> y = relu(x = x);",
        r"op relu y: declares y as fp32\[6\], computes f32 \[2,3\]",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, tmp_path: Path) -> None:
    body, message = REFUSED[name]
    tracemalloc.start()
    try:
        with pytest.raises(ProgramError, match=f"function main, {message}"):
            load(body, tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 50 << 20
    finally:
        tracemalloc.stop()


def test_doubles_cross_the_border(tmp_path: Path) -> None:
    model = load("tensor<fp64, [2]> y = relu(x = x);", tmp_path, "tensor<fp64, [2]> x")
    (got,) = model.run([np.array([1.5, -2])])
    assert got.dtype == np.float64
    assert got.tolist() == [1.5, 0]


def test_an_output_of_another_shape_than_declared(tmp_path: Path) -> None:
    model = load("tensor<fp32, [?, 2]> y = fill(shape = s);", tmp_path, "tensor<int32, [2]> s")
    assert model.run([np.int32([3, 2])])[0].shape == (3, 2)
    with pytest.raises(RunError, match=r"output y is declared as fp32\[\?, 2\], computed \[3, 1\]"):
        model.run([np.int32([3, 1])])
    assert model.run([np.int32([1, 2])])[0].shape == (1, 2)


def test_an_output_that_no_memory_could_hold(tmp_path: Path) -> None:
    kind = f"tensor<fp32, [{2**46}]>"
    model = load(f"{kind} y = fill(shape = s);", tmp_path, "tensor<int32, [1]> s")
    with pytest.raises(RunError, match=rf"declared as fp32\[{2**46}\], computed \[1\]"):
        model.run([np.int32([1])])


def test_a_state_that_memory_cannot_hold() -> None:
    value = Value("s", StateType(TensorType("fp16", (2**46,))))
    with pytest.raises(RunError, match=f"state s needs {2**48} bytes of memory"):
        State([value])


@pytest.mark.parametrize("name", ["a\ud800", "a\0"])
def test_names_that_no_file_can_have(name: str, tmp_path: Path) -> None:
    manifest = {"itemInfoEntries": {"a": {"path": name}}, "rootModelIdentifier": "a"}
    (tmp_path / "Manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(PayloadError, match="is no name of a file"):
        Model(tmp_path)
