"""fp16 weights of matrix products that stay fp16 in memory.

OpenVINO's CPU plugin can multiply float32 values by fp16 weights, which it widens as it reads them:
exact, and half the memory. One row at a time is faster too; many rows are slower. It does so only
in what it takes for a large language model: a graph with a variable and an attention op, without
convolutions (2026.4: getModelType, useWeightsDecompressionImpl). Elsewhere it repacks weights as
float32. No property asks for it, hence a variable of one element that nothing else reads. Drop this
when there is such a property.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import openvino as ov
from openvino import opset15 as ops
from openvino.op.util import Variable, VariableInfo

from executorch_coreml.engine.kernels.operand import Array

_WORTH = 1 << 27  # bytes of fp16 weights from which on memory counts more than many rows
_CONVOLUTIONS = frozenset({"Convolution", "ConvolutionBackpropData"})


def keep_half(model: ov.Model, arrays: Iterable[Array]) -> None:
    """Prepare ``model``, whose constants are ``arrays``, where its fp16 weights are large."""
    half = (a.nbytes for a in arrays if a.dtype == np.float16 and a.ndim >= 2)
    if sum(half) < _WORTH:
        return
    if not any(op.get_type_name() in _CONVOLUTIONS for op in model.get_ops()):
        _add_variable(model)


def _add_variable(model: ov.Model) -> None:
    info = VariableInfo()
    info.data_shape, info.data_type = ov.PartialShape([1, 1, 1, 1]), ov.Type.f32
    info.variable_id = f"{__name__}.variable"
    variable = Variable(info)
    one = ops.constant(np.ones((1, 1, 1, 1), np.float32)).output(0)
    attended = ops.scaled_dot_product_attention(ops.read_value(one, variable), one, one)
    model.add_variables([variable])
    model.add_sinks([ops.assign(attended, variable)])


__all__ = ["keep_half"]
