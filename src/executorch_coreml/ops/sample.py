"""grid_sample: MIL's ``resample`` for images, gathers for volumes and for bicubic sampling.

Coordinates are fp32 throughout: fp16 misses pixels from about 1000 on.
"""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Any, TypeAlias

import numpy as np
import torch

from executorch_coreml.ops.call import Call
from executorch_coreml.ops.emit import Emit, Var, mil_type
from executorch_coreml.ops.moves import pick, reshape, take, transpose
from executorch_coreml.ops.rule import FLOAT, Family

aten = torch.ops.aten
rules = Family()

LINEAR, NEAREST, CUBIC = 0, 1, 2
SAMPLING = {LINEAR: "bilinear", NEAREST: "nearest"}
ZEROS, BORDER, REFLECTION = 0, 1, 2

Tap: TypeAlias = "tuple[Var, Var | None]"  # where along an axis, with what weight


@rules(
    aten.grid_sampler.default,
    aten.grid_sampler_2d.default,
    aten.grid_sampler_3d.default,
    types=FLOAT,
)
def grid_sampler(mb: Emit, call: Call) -> Var:
    if call.rank("input") == 5 or call["interpolation_mode"] == CUBIC:
        return _gathered(mb, call)
    reflection = "reflection" if call["align_corners"] else "symmetric"
    padding = {ZEROS: "constant", BORDER: "border", REFLECTION: reflection}
    return mb.resample(
        x=mb.var(call["input"]),
        coordinates=mb.var(call["grid"], "fp32"),
        sampling_mode=SAMPLING[call["interpolation_mode"]],
        padding_mode=padding[call["padding_mode"]],
        padding_value=mb.const(0.0, mb.type_of(call.out.dtype)),
        coordinates_mode="normalized_minus_one_to_one",
        align_corners=bool(call["align_corners"]),
    )


def _gathered(mb: Emit, call: Call) -> Var:
    """The weighted sum of the pixels around each point: 2, 1 or 4 of them along each axis."""
    x = mb.var(call["input"])
    batch, channels, *sizes = (int(extent) for extent in x.shape)
    rank, count = len(x.shape), prod(call.shape("grid")[:-1])
    rows = transpose(mb, x, [0, *range(2, rank), 1])
    rows = reshape(mb, rows, [batch * prod(sizes), channels])
    image = np.repeat(np.arange(batch) * prod(sizes), count // batch)
    total = None
    for taps in product(*_taps(mb, call, sizes)):
        term = _term(mb, call, rows, image, sizes, taps)
        total = term if total is None else mb.add(x=total, y=term)
    shape = [batch, *call.out.shape[2:], channels]
    return transpose(mb, reshape(mb, total, shape), [0, rank - 1, *range(1, rank - 1)])


def _term(
    mb: Emit,
    call: Call,
    rows: Var,
    image: np.ndarray[Any, Any],
    sizes: list[int],
    taps: tuple[Tap, ...],
) -> Var:
    """[points, channels]: one pixel for each point, times its weight; outside, zero."""
    index, weight = mb.const(image, "int32"), None
    for axis, (place, share) in enumerate(taps):
        inside = _clipped(mb, place, sizes[axis])
        stride = prod(sizes[axis + 1 :])
        step = mb.cast(inside, "int32")
        index = mb.add(x=index, y=step if stride == 1 else mb.mul(x=step, y=stride))
        weight = _times(mb, weight, share)
        if call["padding_mode"] == ZEROS:
            weight = _times(mb, weight, mb.cast(mb.equal(x=inside, y=place), "fp32"))
    pixels = take(mb, rows, index, 0)
    if weight is None:
        return pixels
    column = reshape(mb, weight, [weight.shape[0], 1])
    return mb.mul(x=pixels, y=mb.cast(column, mil_type(rows)))


def _times(mb: Emit, x: Var | None, y: Var | None) -> Var | None:
    return mb.mul(x=x, y=y) if x is not None and y is not None else x if y is None else y


def _taps(mb: Emit, call: Call, sizes: list[int]) -> list[list[Tap]]:
    """For each axis of the image the pixels that count, as vectors over all points."""
    grid = mb.var(call["grid"], "fp32")
    axes = len(sizes)
    found = []
    for axis, size in enumerate(sizes):
        component = pick(mb, grid, axes + 1, axes - 1 - axis)  # x, the last axis, comes first
        point = reshape(mb, component, [prod(component.shape)])
        found.append(_along(mb, call, _in_pixels(mb, point, size, call["align_corners"]), size))
    return found


def _in_pixels(mb: Emit, x: Var, size: int, corners: bool) -> Var:
    """From [-1, 1] to pixels: between the centres of the outermost, or between their edges."""
    if corners:
        return mb.mul(x=mb.add(x=x, y=1.0), y=(size - 1) / 2)
    return mb.sub(x=mb.mul(x=mb.add(x=x, y=1.0), y=size / 2), y=0.5)


def _along(mb: Emit, call: Call, x: Var, size: int) -> list[Tap]:
    if call["interpolation_mode"] == NEAREST:
        return [(mb.round(x=_padded(mb, call, x, size)), None)]
    if call["interpolation_mode"] == LINEAR:
        x = _padded(mb, call, x, size)
        low = mb.floor(x=x)
        share = mb.sub(x=x, y=low)
        return [(low, mb.sub(x=1.0, y=share)), (mb.add(x=low, y=1.0), share)]
    low = mb.floor(x=x)
    weights = _cubic(mb, mb.sub(x=x, y=low))
    places = [mb.add(x=low, y=float(offset)) for offset in (-1, 0, 1, 2)]
    return [(_padded(mb, call, p, size), w) for p, w in zip(places, weights, strict=True)]


def _cubic(mb: Emit, t: Var) -> list[Var]:
    """Keys' convolution with a = -3/4, of the pixels at -1, 0, 1 and 2 from the one below."""

    def near(d: Var) -> Var:  # ((a + 2) d - (a + 3)) d^2 + 1
        slope = mb.sub(x=mb.mul(x=d, y=1.25), y=2.25)
        return mb.add(x=mb.mul(x=slope, y=mb.mul(x=d, y=d)), y=1.0)

    def far(d: Var) -> Var:  # ((a d - 5a) d + 8a) d - 4a
        value = mb.add(x=mb.mul(x=d, y=-0.75), y=3.75)
        value = mb.sub(x=mb.mul(x=value, y=d), y=6.0)
        return mb.add(x=mb.mul(x=value, y=d), y=3.0)

    rest = mb.sub(x=1.0, y=t)
    return [far(mb.add(x=t, y=1.0)), near(t), near(rest), far(mb.add(x=rest, y=1.0))]


def _padded(mb: Emit, call: Call, x: Var, size: int) -> Var:
    """A coordinate brought into the image, as ``padding_mode`` says; zeros leave it outside."""
    if call["padding_mode"] == ZEROS:
        return x
    if call["padding_mode"] == REFLECTION:
        x = _reflected(mb, x, size, call["align_corners"])
    return _clipped(mb, x, size)


def _clipped(mb: Emit, x: Var, size: int) -> Var:
    """``x`` within 0..size - 1. MIL's clip wants bounds that differ."""
    if size == 1:
        return mb.minimum(x=mb.maximum(x=x, y=0.0), y=0.0)
    return mb.clip(x=x, alpha=0.0, beta=float(size - 1))


def _reflected(mb: Emit, x: Var, size: int, corners: bool) -> Var:
    low, span = (0.0, float(size - 1)) if corners else (-0.5, float(size))
    if span == 0:
        return mb.mul(x=x, y=0.0)
    away = mb.abs(x=mb.sub(x=x, y=low))
    times = mb.floor(x=mb.mul(x=away, y=1 / span))
    rest = mb.sub(x=away, y=mb.mul(x=times, y=span))
    odd = mb.sub(x=times, y=mb.mul(x=mb.floor(x=mb.mul(x=times, y=0.5)), y=2.0))
    back = mb.select(cond=mb.greater(x=odd, y=0.5), a=mb.sub(x=span, y=rest), b=rest)
    return mb.add(x=back, y=low)
