"""TABLE 1: aten op -> rule. Read-only; support, docs and test coverage all derive from it."""

from __future__ import annotations

from executorch_coreml.ops import (
    activation,
    attention,
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
    random,
    reduce,
    resize,
    scatter,
    shape,
    transcendental,
    window,
)
from executorch_coreml.ops.rule import merge

TABLE = merge(
    [
        activation.rules,
        attention.rules,
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
        random.rules,
        reduce.rules,
        resize.rules,
        scatter.rules,
        shape.rules,
        transcendental.rules,
        window.rules,
    ]
)
