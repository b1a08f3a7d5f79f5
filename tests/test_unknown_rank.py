"""Tensors of unknown rank: the shapes of the inputs decide, or the model is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coremltools.converters.mil.mil import get_new_symbol

from console import call
from executorch_coreml.engine.model import Model
from executorch_coreml.errors import InputError, ProgramError
from executorch_coreml.mil.bundle import read
from executorch_coreml.mil.schema import Model as Message
from executorch_coreml.mil.text_print import to_text
from executorch_coreml.mil.types import UnrankedType
from kernel_case import ct, ints, mb, types
from package_files import MODEL
from predict_models import convert


def saved(build: Any, path: Path, **options: Any) -> Path:
    """``build`` of an int32 vector ``shape`` of 1 to 5 elements, as a package."""
    length = get_new_symbol()
    specs = [mb.TensorSpec((length,), types.int32)]
    program = mb.program(input_specs=specs, opset_version=ct.target.iOS16)(build)
    inputs = [ct.TensorType("shape", (ct.RangeDim(1, 5, default=2),), np.int32)]
    convert(program, inputs=inputs, **options).save(str(path))
    return path


def filled(shape: Any) -> Any:
    return mb.fill(shape=shape, value=2.0, name="y")


@pytest.mark.parametrize("precision", [ct.precision.FLOAT32, ct.precision.FLOAT16])
def test_the_length_of_a_shape_is_a_rank(precision: Any, tmp_path: Path) -> None:
    path = saved(filled, tmp_path / "m.mlpackage", compute_precision=precision)
    bundle = read(path)
    kinds = {v.type for op in bundle.program.functions["main"].body.operations for v in op.outputs}
    assert any(isinstance(kind, UnrankedType) for kind in kinds)
    model = Model(bundle)
    for extents in ([3, 4], [2, 1, 3], [5], [1, 2, 3, 4, 5], [0, 2], [2, 1, 3]):
        got = model.predict({"shape": ints(*extents)})["y"]
        assert got.shape == tuple(extents)
        assert (got == 2).all()
    with pytest.raises(
        InputError, match=r"input shape: it cannot have shape \(6,\); allowed: \(1..5\)"
    ):
        model.predict({"shape": ints(1, 1, 1, 1, 1, 1)})


def test_ops_behind_one_of_unknown_rank(tmp_path: Path) -> None:
    def build(shape: Any) -> Any:
        y = mb.add(x=mb.relu(x=filled(shape)), y=1.0)
        return mb.reduce_sum(x=y, keep_dims=False, name="sum")

    model = Model(saved(build, tmp_path / "m.mlpackage", compute_precision=ct.precision.FLOAT32))
    for extents in ([3], [2, 5], [2, 3, 4]):
        assert model.predict({"shape": ints(*extents)})["sum"] == 3 * np.prod(extents)


def test_many_shapes(tmp_path: Path) -> None:
    """More lengths than are kept compiled."""
    length = get_new_symbol()
    specs = [mb.TensorSpec((length,)), mb.TensorSpec((2,), types.int32)]

    @mb.program(input_specs=specs, opset_version=ct.target.iOS16)
    def program(x: Any, shape: Any) -> Any:
        return mb.reshape(x=x, shape=mb.concat(values=(shape, mb.shape(x=x)), axis=0), name="y")

    inputs = [
        ct.TensorType("x", (ct.RangeDim(1, 50, default=1),)),
        ct.TensorType("shape", (2,), np.int32),
    ]
    path = tmp_path / "m.mlpackage"
    convert(program, inputs=inputs, compute_precision=ct.precision.FLOAT32).save(str(path))
    model = Model(path)
    for count in (*range(1, 20), 1, 19, 2):
        x = np.arange(count, dtype=np.float32)
        assert np.array_equal(model.run([x, ints(1, 1)])[0], x[None, None])


def edited(path: Path, edit: Any) -> Path:
    """The package with its message changed."""
    model = Message.FromString((path / MODEL).read_bytes())
    edit(model)
    (path / MODEL).write_bytes(model.SerializeToString())
    return path


def kind_of_input(model: Any) -> Any:
    return model.mlProgram.functions["main"].inputs[0].type.tensorType


def test_an_input_of_unknown_rank_is_refused(tmp_path: Path) -> None:
    def edit(model: Any) -> None:
        kind_of_input(model).rank = -1
        del kind_of_input(model).dimensions[:]

    path = edited(saved(filled, tmp_path / "m.mlpackage"), edit)
    read(path)
    with pytest.raises(ProgramError, match="function main: input shape is of unknown rank") as info:
        Model(path)
    assert info.value.hint is not None


def test_a_rank_that_no_shape_tells_is_refused(tmp_path: Path) -> None:
    def build(shape: Any) -> Any:
        places = mb.non_zero(x=shape)  # [n, 1], n of values
        return mb.fill(shape=mb.reshape(x=places, shape=[-1]), value=1.0, name="y")

    path = saved(build, tmp_path / "m.mlpackage", compute_precision=ct.precision.FLOAT32)
    with pytest.raises(ProgramError, match="op fill y: the rank of y follows from values") as info:
        Model(path)
    assert info.value.hint is not None


def test_it_has_no_text(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match="of unknown rank, has no form in MIL text"):
        to_text(read(saved(filled, tmp_path / "m.mlpackage")).program)


def test_inspect(tmp_path: Path) -> None:
    shown = call("inspect", saved(filled, tmp_path / "m.mlpackage"))
    assert shown.exit_code == 0, shown.output
    assert "fill" in shown.output
