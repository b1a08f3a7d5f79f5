"""``scaled_dot_product_attention``.

Semantics: coremltools ``mil/ops/defs/iOS18/transformers.py``. OpenVINO's fused op computes exactly
that in float32: the scale is 1 / sqrt(E), a boolean mask keeps where it is true, a float mask is
added, and a row with nothing kept is NaN.
"""

from __future__ import annotations

import openvino as ov
from openvino import opset13 as ops

from executorch_coreml.engine.kernels.operand import (
    Operand,
    cast,
    i64,
    is_bool,
    node,
    rank,
)
from executorch_coreml.engine.kernels.table import Family

kernels = Family()


@kernels("scaled_dot_product_attention", since=8)
def scaled_dot_product_attention(
    query: Operand, key: Operand, value: Operand, attn_mask: Operand | None = None
) -> ov.Node:
    inputs = [cast(operand, ov.Type.f32) for operand in (query, key, value)]
    if attn_mask is None:
        return ops.scaled_dot_product_attention(*inputs)
    mask = node(attn_mask) if is_bool(attn_mask) else cast(attn_mask, ov.Type.f32)
    if rank(attn_mask) < 2:
        mask = ops.reshape(mask, i64([1, -1]), False).output(0)
    return ops.scaled_dot_product_attention(*inputs, mask)
