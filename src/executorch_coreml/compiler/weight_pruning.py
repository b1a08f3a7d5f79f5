"""``op_pruner_config``: weights of the finished program are stored without their zeros.

Which elements become 0 is coremltools' arithmetic (``prune_weights``, per constant). A mask of one
bit per element and the elements that are not 0 remain:

====================================  =================================================  ======
weight                                stored as                                          since
====================================  =================================================  ======
float                                 ``constexpr_sparse_to_dense``, packed mask         iOS16
the same for a newer target           ``constexpr_sparse_to_dense``                      iOS18
integers, with ``joint_compression``  ``constexpr_sparse_blockwise_shift_scale``, then   iOS18
                                      the former
a table per block, the same           ``constexpr_lut_to_sparse``, then the former       iOS18
====================================  =================================================  ======

Each is decoded and compared with the pruned weight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from executorch_coreml.compiler.quiet import quiet_coremltools
from executorch_coreml.compiler.weight_quantization import along_axis, structured
from executorch_coreml.errors import OptionsError
from executorch_coreml.ops.compressed import narrow, pack
from executorch_coreml.ops.decoded import Array, decoded, same, wrong
from executorch_coreml.options import Target

_JOINT = "joint_compression"  # the name that coremltools' functions have for it
_BY_MAGNITUDE = {"target_sparsity", "n_m_ratio", "block_size", "dim"}
_EXAMPLE = '{"threshold": 1e-12, "minimum_sparsity_percentile": 0.5} or {"target_sparsity": 0.75}'
_LAYERS = {("conv", "weight"), ("linear", "weight")}  # whose channels blocks and n:m are along


def coremltools_pruner(config: Mapping[str, Any]) -> tuple[Any, bool]:
    """(coremltools' config of the same fields, whether weights of few bits are meant as well).

    Raises:
        OptionsError: A field or a value that neither of its two configs has.
    """
    with quiet_coremltools():
        from coremltools.optimize.coreml import OpMagnitudePrunerConfig, OpThresholdPrunerConfig
    fields = dict(config)
    joint = fields.pop(_JOINT, False)
    if not isinstance(joint, bool):
        raise OptionsError(f"op_pruner_config: {_JOINT} must be True or False; got {joint!r}")
    if fields.get("weight_threshold", 0) is None:
        raise OptionsError(
            "op_pruner_config: weight_threshold must be a number; got None",
            hint="weights of more elements are pruned; 0 takes all",
        )
    kind = OpMagnitudePrunerConfig if _BY_MAGNITUDE & set(fields) else OpThresholdPrunerConfig
    return structured(kind, fields, "op_pruner_config", _EXAMPLE), joint


def oldest_sparse_target(config: Mapping[str, Any]) -> tuple[Target, str]:
    """The first target that holds such weights, and what asks for it."""
    if config.get(_JOINT):
        return Target.iOS18, f"op_pruner_config with {_JOINT}"
    return Target.iOS16, "op_pruner_config"


def prune_weights(program: Any, config: Mapping[str, Any]) -> bool:
    """Replaces the weights that ``config`` is for, in place.

    Returns:
        Whether weights of few bits were meant as well.

    Raises:
        LoweringError: What a weight became does not decode to it.
    """
    chosen, joint = coremltools_pruner(config)
    for function in program.functions.values():
        with function:
            for op in list(function.operations):
                form = _FORMS.get(op.op_type)
                if form is not None and (joint or op.op_type == "const") and _is_weight(op, chosen):
                    _prune(op, form, chosen)
    return joint


def _is_weight(op: Any, chosen: Any) -> bool:
    """Whether ``op`` makes a float tensor, of the size and for the ops that are asked for.

    coremltools leaves vectors alone as well: a MIL bug, it says (rdar://113860800).
    """
    from coremltools.converters.mil.mil import types

    var = op.outputs[0]
    readers = var.child_ops
    if not readers or var.dtype not in (types.fp16, types.fp32) or var.rank < 2:
        return False
    if np.prod(var.shape) <= chosen.weight_threshold:
        return False
    if any(reader.op_type.startswith("constexpr_") for reader in readers):
        return False
    structured = getattr(chosen, "block_size", None) or getattr(chosen, "n_m_ratio", None)
    return structured is None or all(_reads_as(reader, var) <= _LAYERS for reader in readers)


def _reads_as(reader: Any, var: Any) -> set[tuple[str, str]]:
    return {(reader.op_type, name) for name, value in reader.inputs.items() if value is var}


def _prune(op: Any, form: Callable[..., Any], chosen: Any) -> None:
    weight = op.outputs[0].val if op.op_type == "const" else decoded(op)
    pruned = _pruned(weight, chosen)
    if pruned is None:
        return
    if not np.all((pruned == weight) | (pruned == 0) | np.isnan(weight)):
        wrong(op, "an element is neither what it was nor 0")
    kept = pruned != 0
    if not kept.any():
        kept.flat[0] = True  # Core ML has no constants without elements
    made = form(op, pruned, kept)
    same(made.op, pruned)
    block = op.enclosing_block
    block.replace_uses_of_var_after_op(
        anchor_op=op,
        old_var=op.outputs[0],
        new_var=made,
        no_check_var_types=True,
        force_replace=True,  # coremltools takes a constexpr away for nothing else
    )
    block.remove_ops([op, *_unread(op)])


def _unread(op: Any) -> list[Any]:
    """The constants that nothing but ``op`` reads."""
    read = {var.op for var in op.inputs.values() if var is not None and var.op is not None}
    constants = [one for one in read if one.op_type == "const"]
    return [one for one in constants if set(one.outputs[0].child_ops) == {op}]


def _pruned(weight: Array, chosen: Any) -> Array | None:
    """The weight after coremltools' arithmetic; None where it leaves the weight alone."""
    from coremltools.optimize.coreml import OpThresholdPrunerConfig
    from coremltools.optimize.coreml._quantization_passes import prune_weights as arithmetic

    if isinstance(chosen, OpThresholdPrunerConfig):
        made = arithmetic.compress_by_threshold(
            weight, chosen.threshold, chosen.minimum_sparsity_percentile
        )
    elif chosen.target_sparsity is not None:
        made = arithmetic.compress_by_magnitude(
            weight, chosen.target_sparsity, chosen.block_size, chosen.dim
        )
    else:
        made = arithmetic.compress_by_nm_sparsity(weight, chosen.n_m_ratio, chosen.dim)
    return None if made is None else arithmetic.decompress(made)


# -- one function per row of the table ------------------------------------------------------------


def _dense(op: Any, pruned: Array, kept: Array) -> Any:
    from coremltools.converters.mil._deployment_compatibility import AvailableTarget
    from coremltools.converters.mil.mil import Builder
    from coremltools.converters.mil.mil.block import is_current_opset_version_compatible_with

    if is_current_opset_version_compatible_with(AvailableTarget.iOS18):
        return _from_mask(op, pruned[kept], narrow(kept, "uint1"))
    return Builder.constexpr_sparse_to_dense(
        nonzero_data=pruned[kept],
        mask=pack(kept.astype(np.uint8), 1),
        shape=np.asarray(pruned.shape, np.uint32),
        before_op=op,
        name=f"{op.name}_sparsified",
    )


def _from_mask(op: Any, kept: Any, mask: Any) -> Any:
    from coremltools.converters.mil.mil import Builder

    return Builder.constexpr_sparse_to_dense(
        nonzero_data=kept, mask=mask, before_op=op, name=f"{op.name}_sparsified"
    )


def _scaled(op: Any, data: Array, kept: Array, scale: Any, offset: Any) -> Any:
    from coremltools.converters.mil.mil import Builder

    mask, values = Builder.constexpr_sparse_blockwise_shift_scale(
        data_mask=narrow(kept, "uint1"),
        nonzero_data=data[kept],
        scale=scale,
        **({} if offset is None else {"offset": offset}),
        before_op=op,
        name=f"{op.name}_kept",
    )
    return _from_mask(op, values, mask)


def _affine(op: Any, pruned: Array, kept: Array) -> Any:
    scale, zero = (
        along_axis(np.asarray(value.val), op, pruned.ndim) for value in (op.scale, op.zero_point)
    )
    return _scaled(op, op.quantized_data.val, kept, scale, zero if np.any(zero) else None)


def _blockwise(op: Any, pruned: Array, kept: Array) -> Any:
    offset = None if op.offset is None else op.offset.val
    return _scaled(op, op.data.val, kept, op.scale.val, offset)


def _palette(op: Any, pruned: Array, kept: Array) -> Any:
    from coremltools.converters.mil.mil import Builder

    mask, values = Builder.constexpr_lut_to_sparse(
        indices_mask=narrow(kept, "uint1"),
        indices_nonzero_data=op.indices.val[kept],
        lut=op.lut.val,
        **({} if op.vector_axis is None else {"vector_axis": op.vector_axis.val}),
        before_op=op,
        name=f"{op.name}_kept",
    )
    return _from_mask(op, values, mask)


_FORMS: dict[str, Callable[..., Any]] = {
    "const": _dense,
    "constexpr_affine_dequantize": _affine,
    "constexpr_blockwise_shift_scale": _blockwise,
    "constexpr_lut_to_dense": _palette,
}
