"""Random tensors: the distributions are PyTorch's, the values are not, and differ in each run.

Draws that are compared, rounded or put in order are made in fp32: fp16 has only 2048 values in
[0.5, 1), too few to be a fair die or to order more than a few elements.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from executorch_coreml.ops.call import Call
from executorch_coreml.ops.checks import constant
from executorch_coreml.ops.emit import Emit, Var
from executorch_coreml.ops.moves import broadcast, fill, reshape
from executorch_coreml.ops.precision import result
from executorch_coreml.ops.rule import FLOAT, Family
from executorch_coreml.ops.transcendental import log

aten = torch.ops.aten
rules = Family()

MAX_RANGE = 2**24  # fp32 has every integer up to here

TINY = 2.0**-32  # below every positive draw, far above fp32's smallest value


def _drawn(mb: Emit, op: str, shape: Sequence[int], mil: str, **parameters: float) -> Var:
    """One draw of ``shape``; MIL's random ops have rank 1 at least."""
    given = {name: mb.const(value, mil) for name, value in parameters.items()}
    extents = [int(extent) for extent in shape]
    return reshape(mb, mb.op(op, shape=extents or [1], **given), extents)


def uniform(mb: Emit, shape: Sequence[int], mil: str = "fp32") -> Var:
    """In [0, 1)."""
    return _drawn(mb, "random_uniform", shape, mil, low=0.0, high=1.0)


def normal(mb: Emit, shape: Sequence[int], mil: str) -> Var:
    return _drawn(mb, "random_normal", shape, mil, mean=0.0, stddev=1.0)


def exponential(mb: Emit, shape: Sequence[int]) -> Var:
    """With mean 1: -log(u) of a u that is never zero."""
    positive = mb.maximum(x=uniform(mb, shape), y=TINY)
    return mb.mul(x=log(mb, positive), y=-1.0)


@rules(aten.rand.default, aten.rand_like.default, types=FLOAT)
def rand(mb: Emit, call: Call) -> Var:
    return uniform(mb, call.out.shape, mb.type_of(call.out.dtype))


@rules(aten.randn.default, aten.randn_like.default, types=FLOAT)
def randn(mb: Emit, call: Call) -> Var:
    return normal(mb, call.out.shape, mb.type_of(call.out.dtype))


@rules(aten.uniform.default, types=FLOAT, checks=[constant("from"), constant("to")])
def uniform_between(mb: Emit, call: Call) -> Var:
    mil, low, high = mb.type_of(call.out.dtype), float(call["from"]), float(call["to"])
    return _drawn(mb, "random_uniform", call.out.shape, mil, low=low, high=high)


def _number(mb: Emit, call: Call, name: str) -> Any:
    value = call[name]
    return float(value) if isinstance(value, (int, float)) else mb.var(value, call.out.dtype)


@rules(
    aten.normal.Tensor_float,
    aten.normal.float_Tensor,
    aten.normal.Tensor_Tensor,
    aten.normal_functional.default,
    types=FLOAT,
)
def normal_around(mb: Emit, call: Call) -> Var:
    spread = mb.mul(
        x=normal(mb, call.out.shape, mb.type_of(call.out.dtype)), y=_number(mb, call, "std")
    )
    return mb.add(x=spread, y=_number(mb, call, "mean"))


@rules(aten.exponential.default, types=FLOAT)
def exponential_with_rate(mb: Emit, call: Call) -> Var:
    value = exponential(mb, call.out.shape)
    return result(mb, call, mb.real_div(x=value, y=float(call["lambd"])))


def _few_values(call: Call) -> str | None:
    """At most 2^24 different values, which is as many as fp32 can draw."""
    size = call["high"] - call.args.get("low", 0)
    return None if size <= MAX_RANGE else f"{size} different values; at most {MAX_RANGE} are drawn"


@rules(
    aten.randint.default,
    aten.randint.low,
    aten.randint_like.default,
    aten.randint_like.low_dtype,
    checks=[constant("high"), _few_values],
)
def randint(mb: Emit, call: Call) -> Var:
    low, high = call.args.get("low", 0), call["high"]
    drawn = mb.floor(x=mb.mul(x=uniform(mb, call.out.shape), y=float(high - low)))
    # The product may be rounded up to the whole range.
    number = mb.minimum(x=mb.cast(drawn, "int32"), y=high - low - 1)
    return result(mb, call, mb.add(x=number, y=low))


@rules(aten.randperm.default)
def randperm(mb: Emit, call: Call) -> Var:
    """The order of as many draws; of equal ones any order is as good."""
    order = mb.argsort(x=uniform(mb, call.out.shape), axis=0, ascending=True)
    return result(mb, call, order)


@rules(aten.bernoulli.default, aten.bernoulli.p, types=FLOAT)
def bernoulli(mb: Emit, call: Call) -> Var:
    chance = mb.var(call["p"] if "p" in call.args else call["self"], "fp32")
    return result(mb, call, mb.cast(mb.less(x=uniform(mb, call.out.shape), y=chance), "fp32"))


@rules(aten.multinomial.default)
def multinomial(mb: Emit, call: Call) -> Var:
    """A race: arrival times are exponential, so the first to arrive wins by its weight.

    Without replacement the first ``num_samples`` of one race; with it, a race for each sample.
    """
    weights, count = mb.var(call["self"], "fp32"), call["num_samples"]
    *rows, classes = weights.shape
    if not call["replacement"]:
        speed = mb.real_div(x=weights, y=exponential(mb, weights.shape))
        return result(mb, call, mb.topk(x=speed, k=count, axis=-1, ascending=False)[1])
    races = broadcast(mb, reshape(mb, weights, [*rows, 1, classes]), [*rows, count, classes])
    speed = mb.real_div(x=races, y=exponential(mb, races.shape))
    return result(mb, call, mb.reduce_argmax(x=speed, axis=-1, keep_dims=False))


@rules(aten.native_dropout.default, types=FLOAT | {torch.bool})
def native_dropout(mb: Emit, call: Call) -> tuple[Var, Var]:
    """(what is kept, scaled to the same mean; which that is). Nothing is dropped in eval mode."""
    x, p = mb.var(call["input"]), float(call["p"])
    if call["train"] is False or p == 0:
        return x, fill(mb, x.shape, True, "bool")
    if p == 1:
        return mb.mul(x=x, y=0.0), fill(mb, x.shape, False, "bool")
    kept = mb.greater_equal(x=uniform(mb, x.shape), y=p)
    scaled = mb.mul(x=x, y=1 / (1 - p))
    return mb.select(
        cond=kept, a=scaled, b=fill(mb, x.shape, 0, mb.type_of(call.outs[0].dtype))
    ), kept
