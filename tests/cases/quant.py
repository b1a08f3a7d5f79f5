"""Rows for ops/quant.py. Whole quantized models are in tests/test_quantization.py.

Inputs lie between the places where rounding changes, so that fp16 rounds to the same integers.
"""

from __future__ import annotations

from typing import Any

import executorch.kernels.quantized  # noqa: F401  (what the Rejects leave outside has a kernel)
import torch
import torch.ao.quantization.fx._decomposed  # defines quantized_decomposed
from torch import nn
from torchao.prototype.quantization.codebook_coreml import codebook_ops  # noqa: F401

from case import Case, Reject, randint, randn
from executorch_coreml import Target

q = torch.ops.quantized_decomposed
ao = torch.ops.torchao
STEP = 2.0**-4
SIGNED = (-128, 127, torch.int8)
UNSIGNED = (0, 255, torch.uint8)


def between(*shape: int, low: int = -140, high: int = 140) -> torch.Tensor:
    """Values a quarter of a step off the multiples of STEP, some beyond what int8 can hold."""
    return (randint(*shape, low=low, high=high).float() + 0.25) * STEP


def peaked(*shape: int) -> torch.Tensor:
    """Every fourth value is the largest. Symmetric scales put the extremes half way between two
    integers, where 127.5 is clipped to 127 either way, but -127.5 may become -127 or -128."""
    x = randn(*shape)
    x[..., ::4] = 4.0
    return x


def small(*shape: int, low: int = -128, high: int = 128, dtype: Any = torch.int8) -> torch.Tensor:
    return randint(*shape, low=low, high=high, dtype=dtype)


class Held(nn.Module):
    """A function of the inputs and of tensors that the module holds as constants."""

    def __init__(self, fn, *held):
        super().__init__()
        self.fn, self.count = fn, len(held)
        for number, tensor in enumerate(held):
            self.register_buffer(f"held{number}", tensor)

    def forward(self, *inputs):
        return self.fn(*inputs, *(getattr(self, f"held{i}") for i in range(self.count)))


def _through(scale: float, zero: int, *integers: Any):
    """Quantized and dequantized again, as around every layer."""

    def fn(x):
        made = q.quantize_per_tensor.default(x, scale, zero, *integers)
        return q.dequantize_per_tensor.default(made, scale, zero, *integers) * 2

    return fn


def _tensors(x, scale, zero):
    made = q.quantize_per_tensor.tensor(x, scale, zero, *UNSIGNED)
    return q.dequantize_per_tensor.tensor(made, scale, zero, *UNSIGNED) * 2


def _channels(axis: int):
    def fn(x, scale, zero):
        made = q.quantize_per_channel.default(x, scale, zero, axis, *SIGNED)
        return q.dequantize_per_channel.default(made, scale, zero, axis, *SIGNED) * 2

    return fn


def _affine_activation(x, scale, zero):
    made = ao.quantize_affine.default(x, x.shape, scale, zero, torch.int8)
    return ao.dequantize_affine.default(made, x.shape, scale, zero, torch.int8) * 2


def _weight(op, *args: Any):
    def fn(x, data, *steps):
        return x + op(data, *steps, *args)

    return fn


def _grouped(x, data, scale, zero):
    return x + q.dequantize_per_channel_group.default(
        data, scale, zero, -8, 7, torch.int8, 4, torch.float32
    )


def _blocks(block: list[int], low: int, high: int, dtype: Any = torch.int8):
    def fn(x, data, scale, zero):
        return x + ao.dequantize_affine.default(data, block, scale, zero, dtype, low, high)

    return fn


def _float_zero(x, data, scale):
    return x + ao.dequantize_affine.default(data, [1, 8], scale, None, torch.int8)


def _codes(bits: int, block: list[int]):
    def fn(x, codes, tables):
        return x + torch.ops.quant.dequantize_codebook.default(codes.int(), tables, bits, block)

    return fn


def _palette(name: str, bits: int, block: list[int], shape: tuple[int, ...] = (4, 8)) -> Case:
    blocks = [n // b for n, b in zip(shape, block, strict=True)]
    codes = small(*shape, low=0, high=2**bits, dtype=torch.uint8)
    tables = randn(*blocks, 2**bits, 1).double()
    fn = Held(_codes(bits, block), codes, tables)
    return Case(name, fn, (randn(*shape),), torch.ops.quant.dequantize_codebook.default)


def _integers(name: str, low: int, high: int, block: list[int], shape=(4, 8), **kind: Any) -> Case:
    blocks = [n // b for n, b in zip(shape, block, strict=True)]
    dtype = kind.get("dtype", torch.int8)
    data = small(*shape, low=low, high=high + 1, dtype=dtype)
    zero = small(*blocks, low=low, high=high + 1, dtype=dtype)
    scale = randn(*blocks).abs() * 0.1 + 0.01
    fn = Held(_blocks(block, low, high, dtype), data, scale, zero)
    return Case(name, fn, (randn(*shape),), ao.dequantize_affine.default)


def _dynamic(choose, quantize, dequantize, eps: bool = True):
    """Scale and zero point from the tensor, as PT2E's dynamic quantization has them."""

    def fn(x):
        scale, zero = choose(x, *SIGNED[:2], *([1e-6] if eps else []), SIGNED[2])
        made = quantize(x, scale, zero, *SIGNED)
        return dequantize(made, scale, zero, *SIGNED) * 2

    return fn


def _dynamic_tokens(choose):
    def fn(x):
        scale, zero = choose(x, torch.int8)
        made = q.quantize_per_token.default(x, scale, zero, *SIGNED)
        return q.dequantize_per_token.default(made, scale, zero, *SIGNED, torch.float32) * 2

    return fn


def _dynamic_affine(mapping: str, block: list[int], keep: bool = False):
    """What torchao's Int8DynamicActivation configs make."""

    def fn(x):
        zero_dtype = torch.int8
        scale, zero = ao.choose_qparams_affine.default(
            x, mapping, block, torch.int8, -128, 127, None, None, zero_dtype, keep
        )
        made = ao.quantize_affine.default(x, block, scale, zero, torch.int8, -128, 127)
        back = ao.dequantize_affine.default(made, block, scale, zero, torch.int8, -128, 127)
        return back * 2

    return fn


def _group_activation(x, scale, zero):
    made = q.quantize_per_channel_group.default(x, scale, zero, *SIGNED, 4)
    return q.dequantize_per_channel_group.default(made, scale, zero, *SIGNED, 4, torch.float32) * 2


def _double(x):
    made = q.quantize_per_token.default(x, x[:, :1].abs() + 1, x[:, :1] * 0, *SIGNED)
    return q.dequantize_per_token.default(made, x[:, :1], x[:, :1], *SIGNED, torch.float64).float()


VECTOR = (torch.tensor([STEP, 2 * STEP, STEP / 2]), torch.tensor([0, 3, -5]))
QD = (q.quantize_per_tensor.default, q.dequantize_per_tensor.default)
PER_CHANNEL = (q.quantize_per_channel.default, q.dequantize_per_channel.default)
AFFINE = (ao.quantize_affine.default, ao.dequantize_affine.default)
# In fp16 the input itself is rounded: values between two integers may become either.
STEPS = {"half_rtol": 2.0**-7}
DECODED = q.dequantize_per_channel.default
X = (between(3, 7),)

ROWS = [
    Case("signed", _through(STEP, 0, *SIGNED), X, QD),
    Case("unsigned", _through(STEP, 128, *UNSIGNED), X, QD),
    Case("affine", _through(STEP, 3, *UNSIGNED), X, QD),
    Case("narrow", _through(STEP, 2, -20, 100, torch.int8), X, QD),
    Case("tiny_scale", _through(2.0**-18, 0, *SIGNED), (between(9) * 2.0**-14,), QD, atol=1e-9),
    Case(
        "tensors",
        Held(_tensors, torch.tensor([STEP]), torch.tensor([7])),
        X,
        (q.quantize_per_tensor.tensor, q.dequantize_per_tensor.tensor),
    ),
    Case("channels0", Held(_channels(0), *VECTOR), (between(3, 5),), PER_CHANNEL),
    Case("channels2", Held(_channels(2), *VECTOR), (between(2, 4, 3, 2),), PER_CHANNEL),
    Case(
        "affine_activation",
        Held(_affine_activation, torch.tensor(STEP), torch.tensor(4)),
        X,
        AFFINE,
    ),
    Case(
        "weight_tensor",
        Held(_weight(q.dequantize_per_tensor.default, 0.1, 3, *SIGNED), small(3, 7)),
        (randn(3, 7),),
        q.dequantize_per_tensor.default,
    ),
    Case(
        "weight_rank0",
        Held(_weight(q.dequantize_per_tensor.default, 0.1, 3, *SIGNED), small()),
        (randn(3, 7),),
        q.dequantize_per_tensor.default,
    ),
    Case(
        "weight_channels",
        Held(_weight(DECODED, 1, *SIGNED), small(2, 3, 4), *VECTOR),
        (randn(2, 3, 4),),
        DECODED,
    ),
    Case(
        "weight_4_bits",
        Held(_weight(DECODED, 0, -8, 7, torch.int8), small(3, 8, low=-8, high=8), *VECTOR),
        (randn(3, 8),),
        DECODED,
    ),
    Case(
        "weight_groups",
        Held(_grouped, small(2, 8, low=-8, high=8), randn(2, 2).abs(), small(2, 2, low=-3, high=3)),
        (randn(2, 8),),
        q.dequantize_per_channel_group.default,
    ),
    _integers("int8_tensor", -128, 127, [4, 8]),
    _integers("int8_axis", -128, 127, [1, 8]),
    _integers("uint8_axis", 0, 255, [4, 1], dtype=torch.uint8),
    _integers("int8_blocks", -128, 127, [2, 4]),
    _integers("int4_blocks", -8, 7, [1, 4]),
    _integers("uint4_blocks", 0, 15, [4, 2], dtype=torch.uint8),
    _integers("int3_axis", -4, 3, [1, 8]),
    _integers("int6_axis", -32, 31, [1, 8]),
    _integers("int4_rank4", -8, 7, [1, 2, 3, 3], (4, 4, 3, 3)),
    Case(
        "no_zero",
        Held(_float_zero, small(4, 8), randn(4, 1).abs()),
        (randn(4, 8),),
        ao.dequantize_affine.default,
    ),
    Case(
        "dynamic_tensor",
        _dynamic(
            q.choose_qparams.tensor,
            q.quantize_per_tensor.tensor,
            q.dequantize_per_tensor.tensor,
        ),
        (randn(4, 9),),
        (q.choose_qparams.tensor, q.quantize_per_tensor.tensor, q.dequantize_per_tensor.tensor),
        **STEPS,
    ),
    Case(
        "dynamic_symmetric",
        _dynamic(
            q.choose_qparams_symmetric.tensor,
            q.quantize_per_tensor.tensor,
            q.dequantize_per_tensor.tensor,
        ),
        (peaked(4, 11),),
        q.choose_qparams_symmetric.tensor,
        **STEPS,
    ),
    Case(
        "dynamic_tokens",
        _dynamic_tokens(q.choose_qparams_per_token.default),
        (peaked(2, 4, 9),),
        (
            q.choose_qparams_per_token.default,
            q.quantize_per_token.default,
            q.dequantize_per_token.default,
        ),
        **STEPS,
    ),
    Case(
        "dynamic_tokens_affine",
        _dynamic_tokens(q.choose_qparams_per_token_asymmetric.default),
        (randn(3, 9) + 0.7,),
        q.choose_qparams_per_token_asymmetric.default,
        **STEPS,
    ),
    Case(
        "dynamic_tokens_of_zeros",
        _dynamic_affine("ASYMMETRIC", [1, 5]),
        (torch.zeros(3, 5),),
        ao.choose_qparams_affine.default,
    ),
    Case(
        "dynamic_rows",
        _dynamic_affine("ASYMMETRIC", [1, 1, 9]),
        (randn(2, 3, 9),),
        (ao.choose_qparams_affine.default, *AFFINE),
        **STEPS,
    ),
    Case(
        "dynamic_rows_symmetric",
        _dynamic_affine("SYMMETRIC", [1, 12], True),
        (peaked(3, 12),),
        ao.choose_qparams_affine.default,
        **STEPS,
    ),
    Case(
        "dynamic_groups",
        _dynamic_affine("SYMMETRIC", [1, 4], True),
        (peaked(3, 8),),
        ao.choose_qparams_affine.default,
        **STEPS,
    ),
    Case(
        "group_activation",
        Held(_group_activation, torch.tensor([[STEP, 2 * STEP]] * 3), torch.zeros(3, 2).long()),
        (between(3, 8),),
        (q.quantize_per_channel_group.default, q.dequantize_per_channel_group.default),
    ),
    *[_palette(f"palette{bits}", bits, [4, 8]) for bits in range(1, 9)],
    _palette("palette3_columns", 3, [4, 2]),
    _palette("palette4_rows", 4, [2, 8]),
    _palette("palette2_rank4", 2, [2, 4, 3, 3], (4, 4, 3, 3)),
    Reject("double", _double, (randn(3, 5),), q.dequantize_per_token.default, "dtype float64"),
    Reject(
        "blocks_of_blocks",
        lambda x: _dynamic_affine("SYMMETRIC", [1, 2, 2, 1], True)(x),
        (randn(3, 4, 4, 2),),
        ao.quantize_affine.default,
        "input in blocks has 6 axes",
    ),
    Reject(
        "no_clipping",
        lambda x: _dynamic_affine("SYMMETRIC_NO_CLIPPING_ERR", [1, 6], True)(x),
        (randn(3, 6),),
        ao.choose_qparams_affine.default,
        "mapping_type must be one of",
    ),
    Reject(
        "wide_integers",
        lambda x: q.quantize_per_tensor.default(x, STEP, 0, -500, 500, torch.int16).float(),
        X,
        q.quantize_per_tensor.default,
        "dtype int16",
    ),
    Reject(
        "rank0",
        lambda x: _through(STEP, 0, *SIGNED)(x.sum()),
        X,
        q.quantize_per_tensor.default,
        "rank 0",
    ),
    Reject(
        "vector_palette",
        Held(_codes(1, [4, 8]), small(4, 8, low=0, high=2, dtype=torch.uint8), randn(1, 1, 2, 3)),
        (randn(4, 8, 3),),
        torch.ops.quant.dequantize_codebook.default,
        "vectors of 3",
    ),
    Reject(
        "old_target",
        _through(STEP, 0, *SIGNED),
        X,
        q.quantize_per_tensor.default,
        "needs iOS17 or later",
        {"minimum_deployment_target": Target.iOS16},
    ),
]
