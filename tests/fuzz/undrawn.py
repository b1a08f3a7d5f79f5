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
    quant.dequantize_codebook.default quantized_decomposed.dequantize_per_channel.default
    quantized_decomposed.dequantize_per_channel_group.default
    quantized_decomposed.dequantize_per_tensor.default
    quantized_decomposed.dequantize_per_tensor.tensor
    quantized_decomposed.quantize_per_channel.default
    quantized_decomposed.quantize_per_tensor.default
    quantized_decomposed.quantize_per_tensor.tensor torchao.dequantize_affine.default
    torchao.quantize_affine.default
"""

# Waiting for a row.
NOT_YET = """
    aten.__and__.Scalar aten.__and__.Tensor aten.__lshift__.Scalar aten.__lshift__.Tensor
    aten.__or__.Scalar aten.__or__.Tensor aten.__rshift__.Scalar aten.__rshift__.Tensor
    aten.__xor__.Scalar aten.__xor__.Tensor aten._native_batch_norm_legit_functional.default
    aten._pdist_forward.default aten._trilinear.default aten._unsafe_view.default
    aten.addbmm.default aten.addmv.default aten.angle.default aten.bitwise_and.Scalar_Tensor
    aten.bitwise_left_shift.Scalar_Tensor aten.bitwise_left_shift.Tensor
    aten.bitwise_left_shift.Tensor_Scalar aten.bitwise_or.Scalar_Tensor
    aten.bitwise_right_shift.Scalar_Tensor aten.bitwise_right_shift.Tensor
    aten.bitwise_right_shift.Tensor_Scalar aten.bitwise_xor.Scalar_Tensor aten.bucketize.Scalar
    aten.bucketize.Tensor aten.copysign.Scalar aten.copysign.Tensor aten.cummax.default
    aten.cummin.default aten.cumprod.default aten.diagonal_scatter.default aten.digamma.default
    aten.dist.default aten.erfc.default aten.erfinv.default aten.exp2.default aten.fmax.default
    aten.fmin.default aten.grid_sampler_3d.default aten.hypot.default aten.index_reduce.default
    aten.kaiser_window.beta aten.kaiser_window.default aten.kaiser_window.periodic
    aten.kthvalue.default aten.ldexp.Tensor aten.lgamma.default aten.logaddexp.default
    aten.logaddexp2.default aten.logcumsumexp.default aten.masked_scatter.default
    aten.narrow_copy.default aten.put.default aten.searchsorted.Scalar aten.searchsorted.Tensor
    aten.signbit.default aten.special_erfcx.default aten.special_ndtri.default
    aten.std_mean.correction aten.std_mean.default aten.std_mean.dim aten.tril_indices.default
    aten.triu_indices.default aten.var_mean.correction aten.var_mean.default aten.var_mean.dim
"""

# ExecuTorch makes these of _to_copy and clone, which rows draw.
MADE_BY_EXECUTORCH = """
    dim_order_ops._to_dim_order_copy.default dim_order_ops._clone_dim_order.default
"""

UNDRAWN = frozenset(" ".join((RANDOM, UNDEFINED, QUANTIZED, NOT_YET, MADE_BY_EXECUTORCH)).split())
