"""Small named predicates on a call. Each returns a check: a function to None or a sentence.

They read metadata only, never raise and never read weights. The first line of a check's docstring
is its words in ``etcoreml ops``; a factory sets it with :func:`says`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch.fx import Node

from executorch_coreml.ops.call import Call
from executorch_coreml.ops.rule import NARROW, Check
from executorch_coreml.ops.sizes import fixed_extent, inexpressible, is_size

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


def says(words: str) -> Callable[[Check], Check]:
    """A decorator for checks whose docstring depends on the factory's arguments."""

    def describe(check: Check) -> Check:
        check.__doc__ = words
        return check

    return describe


def one_of(name: str, *allowed: Any) -> Check:
    """The argument is one of the given values."""

    @says(f"{name} is {' or '.join(map(repr, allowed))}")
    def check(call: Call) -> str | None:
        if call[name] in allowed:
            return None
        return f"{name} must be one of {', '.join(map(repr, allowed))}; got {call[name]!r}"

    return check


def rank(name: str, *allowed: int) -> Check:
    """The tensor argument has one of the given ranks."""

    @says(f"{name} has rank {' or '.join(map(str, allowed))}")
    def check(call: Call) -> str | None:
        if call.rank(name) in allowed:
            return None
        return f"{name} has rank {call.rank(name)}; allowed: {', '.join(map(str, allowed))}"

    return check


def constant(name: str) -> Check:
    """The argument is a number, a list of numbers or None, not something computed at run time."""

    @says(f"{name} is a constant")
    def check(call: Call) -> str | None:
        given = call[name]
        items = given if isinstance(given, (list, tuple)) else (given,)
        if any(isinstance(item, (Node, torch.SymInt, torch.SymFloat)) for item in items):
            return f"{name} is computed at run time; it must be a constant"
        return None

    return check


def constant_or_size(name: str) -> Check:
    """The argument is known when compiling, or comes from the shapes of inputs."""

    @says(f"{name} is a constant or comes from a shape")
    def check(call: Call) -> str | None:
        given = call[name]
        for item in given if isinstance(given, (list, tuple)) else (given,):
            if isinstance(item, Node) and not (is_size(item) and inexpressible(item) is None):
                return f"{name} is computed at run time; it must be a constant or a size"
        return None

    return check


def absent(name: str) -> Check:
    """The optional argument is not given."""

    @says(f"{name} is not given")
    def check(call: Call) -> str | None:
        return None if call[name] is None else f"{name} is not supported"

    return check


def fits_int32(name: str) -> Check:
    """The number, when it is an integer, is one of the integers that the call computes in.

    Core ML has no int64. Beside a narrow tensor PyTorch itself refuses a larger number or wraps it,
    even where it compares.
    """

    @says(f"{name} fits int32, or a narrower dtype of the tensor")
    def check(call: Call) -> str | None:
        given = call[name]
        if not isinstance(given, int):
            return None
        if not INT32_MIN <= given <= INT32_MAX:
            return f"{name} is {given}, which does not fit int32; Core ML has no int64"
        for dtype in _computed_in(call):
            if not torch.iinfo(dtype).min <= given <= torch.iinfo(dtype).max:
                return f"{name} is {given}, which does not fit {str(dtype).removeprefix('torch.')}"
        return None

    return check


def _computed_in(call: Call) -> set[torch.dtype]:
    """The narrow dtype of the result; of a comparison, those of its operands."""
    compared = call.outs[0].dtype is torch.bool
    tensors = [tensor for _, tensor in call.tensors()] if compared else call.outs
    return {tensor.dtype for tensor in tensors} & NARROW


def dtype_of(name: str, *allowed: torch.dtype) -> Check:
    """The tensor argument has one of the given dtypes."""
    names = [str(dtype).removeprefix("torch.") for dtype in allowed]

    @says(f"{name} has dtype {' or '.join(names)}")
    def check(call: Call) -> str | None:
        if not isinstance(call[name], Node) or call.dtype(name) in allowed:
            return None
        got = str(call.dtype(name)).removeprefix("torch.")
        return f"{name} has dtype {got}; allowed: {', '.join(names)}"

    return check


def fixed_extents(name: str, behind: int) -> Check:
    """The extents of a tensor argument are fixed from some axis on, say all but the batch's."""

    @says(f"{name} has fixed extents from axis {behind} on")
    def check(call: Call) -> str | None:
        shape = call.shape(name)
        if all(fixed_extent(extent) is not None for extent in shape[behind:]):
            return None
        return f"{name} has the dynamic shape {shape}; only its first axes may be dynamic"

    return check


def only_first_result(call: Call) -> str | None:
    """Of an op with several results, nothing but the first one is read."""
    for user in call.node.users:
        if user.op != "call_function" or user.target is not operator.getitem:
            return "its results are used as a tuple"
        if user.args[1] != 0 and user.users:
            return f"its result number {user.args[1]} is used; only the first can be computed"
    return None
