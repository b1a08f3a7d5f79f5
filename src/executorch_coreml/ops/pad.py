"""Padding: constant, reflected, replicated and circular.

A negative amount crops. MIL's ``pad`` takes floats only, and reflects or replicates only the last
two axes; everything else is put together from concats and gathers, exact for every dtype.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from executorch_coreml.ops.call import Call
from executorch_coreml.ops.checks import constant, one_of
from executorch_coreml.ops.emit import Var, mil_type
from executorch_coreml.ops.moves import clamped, concat, fill, piece, take
from executorch_coreml.ops.rule import Family
from executorch_coreml.ops.sizes import Extent, expression, fixed_extent

if TYPE_CHECKING:
    from executorch_coreml.ops.emit import Emit

aten = torch.ops.aten
rules = Family()

Pairs = list[tuple[int, int]]

_REPEATING = ("reflect", "replicate", "circular")  # MIL has the first two, under the same names


def _pairs(amounts: list[int], rank: int) -> Pairs:
    """(before, after) per axis from PyTorch's flat list, which starts at the last axis."""
    given = list(zip(amounts[::2], amounts[1::2], strict=True))[::-1]
    return [(0, 0)] * (rank - len(given)) + given


def _flat(pairs: Pairs) -> list[int]:
    return [amount for pair in pairs for amount in pair]


def _constant(mb: Emit, call: Call, pairs: Pairs, value: Any) -> Var:
    x, dtype = mb.var(call["self"]), call.out.dtype
    shape = [expression(extent) for extent in call.shape("self")]
    for axis, (before, after) in enumerate(pairs):
        if min(before, after) < 0:
            start, stop = max(-before, 0), shape[axis] + min(after, 0)
            x = piece(mb, x, axis, start, stop)
            shape[axis] = stop - start
    pairs = [(max(before, 0), max(after, 0)) for before, after in pairs]
    if not any(_flat(pairs)):
        return x
    number = torch.full((), value, dtype=dtype).numpy()
    if dtype.is_floating_point:
        return mb.pad(x=x, pad=_flat(pairs), mode="constant", constant_val=float(number))
    for axis, amounts in enumerate(pairs):
        edges = [
            [fill(mb, [*shape[:axis], amount, *shape[axis + 1 :]], number, mil_type(x))]
            if amount
            else []
            for amount in amounts
        ]
        x = concat(mb, [*edges[0], x, *edges[1]], axis)
        shape[axis] += sum(amounts)
    return x


def _sources(extent: int, before: int, after: int, mode: str) -> np.ndarray[Any, Any]:
    """Where each element along a padded axis comes from. Circular padding repeats what is left
    after cropping, the other modes what was there before."""
    grow, crop = (max(before, 0), max(after, 0)), slice(max(-before, 0), min(after, 0) or None)
    places: np.ndarray[Any, Any] = np.arange(extent)
    if mode == "circular":
        places = np.pad(places[crop], grow, mode="wrap")
    elif mode == "reflect":
        places = np.pad(places, grow, mode="reflect")[crop]
    else:
        places = np.pad(places, grow, mode="edge")[crop]
    return places


def _computed(mb: Emit, extent: Extent, before: int, after: int, mode: str) -> Var:
    """The same for an extent that only run time knows, in integer arithmetic."""
    size = expression(extent)
    numbers = mb.range_1d(start=0, end=mb.sizes.scalar(size + before + after), step=1)
    if mode == "circular":
        first, left = max(-before, 0), size + min(before, 0) + min(after, 0)
        around = mb.sizes.scalar(left)
        ahead = mb.add(x=numbers, y=mb.sizes.scalar(left - max(before, 0)))
        rounds = mb.floor_div(x=ahead, y=around)
        place = mb.sub(x=ahead, y=mb.mul(x=rounds, y=around))
        return mb.add(x=place, y=first) if first else place
    place = mb.sub(x=numbers, y=before)
    if mode == "replicate":
        return clamped(mb, place, size)
    last = mb.sizes.scalar(size - 1)
    beyond = mb.abs(x=mb.sub(x=last, y=mb.abs(x=place)))
    return mb.sub(x=last, y=beyond)


def _repeated(mb: Emit, call: Call, pairs: Pairs, mode: str) -> Var:
    """Padding with the tensor's own values."""
    x, shape = mb.var(call["self"]), call.shape("self")
    native = mode != "circular" and mil_type(x).startswith("fp") and not any(_flat(pairs[:-2]))
    if native and all(
        amount >= 0 and _reaches(extent, amount, mode)
        for extent, pair in zip(shape, pairs, strict=True)
        for amount in pair
    ):
        return mb.pad(x=x, pad=_flat(pairs[-2:]), mode=mode)
    for axis, (before, after) in enumerate(pairs):
        if before or after:
            fixed = fixed_extent(shape[axis])
            places = (
                _computed(mb, shape[axis], before, after, mode)
                if fixed is None
                else _sources(fixed, before, after, mode)
            )
            x = take(mb, x, places, axis)
    return x


def _reaches(extent: Extent, amount: int, mode: str) -> bool:
    """Whether the axis is as long as what is added, as it must be where it is mirrored."""
    fixed = fixed_extent(extent)
    return not amount or (mode == "reflect" if fixed is None else amount <= fixed)


@rules(
    aten.constant_pad_nd.default,
    checks=[constant("pad"), constant("value")],
    moves_data=True,
    dynamic=True,
)
def constant_pad_nd(mb: Emit, call: Call) -> Var:
    return _constant(mb, call, _pairs(call["pad"], call.rank("self")), call["value"])


@rules(
    aten.pad.default,
    checks=[
        constant("pad"),
        constant("value"),
        one_of("mode", "constant", *_REPEATING),
    ],
    moves_data=True,
    dynamic=True,
)
def pad(mb: Emit, call: Call) -> Var:
    pairs = _pairs(call["pad"], call.rank("self"))
    if call["mode"] == "constant":
        return _constant(mb, call, pairs, call["value"] or 0)
    return _repeated(mb, call, pairs, call["mode"])


@rules(
    aten.reflection_pad1d.default,
    aten.reflection_pad2d.default,
    aten.reflection_pad3d.default,
    checks=[constant("padding")],
    moves_data=True,
    dynamic=True,
)
def reflection_pad(mb: Emit, call: Call) -> Var:
    pairs = _pairs(call["padding"], call.rank("self"))
    return _repeated(mb, call, pairs, "reflect")


@rules(
    aten.replication_pad1d.default,
    aten.replication_pad2d.default,
    aten.replication_pad3d.default,
    checks=[constant("padding")],
    moves_data=True,
    dynamic=True,
)
def replication_pad(mb: Emit, call: Call) -> Var:
    pairs = _pairs(call["padding"], call.rank("self"))
    return _repeated(mb, call, pairs, "replicate")
