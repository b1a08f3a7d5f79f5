"""What users of ExecuTorch's Core ML backend (ET) and of coremltools (CT) saw fail, as rows.

Each row is a model from a public issue. It must be delegated and right, or stay outside with a
reason, and then ExecuTorch must run it. ``UNTESTED`` says which issues cannot be such a row.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from case import randint, randn, uniform
from executorch_coreml import Target

aten = torch.ops.aten
INF, LOWEST = math.inf, torch.finfo(torch.float32).min


@dataclass(frozen=True)
class Row:
    """One model.

    Attributes:
        issue: The first issue that tells of it.
        outside: Op -> part of the reason it stays outside for; without any, all is delegated.
        alone: It must be the whole program, not one part of a shared one.
        beyond_edge: Ops that ExecuTorch takes only if told to.
        target: The deployment target asked for.
    """

    issue: str
    id: str
    fn: Callable[..., Any]
    inputs: tuple[Any, ...]
    outside: dict[str, str] = field(default_factory=dict)
    alone: bool = False
    beyond_edge: tuple[Any, ...] = ()
    target: Target | None = None


def seeded(make: Callable[..., nn.Module], *args: Any, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    return make(*args, **options).eval()


# -- models ---------------------------------------------------------------------------------------


def fraction(x: torch.Tensor) -> torch.Tensor:
    """The workaround of the issue, which fp16 would break as well."""
    turns = x / 3.7
    return turns - torch.floor(turns)


class SpectrumByHand(nn.Module):
    """A short-time Fourier transform in real numbers: convolutions with windowed waves."""

    def __init__(self, size: int = 64, hop: int = 16) -> None:
        super().__init__()
        angle = 2 * math.pi * torch.outer(torch.arange(size // 2 + 1), torch.arange(size)) / size
        window = torch.hann_window(size)
        self.hop = hop
        self.register_buffer("real", (angle.cos() * window)[:, None])
        self.register_buffer("imaginary", (-angle.sin() * window)[:, None])

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = F.pad(x, (32, 32), mode="reflect")
        real = F.conv1d(x, self.real, stride=self.hop)
        imaginary = F.conv1d(x, self.imaginary, stride=self.hop)
        power = real * real + imaginary * imaginary
        frames = real.mT @ self.real[:, 0] + imaginary.mT @ self.imaginary[:, 0]
        return power.clamp(min=1e-9).sqrt(), torch.log1p(power), frames


class Int8Between(nn.Module):
    """An int8 value that the model makes, though neither input nor output is one."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x).to(torch.int8).sum(dim=1)


class IntegerMatmul(nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("weight", randint(4, 5).to(dtype))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.mm(x, self.weight)


class NoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(randn(3, 4))

    def forward(self) -> torch.Tensor:
        return torch.relu(self.weight) * 2


class LSTM(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 3, batch_first=True, **options)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y, (h, c) = self.lstm(x)
        return y, h, c


class MaskedAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.attention(x, x, x, attn_mask=~CAUSAL, need_weights=False)[0]


class SameConstantTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("constant", randn(3))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.constant, self.constant, x + self.constant, x


def written(x: torch.Tensor, where: Any, value: Any) -> torch.Tensor:
    """The assignment of CT#2188, between ops that compute: alone it would only move data."""
    y = torch.relu(x).clone()
    y[where] = value
    return y + 1


def decoded(x: torch.Tensor) -> torch.Tensor:
    """YOLOX's decoding of boxes."""
    y = x.clone()
    y[..., :2] = (y[..., :2] + 1) * 8
    y[..., 2:4] = torch.exp(y[..., 2:4]) * 8
    return y


def ior(x: torch.Tensor) -> torch.Tensor:
    y = x > 0
    y |= x < -1
    return y


def normalised(x: torch.Tensor) -> torch.Tensor:
    return x * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + 1e-6)


def attend(q: Any, k: Any, v: Any, mask: Any = None, scale: Any = None) -> torch.Tensor:
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)


def between(limits: tuple[int, int], value: torch.Tensor) -> torch.Tensor:
    """Whether a random value is in its range: the only part of it that two runs share."""
    return torch.all((value >= limits[0]) & (value < limits[1]))


# -- inputs ---------------------------------------------------------------------------------------

X, SQUARE, CUBE, LONG = randn(3, 4), randn(5, 5), randn(2, 3, 4), randn(2, 5, 4)
IMAGE, VOLUME = randn(1, 2, 4, 6), randn(2, 3, 4, 4, 4)
INT8, UINT8 = randint(3, 4, low=-8, high=8).to(torch.int8), randint(3, 4, low=0).to(torch.uint8)
INT16, INT32, INT64 = (randint(3, 4, dtype=d) for d in (torch.int16, torch.int32, torch.int64))
POSITIVE = randint(3, 4, low=1, high=9)
CHANNELS_LAST = randn(1, 3, 4, 5).to(memory_format=torch.channels_last)
CAUSAL = torch.ones(4, 4, dtype=torch.bool).tril()
EMPTY_ROW = CAUSAL & torch.tensor([True, False, True, True])[:, None]
LOWEST_MASK = torch.where(EMPTY_ROW, 0.0, LOWEST)
QKV = (randn(1, 2, 4, 8), randn(1, 2, 4, 8) + 1, randn(1, 2, 4, 8) - 1)
MANY = tuple(x.expand(12, 2, 4, 8).clone() * torch.arange(1, 13)[:, None, None, None] for x in QKV)
LARGE = torch.tensor([-20.0, -5, 0, 5, 9, 10.5, 11, 15, 20, 50, 100, 1000, 6e4])
ROWS_OF_SIZES = torch.stack([torch.zeros(8), randn(8), randn(8) * 1e-3, randn(8) * 300])
GRID_3D = uniform(1, 2, 3, 4, 3, low=-1, high=1)

INT8_CROSSES = "has dtype int8, which the delegate does not take"


# -- ExecuTorch -----------------------------------------------------------------------------------

EXECUTORCH = [
    Row("ET#11686", "abs_int8", torch.abs, (INT8,), {"aten.abs.default": INT8_CROSSES}),
    Row("ET#11686", "abs_uint8", torch.abs, (UINT8,)),
    Row("ET#11686", "add_uint8", lambda x: x + x, (UINT8 + 120,)),
    Row("ET#19245", "int8_between", seeded(Int8Between), (randn(3, 4) * 3,)),
    Row("ET#11690", "mm_int16", IntegerMatmul(torch.int16), (INT16 * 3000,)),
    Row("ET#11691", "mm_int32", IntegerMatmul(torch.int32), (INT32 * 12345678,)),
    Row("ET#11718", "diagonal", lambda x: torch.diagonal(x) + 1, (SQUARE,)),
    Row("ET#11718", "diagonal_offset", lambda x: torch.diagonal(x, 1) + 1, (SQUARE,)),
    Row("ET#11718", "diagonal_only", torch.diagonal, (SQUARE,), alone=True),
    Row("ET#11715", "argmax", torch.argmax, (X,)),
    Row("ET#11715", "argmin", torch.argmin, (X,)),
    Row("ET#11722", "rand", lambda x: x + between((0, 1), torch.rand(3, 4)), (X,)),
    Row("ET#11722", "randn", lambda x: x + between((-9, 9), torch.randn(3, 4)), (X,)),
    Row("ET#11722", "rand_like", lambda x: between((0, 1), torch.rand_like(x)), (X,),
        beyond_edge=(aten.rand_like.default,)),
    Row("ET#11722", "randn_like", lambda x: between((-9, 9), torch.randn_like(x)), (X,),
        beyond_edge=(aten.randn_like.default,)),
    Row("ET#11722", "randint", lambda x: x + between((1, 5), torch.randint(1, 5, (3, 4))), (X,),
        beyond_edge=(aten.randint.low,)),
    Row("ET#11722", "randint_like", lambda x: between((1, 5), torch.randint_like(x, 1, 5)), (X,),
        beyond_edge=(aten.randint_like.low_dtype,)),
    Row("ET#11712", "acosh", torch.acosh, (uniform(3, 4, low=1, high=9),)),
    Row("ET#11712", "asinh", torch.asinh, (X * 10,)),
    Row("ET#11716", "cumsum_-3", lambda x: torch.cumsum(x, -3), (CUBE,)),
    Row("ET#11716", "cumsum_-2", lambda x: torch.cumsum(x, -2), (CUBE,)),
    Row("ET#6201", "cumsum_without_dtype", lambda x: x.cumsum(1), (CUBE,)),
    Row("ET#11706", "max_pool1d", nn.MaxPool1d(5, return_indices=True), (randn(1, 3, 20),)),
    Row("ET#11706", "max_pool2d", nn.MaxPool2d(2, return_indices=True), (IMAGE,)),
    Row("ET#11706", "adaptive_max_pool1d", nn.AdaptiveMaxPool1d(5, return_indices=True),
        (randn(1, 3, 20),), beyond_edge=(aten.adaptive_max_pool2d.default,)),
    Row("ET#11706", "adaptive_max_pool2d", nn.AdaptiveMaxPool2d(2, return_indices=True),
        (IMAGE,), beyond_edge=(aten.adaptive_max_pool2d.default,)),
    Row("ET#11688", "conv1d", seeded(nn.Conv1d, 16, 4, 6, stride=8, dilation=2, groups=2),
        (randn(2, 16, 11),)),
    Row("ET#11701", "batch_norm3d", seeded(nn.BatchNorm3d, 3), (VOLUME,)),
    Row("ET#11702", "instance_norm3d", seeded(nn.InstanceNorm3d, 3, affine=True), (VOLUME,)),
    Row("ET#11708", "reflection_pad3d", nn.ReflectionPad3d(1), (VOLUME,), alone=True),
    Row("ET#11708", "replication_pad3d", nn.ReplicationPad3d((1, 2, 0, 1, 2, 1)), (VOLUME,),
        alone=True),
    Row("ET#11711", "pixel_unshuffle", nn.PixelUnshuffle(2), (IMAGE,), target=Target.iOS15),
    Row("ET#11719", "no_inputs", NoInputs(), (), alone=True),
    Row("ET#17537", "where", lambda x: torch.where(x > 0)[0], (X,)),
    Row("ET#17537", "nonzero", lambda x: torch.nonzero(x.relu()), (X,)),
    Row("ET#17537", "nonzero_numpy", aten.nonzero_numpy, (X,)),
    Row("ET#6817", "group_norm", seeded(nn.GroupNorm, 2, 4), (randn(2, 4, 5, 5),)),
    Row("ET#4090", "lstm", seeded(LSTM), (LONG,)),
    Row("ET#2769", "rank0", torch.add, (torch.tensor(1.5), torch.tensor(2.25)), alone=True),
    Row("ET#2769", "rank0_out", torch.sum, (X,), alone=True),
    Row("ET#10451", "channels_last_conv", seeded(nn.Conv2d, 3, 4, 3), (CHANNELS_LAST,), alone=True),
    Row("ET#10451", "channels_last_input", torch.relu, (CHANNELS_LAST,), alone=True),
    Row("ET#10451", "channels_last_to",
        lambda x: x.relu().to(memory_format=torch.channels_last) + 1, (IMAGE,),
        {"dim_order_ops._to_dim_order_copy.default": "dim_order is [0, 2, 3, 1]"}),
    Row("ET#10451", "channels_last_clone",
        lambda x: x.relu().clone(memory_format=torch.channels_last) + 1, (IMAGE,),
        {"dim_order_ops._clone_dim_order.default": "dim_order is [0, 2, 3, 1]"}),
    Row("ET#11107", "triu_tril", lambda x: torch.triu(x, 1) + torch.tril(x), (SQUARE,)),
    Row("ET#6361", "any", lambda x: torch.any(x > 0, dim=-1), (X,)),
    Row("ET#6361", "safe_softmax", attend, (*QKV, EMPTY_ROW)),
    Row("ET#6663", "dict", lambda x: {"a": torch.relu(x), "b": x + 1}, (X,), alone=True),
    Row("ET#7616", "embedding", lambda i, w: F.embedding(i, w) + 1,
        (torch.tensor([0, 65535, 65536, 69999]), randn(70000, 2))),
    Row("ET#3443", "partly", lambda x: (x.relu().masked_scatter(x > 0, x * 2) + 1).exp(), (X,)),
]  # fmt: skip

# -- coremltools ----------------------------------------------------------------------------------

COREMLTOOLS = [
    Row("CT#2687", "softplus", F.softplus, (LARGE,)),
    Row("CT#2687", "softplus_threshold", lambda x: F.softplus(x, beta=2.0, threshold=1.0),
        (uniform(20, low=-4, high=4),)),
    Row("CT#2687", "mish", F.mish, (LARGE,)),
    Row("CT#2726", "logsumexp", lambda x: torch.logsumexp(x, -1), (randn(3, 40) * 20 + 7.63,)),
    Row("CT#2726", "logsumexp_-inf", lambda x: torch.logsumexp(x, -1), (torch.full((2, 3), -INF),)),
    Row("CT#2726", "log_softmax", lambda x: F.log_softmax(x, -1), (randn(3, 40) * 40,)),
    Row("CT#2726", "logcumsumexp", lambda x: torch.logcumsumexp(x, -1), (X,),
        beyond_edge=(aten.logcumsumexp.default,)),
    Row("CT#2821", "rms_norm_eps", nn.RMSNorm(8, eps=1e-6), (ROWS_OF_SIZES,)),
    Row("CT#2821", "rms_norm_zero_row", nn.RMSNorm(8), (ROWS_OF_SIZES,)),
    Row("CT#2585", "rms_norm_weight", seeded(nn.RMSNorm, 64), (randn(3, 64) * 400,)),
    Row("ET#19523", "x_rsqrt_mean", normalised, (randn(3, 64) * 400,)),
    Row("ET#19523", "x_over_sqrt_mean",
        lambda x: x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-6), (randn(3, 64) * 400,)),
    Row("ET#19523", "x_rsqrt_mean_half", lambda x: normalised(x).half(),
        ((randn(3, 64) * 400).half(),)),
    Row("CT#2669", "lowest_added", lambda x, m: torch.softmax(x + m, -1), (QKV[0][..., :4],
        LOWEST_MASK)),
    Row("CT#2669", "lowest_constant", lambda x: torch.softmax(x + LOWEST_MASK, -1),
        (QKV[0][..., :4],)),
    Row("CT#2669", "lowest_filled",
        lambda x: torch.softmax(x.masked_fill(~EMPTY_ROW, LOWEST), -1), (QKV[0][..., :4],)),
    Row("CT#2669", "lowest_attention", attend, (*QKV, LOWEST_MASK)),
    Row("CT#2669", "lowest_expanded", lambda x, m: torch.softmax(x + m[:, None], -1),
        (QKV[0][..., :4], LOWEST_MASK[None])),
    Row("CT#1901", "avg_pool2d", nn.AvgPool2d(7, stride=4, padding=3), (randn(1, 2, 16, 16),)),
    Row("CT#1901", "avg_pool2d_inside", nn.AvgPool2d(7, 4, 3, count_include_pad=False),
        (randn(1, 2, 16, 16),)),
    Row("CT#2570", "floor_divide", lambda x, y: x // y, (INT64, POSITIVE)),
    Row("CT#2570", "floor_divide_int32", lambda x: x // 3, (INT32,)),
    Row("CT#1821", "div_floor", lambda x, y: torch.div(x, y, rounding_mode="floor"),
        (X * 9, POSITIVE)),
    Row("CT#2188", "write_column", lambda x: written(x, (slice(None), 2), 7.0), (X,)),
    Row("CT#2188", "write_columns", lambda x, v: written(x, (slice(None), slice(1, 3)), v),
        (X, randn(3, 2))),
    Row("CT#2188", "write_listed",
        lambda x, v: written(x, (slice(None), torch.tensor([1, 3])), v), (X, randn(3, 2))),
    Row("CT#2188", "write_at", lambda x, i, v: written(x, (slice(None), i), v),
        (X, torch.tensor([2, 0]), randn(3, 2))),
    Row("CT#1678", "yolox", decoded, (randn(2, 6, 7),)),
    Row("CT#1678", "longformer",
        lambda x, v: written(x, (slice(None), slice(2), slice(None), slice(3)), v),
        (randn(2, 4, 3, 5), randn(1, 1, 3))),
    Row("CT#2838", "roll", lambda x: torch.roll(x, 2, 1) + 1, (X,)),
    Row("CT#2838", "roll_two", lambda x: torch.roll(x, (1, -2), (0, 2)) + 1, (CUBE,)),
    Row("CT#2838", "roll_flat", lambda x: torch.roll(x, 3), (X,), alone=True),
    Row("CT#2583", "pad_by_size", lambda x: F.pad(x, (1, x.size(-1))), (X,), alone=True),
    Row("RNE#1383", "cat_pad", lambda x: torch.cat([x, x.new_zeros(x.size(0), 2)], 1), (X,),
        alone=True),
    Row("CT#2864", "scale", lambda q, k, v: attend(q, k, v, scale=0.3), QKV),
    Row("CT#2864", "scale_iOS18", lambda q, k, v: attend(q, k, v, scale=0.3), QKV,
        target=Target.iOS18),
    Row("CT#2650", "batch_12", attend, MANY),
    Row("CT#2506", "attention_-inf", seeded(MaskedAttention), (randn(2, 4, 8),)),
    Row("CT#2506", "softmax_-inf", lambda x: x.masked_fill(~CAUSAL, -INF).softmax(-1),
        (QKV[0][..., :4],)),
    Row("CT#2517", "alias", lambda x: aten.alias(torch.relu(x)) + 1, (X,)),
    Row("CT#2638", "masked_scatter", lambda x, y: x.masked_scatter(x > 0, y), (X, randn(12))),
    Row("CT#2638", "ior", ior, (X,)),
    Row("CT#2638", "grid_sample_3d", lambda x, g: F.grid_sample(x, g, align_corners=False),
        (VOLUME[:1], GRID_3D)),
    Row("CT#2638", "bicubic", lambda x: F.interpolate(x, scale_factor=2, mode="bicubic"), (IMAGE,)),
    Row("CT#2638", "bicubic_corners",
        lambda x: F.interpolate(x, (7, 3), mode="bicubic", align_corners=True), (IMAGE,)),
    Row("CT#2743", "unfold", lambda x: F.unfold(x, 3, padding=1), (IMAGE,), alone=True),
    Row("CT#2453", "full_dtype", lambda x: x + torch.full((3, 4), 2, dtype=torch.int32), (INT32,)),
    Row("CT#1848", "full_rank0", lambda x: x + torch.full((), 2.5), (X,)),
    Row("CT#1848", "full_rank0_int", lambda x: x.sum() + torch.full([], 3, dtype=torch.int64),
        (X,)),
    Row("CT#824", "bidirectional_lstm", seeded(LSTM, bidirectional=True), (LONG,)),
    Row("CT#2470", "batch_norm_half", nn.BatchNorm2d(3, eps=1e-7).half().eval(),
        (randn(1, 3, 4, 4).half(),)),
    Row("CT#2470", "linear_half", seeded(nn.Linear, 4, 5).half(), (X.half(),)),
    Row("CT#2156", "reciprocal_int", torch.reciprocal, (POSITIVE,)),
    Row("CT#2156", "divide_by_int", lambda x: 1 / x, (POSITIVE,)),
    Row("CT#1450", "constant_twice", SameConstantTwice(), (X[:2, :3].clone(),), alone=True),
    Row("john-rocky/CoreML-Models#74", "mod_1", lambda x: (x / 3.7) % 1, (X * 100,)),
    Row("john-rocky/CoreML-Models#74", "fraction", fraction, (X * 100,)),
    Row("soniqo/speech-swift#173", "stft", SpectrumByHand(), (randn(1, 1, 400),)),
    Row("soniqo/speech-swift#173", "rsqrt_int", torch.rsqrt, (POSITIVE,)),
    Row("soniqo/speech-swift#173", "multiply", torch.multiply, (X, X + 1)),
]  # fmt: skip

ROWS = [*EXECUTORCH, *COREMLTOOLS]

# Not rows, and where they are tested instead, or why they cannot be.
ELSEWHERE = (
    ("ET#11687", "the third item of ET#13023; the list does not have its content"),
    ("ET#4658", "symbolic sizes at a border: test_dynamic_shapes"),
    ("ET#21951", "several methods: test_methods"),
    ("ET#21855", "export_llm's mutated buffers: test_state"),
    ("CT#2631", "the width of a state on the Neural Engine: test_state"),
    ("CT#2716", "palettes with a state: test_known_quantization"),
    ("CT#2688", "palettes on the GPU of macOS 26: test_known_quantization has their form"),
    ("CT#2777", "grouped palettes: test_known_quantization"),
    ("CT#2589", "quantized weights before iOS18: test_known_quantization"),
    ("CT#2510", "the unit that runs weights quantized per block; no such device here"),
    ("CT#2730", "enumerated shapes: test_dynamic_shapes"),
    ("CT#2271", "enumerated shapes: test_dynamic_shapes"),
    ("CT#2173", "an iPad's GPU differs from a Mac's; no such device here"),
    ("FluidInference/FluidAudio#667", "GPU and BNNS crashes of macOS 26.5; no such device here"),
    ("CT#2247", "a size the Neural Engine's compiler refuses; no such device here"),
)  # fmt: skip
