"""Upsampling, downsampling and sampling at given points.

Interpolation is linear in the image and works on each axis by itself, so PyTorch itself tells what
it does: its op, applied to unit vectors, gives the matrix (or the indices) for each axis. Core ML's
own ops are used where they compute the same.

PyTorch's public functions call the ``vec`` overloads. Some plain ones have no rule: PyTorch
decomposes bilinear and bicubic whatever it is asked to keep, and ExecuTorch's edge dialect has
neither trilinear nor antialiased bicubic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from executorch_coreml.ops.axes import along_axis
from executorch_coreml.ops.call import Call
from executorch_coreml.ops.emit import Emit, Var
from executorch_coreml.ops.rule import FLOAT, Family

aten = torch.ops.aten
rules = Family()

Matrix = np.ndarray[Any, Any]


def _image(call: Call) -> str:
    """The name of the image argument: ``input`` in the ``vec`` overloads, else ``self``."""
    return "input" if "input" in call.args else "self"


def _scales(call: Call, spatial: int) -> list[float | None]:
    """The scale factors asked for, per axis; None where the extents decide."""
    if "scale_factors" in call.args:
        given: Sequence[float] | None = call["scale_factors"]
        return [None] * spatial if given is None else list(given)
    names = {1: ("scales",), 2: ("scales_h", "scales_w"), 3: ("scales_d", "scales_h", "scales_w")}
    return [call[name] for name in names[spatial]]


def _matrix(call: Call, axis: int, spatial: int) -> Matrix:
    """[out, in]: what the op does along one spatial axis, found by applying it to unit vectors."""
    size = call.shape(_image(call))[2 + axis]
    out = int(call.out.shape[2 + axis])
    # The other axes keep an extent of 2: torch 2.13's antialiased ops go wrong for a width of 1.
    shape, target = [2] * spatial, [2] * spatial
    shape[axis], target[axis] = size, out
    scales: list[float | None] = [None] * spatial
    scales[axis] = _scales(call, spatial)[axis]
    corners = [call["align_corners"]] if "align_corners" in call.args else []
    plain = getattr(aten, call.op._schema.name.split("::")[1]).default
    units = torch.eye(size).reshape(1, size, *(-1 if a == axis else 1 for a in range(spatial)))
    with torch.no_grad():
        result = plain(units.expand(1, size, *shape).contiguous(), target, *corners, *scales)
    along = result[0].movedim(1 + axis, 0).reshape(out, size, -1)[..., 0]
    return np.asarray(along.numpy())


# -- nearest -------------------------------------------------------------------------------------


@rules(
    aten.upsample_nearest1d.default,
    aten.upsample_nearest1d.vec,
    aten.upsample_nearest2d.default,
    aten.upsample_nearest2d.vec,
    aten.upsample_nearest3d.default,
    aten.upsample_nearest3d.vec,
    aten._upsample_nearest_exact1d.default,
    aten._upsample_nearest_exact1d.vec,
    aten._upsample_nearest_exact2d.default,
    aten._upsample_nearest_exact2d.vec,
    aten._upsample_nearest_exact3d.default,
    aten._upsample_nearest_exact3d.vec,
    types=FLOAT,
)
def nearest(mb: Emit, call: Call) -> Var:
    x = mb.var(call[_image(call)])
    spatial = len(x.shape) - 2
    picks = [_matrix(call, axis, spatial).argmax(1) for axis in range(spatial)]
    factors = [_factor(indices, int(x.shape[2 + a])) for a, indices in enumerate(picks)]
    if spatial == 2 and all(factors):
        return mb.upsample_nearest_neighbor(
            x=x, scale_factor_height=factors[0], scale_factor_width=factors[1]
        )
    for axis, indices in enumerate(picks):
        if factors[axis] != 1:
            x = mb.gather(x=x, indices=indices.astype(np.int32), axis=2 + axis)
    return x


def _factor(indices: Matrix, size: int) -> int:
    """The number of times that each element is repeated in place, or 0."""
    times = len(indices) // size
    same = len(indices) == size * times and np.array_equal(
        indices, np.arange(len(indices)) // times
    )
    return times if same else 0


# -- linear and cubic ----------------------------------------------------------------------------


@rules(
    aten.upsample_linear1d.default,
    aten.upsample_linear1d.vec,
    aten.upsample_trilinear3d.vec,
    aten.upsample_bicubic2d.vec,
    aten._upsample_bilinear2d_aa.default,
    aten._upsample_bilinear2d_aa.vec,
    aten._upsample_bicubic2d_aa.vec,
    types=FLOAT,
)
def interpolate(mb: Emit, call: Call) -> Var:
    x = mb.var(call[_image(call)])
    spatial = len(x.shape) - 2
    for axis in range(spatial):
        matrix = _matrix(call, axis, spatial)
        if not np.array_equal(matrix, np.eye(matrix.shape[1])):
            x = along_axis(mb, x, matrix, 2 + axis)
    return x


@rules(aten.upsample_bilinear2d.vec, types=FLOAT)
def bilinear(mb: Emit, call: Call) -> Var:
    """Core ML's ``resize_bilinear`` works from the extents alone.

    PyTorch does too, unless a scale factor is given that they only approximate.
    """
    height, width = (int(extent) for extent in call.out.shape[2:])
    sizes = call.shape(_image(call))[2:]
    corners = call["align_corners"]
    scales = zip(sizes, (height, width), _scales(call, 2), strict=True)
    exact = all(scale is None or size * scale == out for size, out, scale in scales)
    # Aligned corners leave no spacing for a single output, which MIL defines as a division by 0.
    if 1 in (height, width) if corners else not exact:
        return interpolate(mb, call)
    return mb.resize_bilinear(
        x=mb.var(call[_image(call)]),
        target_size_height=height,
        target_size_width=width,
        sampling_mode="STRICT_ALIGN_CORNERS" if corners else "UNALIGN_CORNERS",
    )
