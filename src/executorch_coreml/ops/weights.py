"""What layers with weights share: the type they compute in, and weights as MIL constants.

A weight is a constant when the delegate stores it, and an ordinary value when it is an input of
the delegate (``take_over_constant_data=False``) or computed. MIL asks for constants in many
places, so rules ask :func:`fixed` and have another form for values.
"""

from __future__ import annotations

from typing import Any

from executorch_coreml.ops.call import Call
from executorch_coreml.ops.emit import Emit, Var, mil_type
from executorch_coreml.ops.half import FP16_TINY, fits_fp16


def layer_type(mb: Emit, call: Call, *names: str) -> str:
    """The MIL type of the first result, or ``"fp32"`` if fp16 cannot hold a named weight."""
    mil = mb.type_of(call.outs[0].dtype)
    if mil != "fp16":
        return mil
    for name in names:
        array = mb.array(call[name])
        if array is not None and not fits_fp16(array):
            mb.note(f"computed in fp32: {name} exceeds the range of fp16")
            return "fp32"
    return mil


def fixed(mb: Emit, value: Any, mil: str) -> Var | None:
    """The value as a MIL constant of type ``mil``; None if it is given or known at run time only.

    Compressed weights (``constexpr_*``) are constants to MIL and stay as they are.
    """
    if value is None:
        return None
    var = mb.var(value, mil)
    made_by = var.op.op_type if var.op is not None else ""
    if made_by == "const" or made_by.startswith("constexpr_"):
        return var
    array = mb.array(value)
    return None if array is None else mb.const(array, mil)


def floor_epsilon(mb: Emit, epsilon: float, mil: str) -> float:
    """``epsilon``, raised to fp16's smallest value if it would become 0 there.

    The layers that use it divide by sqrt(variance + epsilon): 0 would turn constant rows into NaN,
    while the raised value changes results only where the variance is about as small (6e-8).
    """
    if mil != "fp16" or epsilon >= FP16_TINY:
        return epsilon
    mb.note(f"eps {epsilon} underflows fp16; its smallest value {FP16_TINY:.0e} is used")
    return FP16_TINY


def per_channel(mb: Emit, value: Any, rank: int, mil: str) -> Var:
    """A vector over the channels (axis 1), shaped to broadcast against a tensor of ``rank``."""
    shape = [1, -1] + [1] * (rank - 2)
    array = mb.array(value)
    if array is not None:
        return mb.const(array.reshape(shape), mil)
    return mb.reshape(x=mb.var(value, mil), shape=shape)


def scale_channels(mb: Emit, x: Var, weight: Any, bias: Any) -> Var:
    """``x * weight + bias`` per channel; either may be None."""
    rank, mil = len(x.shape), mil_type(x)
    if weight is not None:
        x = mb.mul(x=x, y=per_channel(mb, weight, rank, mil))
    if bias is not None:
        x = mb.add(x=x, y=per_channel(mb, bias, rank, mil))
    return x
