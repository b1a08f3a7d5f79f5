"""How large integers can get: int64 is int32 in Core ML, and what may leave int32 is refused.

Ranges follow from what needs no running: bools and narrow dtypes, counters (``arange``), numbers,
limits of a clamp, lengths of axes. The inputs of a model, and what it gathers from int64 tables,
are taken to be like token ids and positions: such a range is unknown, and arithmetic on it goes
through. The engine checks int64 inputs when it runs; a device keeps their low 32 bits.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from math import prod
from typing import Any, TypeAlias

import torch
from executorch.exir.passes import dim_order_ops_registry  # noqa: F401  (defines dim_order_ops)
from torch.fx import Node

from executorch_coreml.ops.call import Call
from executorch_coreml.ops.sizes import largest

aten = torch.ops.aten
dim_order_ops = torch.ops.dim_order_ops

Range: TypeAlias = "tuple[int, int] | None"  # the least and the largest value; None: unknown
Of: TypeAlias = Callable[[str], Range]  # the range of the argument of that name

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
NUMBER = "number"  # meta key: the value of a rank-0 constant, which the partitioner knows
_DEEPEST = 100  # ops between a value and what bounds it


def beyond_int32(call: Call) -> str | None:
    """Why the int64 result of a call does not fit int32, if it is known that it may not."""
    if not isinstance(call.out, torch.Tensor) or call.out.dtype is not torch.int64:
        return None
    found = _range(call.node, {}, 0)
    if found is None or _fits(found):
        return None
    worst = found[0] if found[0] < INT32_MIN else found[1]
    reached = str(worst) if abs(worst) < 10**20 else f"10**{len(str(abs(worst))) - 1}"
    return f"its values may reach {reached}, which does not fit int32; Core ML has no int64"


def never_negative(node: Node) -> bool:
    """Whether a tensor of integers is known to hold none below zero."""
    found = _range(node, {}, 0)
    return found is not None and found[0] >= 0


def _range(value: Any, known: dict[Node, Range], depth: int) -> Range:
    if isinstance(value, (bool, int)):
        return int(value), int(value)
    if not isinstance(value, Node) or not isinstance(value.meta.get("val"), torch.Tensor):
        return None
    if value not in known:
        found = None if depth > _DEEPEST else _of_node(value, known, depth)
        wraps = value.meta["val"].dtype is torch.int32 and not _fits(found)
        known[value] = None if wraps else found
    return known[value]


def _fits(found: Range) -> bool:
    return found is None or (found[0] >= INT32_MIN and found[1] <= INT32_MAX)


def _of_node(node: Node, known: dict[Node, Range], depth: int) -> Range:
    dtype = node.meta["val"].dtype
    if dtype is torch.bool:
        return 0, 1
    if dtype.is_floating_point or dtype.is_complex:
        return None
    if dtype.itemsize < torch.int32.itemsize:
        return torch.iinfo(dtype).min, torch.iinfo(dtype).max
    if NUMBER in node.meta:
        return _range(node.meta[NUMBER], known, depth)
    if node.op != "call_function" or node.target is operator.getitem:
        return None
    call = Call(node)

    def of(name: str) -> Range:
        value = call.args.get(name)
        if isinstance(value, (list, tuple)):
            return _hull(*(_range(item, known, depth + 1) for item in value))
        return _range(value, known, depth + 1)

    rule = _RANGES.get(call.op)
    if rule is None and _is_view(call.op):
        rule = _same
    return None if rule is None else rule(call, of)


def _is_view(op: Any) -> bool:
    returns = op._schema.returns
    return torch.Tag.view_copy in op.tags or (
        len(returns) == 1 and returns[0].alias_info is not None
    )


# -- ranges from ranges --------------------------------------------------------------------------


def _hull(*ranges: Range) -> Range:
    """What holds all of the ranges; unknown if one of them is."""
    known = [one for one in ranges if one is not None]
    if not known or len(known) < len(ranges):
        return None
    return min(low for low, _ in known), max(high for _, high in known)


def _times(first: Range, second: Range) -> Range:
    if first is None or second is None:
        return None
    corners = [x * y for x in first for y in second]
    return min(corners), max(corners)


def _plus(first: Range, second: Range) -> Range:
    if first is None or second is None:
        return None
    return first[0] + second[0], first[1] + second[1]


def _power(base: Range, times: int) -> Range:
    """``base`` multiplied with itself so many times, and all that is on the way.

    Of more than 64 times no more is known: the range is far beyond int32 then, or within [-1, 1].
    """
    if base is None:
        return None
    most = max(abs(base[0]), abs(base[1])) ** min(max(times, 0), 64)
    return (-most if base[0] < 0 else 0), max(most, 1)


def _same(call: Call, of: Of) -> Range:
    return of("self")


def _add(sign: int) -> Callable[[Call, Of], Range]:
    return lambda call, of: _plus(of("self"), _times(_times(of("other"), of("alpha")), (sign,) * 2))


def _rsub(call: Call, of: Of) -> Range:
    return _plus(of("other"), _times(_times(of("self"), of("alpha")), (-1, -1)))


def _abs(call: Call, of: Of) -> Range:
    found = of("self")
    return None if found is None else (0, max(abs(found[0]), abs(found[1])))


def _pow(call: Call, of: Of) -> Range:
    exponent = call["exponent"]
    return _power(of("self"), exponent) if isinstance(exponent, int) else None


def _shifted(call: Call, of: Of) -> Range:
    by = of("other")
    if by is None or not 0 <= by[0] <= by[1] < 64:
        return None
    return _times(of("self"), (2 ** by[0], 2 ** by[1]))


def _clamp(call: Call, of: Of) -> Range:
    low, high, found = of("min"), of("max"), of("self")
    if low is not None and high is not None:
        return min(low[0], high[0]), max(low[1], high[1])
    return _hull(found, *(limit for limit in (low, high) if limit is not None))


def _remainder(call: Call, of: Of) -> Range:
    by = of("other")
    return None if by is None else (min(by[0], 0), max(by[1], 0))


def _count(call: Call) -> int:
    """How many elements go into one of the result of a reduction."""
    if "dim" not in call.args or not call.rank("self"):
        return prod(map(largest, call.shape("self")))
    return prod(largest(call.shape("self")[axis]) for axis in call.dims())


def _sum(call: Call, of: Of) -> Range:
    return _hull(of("self"), _times(of("self"), (_count(call),) * 2))


def _prod(call: Call, of: Of) -> Range:
    return _power(of("self"), _count(call))


def _product(other: str) -> Callable[[Call, Of], Range]:
    """Of matrices: as many products as the inner axis is long."""
    return lambda call, of: _times(
        _times(of("self"), of(other)), (0, largest(call.shape("self")[-1]))
    )


def _place(call: Call, of: Of) -> Range:
    return 0, prod(map(largest, call.shape("self"))) - 1


def _arange(call: Call, of: Of) -> Range:
    end = call["end"]
    end = end.meta["val"] if isinstance(end, Node) else end
    end = largest(end) if isinstance(end, torch.SymInt) else end
    limits = call.args.get("start", 0), end, call.args.get("step", 1)
    if end == INT32_MAX or not all(isinstance(limit, int) for limit in limits):
        return None
    counted = range(*limits)
    return (min(counted[0], counted[-1]), max(counted[0], counted[-1])) if counted else None


def _named(*names: str) -> Callable[[Call, Of], Range]:
    return lambda call, of: _hull(*(of(name) for name in names))


_RANGES: dict[Any, Callable[[Call, Of], Range]] = {
    aten.add.Tensor: _add(1),
    aten.add.Scalar: _add(1),
    aten.sub.Tensor: _add(-1),
    aten.sub.Scalar: _add(-1),
    aten.rsub.Tensor: _rsub,
    aten.rsub.Scalar: _rsub,
    aten.mul.Tensor: lambda call, of: _times(of("self"), of("other")),
    aten.mul.Scalar: lambda call, of: _times(of("self"), of("other")),
    aten.neg.default: lambda call, of: _times(of("self"), (-1, -1)),
    aten.abs.default: _abs,
    aten.bitwise_left_shift.Tensor: _shifted,
    aten.bitwise_left_shift.Tensor_Scalar: _shifted,
    aten.square.default: lambda call, of: _power(of("self"), 2),
    aten.pow.Tensor_Scalar: _pow,
    aten.clamp.default: _clamp,
    aten.clamp.Tensor: _clamp,
    aten.remainder.Scalar: _remainder,
    aten.remainder.Tensor: _remainder,
    aten.maximum.default: _named("self", "other"),
    aten.minimum.default: _named("self", "other"),
    aten.where.self: _named("self", "other"),
    aten.masked_fill.Scalar: _named("self", "value"),
    aten.masked_fill.Tensor: _named("self", "value"),
    aten.sum.default: _sum,
    aten.sum.dim_IntList: _sum,
    aten.cumsum.default: _sum,
    aten.prod.default: _prod,
    aten.prod.dim_int: _prod,
    aten.cumprod.default: _prod,
    aten.mm.default: _product("mat2"),
    aten.bmm.default: _product("mat2"),
    aten.mv.default: _product("vec"),
    aten.dot.default: _product("tensor"),
    aten.matmul.default: _product("other"),
    aten.argmax.default: _place,
    aten.argmin.default: _place,
    aten.nonzero.default: _place,
    aten.arange.default: _arange,
    aten.arange.start: _arange,
    aten.arange.start_step: _arange,
    aten.scalar_tensor.default: _named("s"),
    aten.full.default: _named("fill_value"),
    aten.full_like.default: _named("fill_value"),
    aten.cat.default: _named("tensors"),
    aten.stack.default: _named("tensors"),
    aten.one_hot.default: lambda call, of: (0, 1),
} | dict.fromkeys(
    (
        aten._to_copy.default,
        dim_order_ops._to_dim_order_copy.default,
        dim_order_ops._clone_dim_order.default,
        aten.clone.default,
        aten.repeat.default,
        aten.flip.default,
        aten.roll.default,
        aten.gather.default,
        aten.index_select.default,
        aten.index.Tensor,
        aten.amax.default,
        aten.amin.default,
    ),
    _same,
)
