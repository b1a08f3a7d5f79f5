"""The weights of a program one by one: how each is stored, what it takes, and what reads it.

A weight is a ``const`` of some size, or the result of ``constexpr`` ops, which decode what is
stored (integers with scales, tables with indices, a mask with what it leaves) when a model is
loaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from executorch_coreml.mil.summary import operations, stored_bytes
from executorch_coreml.mil.types import (
    NUMPY_DTYPES,
    Argument,
    Constant,
    Function,
    Op,
    Ref,
    TensorType,
)

_CONSTEXPR = "constexpr_"
_SMALL = 8  # elements: what is less is an argument, not a weight
# The operand that holds one stored element per element of the weight.
_ELEMENTS = ("data", "quantized_data", "indices", "nonzero_data", "source_val", "val")


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One stored tensor of a weight.

    Attributes:
        role: Which operand it is: ``"data"``, ``"scale"``, ``"lut"``, ``"val"`` of a ``const``.
        dtype, shape: As stored.
        data: The elements, or a stand-in of their shape (see
            :class:`~executorch_coreml.mil.weights.WeightFile`).
    """

    role: str
    dtype: str
    shape: tuple[int, ...]
    data: np.ndarray

    @property
    def bytes(self) -> int:
        return stored_bytes(self.dtype, self.shape)


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """One weight.

    Attributes:
        name: The MIL value that ops read.
        type: What they read it as.
        form: The op that makes it: ``"const"`` or a ``constexpr``.
        parts: What is stored for it.
        blocks: Extents of the blocks that share a scale, if it has scales for blocks rather than
            for channels or for the whole; empty otherwise.
        encoding: The form in words: ``"fp16"``, ``"int4 per block of 32"``.
        users: Type and name of each op that reads it.
    """

    name: str
    type: TensorType
    form: str
    parts: tuple[Part, ...]
    blocks: tuple[int, ...]
    encoding: str
    users: tuple[tuple[str, str], ...]

    @property
    def bytes(self) -> int:
        return sum(part.bytes for part in self.parts)


def stored(function: Function) -> dict[str, Stored]:
    """The weights of a function by name, in the order of the program."""
    made: dict[str, Op] = {}
    for op in operations(function.body):
        if op.type == "const" or op.type.startswith(_CONSTEXPR):
            made |= {value.name: op for value in op.outputs}
    users: dict[str, list[tuple[str, str]]] = {}
    for op in operations(function.body):
        if not op.type.startswith(_CONSTEXPR):
            for name in _names(op):
                users.setdefault(name, []).append((op.type, op.name))
    found = {}
    for name, read_by in users.items():
        if name in made and (weight := _weight(name, made, tuple(read_by))) is not None:
            found[name] = weight
    return {name: found[name] for name in made if name in found}


def weight_names(op: Op, weights: Mapping[str, Stored]) -> list[str]:
    """The weights that an op reads."""
    return [name for name in _names(op) if name in weights]


def _names(op: Op) -> Iterator[str]:
    for arguments in op.inputs.values():
        yield from (each.name for each in arguments if isinstance(each, Ref))


def _weight(name: str, made: Mapping[str, Op], users: tuple[tuple[str, str], ...]) -> Stored | None:
    op = made[name]
    kind = next(value.type for value in op.outputs if value.name == name)
    if not isinstance(kind, TensorType) or kind.dtype not in NUMPY_DTYPES:
        return None
    parts = tuple(_parts(op, made))
    if op.type == "const" and sum(part.data.size for part in parts) < _SMALL:
        return None
    blocks = _blocks(op, made)
    return Stored(name, kind, op.type, parts, blocks, _encoding(op, kind, parts, blocks), users)


def _parts(op: Op, made: Mapping[str, Op]) -> Iterator[Part]:
    """The constants of an op and of the ops that make its operands."""
    for role, arguments in (*op.inputs.items(), *((k, (v,)) for k, v in op.attributes.items())):
        for argument in arguments:
            if isinstance(argument, Ref) and argument.name in made:
                inner = made[argument.name]
                for part in _parts(inner, made):
                    kept = part.role if inner.type != "const" else role
                    yield Part(kept, part.dtype, part.shape, part.data)
            elif (constant := _tensor(argument)) is not None:
                yield Part(role, constant[0], constant[1].shape, constant[1])


def _tensor(argument: Argument) -> tuple[str, np.ndarray] | None:
    if (
        isinstance(argument, Constant)
        and isinstance(argument.type, TensorType)
        and isinstance(argument.data, np.ndarray)
        and argument.type.dtype in NUMPY_DTYPES
    ):
        return argument.type.dtype, argument.data
    return None


def _blocks(op: Op, made: Mapping[str, Op]) -> tuple[int, ...]:
    """Block extents of ``constexpr_blockwise_shift_scale``, if a scale is finer than a channel."""
    if not any(each.type.endswith("blockwise_shift_scale") for each in _chain(op, made)):
        return ()
    parts = {part.role: part for part in _parts(op, made)}
    whole, scale = _extents(op), parts.get("scale")
    if scale is None or len(scale.shape) != len(whole):
        return ()
    several = [axis for axis, count in enumerate(scale.shape) if count > 1]
    if all(scale.shape[axis] == whole[axis] for axis in several) and len(several) < 2:
        return ()
    return tuple(n // max(count, 1) for n, count in zip(whole, scale.shape, strict=True))


def _chain(op: Op, made: Mapping[str, Op]) -> Iterator[Op]:
    """The op and those that make its operands."""
    yield op
    for name in _names(op):
        if name in made:
            yield from _chain(made[name], made)


def _extents(op: Op) -> tuple[int, ...]:
    """The shape of what an op makes: of its last output, which is the elements."""
    kind = op.outputs[-1].type
    return tuple(n or 0 for n in kind.shape) if isinstance(kind, TensorType) else ()


def _encoding(op: Op, kind: TensorType, parts: tuple[Part, ...], blocks: tuple[int, ...]) -> str:
    roles = {part.role: part for part in parts}
    elements = next((roles[role] for role in _ELEMENTS if role in roles), None)
    words = elements.dtype if elements is not None else kind.dtype
    if table := roles.get("lut"):
        # iOS16 has one table; from iOS18 on a table per block, behind as many axes as the weight.
        rank = max(len(table.shape) - 2, 0)
        count, entries = prod(table.shape[:rank]), table.shape[rank] if rank else table.shape[0]
        words = f"{(entries - 1).bit_length()}-bit palette"
        words += f", {count} tables" if count > 1 else ""
    elif scale := roles.get("scale"):
        size = prod(scale.shape)
        if blocks:
            words += f" per block of {'x'.join(str(n) for n in blocks if n > 1) or 1}"
        else:
            words += " per channel" if size > 1 else " per tensor"
    if "sparse" in op.type or "mask" in roles:
        words += ", sparse"
    return words
