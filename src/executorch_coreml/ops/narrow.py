"""int8, uint8 and int16: carried as MIL int32, and wrapped where a result may leave their range.

MIL has next to no arithmetic in 8 and 16 bits, and none that wraps. Arithmetic modulo 2**32 is
arithmetic modulo 2**8 and 2**16 too, so a rule computes in int32 and :func:`wrap` brings the result
back, as PyTorch's C++ integers do by themselves. A float becomes a narrow integer by way of int32
likewise, as PyTorch does it on x86; beyond int32 C++ leaves the conversion open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from executorch_coreml.ops.rule import INT, NARROW

if TYPE_CHECKING:
    from executorch_coreml.ops.emit import Emit, Var

_NUMPY = {torch.int8: np.int8, torch.uint8: np.uint8, torch.int16: np.int16}


def holds(dtype: torch.dtype, other: torch.dtype) -> bool:
    """Whether every value of ``other`` is one of ``dtype``, where ``dtype`` is a narrow integer."""
    if dtype not in NARROW or other is torch.bool:
        return True
    if other not in INT:
        return False
    outer, inner = torch.iinfo(dtype), torch.iinfo(other)
    return outer.min <= inner.min and inner.max <= outer.max


def exactly(dtype: torch.dtype, mil: str) -> torch.dtype | str:
    """What to cast an operand to when a call computes in torch's ``dtype`` as MIL type ``mil``.

    The narrow dtype itself, for ops that see more of a number than its last bits: PyTorch makes a
    rank-0 tensor of 300 beside an int8 tensor a 44 before it compares the two.
    """
    return dtype if dtype in NARROW else mil


def wrap(mb: Emit, x: Var, dtype: torch.dtype) -> Var:
    """The int32 value ``x`` modulo the range of a narrow ``dtype``; no step leaves int32."""
    if x.val is not None:
        return mb.const(np.asarray(x.val).astype(_NUMPY[dtype]), "int32")
    limits = torch.iinfo(dtype)
    span = 2**limits.bits
    rest = mb.sub(x=x, y=mb.mul(x=mb.floor_div(x=x, y=span), y=span))  # in [0, span)
    if limits.min == 0:
        return rest
    negative = mb.greater(x=rest, y=limits.max)
    return mb.select(cond=negative, a=mb.sub(x=rest, y=span), b=rest)
