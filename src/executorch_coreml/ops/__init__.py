"""TABLE 1: aten op -> rule. Read-only; support, docs and test coverage all derive from it."""

from __future__ import annotations

from executorch_coreml.ops import (
    activation,
    attention,
    bits,
    conv,
    convert,
    create,
    distance,
    elementwise,
    index,
    linear,
    norm,
    pad,
    pool,
    put,
    quant,
    random,
    reduce,
    resize,
    sample,
    scan,
    scatter,
    select,
    shape,
    special,
    transcendental,
    window,
)
from executorch_coreml.ops.rule import merge

TABLE = merge(
    [
        activation.rules,
        attention.rules,
        bits.rules,
        conv.rules,
        convert.rules,
        create.rules,
        distance.rules,
        elementwise.rules,
        index.rules,
        linear.rules,
        norm.rules,
        pad.rules,
        pool.rules,
        put.rules,
        quant.rules,
        random.rules,
        reduce.rules,
        resize.rules,
        sample.rules,
        scan.rules,
        scatter.rules,
        select.rules,
        shape.rules,
        special.rules,
        transcendental.rules,
        window.rules,
    ]
)
