"""``linear``, ``matmul`` and ``einsum``.

Semantics: coremltools ``mil/ops/defs/iOS15/linear.py`` and ``iOS17/linear.py``. OpenVINO's CPU
plugin multiplies matrices in float32, so int32 products are exact while every partial sum stays
below 2**24.
"""

from __future__ import annotations

import openvino as ov
from openvino import opset15 as ops

from executorch_coreml.engine.kernels.operand import (
    Operand,
    cast,
    i64,
    node,
    output_type,
    rank,
    scalar,
    text,
)
from executorch_coreml.engine.kernels.table import Family
from executorch_coreml.errors import ProgramError
from executorch_coreml.mil.types import TensorType

kernels = Family()


def _real(x: Operand) -> ov.Output:
    return cast(x, ov.Type.f32)


@kernels("linear")
def linear(
    x: Operand, weight: Operand, out: tuple[TensorType, ...], bias: Operand | None = None
) -> ov.Output:
    """``x @ weight.T + bias``; the weight and bias may be of another dtype than ``x`` (iOS17)."""
    product = ops.matmul(_real(x), _real(weight), False, True)
    if bias is not None:
        product = ops.add(product, _real(bias))
    return cast(product.output(0), output_type(out))


@kernels("matmul")
def matmul(
    x: Operand,
    y: Operand,
    out: tuple[TensorType, ...],
    transpose_x: Operand | bool = False,
    transpose_y: Operand | bool = False,
) -> ov.Output:
    """As ``numpy.matmul``, the last two dimensions of ``x`` or ``y`` swapped first if asked."""
    swap_x = bool(scalar(transpose_x, "transpose_x"))
    swap_y = bool(scalar(transpose_y, "transpose_y"))
    return cast(ops.matmul(_real(x), _real(y), swap_x, swap_y).output(0), output_type(out))


@kernels("einsum")
def einsum(values: tuple[Operand, ...], equation: Operand | str) -> ov.Node:
    """The one contraction MIL defines, ``nchw,nwhu->nchu`` or without ``n``, in any letters.

    Extents of 1 broadcast in ``n`` and ``h``, so it is a matrix product with ``h`` as batch.
    """
    if len(values) != 2:
        raise ProgramError(f"einsum takes two values, got {len(values)}")
    formula = text(equation, "equation")
    if _canonical(formula) not in ("abcd,adce->abce", "abc,cbd->abd"):
        raise ProgramError(f"equation {formula!r} is neither 'nchw,nwhu->nchu' nor 'chw,whr->chr'")
    batch = rank(values[0]) - 3
    left = _swap(values[0], batch, batch + 1)
    right = _swap(values[1], batch, batch + 1)
    product = ops.matmul(left, right, False, False)
    return _swap(product.output(0), batch, batch + 1)


def _canonical(formula: str) -> str:
    """The equation with its letters renamed to a, b, c, ... in order of appearance."""
    letters: dict[str, str] = {}
    compact = formula.replace(" ", "")
    for letter in compact:
        if letter.isalpha():
            letters.setdefault(letter, chr(ord("a") + len(letters)))
    return "".join(letters.get(letter, letter) for letter in compact)


def _swap(x: Operand, first: int, second: int) -> ov.Node:
    order = list(range(rank(x)))
    order[first], order[second] = order[second], order[first]
    return ops.transpose(node(x), i64(order))
