"""Reductions over axes, arg-reductions and running sums."""

from __future__ import annotations

import math
import operator
from functools import partial

import torch
from torch.fx import Node

from executorch_coreml.ops.call import Call
from executorch_coreml.ops.convert import not_zero, truth
from executorch_coreml.ops.emit import Emit, Var, mil_type
from executorch_coreml.ops.half import FP16_MAX
from executorch_coreml.ops.moves import reshape
from executorch_coreml.ops.precision import LARGE, compute_type, keep_fp32, result
from executorch_coreml.ops.ranks import along
from executorch_coreml.ops.rule import FLOAT, INT, Family, Lower
from executorch_coreml.ops.sizes import largest, may_be_empty
from executorch_coreml.ops.transcendental import log, raised

aten = torch.ops.aten
rules = Family(dynamic=True, empty=True)

SQUARES = "squares of values beyond 255 overflow fp16"


def _axes(call: Call) -> list[int]:
    """The axes to reduce: all of them where the overload has no ``dim``, none of rank 0."""
    rank = call.rank("self")
    return call.dims() if rank and "dim" in call.args else list(range(rank))


def _keep(call: Call) -> bool:
    return bool(call.args.get("keepdim", False))


def _most(call: Call) -> int:
    """How many elements go into one of the result, at most."""
    return math.prod(largest(call.shape("self")[axis]) for axis in _axes(call))


def _reduce(mb: Emit, op: str, x: Var, axes: list[int], keep: bool) -> Var:
    """A MIL reduction; of rank 0 there is nothing to reduce."""
    return mb.op(op, x=x, axes=axes, keep_dims=keep) if axes else x


def _elements(call: Call) -> str | None:
    """There is an element to reduce: of none PyTorch knows no such value."""
    if not may_be_empty(call.shape("self")[axis] for axis in _axes(call)):
        return None
    return (
        "it reduces a tensor whose extent depends on values and may be 0, of which it has no value;"
        " say that it is not with torch._check(x.shape[0] > 0), or reduce another axis"
    )


def _accumulator(mb: Emit, call: Call) -> str:
    """The MIL type to sum in. Some compute units accumulate in the type of the operand."""
    if _most(call) > LARGE and call.out.dtype in FLOAT:
        return keep_fp32(mb, call.out.dtype, f"a sum of {_most(call)} values")
    return compute_type(mb, call, call.out.dtype, "self")


def _sum(op: str) -> Lower:
    def lower(mb: Emit, call: Call) -> Var:
        x = mb.var(call["self"], _accumulator(mb, call))
        return result(mb, call, _reduce(mb, op, x, _axes(call), _keep(call)))

    return lower


rules(aten.sum.default, aten.sum.dim_IntList, fewer=along)(_sum("reduce_sum"))


@rules(aten.mean.default, aten.mean.dim, fewer=along)
def mean(mb: Emit, call: Call) -> Var:
    if may_be_empty(call.shape("self")[axis] for axis in _axes(call)):
        return result(mb, call, _quotient(mb, call))
    return _sum("reduce_mean")(mb, call)


def _quotient(mb: Emit, call: Call) -> Var:
    """The mean as the sum by the number of elements: NaN if there are none, as in PyTorch."""
    kind = keep_fp32(mb, call.out.dtype, "the sum that a mean of selected elements starts with")
    axes, shape = _axes(call), call.shape("self")
    total = _reduce(mb, "reduce_sum", mb.var(call["self"], kind), axes, _keep(call))
    count = mb.sizes.scalar(math.prod(shape[axis] for axis in axes))
    return mb.real_div(x=total, y=mb.cast(count, kind))


@rules(aten.prod.default, aten.prod.dim_int)
def prod(mb: Emit, call: Call) -> Var:
    x = mb.var(call["self"], compute_type(mb, call, call.out.dtype, "self"))
    return result(mb, call, _reduce(mb, "reduce_prod", x, _axes(call), _keep(call)))


@rules(aten.cumsum.default, fewer=along)
def cumsum(mb: Emit, call: Call) -> Var:
    shape = call.shape("self")
    count = largest(shape[call.dim()]) if shape else 1
    if count > LARGE and call.out.dtype in FLOAT:
        kind = keep_fp32(mb, call.out.dtype, f"a running sum of {count} values")
    else:
        kind = compute_type(mb, call, call.out.dtype, "self")
    x = mb.var(call["self"], kind)
    return result(mb, call, mb.cumsum(x=x, axis=call.dim()) if shape else x)


# -- extrema -------------------------------------------------------------------------------------


def _extremum(mb: Emit, op: str, value: Node, axes: list[int], keep: bool) -> Var:
    """reduce_max or reduce_min; bools are compared as integers, which MIL can."""
    x = mb.var(value)
    if mil_type(x) != "bool":
        return _reduce(mb, op, x, axes, keep)
    return not_zero(mb, _reduce(mb, op, mb.cast(x, "int32"), axes, keep))


def _extreme_value(op: str) -> Lower:
    return lambda mb, call: _extremum(mb, op, call["self"], _axes(call), _keep(call))


_extreme = partial(rules, checks=[_elements], in_range=True)
_extreme(aten.amax.default, aten.max.default, fewer=along)(_extreme_value("reduce_max"))
_extreme(aten.amin.default, aten.min.default, fewer=along)(_extreme_value("reduce_min"))


def _position(mb: Emit, op: str, call: Call) -> Var:
    """Where the extreme value is. Without ``dim``, in the flattened tensor."""
    x = mb.var(call["self"])
    x = mb.cast(x, "int32") if mil_type(x) == "bool" else x
    if call["dim"] is None or not x.shape:
        count = math.prod(call.shape("self"))
        found = mb.op(op, x=reshape(mb, x, [count]), axis=0, keep_dims=True)
        shape = [1] * call.rank("self") if _keep(call) else []
        return reshape(mb, found, shape)
    return mb.op(op, x=x, axis=call.dim(), keep_dims=_keep(call))


rules(aten.argmax.default, types=FLOAT | INT, checks=[_elements])(
    lambda mb, call: _position(mb, "reduce_argmax", call)
)
rules(aten.argmin.default, types=FLOAT | INT, checks=[_elements])(
    lambda mb, call: _position(mb, "reduce_argmin", call)
)


def _extreme_pair(extreme: str) -> Lower:
    """(values, indices); what nobody reads is left out."""

    def lower(mb: Emit, call: Call) -> tuple[Var | None, Var | None]:
        read = {user.args[1] for user in call.node.users if user.target is operator.getitem}
        op, args = f"reduce_{extreme}", f"reduce_arg{extreme}"
        axes = [call.dim()] if call.rank("self") else []
        values = _extremum(mb, op, call["self"], axes, _keep(call)) if 0 in read else None
        return values, _position(mb, args, call) if 1 in read else None

    return lower


_extreme(aten.max.dim)(_extreme_pair("max"))
_extreme(aten.min.dim)(_extreme_pair("min"))


def _quantifier(op: str) -> Lower:
    """``any`` or ``all``. An empty list of axes reduces none of them here; None means all."""

    def lower(mb: Emit, call: Call) -> Var:
        axes = [] if call.args.get("dim") == [] else _axes(call)
        x = truth(mb, call["self"])
        if may_be_empty(call.shape("self")[axis] for axis in axes):
            return _counted(mb, call, x, axes, every=op == "reduce_min")
        found = _reduce(mb, op, mb.cast(x, "int32"), axes, _keep(call))
        # Of a uint8 tensor PyTorch makes a uint8, for want of bool in its first versions.
        return found if call.out.dtype is torch.uint8 else not_zero(mb, found)

    return lower


def _counted(mb: Emit, call: Call, x: Var, axes: list[int], every: bool) -> Var:
    """The same by counting, which has a value for no elements: the true, or for all the false."""
    x = mb.cast(mb.logical_not(x=x) if every else x, "int32")
    count = _reduce(mb, "reduce_sum", x, axes, _keep(call))
    found = mb.equal(x=count, y=0) if every else not_zero(mb, count)
    return mb.cast(found, mb.type_of(call.out.dtype))


rules(aten.any.default, aten.any.dim, aten.any.dims, in_range=True)(_quantifier("reduce_max"))
rules(aten.all.default, aten.all.dim, aten.all.dims, in_range=True)(_quantifier("reduce_min"))


# -- spread and norms ----------------------------------------------------------------------------


def _variance(mb: Emit, call: Call) -> Var:
    """In two passes: the mean, then the mean square of what is apart from it.

    In float32, as on the device: values more than 1.8e19 apart give infinity, where PyTorch, which
    sums in float64, may still have a finite deviation.
    """
    x = mb.var(call["self"], keep_fp32(mb, call.outs[0].dtype, SQUARES))
    axes = _axes(call)
    apart = mb.sub(x=x, y=_reduce(mb, "reduce_mean", x, axes, True))
    total = _reduce(mb, "reduce_sum", mb.mul(x=apart, y=apart), axes, _keep(call))
    count = mb.sizes.scalar(math.prod(call.shape("self")[axis] for axis in axes))
    if isinstance(count, int):
        return mb.real_div(x=total, y=float(max(count - _correction(call), 0)))
    freedom = mb.sub(x=mb.cast(count, mil_type(total)), y=float(_correction(call)))
    return mb.real_div(x=total, y=mb.maximum(x=freedom, y=0.0))


def _correction(call: Call) -> float:
    """What is taken off the count of elements: 1 for the unbiased estimate, PyTorch's default."""
    if "unbiased" in call.args:
        return 1 if call["unbiased"] else 0
    given = call["correction"]
    return 1 if given is None else float(given)


@rules(aten.var.default, aten.var.dim, aten.var.correction, types=FLOAT, fewer=along)
def var(mb: Emit, call: Call) -> Var:
    return result(mb, call, _variance(mb, call))


@rules(aten.std.default, aten.std.dim, aten.std.correction, types=FLOAT)
def std(mb: Emit, call: Call) -> Var:
    return result(mb, call, mb.sqrt(x=_variance(mb, call)))


def _with_mean(mb: Emit, call: Call, spread: Var) -> tuple[Var, Var]:
    x = mb.var(call["self"], keep_fp32(mb, call.outs[0].dtype, SQUARES))
    mean = _reduce(mb, "reduce_mean", x, _axes(call), _keep(call))
    kind = mb.type_of(call.outs[0].dtype)
    return mb.cast(spread, kind), mb.cast(mean, kind)


@rules(aten.var_mean.default, aten.var_mean.dim, aten.var_mean.correction, types=FLOAT)
def var_mean(mb: Emit, call: Call) -> tuple[Var, Var]:
    return _with_mean(mb, call, _variance(mb, call))


@rules(aten.std_mean.default, aten.std_mean.dim, aten.std_mean.correction, types=FLOAT)
def std_mean(mb: Emit, call: Call) -> tuple[Var, Var]:
    return _with_mean(mb, call, mb.sqrt(x=_variance(mb, call)))


@rules(aten.linalg_vector_norm.default, types=FLOAT)
def vector_norm(mb: Emit, call: Call) -> Var:
    """:func:`p_norm`, in fp16 where nothing is raised to a power."""
    order, axes, keep = float(call["ord"]), _axes(call), _keep(call)
    if math.isinf(order):
        x = mb.abs(x=mb.var(call["self"], call.out.dtype))
        return _reduce(mb, "reduce_max" if order > 0 else "reduce_min", x, axes, keep)
    if order in (0, 1):
        x = mb.var(call["self"], _accumulator(mb, call))
        size = mb.cast(not_zero(mb, x), mil_type(x)) if order == 0 else mb.abs(x=x)
        return result(mb, call, _reduce(mb, "reduce_sum", size, axes, keep))
    x = mb.var(call["self"], keep_fp32(mb, call.out.dtype, SQUARES))
    return result(mb, call, p_norm(mb, x, order, axes, keep))


def p_norm(mb: Emit, x: Var, order: float, axes: list[int], keep: bool) -> Var:
    """sum(|x|^p)^(1/p) over ``axes`` of an fp32 value; the limits for p of 0 and infinity."""
    if order == 2:
        return _reduce(mb, "reduce_l2_norm", x, axes, keep) if axes else mb.abs(x=x)
    size = mb.abs(x=x)
    if math.isinf(order):
        return _reduce(mb, "reduce_max" if order > 0 else "reduce_min", size, axes, keep)
    if order == 0:
        return _reduce(mb, "reduce_sum", mb.cast(not_zero(mb, x), "fp32"), axes, keep)
    total = _reduce(mb, "reduce_sum", raised(mb, size, order), axes, keep)
    return raised(mb, total, 1 / order)


@rules(aten.logsumexp.default, types=FLOAT | INT, checks=[_elements])
def logsumexp(mb: Emit, call: Call) -> Var:
    """max + log(sum(exp(x - max))), with a finite max: -inf - -inf would be NaN."""
    x = mb.var(call["self"], _accumulator(mb, call))
    axes = _axes(call)
    largest = _reduce(mb, "reduce_max", x, axes, True)
    limit = FP16_MAX if mil_type(x) == "fp16" else torch.finfo(torch.float32).max
    largest = mb.clip(x=largest, alpha=-limit, beta=limit)
    total = _reduce(mb, "reduce_sum", mb.exp(x=mb.sub(x=x, y=largest)), axes, True)
    value = mb.add(x=log(mb, total), y=largest)
    return result(mb, call, reshape(mb, value, call.out.shape))
