"""TABLE 2: every MIL op the engine can run, read-only."""

from __future__ import annotations

from collections.abc import Mapping

from executorch_coreml.engine.kernels import (
    activation,
    attention,
    control,
    conv,
    elementwise,
    gather,
    index,
    linear,
    lists,
    nms,
    norm,
    pool,
    quant,
    random,
    recurrent,
    reduce,
    resize,
    sample,
    shape,
    state,
)
from executorch_coreml.engine.kernels.table import Kernel, merge

TABLE: Mapping[str, Kernel] = merge(
    family.kernels
    for family in (
        activation,
        attention,
        control,
        conv,
        elementwise,
        gather,
        index,
        linear,
        lists,
        nms,
        norm,
        pool,
        quant,
        random,
        recurrent,
        reduce,
        resize,
        sample,
        shape,
        state,
    )
)

__all__ = ["TABLE"]
