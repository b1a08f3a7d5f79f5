"""Kernels whose windows or paddings depend on extents that only a run knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coremltools.converters.mil.mil import get_new_symbol

from executorch_coreml.engine.model import Model
from kernel_case import KernelCase, ct, mb
from kernel_cases import pool, sample
from predict_models import convert

CEIL = [row for row in pool.ROWS if "ceil" in row.id]
IMAGES = [
    next(row for row in sample.ROWS if row.id == name)
    for name in (
        "crop_resize-roi",
        "crop_resize-roi-index",
        "resample-nearest-symmetric-0-unnormalized-align-True",
    )
]


@pytest.mark.parametrize("row", CEIL, ids=[row.id for row in CEIL])
def test_windows_of_ceil_mode(row: KernelCase, tmp_path: Path) -> None:
    example = row.inputs[0]
    spatial = example.ndim - 2
    open_shape = (*example.shape[:2], *(get_new_symbol() for _ in range(spatial)))

    @mb.program(input_specs=[mb.TensorSpec(open_shape)], opset_version=ct.target.iOS18)
    def program(x: Any) -> Any:
        return row.build(mb, np.float32, x)

    ranges = (ct.RangeDim(4, 20) for _ in range(spatial))
    given = ct.TensorType("x", (*example.shape[:2], *ranges))
    full = ct.precision.FLOAT32
    convert(program, inputs=[given], compute_precision=full).save(str(tmp_path / "m.mlpackage"))
    model = Model(tmp_path / "m.mlpackage")
    assert row.expect is not None
    for extent in (4, 5, 6, 7, 8, 20):
        x = np.random.default_rng(extent).standard_normal(example.shape[:2] + (extent,) * spatial)
        x = x.astype(np.float32)
        np.testing.assert_allclose(model.run([x])[0], row.expect(x), 1e-5, 1e-6)


@pytest.mark.parametrize("row", IMAGES, ids=[row.id for row in IMAGES])
def test_images_of_any_number_and_channels(row: KernelCase, tmp_path: Path) -> None:
    (example, *others) = row.inputs
    open_shape = (get_new_symbol(), get_new_symbol(), *example.shape[2:])
    specs = [mb.TensorSpec(shape) for shape in (open_shape, *(each.shape for each in others))]
    target = getattr(ct.target, row.target)

    def body(*given: Any) -> Any:
        return row.build(mb, np.float32, *given)

    function = (lambda x, y: body(x, y)) if others else (lambda x: body(x))
    program = mb.program(input_specs=specs, opset_version=target)(function)
    ranges = ct.TensorType("x", (ct.RangeDim(1, 4), ct.RangeDim(1, 4), *example.shape[2:]))
    given = [ranges, *(ct.TensorType("y", each.shape) for each in others)]
    options = {"compute_precision": ct.precision.FLOAT32, "minimum_deployment_target": target}
    convert(program, inputs=given, **options).save(str(tmp_path / "m.mlpackage"))
    model = Model(tmp_path / "m.mlpackage")
    assert row.expect is not None
    for channels in (1, 3):
        x = np.ascontiguousarray(example[:, :channels])
        np.testing.assert_allclose(model.run([x, *others])[0], row.expect(x, *others), 1e-5, 1e-5)
