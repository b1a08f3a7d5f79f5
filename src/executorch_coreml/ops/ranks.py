"""Calls on tensors of more than five axes, the most Core ML has, as calls on fewer.

Most such tensors live for a moment: a map is cut into windows by a view to six axes, a
permutation, and a view back. What their axes are merged into does not change their elements or
the order of these, so a call on them is often one on merged axes too:

- a *view* only names the elements anew;
- a *permutation* moves runs of axes that stay together; what needs more than five runs is done in
  several moves;
- a *pointwise* op treats all axes alike, except where its operands are broadcast;
- a reduction, slice, join, ... works *along* some axes; those before, between and after merge.

A rule says which of these forms its op has. Here each form decides whether one call fits, which
makes support; :mod:`executorch_coreml.compiler.passes.fewer_axes` writes the call so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby, pairwise
from math import prod
from typing import Any, TypeAlias

import torch
from torch.fx import Node

from executorch_coreml.ops.call import Call

MAX_RANK = 5  # Core ML refuses tensors of higher rank

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Moved:
    """The result is the elements of ``self``, moved.

    Attributes:
        moves: (shape, permutation) one after the other; none if the elements stay as they are.
    """

    moves: tuple[tuple[Shape, Shape], ...] = ()


@dataclass(frozen=True, slots=True)
class Merged:
    """The result is that of the same op, reshaped.

    Attributes:
        shapes: Tensor argument -> the shape it is given.
        arguments: The arguments that change, by name.
    """

    shapes: Mapping[Node, Shape]
    arguments: Mapping[str, Any]


Form: TypeAlias = Callable[[Call], "Moved | Merged | None"]


def too_many_axes(call: Call) -> bool:
    """Whether a tensor that goes in, or a result that is read, is beyond Core ML's rank."""
    return any(tensor.dim() > MAX_RANK for _, tensor in call.tensors()) or any(
        tensor.dim() > MAX_RANK for tensor in call.read_outs()
    )


# -- forms ---------------------------------------------------------------------------------------


def reshaped(_: Call) -> Moved:
    """Views and copies: the same elements in the same order."""
    return Moved()


def permuted(call: Call) -> Moved:
    """``permute``, ``transpose`` and ``t``."""
    rank = call.rank("self")
    perm = list(range(rank))
    if "dims" in call.args:
        perm = [dim % rank for dim in call["dims"]]
    elif "dim0" in call.args:
        first, second = call.dim("dim0"), call.dim("dim1")
        perm[first], perm[second] = perm[second], perm[first]
    else:
        perm.reverse()
    return Moved(tuple(moves(call.shape("self"), perm)))


def pointwise(call: Call) -> Merged | None:
    """Operands that are broadcast to the shape of the result."""
    out = tuple(call.outs[0].shape)
    shapes = {node: tuple(node.meta["val"].shape) for node in call.node.all_input_nodes}
    merged, _ = _broadcast(shapes, out)
    return Merged(merged, {}) if _fit(merged) else None


def expanded(call: Call) -> Merged | None:
    """``expand``."""
    node = call["self"]
    merged, out = _broadcast({node: call.shape("self")}, tuple(call.out.shape))
    return Merged(merged, {"size": list(out)}) if len(out) <= MAX_RANK else None


def along(call: Call) -> Merged | None:
    """Ops along the axes ``dim`` or ``dims`` of ``self``, or of each of ``tensors``."""
    name = "dim" if "dim" in call.args else "dims"
    tensors = call["tensors"] if "tensors" in call.args else [call["self"]]
    rank = tensors[0].meta["val"].dim()
    given = call.args.get(name)
    if given is None or given == []:  # along all of them, or as if there were but one
        return Merged({tensors[0]: (prod(call.shape("self")),)}, {})
    dims = [dim % rank for dim in (given if isinstance(given, list) else [given])]
    runs = [list(run) for _, run in groupby(range(rank), lambda axis: axis if axis in dims else -1)]
    place = {run[0]: number for number, run in enumerate(runs)}
    moved = [place[dim] for dim in dims]
    shapes = {node: _merge(tuple(node.meta["val"].shape), runs) for node in tensors}
    arguments = {name: moved if isinstance(given, list) else moved[0]}
    return Merged(shapes, arguments) if _fit(shapes) else None


def last(call: Call) -> Merged | None:
    """Ops along the last axes of ``input``: ``linear``, and norms over ``normalized_shape``."""
    shape = call.shape("input")
    kept = len(call.args.get("normalized_shape", (1,)))
    merged = {call["input"]: (prod(shape[:-kept]), *shape[-kept:])}
    return Merged(merged, {}) if _fit(merged) else None


def default_form(op: Any) -> Form | None:
    """The form of an op whose rule names none."""
    return pointwise if torch.Tag.pointwise in getattr(op, "tags", ()) else None


def _fit(shapes: Mapping[Node, Shape]) -> bool:
    return all(len(shape) <= MAX_RANK for shape in shapes.values())


def _merge(shape: Shape, runs: Sequence[Sequence[int]]) -> Shape:
    return tuple(prod(shape[axis] for axis in run) for run in runs)


def _broadcast(shapes: Mapping[Node, Shape], out: Shape) -> tuple[dict[Node, Shape], Shape]:
    """``shapes`` and ``out`` with those axes merged that each operand has all of, or none."""
    padded = {node: (1,) * (len(out) - len(shape)) + shape for node, shape in shapes.items()}

    def repeated(axis: int) -> list[bool]:
        return [shape[axis] != out[axis] for shape in padded.values()]

    axes = [axis for axis, extent in enumerate(out) if extent != 1]
    runs = [list(run) for _, run in groupby(axes, repeated)]
    return {node: _merge(shape, runs) for node, shape in padded.items()}, _merge(out, runs)


# -- permutations --------------------------------------------------------------------------------


def moves(shape: Sequence[int], perm: Sequence[int]) -> Iterator[tuple[Shape, Shape]]:
    """(shape, permutation) of at most five axes each that together permute ``shape``.

    While more than five runs of axes stay together, two neighbouring blocks of runs are swapped,
    those that leave the fewest runs; one swap always saves a run.
    """
    wanted = [axis for axis in perm if shape[axis] != 1]
    order = sorted(wanted)
    while len(_runs(order, wanted)) > MAX_RANK:
        runs = _runs(order, wanted)
        swaps = (
            [runs[:i], runs[i:j], runs[j:k], runs[k:]]
            for i, j, k in combinations(range(len(runs) + 1), 3)
        )
        head, first, second, tail = min(
            swaps, key=lambda cut: len(_runs(_axes(cut[0], cut[2], cut[1], cut[3]), wanted))
        )
        blocks = [_axes(block) for block in (head, first, second, tail)]
        sizes = tuple(prod(shape[axis] for axis in block) for block in blocks)
        yield sizes, (0, 2, 1, 3)
        order = _axes(head, second, first, tail)
    runs = _runs(order, wanted)
    if len(runs) > 1:
        sizes = tuple(prod(shape[axis] for axis in run) for run in runs)
        starts = [run[0] for run in runs]
        yield sizes, tuple(starts.index(axis) for axis in wanted if axis in starts)


def _axes(*blocks: Sequence[Sequence[int]]) -> list[int]:
    return [axis for block in blocks for run in block for axis in run]


def _runs(order: Sequence[int], wanted: Sequence[int]) -> list[list[int]]:
    """``order`` cut where two neighbours are none, in this order, in ``wanted``."""
    after = dict(pairwise(wanted))
    runs: list[list[int]] = []
    for axis in order:
        if runs and after.get(runs[-1][-1]) == axis:
            runs[-1].append(axis)
        else:
            runs.append([axis])
    return runs
