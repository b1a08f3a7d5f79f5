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
import sympy
import torch

from executorch_coreml.ops.axes import along_axis
from executorch_coreml.ops.call import Call
from executorch_coreml.ops.emit import Emit, Var
from executorch_coreml.ops.rule import FLOAT, Family
from executorch_coreml.ops.sizes import dynamic, expression, fixed_extent
from executorch_coreml.options import Target

aten = torch.ops.aten
rules = Family(dynamic=True)

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


def _fixed_image(call: Call) -> str | None:
    """The extents behind the batch's are fixed"""
    if not dynamic([*call.shape(_image(call))[1:], *call.out.shape[1:]]):
        return None
    return (
        "interpolating this way needs fixed extents behind the batch's: its weights depend on them"
    )


def _whole_factors(call: Call) -> list[int] | None:
    """How many times as long each axis gets, where only run time knows how long that is."""
    factors: list[int] = []
    sizes = zip(call.shape(_image(call))[2:], call.out.shape[2:], strict=True)
    for (size, out), scale in zip(sizes, _scales(call, call.out.dim() - 2), strict=True):
        factor = fixed_extent(sympy.sympify(expression(out)) / expression(size))
        if factor is None or scale not in (None, factor):
            return None
        factors.append(factor)
    return factors


def _spatially_dynamic(call: Call) -> bool:
    return dynamic([*call.shape(_image(call))[2:], *call.out.shape[2:]])


def _grows_whole(call: Call) -> str | None:
    """Dynamic extents grow by whole factors, on one axis or two"""
    if not _spatially_dynamic(call):
        return None
    if call.out.dim() <= 4 and _whole_factors(call):
        return None
    return "dynamic extents are taken along one axis or two, each by a whole factor"


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
    checks=[_grows_whole],
)
def nearest(mb: Emit, call: Call) -> Var:
    x = mb.var(call[_image(call)])
    spatial = len(x.shape) - 2
    if _spatially_dynamic(call):
        return _repeated(mb, x, _whole_factors(call) or [])
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


def _repeated(mb: Emit, x: Var, factors: Sequence[int]) -> Var:
    """Each element several times in a row, along the last axis or the last two."""
    if len(factors) == 1:
        tall = mb.expand_dims(x=x, axes=[2])
        return mb.squeeze(x=_repeated(mb, tall, [1, *factors]), axes=[2])
    height, width = factors
    return mb.upsample_nearest_neighbor(x=x, scale_factor_height=height, scale_factor_width=width)


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
    checks=[_fixed_image],
)
def interpolate(mb: Emit, call: Call) -> Var:
    x = mb.var(call[_image(call)])
    spatial = len(x.shape) - 2
    for axis in range(spatial):
        matrix = _matrix(call, axis, spatial)
        if not np.array_equal(matrix, np.eye(matrix.shape[1])):
            x = along_axis(mb, x, matrix, 2 + axis)
    return x


def _resizes(call: Call) -> bool:
    """Whether ``resize`` is needed, and does: dynamic extents that decide the scale themselves."""
    whole = not _spatially_dynamic(call) or _whole_factors(call) is not None
    return not whole and not call["align_corners"] and _scales(call, 2) == [None, None]


def _bilinear_target(call: Call) -> Target:
    return Target.iOS17 if _resizes(call) else Target.iOS15


def _scaled(call: Call) -> str | None:
    """Dynamic extents grow by whole factors, or to a size, without align_corners"""
    if not _spatially_dynamic(call) or _whole_factors(call) or _resizes(call):
        return None
    return "dynamic extents grow by whole factors, or to a given size without align_corners"


def _dynamic_bilinear(mb: Emit, call: Call) -> Var:
    x, sizes = mb.var(call["input"]), call.out.shape[2:]
    if _resizes(call):
        return mb.resize(
            x=x,
            shape=mb.sizes.vector(sizes),
            resized_dims=np.uint32(2),
            interpolation_mode="LINEAR",
            sampling_mode="UNALIGN_CORNERS",
        )
    height, width = _whole_factors(call) or (1, 1)
    if (height, width) == (1, 1):
        return x
    return mb.upsample_bilinear(
        x=x,
        scale_factor_height=height,
        scale_factor_width=width,
        align_corners=call["align_corners"],
    )


@rules(aten.upsample_bilinear2d.vec, types=FLOAT, checks=[_scaled], since_of=_bilinear_target)
def bilinear(mb: Emit, call: Call) -> Var:
    """Core ML's ``resize_bilinear`` works from the extents alone.

    PyTorch does too, unless a scale factor is given that they only approximate.
    """
    if _spatially_dynamic(call):
        return _dynamic_bilinear(mb, call)
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
