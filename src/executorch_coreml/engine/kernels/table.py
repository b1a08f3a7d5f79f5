"""TABLE 2: MIL op -> OpenVINO nodes. One *kernel* per MIL op.

A kernel is a function whose parameters are the MIL op's input names::

    kernels = Family()

    @kernels("softmax")
    def softmax(x: Operand, axis: np.ndarray) -> ov.Output: ...

Each argument arrives as a numpy array when the program gives a constant, as an ``ov.Output`` when
it is computed, and as a tuple of those for variadic inputs; an input the program leaves out takes
the Python default of its parameter. fp16 values are float32 everywhere inside a graph: rounding to
fp16 is added by :mod:`executorch_coreml.engine.precision` behind the kernel, according to the
declared output type, unless the row says ``exact``.

Some parameter names are filled by the engine, not by the program: ``out`` receives the tuple
of declared output types (:class:`~executorch_coreml.mil.types.TensorType`), ``opset`` the
function's opset number (5 for ``CoreML5``), ``blocks`` those of control flow, and ``violations``
what takes an error that only a run can find (:mod:`.violations`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import openvino as ov

Operand: TypeAlias = "np.ndarray[Any, Any] | ov.Output"
KernelFunction: TypeAlias = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Kernel:
    """One row of TABLE 2.

    Attributes:
        op: The MIL op name.
        function: Turns operands into one ``ov.Output`` or a tuple of them.
        since: The first opset that defines the op (5 = ``CoreML5``, iOS15).
        exact: The result is representable in fp16 whenever the inputs are (data movement, relu,
            max, comparisons, ...), so nothing has to be rounded behind it.
        parameters: Name -> whether the program must give it.
        where: ``file:line`` of the function, for messages.
    """

    op: str
    function: KernelFunction
    since: int
    exact: bool
    parameters: Mapping[str, bool]
    where: str


class Family:
    """The kernels of one file. Calling it gives a decorator that adds a row per op name."""

    def __init__(self) -> None:
        self.rows: list[Kernel] = []

    def __call__(
        self, *ops: str, since: int = 5, exact: bool = False
    ) -> Callable[[KernelFunction], KernelFunction]:
        def add(function: KernelFunction) -> KernelFunction:
            parameters = {
                name: p.default is inspect.Parameter.empty
                for name, p in inspect.signature(function).parameters.items()
            }
            code = function.__code__
            where = f"{code.co_filename}:{code.co_firstlineno}"
            for op in ops:
                row = Kernel(op, function, since, exact, MappingProxyType(parameters), where)
                self.rows.append(row)
            return function

        return add


def merge(families: Iterable[Family]) -> Mapping[str, Kernel]:
    """All rows in one read-only table. A duplicate raises and names both places."""
    table: dict[str, Kernel] = {}
    for family in families:
        for row in family.rows:
            if row.op in table:
                raise ValueError(
                    f"two kernels for MIL op {row.op!r}: {table[row.op].where} and {row.where}"
                )
            table[row.op] = row
    return MappingProxyType(table)
