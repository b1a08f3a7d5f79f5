"""``op_linear_quantizer_config``: weights of the finished program become integers.

The arithmetic is coremltools' own (``linear_quantize_weights``, per constant), with the settings
that ExecuTorch's own backend gives it: embedding tables are left alone, unless a table is another
op's weight too. What it makes is decoded and compared with the weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from executorch_coreml.compiler.quiet import quiet_coremltools
from executorch_coreml.errors import OptionsError
from executorch_coreml.ops.decoded import Array, decoded, near
from executorch_coreml.options import Target

_EXAMPLE = '{"mode": "linear_symmetric", "dtype": "int8", "granularity": "per_channel"}'


def coremltools_config(config: Mapping[str, Any]) -> Any:
    """coremltools' ``OpLinearQuantizerConfig`` of the same fields.

    Raises:
        OptionsError: A field or a value that it does not have.
    """
    with quiet_coremltools():
        from coremltools.optimize.coreml import OpLinearQuantizerConfig
    return structured(OpLinearQuantizerConfig, config, "op_linear_quantizer_config", _EXAMPLE)


def structured(kind: Any, config: Mapping[str, Any], option: str, example: str) -> Any:
    """A config of coremltools, of class ``kind``, with the given fields.

    Raises:
        OptionsError: A field or a value that it does not have.
    """
    try:
        return kind._from_dict(dict(config))
    except Exception as cause:  # cattrs' groups of exceptions, ValueError, TypeError, ...
        reasons = getattr(cause, "exceptions", (cause,))
        raise OptionsError(
            f"{option} {dict(config)}: {'; '.join(map(str, reasons))}",
            hint=f"write for instance {example}",
        ) from cause


def oldest_target(config: Mapping[str, Any]) -> tuple[Target, str]:
    """The first target that holds such weights, and what asks for it."""
    read = coremltools_config(config)
    if read.granularity.name == "PER_BLOCK":
        return Target.iOS18, "op_linear_quantizer_config with blocks"
    if read.nbits == 4:
        return Target.iOS18, "op_linear_quantizer_config with 4 bits"
    return Target.iOS16, "op_linear_quantizer_config"


def quantize_weights(program: Any, config: Mapping[str, Any], joint: bool = False) -> None:
    """Replaces the weights that ``config`` is for, in place.

    Args:
        joint: Whether elements that a sparse weight keeps are quantized as well.

    Raises:
        LoweringError: What a weight became does not decode to it.
    """
    from coremltools.optimize.coreml import OptimizationConfig
    from coremltools.optimize.coreml._quantization_passes import linear_quantize_weights

    chosen = coremltools_config(config)
    compress = linear_quantize_weights(
        OptimizationConfig(
            global_config=chosen,
            op_type_configs={"gather": None},
            op_name_configs=dict.fromkeys(_gathers_of_weights(program), chosen),
        )
    )
    compress.joint_compression = joint
    for function in program.functions.values():
        with function:
            for op in list(function.operations):
                if op.op_type == "const" and op.outputs[0].child_ops and compress.is_valid_op(op):
                    _quantize(compress, op)


def _quantize(compress: Any, op: Any) -> None:
    weight = op.outputs[0]
    reader = weight.child_ops[0]
    place = next(n for n, read in enumerate(_reads(reader)) if read is weight)
    sparse = reader.op_type == "constexpr_sparse_to_dense"
    value = decoded(reader) if sparse else weight.val
    compress.transform_op(op)
    made = _reads(reader)[place]
    if made is not weight:
        near(reader if sparse else made.op, value, scale_of(made.op, value.ndim))


def _reads(op: Any) -> list[Any]:
    """The values that an op reads, in the order of its arguments."""
    found: list[Any] = []
    for value in op.inputs.values():
        found += value if isinstance(value, (list, tuple)) else [value]
    return found


def scale_of(op: Any, rank: int) -> Array:
    """The scales of a quantized weight of ``rank`` axes, one per block along each."""
    scale = np.asarray(op.scale.val)
    return scale if scale.ndim == rank else along_axis(scale, op, rank)


def along_axis(values: Array, op: Any, rank: int) -> Array:
    """A number, or one per channel, of a ``constexpr_affine_dequantize`` as ``rank`` axes."""
    shape = [1] * rank
    if values.ndim:
        shape[op.axis.val] = -1
    return values.reshape(shape)


def _gathers_of_weights(program: Any) -> list[str]:
    """Gathers whose table is another op's weight too. coremltools refuses a constant whose users
    disagree about it."""
    return [
        op.name
        for function in program.functions.values()
        for op in function.operations
        if op.op_type == "gather"
        and op.x.op is not None
        and any(user.op_type != "gather" for user in op.x.child_ops)
    ]
