"""Extents that only run time knows, as MIL values.

torch.export gives such an extent as a ``SymInt``: an expression over symbols, each of which is an
extent of some input, or of a tensor whose shape depends on values (``nonzero``). A delegate cannot
be handed such a number (only tensors cross its border), so it computes the expression from the
shapes of its own inputs, and of what selects by value within it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from math import prod
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import sympy
import torch
from torch.fx import Node
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
from torch.utils._sympy.functions import CleanDiv, FloorDiv, Max, Min, Mod, PythonMod

from executorch_coreml.errors import LoweringError

if TYPE_CHECKING:
    from executorch_coreml.ops.emit import Emit, Var

# A number, a SymInt, the node that computes one, or its expression.
Extent: TypeAlias = Any

INT32_MAX = 2**31 - 1  # Core ML counts extents in int32

_OF_VALUES = frozenset({torch.ops.aten._local_scalar_dense.default, torch.ops.aten.item.default})
# What torch.export adds to say what it assumes about extents. ExecuTorch (1.5.1) drops them all
# from the programs it makes (``RemoveGraphAssertsPass``), and so do delegates.
_ASSERTIONS = frozenset(
    {
        torch.ops.aten._assert_scalar.default,
        torch.ops.aten.sym_constrain_range.default,
        torch.ops.aten.sym_constrain_range_for_size.default,
    }
)

_FOLDS = {
    sympy.Add: "add",
    sympy.Mul: "mul",
    Max: "maximum",
    sympy.Max: "maximum",
    Min: "minimum",
    sympy.Min: "minimum",
}
_MIL_PREFIX = "extent "
_DIVISIONS = (FloorDiv, CleanDiv)
_REMAINDERS = (Mod, PythonMod)


def expression(extent: Extent) -> sympy.Expr:
    """The extent as sympy sees it; one that is fixed is a number."""
    if type(extent) is int:
        return extent
    value = extent.meta["val"] if isinstance(extent, Node) else extent
    return value.node.expr if isinstance(value, torch.SymInt) else sympy.sympify(value)


def fixed_extent(extent: Extent) -> int | None:
    """The extent, torch's or MIL's, if it is known when compiling."""
    if type(extent) is int:
        return extent
    if isinstance(extent, (int, np.integer)):
        return int(extent)
    found = expression(extent)
    return int(found) if isinstance(found, int) or found.is_Integer else None


def dynamic(shape: Iterable[Extent]) -> bool:
    """Whether an extent of a shape is known at run time only."""
    return any(fixed_extent(extent) is None for extent in shape)


def largest(extent: Extent) -> int:
    """The most that an extent can be; one without an upper bound counts as int32's largest."""
    if (number := fixed_extent(extent)) is not None:
        return number
    upper = extent.node.shape_env.bound_sympy(expression(extent)).upper
    return min(int(upper), INT32_MAX) if upper.is_Integer else INT32_MAX


def smallest(extent: Extent) -> int:
    """The least that an extent can be."""
    if (number := fixed_extent(extent)) is not None:
        return number
    lower = extent.node.shape_env.bound_sympy(expression(extent)).lower
    return max(int(lower), 0) if lower.is_Integer else 0


def maximum(*extents: Extent) -> sympy.Expr:
    return Max(*map(expression, extents))  # type: ignore[no-untyped-call]


def slice_start(index: Extent | None, extent: Extent) -> Extent:
    """An index that may count from the end, counted from the front, as slices clamp it."""
    place, end = expression(index or 0), expression(extent)
    if not fixed_extent(place) or place > 0:
        return place
    return maximum(end + place, 0)


def product(extents: Iterable[Extent]) -> Extent:
    """The number of elements of a shape, or of a part of it."""
    return prod(map(expression, extents))


def broadcast_extents(*shapes: Sequence[Extent]) -> list[Extent]:
    """The shape that shapes of PyTorch broadcast to.

    An extent that only run time knows is never 1 beside another one: torch.export decides between
    the two when it traces.
    """
    rank = max(map(len, shapes))
    padded = [[1] * (rank - len(shape)) + list(shape) for shape in shapes]
    columns = zip(*padded, strict=True)
    return [next((e for e in column if fixed_extent(e) != 1), 1) for column in columns]


def mil_extent(extent: Extent) -> Any:
    """An extent of PyTorch's as a number, or as the MIL symbol that is named after it."""
    from coremltools.converters.mil.mil.program import Symbol, k_used_symbols

    if (number := fixed_extent(extent)) is not None:
        return number
    name = f"{_MIL_PREFIX}{expression(extent)}"
    return k_used_symbols.get(name) or Symbol(name)


def same(shape: Sequence[Extent], other: Sequence[Extent]) -> bool:
    """Whether two shapes, PyTorch's or MIL's, are known to be equal."""
    return [_canonical(extent) for extent in shape] == [_canonical(extent) for extent in other]


def _canonical(extent: Extent) -> int | str:
    number = fixed_extent(extent)
    return str(expression(extent)).removeprefix(_MIL_PREFIX) if number is None else number


def is_size(node: Node) -> bool:
    """Whether a node computes an extent. Nothing is emitted for it: its expression says it all.

    A number read out of a tensor is none, although torch.export has a symbol for it as well.
    """
    number = node.op == "call_function" and isinstance(node.meta.get("val"), (int, torch.SymInt))
    return number and node.target not in _OF_VALUES


def is_assertion(node: Node) -> bool:
    """Whether a node only asserts something about extents, or is a truth that is only asserted."""
    if node.op != "call_function":
        return False
    if node.target in _ASSERTIONS:
        return True
    truth = isinstance(node.meta.get("val"), (bool, torch.SymBool))
    return truth and bool(node.users) and all(map(is_assertion, node.users))


def depends_on_values(extent: Extent) -> bool:
    """Whether an extent follows from values, not from the shapes of inputs."""
    return fixed_extent(extent) is None and bool(free_unbacked_symbols(expression(extent)))


def may_be_empty(shape: Iterable[Extent]) -> bool:
    """Whether an extent that depends on values may turn out 0; others are 1 at least."""
    return any(depends_on_values(extent) and smallest(extent) < 1 for extent in shape)


def inexpressible(extent: Extent) -> str | None:
    """Why an extent has no MIL form, or None if it has one."""
    for part in sympy.preorder_traversal(sympy.sympify(expression(extent))):
        power = part.is_Pow and part.exp.is_Integer and part.exp > 0
        known = part.func in (*_FOLDS, *_DIVISIONS, *_REMAINDERS)
        if not (part.is_Integer or part.is_Symbol or power or known):
            return f"the extent {expression(extent)} is more than integer arithmetic on extents"
    return None


class Sizes:
    """The extents of one function.

    Args:
        mb: What emits.
        inputs: Each input as declared, with PyTorch's shape of it.
    """

    def __init__(self, mb: Emit, inputs: Sequence[tuple[Var, Sequence[Extent]]]):
        self._mb = mb
        self._sources = dict(_sources(inputs))
        self._shapes: dict[str, Var] = {}
        self._made: dict[sympy.Expr, Var] = {}

    def learn(self, var: Var, shape: Sequence[Extent]) -> None:
        """The extents of a value that no input has: they depend on values, and are read from it.

        Args:
            shape: PyTorch's shape of ``var``.
        """
        if any(map(depends_on_values, shape)):
            self._sources = {**_sources([(var, shape)]), **self._sources}

    def scalar(self, extent: Extent) -> int | Var:
        """The extent as a number, or as an int32 MIL value of rank 0."""
        if (number := fixed_extent(extent)) is not None:
            return number
        found = expression(extent)
        if found not in self._made:
            self._made[found] = self._emit(found)
        return self._made[found]

    def vector(self, extents: Sequence[Extent]) -> list[int] | Var:
        """A shape: numbers if all are fixed, else an int32 MIL value of rank 1."""
        parts = [self.scalar(extent) for extent in extents]
        if all(isinstance(part, int) for part in parts):
            return parts
        values = [
            np.array([part], np.int32)
            if isinstance(part, int)
            else self._mb.expand_dims(x=part, axes=[0])
            for part in parts
        ]
        return self._mb.concat(values=values, axis=0) if len(values) > 1 else values[0]

    def shape(self, extents: Sequence[Extent]) -> list[int] | Var:
        """A shape to reshape to: one unknown extent is -1, which MIL works out by itself."""
        numbers = [fixed_extent(extent) for extent in extents]
        if numbers.count(None) <= 1:
            return [-1 if number is None else number for number in numbers]
        return self.vector(extents)

    def _emit(self, found: sympy.Expr) -> Var:
        if found.is_Symbol:
            return self._symbol(found)
        mb, args = self._mb, found.args
        if found.is_Pow:
            return reduce(lambda x, y: mb.mul(x=x, y=y), [self.scalar(args[0])] * int(args[1]))
        parts = [self._operand(part) for part in args]
        if found.func in _FOLDS:
            op = _FOLDS[found.func]
            return reduce(lambda x, y: mb.op(op, x=x, y=y), parts)
        if found.func in _DIVISIONS:
            return mb.floor_div(x=parts[0], y=parts[1])
        if found.func in _REMAINDERS:
            whole = mb.floor_div(x=parts[0], y=parts[1])
            return mb.sub(x=parts[0], y=mb.mul(x=whole, y=parts[1]))
        raise LoweringError(f"no MIL form of the extent {found}")

    def _operand(self, part: sympy.Expr) -> Var:
        made = self.scalar(part)
        return self._mb.const(made, "int32") if isinstance(made, int) else made

    def _symbol(self, symbol: sympy.Symbol) -> Var:
        """Read from the value that has it, which may be ``scale * symbol + offset``."""
        if symbol not in self._sources:
            raise LoweringError(f"the extent {symbol} belongs to nothing in the delegate")
        mb, (var, axis, scale, offset) = self._mb, self._sources[symbol]
        if var.name not in self._shapes:
            self._shapes[var.name] = mb.shape(x=var)
        extent = mb.gather(x=self._shapes[var.name], indices=axis, axis=0)
        if offset:
            extent = mb.sub(x=extent, y=offset)
        return extent if scale == 1 else mb.floor_div(x=extent, y=scale)


Source: TypeAlias = tuple[Any, int, int, int]  # (value, axis, scale, offset)


def _sources(
    inputs: Sequence[tuple[Var, Sequence[Extent]]],
) -> Mapping[sympy.Symbol, Source]:
    """Where each symbol can be read; an extent that is the symbol itself is preferred."""
    found: dict[sympy.Symbol, Source] = {}
    for var, shape in inputs:
        for axis, extent in enumerate(shape):
            for symbol, scale, offset in _linear(sympy.sympify(expression(extent))):
                plain = (scale, offset) == (1, 0)
                if symbol not in found or (plain and found[symbol][2:] != (1, 0)):
                    found[symbol] = (var, axis, scale, offset)
    return found


def _linear(found: sympy.Expr) -> list[tuple[sympy.Symbol, int, int]]:
    """(symbol, scale, offset) if the extent is scale * symbol + offset."""
    if len(found.free_symbols) != 1:
        return []
    (symbol,) = found.free_symbols
    offset = found.subs(symbol, 0)
    scale = sympy.expand(found - offset).coeff(symbol)
    linear = sympy.expand(found - scale * symbol - offset) == 0
    integers = scale.is_Integer and offset.is_Integer and scale > 0
    return [(symbol, int(scale), int(offset))] if linear and integers else []
