"""Rows for the ops of ops/shape.py, ops/create.py, ops/convert.py, ops/pad.py and ops/window.py."""

from __future__ import annotations

import math
from typing import Any

import torch

from fuzz.draw import ALL, FLOATS, Draw, row

aten = torch.ops.aten


@row(
    aten.clone.default,
    aten.detach.default,
    aten.detach_copy.default,
    aten.alias.default,
    aten.alias_copy.default,
    aten.squeeze.default,
    aten.squeeze_copy.default,
)
def same(d: Draw, op: Any) -> None:
    d.call(op, d.operand(ALL))


@row(aten.view.default, aten.view_copy.default, aten._unsafe_view.default)
def view(d: Draw, op: Any) -> None:
    x = d.operand(ALL)
    shape = _factors(d, d.of(x).numel())
    if shape and d.flag():
        shape[d.integer(0, len(shape) - 1)] = -1
    d.call(op, x, shape)


def _factors(d: Draw, count: int) -> list[int]:
    shape: list[int] = []
    while count > 1 and len(shape) < 4:
        divisors = [n for n in range(1, count + 1) if count % n == 0]
        shape.append(d.choice(*divisors))
        count //= shape[-1]
    return [*shape, count] if count > 1 or (not shape and d.flag()) else shape


@row(
    aten.squeeze.dim,
    aten.squeeze_copy.dim,
    aten.unbind.int,
    aten.unbind_copy.int,
)
def by_axis(d: Draw, op: Any) -> None:
    x = d.operand(ALL, 1)
    d.call(op, x, d.dim(d.of(x).dim()))


@row(aten.squeeze.dims, aten.squeeze_copy.dims, aten.flip.default)
def by_axes(d: Draw, op: Any) -> None:
    x = d.operand(ALL)
    d.call(op, x, d.dims(d.of(x).dim()))


@row(aten.unsqueeze.default, aten.unsqueeze_copy.default)
def unsqueeze(d: Draw, op: Any) -> None:
    x = d.operand(ALL, 0, 4)
    d.call(op, x, d.dim(d.of(x).dim() + 1))


@row(aten.permute.default, aten.permute_copy.default)
def permute(d: Draw, op: Any) -> None:
    x = d.operand(ALL)
    rank = d.of(x).dim()
    d.call(op, x, d.dims(rank, rank))


@row(aten.transpose.int, aten.transpose_copy.int)
def transpose(d: Draw, op: Any) -> None:
    x = d.operand(ALL)
    rank = d.of(x).dim()
    d.call(op, x, d.dim(rank), d.dim(rank))


@row(aten.t.default, aten.t_copy.default)
def matrix_transpose(d: Draw, op: Any) -> None:
    d.call(op, d.operand(ALL, 0, 2))


@row(aten.expand.default, aten.expand_copy.default)
def expand(d: Draw, op: Any) -> None:
    shape = d.shape(0, 5, 600)
    x = d.tensor(d.broadcasts(shape), d.choice(*ALL))
    front, have = len(shape) - d.of(x).dim(), d.of(x).shape
    d.call(op, x, [-1 if i >= front and have[i - front] == n and d.flag() else n
                   for i, n in enumerate(shape)])  # fmt: skip


@row(aten.slice.Tensor, aten.slice_copy.Tensor)
def cut(d: Draw, op: Any) -> None:
    x = d.operand(ALL, 1)
    dim = d.dim(d.of(x).dim())
    extent = d.of(x).shape[dim]
    low, high = sorted((d.integer(0, extent - 1), d.integer(1, extent)))
    start = d.choice(low, low - extent, None)
    end = d.choice(high + (low == high), None, high + 2)
    d.call(op, x, dim, start, end, d.integer(1, 3))


@row(aten.select.int, aten.select_copy.int)
def select(d: Draw, op: Any) -> None:
    x = d.operand(ALL, 1)
    dim = d.dim(d.of(x).dim())
    extent = d.of(x).shape[dim]
    d.call(op, x, dim, d.integer(-extent, extent - 1))


@row(aten.split.Tensor, aten.split_copy.Tensor, aten.unsafe_split.Tensor)
def split(d: Draw, op: Any) -> None:
    x = d.operand(ALL, 1)
    d.call(op, x, d.integer(1, 7), d.dim(d.of(x).dim()))


@row(
    aten.split_with_sizes.default,
    aten.split_with_sizes_copy.default,
    aten.unsafe_split_with_sizes.default,
)
def split_sizes(d: Draw, op: Any) -> None:
    x = d.operand(ALL, 1)
    dim = d.dim(d.of(x).dim())
    sizes, left = [], d.of(x).shape[dim]
    while left:
        sizes.append(d.integer(1, left))
        left -= sizes[-1]
    d.call(op, x, sizes, dim)


@row(aten.cat.default, aten.stack.default)
def join(d: Draw, op: Any) -> None:
    low = 1 if op is aten.cat.default else 0
    x = d.operand(ALL, low, 4 + low, 400)
    shape, dtype = list(d.of(x).shape), d.of(x).dtype
    dim = d.dim(len(shape) + 1 - low)
    parts = [x]
    for _ in range(d.integer(0, 3)):
        if low:
            shape[dim] = d.integer(1, 4)
        parts.append(d.tensor(shape, dtype if d.integer(0, 3) else d.choice(*ALL)))
    d.call(op, parts, dim)


@row(aten.copy.default)
def copy(d: Draw, op: Any) -> None:
    x = d.operand(ALL)
    d.call(op, x, d.tensor(d.broadcasts(d.of(x).shape), d.choice(*ALL)))


@row(aten.repeat.default)
def repeat(d: Draw, op: Any) -> None:
    x = d.operand(ALL, 0, 4, 60)
    more = d.integer(0, 1)
    d.call(op, x, [d.integer(1, 3) for _ in range(d.of(x).dim() + more)])


@row(aten.repeat_interleave.self_int)
def repeat_interleave(d: Draw, op: Any) -> None:
    x = d.operand(ALL, 0, 5, 300)
    dim = None if d.flag() else d.dim(d.of(x).dim())
    d.call(op, x, d.integer(1, 3), dim)


@row(aten.roll.default)
def roll(d: Draw, op: Any) -> None:
    x = d.operand(ALL)
    dims = d.dims(d.of(x).dim())
    d.call(op, x, [d.integer(-9, 9) for _ in dims or [0]], dims)


@row(aten.tril.default, aten.triu.default)
def triangle(d: Draw, op: Any) -> None:
    d.call(op, d.operand(ALL, 2), d.integer(-7, 7))


@row(aten.diagonal.default, aten.diagonal_copy.default)
def diagonal(d: Draw, op: Any) -> None:
    x = d.operand(ALL, 2)
    axes = [*d.dims(d.of(x).dim(), 2), 0, 1][:2]
    d.call(op, x, d.integer(-3, 3), *axes)


@row(aten.as_strided.default, aten.as_strided_copy.default)
def as_strided(d: Draw, op: Any) -> None:
    x = d.tensor(d.shape(1), d.choice(*ALL))
    size, room = d.shape(0, 3, 60), d.of(x).numel() - 1
    offset = d.integer(0, room)
    stride = []
    for extent in size:
        stride.append(d.integer(0, (room - offset) // max(extent - 1, 1)))
        room -= stride[-1] * (extent - 1)
        if room < offset:
            stride[-1] = 0
    d.call(op, x, size, stride, offset)


@row(aten.unfold.default, aten.unfold_copy.default)
def unfold(d: Draw, op: Any) -> None:
    x = d.operand(ALL, 1, 4)
    dim = d.dim(d.of(x).dim())
    d.call(op, x, dim, d.integer(1, d.of(x).shape[dim]), d.integer(1, 3))


@row(aten.im2col.default)
def im2col(d: Draw, op: Any) -> None:
    x = d.operand(FLOATS, 3, 4, 400, least=3)
    kernel, dilation, padding, stride = _windows(d)
    d.call(op, x, kernel, dilation, padding, stride)


@row(aten.col2im.default)
def col2im(d: Draw, op: Any) -> None:
    kernel, dilation, padding, stride = _windows(d)
    size = [d.integer(2, 7), d.integer(2, 7)]
    blocks = math.prod(
        (size[i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1
        for i in range(2)
    )
    lead = [d.integer(1, 2)] if d.flag() else []
    shape = [*lead, d.integer(1, 2) * math.prod(kernel), max(blocks, 1)]
    d.call(op, d.tensor(shape, d.choice(*FLOATS)), size, kernel, dilation, padding, stride)


def _windows(d: Draw) -> tuple[list[int], ...]:
    limits = ((1, 3), (1, 2), (0, 2), (1, 3))
    return tuple([d.integer(low, high) for _ in range(2)] for low, high in limits)


@row(aten.pixel_shuffle.default)
def pixel_shuffle(d: Draw, op: Any) -> None:
    factor = d.integer(1, 3)
    lead = d.shape(0, 2, 8)
    shape = [*lead, factor**2 * d.integer(1, 2), d.integer(1, 4), d.integer(1, 4)]
    d.call(op, d.tensor(shape, d.choice(*ALL)), factor)


@row(aten.pixel_unshuffle.default)
def pixel_unshuffle(d: Draw, op: Any) -> None:
    factor = d.integer(1, 3)
    lead = d.shape(0, 2, 8)
    shape = [*lead, d.integer(1, 3), factor * d.integer(1, 3), factor * d.integer(1, 3)]
    d.call(op, d.tensor(shape, d.choice(*ALL)), factor)


@row(aten.channel_shuffle.default)
def channel_shuffle(d: Draw, op: Any) -> None:
    groups = d.integer(1, 3)
    shape = [d.integer(1, 3), groups * d.integer(1, 3), *d.shape(1, 3, 60)]
    d.call(op, d.tensor(shape, d.choice(*d.types(op))), groups)


@row(aten._to_copy.default)
def to_copy(d: Draw, op: Any) -> None:
    # An infinite or enormous float has no integer.
    x = d.operand(ALL, kinds=("normal", "grid", "zeros", "hundreds"))
    d.call(op, x, dtype=d.choice(*ALL))


# -- padding -------------------------------------------------------------------------------------


@row(aten.constant_pad_nd.default)
def constant_pad(d: Draw, op: Any) -> None:
    x = d.operand(ALL, 0, 5, 300)
    pad = [d.integer(-1, 3) for _ in range(2 * d.integer(0, d.of(x).dim()))]
    d.call(op, x, pad, d.number(d.of(x).dtype))


@row(aten.pad.default)
def pad(d: Draw, op: Any) -> None:
    mode = d.choice("constant", "reflect", "replicate", "circular")
    if mode == "constant":
        x = d.operand(ALL, 1, 5, 300)
        amounts = [d.integer(-1, 3) for _ in range(2 * d.integer(1, d.of(x).dim()))]
        d.call(op, x, amounts, mode, d.choice(None, float(d.number(d.of(x).dtype))))
        return
    spatial = d.integer(1, 3)
    x = d.operand(FLOATS, spatial + 1, spatial + 2, 600)
    d.call(op, x, [d.integer(0, 3) for _ in range(2 * spatial)], mode)


@row(
    aten.reflection_pad1d.default,
    aten.reflection_pad2d.default,
    aten.reflection_pad3d.default,
    aten.replication_pad1d.default,
    aten.replication_pad2d.default,
    aten.replication_pad3d.default,
)
def border(d: Draw, op: Any) -> None:
    spatial = int(str(op).split("pad")[1][0])
    x = d.operand(FLOATS, spatial + 1, spatial + 2, 600, least=3)
    low = -1 if d.integer(0, 4) == 0 else 0
    d.call(op, x, [d.integer(low, 2) for _ in range(2 * spatial)])


# -- creation ------------------------------------------------------------------------------------


@row(aten.full_like.default, aten.fill.Scalar)
def full_like(d: Draw, op: Any) -> None:
    x = d.operand(ALL)
    d.call(op, x, d.number(d.of(x).dtype))


@row(aten.zeros_like.default, aten.ones_like.default)
def like(d: Draw, op: Any) -> None:
    d.call(op, d.operand(ALL), dtype=d.choice(None, *ALL))


@row(aten.new_full.default)
def new_full(d: Draw, op: Any) -> None:
    x = d.operand(ALL)
    d.call(op, x, d.shape(), d.number(d.of(x).dtype))


@row(aten.new_zeros.default, aten.new_ones.default)
def new(d: Draw, op: Any) -> None:
    d.call(op, d.operand(ALL), d.shape(), dtype=d.choice(None, *ALL))


@row(
    aten.full.default,
    aten.zeros.default,
    aten.ones.default,
    aten.arange.default,
    aten.arange.start,
    aten.arange.start_step,
    aten.scalar_tensor.default,
    aten.eye.default,
    aten.eye.m,
    aten.linspace.default,
    aten.tril_indices.default,
    aten.triu_indices.default,
    aten.kaiser_window.default,
    aten.kaiser_window.periodic,
    aten.kaiser_window.beta,
)
def made(d: Draw, op: Any) -> None:
    dtype = d.choice(*ALL)
    name = str(op).removeprefix("aten.")
    number = d.number(dtype)
    arguments: dict[str, Any] = {
        "full.default": lambda: (d.shape(), number),
        "zeros.default": lambda: (d.shape(),),
        "ones.default": lambda: (d.shape(),),
        "arange.default": lambda: (d.choice(5, 3.5, 1),),
        "arange.start": lambda: (d.choice(-2, 0.5), d.choice(4, 5.25)),
        "arange.start_step": lambda: (d.choice(-2, 0.5), d.choice(9, 7.5), d.choice(1, 2, 0.75)),
        "scalar_tensor.default": lambda: (number,),
        "eye.default": lambda: (d.integer(1, 6),),
        "eye.m": lambda: (d.integer(1, 6), d.integer(1, 6)),
        "linspace.default": lambda: (d.number(), d.number(), d.integer(1, 7)),
        "tril_indices.default": lambda: (d.integer(2, 6), d.integer(2, 6), d.integer(-1, 2)),
        "triu_indices.default": lambda: (d.integer(2, 6), d.integer(2, 6), d.integer(-2, 1)),
        "kaiser_window.default": lambda: (d.integer(1, 9),),
        "kaiser_window.periodic": lambda: (d.integer(1, 9), d.flag()),
        "kaiser_window.beta": lambda: (d.integer(1, 9), d.flag(), d.choice(3.0, 8.5)),
    }
    if ("arange" in name and dtype is torch.bool) or "kaiser" in name:
        dtype = torch.float32
    if "indices" in name:
        dtype = d.choice(torch.int64, torch.int32)
    d.call(op, *arguments[name](), dtype=dtype)
    last = d.usable[-1]
    x = d.tensor(d.of(last).shape, d.of(last).dtype)
    d.call(aten.where.self, d.tensor([], torch.bool, constant=False), last, x)
