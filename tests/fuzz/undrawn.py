"""Ops that no row draws, and why. ``tests/test_fuzz.py`` keeps the list true."""

from __future__ import annotations

# Their results are random.
RANDOM = """
    aten.bernoulli.default aten.bernoulli.p aten.exponential.default aten.multinomial.default
    aten.native_dropout.default aten.normal.Tensor_Tensor aten.normal.Tensor_float
    aten.normal.float_Tensor aten.normal_functional.default aten.rand.default
    aten.rand_like.default aten.randint.default aten.randint.low aten.randint_like.default
    aten.randint_like.low_dtype aten.randn.default aten.randn_like.default aten.randperm.default
    aten.rrelu_with_noise.default aten.rrelu_with_noise_functional.default aten.uniform.default
"""

# Their results are undefined.
UNDEFINED = """
    aten.empty.memory_format aten.empty_like.default aten.empty_permuted.default
    aten.empty_strided.default aten.new_empty.default aten.new_empty_strided.default
    dim_order_ops._empty_dim_order.default
"""

# Their arguments come from a quantizer, whose tests cover them.
QUANTIZED = """
    aten._int_mm.default
    quant.dequantize_codebook.default quantized_decomposed.dequantize_per_channel.default
    quantized_decomposed.choose_qparams.tensor quantized_decomposed.choose_qparams_symmetric.tensor
    quantized_decomposed.choose_qparams_per_token.default
    quantized_decomposed.choose_qparams_per_token_asymmetric.default
    quantized_decomposed.quantize_per_token.default
    quantized_decomposed.dequantize_per_token.default
    quantized_decomposed.quantize_per_channel_group.default torchao.choose_qparams_affine.default
    quantized_decomposed.dequantize_per_channel_group.default
    quantized_decomposed.dequantize_per_tensor.default
    quantized_decomposed.dequantize_per_tensor.tensor
    quantized_decomposed.quantize_per_channel.default
    quantized_decomposed.quantize_per_tensor.default
    quantized_decomposed.quantize_per_tensor.tensor torchao.dequantize_affine.default
    torchao.quantize_affine.default
"""

# How many elements their results have depends on values: a call drawn after one would hold for the
# example only. tests/test_select.py runs them.
SELECTING = """
    aten.masked_select.default aten.nonzero.default
"""

# ExecuTorch makes these of _to_copy and clone, which rows draw.
MADE_BY_EXECUTORCH = """
    dim_order_ops._to_dim_order_copy.default dim_order_ops._clone_dim_order.default
"""

UNDRAWN = frozenset(" ".join((RANDOM, UNDEFINED, QUANTIZED, SELECTING, MADE_BY_EXECUTORCH)).split())
