"""Distances between the rows of matrices."""

from __future__ import annotations

import numpy as np
import torch

from executorch_coreml.ops.call import Call
from executorch_coreml.ops.checks import rank
from executorch_coreml.ops.emit import Emit, Var
from executorch_coreml.ops.moves import reshape, take
from executorch_coreml.ops.precision import keep_fp32, result
from executorch_coreml.ops.reduce import SQUARES, p_norm
from executorch_coreml.ops.rule import FLOAT, Family

aten = torch.ops.aten
rules = Family()


@rules(aten._pdist_forward.default, types=FLOAT)
def pdist(mb: Emit, call: Call) -> Var:
    """Between each row and every later one."""
    x = mb.var(call["self"], keep_fp32(mb, call.out.dtype, SQUARES))
    first, second = np.triu_indices(x.shape[0], 1)
    apart = mb.sub(x=take(mb, x, first, 0), y=take(mb, x, second, 0))
    return result(mb, call, p_norm(mb, apart, float(call["p"]), [1], False))


@rules(
    aten._cdist_forward.default,
    aten.cdist.default,
    types=FLOAT,
    checks=[rank("x1", 2, 3, 4), rank("x2", 2, 3, 4)],
)
def cdist(mb: Emit, call: Call) -> Var:
    """Between the rows of two batches of matrices, from differences: products would cancel."""
    kind = keep_fp32(mb, call.out.dtype, SQUARES)
    one, other = mb.var(call["x1"], kind), mb.var(call["x2"], kind)
    *batch, rows, width = one.shape
    one = reshape(mb, one, [*batch, rows, 1, width])
    *batch, rows, width = other.shape
    other = reshape(mb, other, [*batch, 1, rows, width])
    apart = mb.sub(x=one, y=other)
    axis = len(apart.shape) - 1
    return result(mb, call, p_norm(mb, apart, float(call["p"]), [axis], False))


@rules(aten.dist.default, types=FLOAT)
def dist(mb: Emit, call: Call) -> Var:
    kind = keep_fp32(mb, call.out.dtype, SQUARES)
    apart = mb.sub(x=mb.var(call["self"], kind), y=mb.var(call["other"], kind))
    axes = list(range(len(apart.shape)))
    return result(mb, call, p_norm(mb, apart, float(call["p"]), axes, False))
