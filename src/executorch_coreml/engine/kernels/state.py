"""Reading and writing of states.

``read_state`` and ``write_state`` are what a serialised program holds; coremltools' builder op
``coreml_update_state`` is the two of them in one (iOS18, ``backend/mil/load.py``).
"""

from __future__ import annotations

import openvino as ov

from executorch_coreml.engine.kernels.operand import Operand, StateCell, node
from executorch_coreml.engine.kernels.table import Family

kernels = Family()


@kernels("read_state", since=8, exact=True)
def read_state(input: StateCell) -> ov.Output:
    return input.current


@kernels("write_state", since=8, exact=True)
def write_state(input: StateCell, data: Operand) -> tuple[ov.Output, ...]:
    input.write(node(data))
    return ()


@kernels("coreml_update_state", since=8, exact=True)
def coreml_update_state(state: StateCell, value: Operand) -> ov.Output:
    state.write(node(value))
    return state.current
