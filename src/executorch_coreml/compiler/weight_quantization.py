"""``op_linear_quantizer_config``: weights of the finished program become integers.

The arithmetic is coremltools' own (``linear_quantize_weights``, per constant), with the settings
that ExecuTorch's own backend gives it: embedding tables are left alone, unless a table is another
op's weight too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from executorch_coreml.compiler.quiet import quiet_coremltools
from executorch_coreml.errors import OptionsError
from executorch_coreml.options import Target

_EXAMPLE = '{"mode": "linear_symmetric", "dtype": "int8", "granularity": "per_channel"}'


def coremltools_config(config: Mapping[str, Any]) -> Any:
    """coremltools' ``OpLinearQuantizerConfig`` of the same fields.

    Raises:
        OptionsError: A field or a value that it does not have.
    """
    with quiet_coremltools():
        from coremltools.optimize.coreml import OpLinearQuantizerConfig
    try:
        return OpLinearQuantizerConfig._from_dict(dict(config))
    except Exception as cause:  # cattrs' groups of exceptions, ValueError, TypeError, ...
        reasons = getattr(cause, "exceptions", (cause,))
        raise OptionsError(
            f"op_linear_quantizer_config {dict(config)}: {'; '.join(map(str, reasons))}",
            hint=f"write for instance {_EXAMPLE}",
        ) from cause


def oldest_target(config: Mapping[str, Any]) -> tuple[Target, str]:
    """The first target that holds such weights, and what asks for it."""
    read = coremltools_config(config)
    if read.granularity.name == "PER_BLOCK":
        return Target.iOS18, "op_linear_quantizer_config with blocks"
    if read.nbits == 4:
        return Target.iOS18, "op_linear_quantizer_config with 4 bits"
    return Target.iOS16, "op_linear_quantizer_config"


def quantize_weights(program: Any, config: Mapping[str, Any]) -> None:
    """Replaces the weights that ``config`` is for, in place."""
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
    for function in program.functions.values():
        with function:
            for op in list(function.operations):
                if op.op_type == "const" and op.outputs[0].child_ops and compress.is_valid_op(op):
                    compress.transform_op(op)


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
