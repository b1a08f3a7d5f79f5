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
from executorch_coreml.ops.moves import concat, fill, piece, take
from executorch_coreml.ops.rule import Family
from executorch_coreml.ops.sizes import expression, fixed_extent

if TYPE_CHECKING:
    from executorch_coreml.ops.emit import Emit

aten = torch.ops.aten
rules = Family()

Pairs = list[tuple[int, int]]

CONSTANT = (None, "constant")  # the mode of an op that has none, and its name
_REPEATING = ("reflect", "replicate", "circular")  # MIL has the first two, under the same names


def _pairs(amounts: list[int], rank: int) -> Pairs:
    """(before, after) per axis from PyTorch's flat list, which starts at the last axis."""
    given = list(zip(amounts[::2], amounts[1::2], strict=True))[::-1]
    return [(0, 0)] * (rank - len(given)) + given


def _flat(pairs: Pairs) -> list[int]:
    return [amount for pair in pairs for amount in pair]


def _constant(mb: Emit, call: Call, pairs: Pairs, value: Any) -> Var:
    x, shape, dtype = mb.var(call["self"]), call.shape("self"), call.out.dtype
    for axis, (before, after) in enumerate(pairs):
        if min(before, after) < 0:
            stop = expression(shape[axis]) + min(after, 0)
            x = piece(mb, x, axis, max(-before, 0), stop)
    pairs = [(max(before, 0), max(after, 0)) for before, after in pairs]
    if not any(_flat(pairs)):
        return x
    number = torch.full((), value, dtype=dtype).numpy()
    if dtype.is_floating_point:
        return mb.pad(x=x, pad=_flat(pairs), mode="constant", constant_val=float(number))
    for axis, amounts in enumerate(pairs):
        edges = [
            [fill(mb, [*x.shape[:axis], amount, *x.shape[axis + 1 :]], number, mil_type(x))]
            if amount
            else []
            for amount in amounts
        ]
        x = concat(mb, [*edges[0], x, *edges[1]], axis)
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


def _repeated(mb: Emit, x: Var, pairs: Pairs, mode: str) -> Var:
    """Padding with the tensor's own values."""
    native = mode != "circular" and mil_type(x).startswith("fp") and not any(_flat(pairs[:-2]))
    if native and all(
        0 <= amount <= extent
        for extent, pair in zip(x.shape, pairs, strict=True)
        for amount in pair
    ):
        return mb.pad(x=x, pad=_flat(pairs[-2:]), mode=mode)
    for axis, (before, after) in enumerate(pairs):
        if before or after:
            x = take(mb, x, _sources(x.shape[axis], before, after, mode), axis)
    return x


def _floats_or_fixed(call: Call) -> str | None:
    """The padding of a dynamic shape is of floats"""
    dynamic = any(fixed_extent(extent) is None for extent in call.shape("self"))
    if not dynamic or (call.out.dtype.is_floating_point and call.args.get("mode") in CONSTANT):
        return None
    return "integers, and other than constant padding, need a fixed shape"


@rules(
    aten.constant_pad_nd.default,
    checks=[constant("pad"), constant("value"), _floats_or_fixed],
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
        _floats_or_fixed,
    ],
    moves_data=True,
    dynamic=True,
)
def pad(mb: Emit, call: Call) -> Var:
    pairs = _pairs(call["pad"], call.rank("self"))
    if call["mode"] == "constant":
        return _constant(mb, call, pairs, call["value"] or 0)
    return _repeated(mb, mb.var(call["self"]), pairs, call["mode"])


@rules(
    aten.reflection_pad1d.default,
    aten.reflection_pad2d.default,
    aten.reflection_pad3d.default,
    checks=[constant("padding")],
    moves_data=True,
)
def reflection_pad(mb: Emit, call: Call) -> Var:
    pairs = _pairs(call["padding"], call.rank("self"))
    return _repeated(mb, mb.var(call["self"]), pairs, "reflect")


@rules(
    aten.replication_pad1d.default,
    aten.replication_pad2d.default,
    aten.replication_pad3d.default,
    checks=[constant("padding")],
    moves_data=True,
)
def replication_pad(mb: Emit, call: Call) -> Var:
    pairs = _pairs(call["padding"], call.rank("self"))
    return _repeated(mb, mb.var(call["self"]), pairs, "replicate")
