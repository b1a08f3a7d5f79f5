"""Rows for products, attention, convolutions, pools, norms and resizing."""

from __future__ import annotations

from typing import Any

import torch

from fuzz.draw import BOOL, F32, FLOATS, PLAIN, Draw, Invalid, Slot, row

aten = torch.ops.aten


def _floats(d: Draw, *shapes: list[int], kinds: tuple[str, ...] = PLAIN) -> list[Slot]:
    dtype = F32 if d.integer(0, 3) else torch.float16
    return [d.tensor(shape, dtype, kinds) for shape in shapes]


@row(aten.matmul.default)
def matmul(d: Draw, op: Any) -> None:
    m, k, n = (d.integer(1, 6) for _ in "mkn")
    batch = d.shape(0, 3, 20)
    left = d.choice([k], [m, k], [*batch, m, k], [*d.broadcasts(batch), m, k])
    right = d.choice([k], [k, n], [*batch, k, n], [*d.broadcasts(batch), k, n])
    d.call(op, *_floats(d, left, right))


@row(aten.mm.default, aten.bmm.default, aten.mv.default, aten.dot.default)
def product(d: Draw, op: Any) -> None:
    b, m, k, n = (d.integer(1, 6) for _ in "bmkn")
    shapes = {
        aten.mm.default: ([m, k], [k, n]),
        aten.bmm.default: ([b, m, k], [b, k, n]),
        aten.mv.default: ([m, k], [k]),
        aten.dot.default: ([k], [k]),
    }
    d.call(op, *_floats(d, *shapes[op]))


@row(aten.linear.default)
def linear(d: Draw, op: Any) -> None:
    k, n = d.integer(1, 6), d.integer(1, 6)
    weight = [n, k] if d.integer(0, 5) else [k]
    lead = d.shape(0, 4, 100)
    shapes = [[*lead, k], weight] + ([[n]] if len(weight) == 2 and d.flag() else [])
    d.call(op, *_floats(d, *shapes))


@row(aten.addmm.default, aten.baddbmm.default)
def addmm(d: Draw, op: Any) -> None:
    b, m, k, n = (d.integer(1, 6) for _ in "bmkn")
    lead = [b] if op is aten.baddbmm.default else []
    bias = d.broadcasts([*lead, m, n])
    slots = _floats(d, bias, [*lead, m, k], [*lead, k, n])
    d.call(op, *slots, beta=d.choice(1, 0.5, 2, 0), alpha=d.choice(1, -0.5, 3))


@row(aten.addmv.default, aten.addbmm.default)
def add_product(d: Draw, op: Any) -> None:
    b, m, k, n = (d.integer(1, 6) for _ in "bmkn")
    several = op is aten.addbmm.default
    shapes = ([m, n], [b, m, k], [b, k, n]) if several else ([m], [m, k], [k])
    slots = _floats(d, d.broadcasts(shapes[0]), *shapes[1:])
    d.call(op, *slots, beta=d.choice(1, 0.5, 2, 0), alpha=d.choice(1, -0.5, 3))


@row(aten._trilinear.default)
def trilinear(d: Draw, op: Any) -> None:
    """As bilinear calls it."""
    b, m, k, n = (d.integer(1, 5) for _ in "bmkn")
    slots = _floats(d, [b, m], [n, m, k], [b, k])
    d.call(op, *slots, [1, 3], [0], [1, 2], [2, 3])


@row(aten.scaled_dot_product_attention.default)
def attention(d: Draw, op: Any) -> None:
    heads, q, k, e, v = (d.integer(1, 5) for _ in range(5))
    grouped = d.integer(0, 3) == 0
    lead = [*d.shape(0, 1, 4), heads] if grouped else d.shape(0, 3, 12)
    query = [*lead[:-1], heads * d.integer(1, 3)] if grouped else lead
    slots = _floats(d, [*query, q, e], [*lead, k, e], [*lead, k, v])
    mask, causal = None, False
    form = d.choice("none", "causal", "bool", "float")
    if form == "causal":
        causal = True
    elif form != "none":
        shape = [*d.broadcasts(query), d.choice(1, q), k]
        mask = d.tensor(shape, BOOL if form == "bool" else d.of(slots[0]).dtype, PLAIN)
    d.call(op, *slots, mask, 0.0, causal, scale=d.choice(None, 0.5, 1.0, 2.0),
           enable_gqa=grouped)  # fmt: skip


# -- convolutions --------------------------------------------------------------------------------


def _each(d: Draw, spatial: int, low: int, high: int) -> list[int]:
    if d.flag():
        return [d.integer(low, high)] * spatial
    return [d.integer(low, high) for _ in range(spatial)]


def _conv(d: Draw, spatial: int, transposed: bool) -> tuple[list[Slot | None], int, bool]:
    """input, weight and bias; the groups; whether there is a batch axis."""
    groups, into, out = d.integer(1, 3), d.integer(1, 3), d.integer(1, 3)
    extents = [d.integer(3, 8 if spatial < 3 else 6) for _ in range(spatial)]
    kernel = [d.integer(1, 3) for _ in range(spatial)]
    batch = [d.integer(1, 2)] if d.integer(0, 3) else []
    a, b = (groups * into, out) if transposed else (groups * out, into)
    dtype = d.choice(F32, F32, F32, torch.float16)
    fixed = None if d.flag() else True
    x = d.tensor([*batch, groups * into, *extents], dtype, PLAIN, constant=False)
    weight = d.tensor([a, b, *kernel], dtype, PLAIN, constant=fixed)
    bias = d.tensor([groups * out], dtype, PLAIN, constant=fixed) if d.flag() else None
    return [x, weight, bias], groups, bool(batch)


@row(aten.conv1d.default, aten.conv2d.default, aten.conv3d.default)
def conv(d: Draw, op: Any) -> None:
    n = int(str(op).split("conv")[1][0])
    slots, groups, _ = _conv(d, n, False)
    d.call(op, *slots, _each(d, n, 1, 3), _each(d, n, 0, 2), _each(d, n, 1, 2), groups)


@row(aten.conv1d.padding, aten.conv2d.padding, aten.conv3d.padding)
def conv_same(d: Draw, op: Any) -> None:
    n = int(str(op).split("conv")[1][0])
    slots, groups, _ = _conv(d, n, False)
    padding = d.choice("same", "valid")
    stride = [1] * n if padding == "same" else _each(d, n, 1, 3)
    d.call(op, *slots, stride, padding, _each(d, n, 1, 2), groups)


@row(aten.conv_transpose1d.default, aten.conv_transpose2d.input, aten.conv_transpose3d.input)
def conv_transpose(d: Draw, op: Any) -> None:
    n = int(str(op).split("transpose")[1][0])
    slots, groups, _ = _conv(d, n, True)
    stride, dilation = _each(d, n, 1, 3), _each(d, n, 1, 2)
    extra = [d.integer(0, max(s, t) - 1) for s, t in zip(stride, dilation, strict=True)]
    d.call(op, *slots, stride, _each(d, n, 0, 2), extra, groups, dilation)


@row(aten.convolution.default)
def convolution(d: Draw, op: Any) -> None:
    n, transposed = d.integer(1, 3), d.flag()
    slots, groups, batched = _conv(d, n, transposed)
    if not batched:
        raise Invalid("convolution needs a batch axis")
    stride, dilation = _each(d, n, 1, 3), _each(d, n, 1, 2)
    extra = [d.integer(0, max(s, t) - 1) if transposed else 0
             for s, t in zip(stride, dilation, strict=True)]  # fmt: skip
    d.call(op, *slots, stride, _each(d, n, 0, 2), dilation, transposed, extra, groups)


# -- pools ---------------------------------------------------------------------------------------


def _image(d: Draw, spatial: int, kinds: tuple[str, ...] = PLAIN) -> Slot:
    low = spatial + 1 if d.integer(0, 3) == 0 else spatial + 2
    return d.operand(FLOATS, low, low, 900, kinds, least=2)


@row(
    *[getattr(aten, f"max_pool{n}d").default for n in (1, 2, 3)],
    *[getattr(aten, f"max_pool{n}d_with_indices").default for n in (2, 3)],
)
def max_pool(d: Draw, op: Any) -> None:
    n = int(str(op).split("pool")[1][0])
    x = _image(d, n, ("normal", "grid", "inf"))
    stride = _each(d, n, 1, 3) if d.flag() else []
    keep = None
    if "indices" in str(op) and d.integer(0, 3):
        keep = (0,)
    kernel = _each(d, n, 1, 3)
    padding = [d.integer(0, size // 2) for size in kernel]
    d.call(op, x, kernel, stride, padding, _each(d, n, 1, 2), d.flag(), keep=keep)


@row(*[getattr(aten, f"avg_pool{n}d").default for n in (1, 2, 3)])
def avg_pool(d: Draw, op: Any) -> None:
    n = int(str(op).split("pool")[1][0])
    x = _image(d, n, (*PLAIN, "inf", "nan"))
    stride = _each(d, n, 1, 3) if d.flag() else []
    more = [d.choice(None, 2, -3, 7)] if n > 1 else []
    kernel = _each(d, n, 1, 3)
    padding = [d.integer(0, size // 2) for size in kernel]
    d.call(op, x, kernel, stride, padding, d.flag(), d.flag(), *more)


@row(
    *[getattr(aten, f"adaptive_avg_pool{n}d").default for n in (1, 2, 3)],
    *[getattr(aten, f"_adaptive_avg_pool{n}d").default for n in (2, 3)],
    *[getattr(aten, f"adaptive_max_pool{n}d").default for n in (1, 2, 3)],
)
def adaptive_pool(d: Draw, op: Any) -> None:
    n = int(str(op).split("pool")[1][0])
    largest = "max" in str(op)
    d.call(op, _image(d, n), _each(d, n, 1, 7), keep=(0,) if largest else None)


# -- norms ---------------------------------------------------------------------------------------


def _affine(d: Draw, shape: list[int], dtype: torch.dtype) -> list[Slot | None]:
    return [d.tensor(shape, dtype, PLAIN) if d.flag() else None for _ in range(2)]


def _eps(d: Draw, dtype: torch.dtype) -> float:
    """In fp16 a smaller one than fp16 has is raised, which a small variance shows."""
    small = () if d.half or dtype is torch.float16 else (1e-12,)
    return float(d.choice(1e-5, 1e-3, *small, 0.1))


@row(
    aten.layer_norm.default,
    aten.native_layer_norm.default,
    aten.rms_norm.default,
    aten._fused_rms_norm.default,
)
def layer_norm(d: Draw, op: Any) -> None:
    x = d.operand(FLOATS, 1, 5)
    shape, dtype = list(d.of(x).shape), d.of(x).dtype
    axes = shape[-d.integer(1, len(shape)) :]
    weight, bias = _affine(d, axes, dtype)
    eps = _eps(d, dtype)
    if "rms" in str(op):
        keep = (0,) if op is aten._fused_rms_norm.default else None
        d.call(op, x, axes, weight, d.choice(None, eps), keep=keep)
    else:
        keep = (0,) if op is aten.native_layer_norm.default else None
        d.call(op, x, axes, weight, bias, eps, keep=keep)


@row(aten.group_norm.default, aten.native_group_norm.default)
def group_norm(d: Draw, op: Any) -> None:
    groups, per = d.integer(1, 3), d.integer(1, 3)
    shape = [d.integer(1, 3), groups * per, *d.shape(0, 3, 60)]
    dtype = d.choice(*FLOATS)
    x = d.tensor(shape, dtype)
    weight, bias = _affine(d, [groups * per], dtype)
    eps = _eps(d, dtype)
    if op is aten.group_norm.default:
        d.call(op, x, groups, weight, bias, eps)
    else:
        size = d.of(x).numel() // shape[0] // shape[1]
        d.call(op, x, weight, bias, shape[0], shape[1], size, groups, eps, keep=(0,))


@row(
    aten.instance_norm.default,
    aten._native_batch_norm_legit.no_stats,
    aten._native_batch_norm_legit_functional.default,
    aten._native_batch_norm_legit_no_training.default,
)
def batch_norm(d: Draw, op: Any) -> None:
    shape = [d.integer(1, 3), d.integer(1, 4), *d.shape(1, 3, 60)]
    dtype = F32
    x = d.tensor(shape, dtype, PLAIN)
    weight, bias = _affine(d, [shape[1]], dtype)
    mean = d.tensor([shape[1]], dtype, PLAIN)
    var = d.tensor([shape[1]], dtype, ("positive",))
    eps = d.choice(1e-5, 1e-3)
    if op is aten.instance_norm.default:
        use = d.flag()
        stats = (None, None) if use else (mean, var)
        d.call(op, x, weight, bias, *stats, use, 0.1, eps, False)
    elif op is aten._native_batch_norm_legit.no_stats:
        d.call(op, x, weight, bias, True, 0.1, eps, keep=(0,))
    elif op is aten._native_batch_norm_legit_functional.default:
        d.call(op, x, weight, bias, mean, var, True, d.choice(0.1, 0.5), eps)
    else:
        d.call(op, x, weight, bias, mean, var, 0.1, eps, keep=(0,))


# -- resizing ------------------------------------------------------------------------------------


@row(
    *[
        op
        for name in ("upsample_nearest", "_upsample_nearest_exact")
        for n in (1, 2, 3)
        for op in (getattr(aten, f"{name}{n}d").default, getattr(aten, f"{name}{n}d").vec)
    ],
    aten.upsample_linear1d.default,
    aten.upsample_linear1d.vec,
    aten.upsample_trilinear3d.vec,
    aten.upsample_bicubic2d.vec,
    aten.upsample_bilinear2d.vec,
    aten._upsample_bilinear2d_aa.default,
    aten._upsample_bilinear2d_aa.vec,
    aten._upsample_bicubic2d_aa.vec,
)
def upsample(d: Draw, op: Any) -> None:
    name = str(op)
    n = next(int(c) for c in name if c in "123")
    x = d.operand((F32,) if "aa" in name else FLOATS, n + 2, n + 2, 500, PLAIN, least=2)
    corners = [d.flag()] if "align_corners" in str(op._schema) else []
    # torch 2.13's antialiased ops go wrong for a width of 1.
    least = 2 if "aa" in name else 1
    size: list[int] | None = [d.integer(least, 9) for _ in range(n)]
    if name.endswith(".vec"):
        scales = None
        if d.flag():
            size, scales = (
                None,
                [
                    d.choice(2.0, 1.5, 1.0, 3.0, *(() if least > 1 else (0.5, 0.75)))
                    for _ in range(n)
                ],
            )
        d.call(op, x, size, *corners, scales)
    else:
        d.call(op, x, size, *corners)


@row(aten.grid_sampler.default, aten.grid_sampler_2d.default, aten.grid_sampler_3d.default)
def grid_sampler(d: Draw, op: Any) -> None:
    either = op is aten.grid_sampler.default
    n = 3 if op is aten.grid_sampler_3d.default or (either and d.integer(0, 2) == 0) else 2
    batch = d.integer(1, 2)
    x = d.tensor([batch, d.integer(1, 3), *(d.integer(1, 6) for _ in range(n))], F32, PLAIN)
    grid = d.tensor([batch, *(d.integer(1, 4) for _ in range(n)), n], F32, ("unit", "normal"))
    mode = d.choice(0, 1, 2) if n == 2 else d.choice(0, 1)
    d.call(op, x, grid, mode, d.integer(0, 2), d.flag())
