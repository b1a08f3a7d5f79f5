"""The MIL builder as rules see it: typed by torch's dtypes, named and located by the node.

:class:`Emit` wraps coremltools' builder. What it adds:

- names derive from the fx node alone, so the same model gives the same program in any process;
- ``var(value, dtype)`` is the one place where a node, a weight or a number becomes a MIL value of
  the MIL type that stands for a torch dtype under the chosen precision;
- a Python float or a float array given to an op takes the float type of the op's tensors;
- every op remembers the node it was emitted for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from torch.fx import Node

from executorch_coreml.compiler.pool import Pool
from executorch_coreml.errors import LoweringError, UnsupportedOp
from executorch_coreml.location import locate
from executorch_coreml.ops.checks import INT32_MAX, INT32_MIN
from executorch_coreml.ops.half import to_fp16
from executorch_coreml.ops.narrow import holds, wrap
from executorch_coreml.ops.rule import NARROW
from executorch_coreml.ops.sizes import Extent, Sizes, dynamic, is_size, mil_extent

Var: TypeAlias = Any  # coremltools.converters.mil.mil.Var, which has no type information

NUMPY = {
    "fp16": np.float16,
    "fp32": np.float32,
    "int32": np.int32,
    "int8": np.int8,
    "uint8": np.uint8,
    "bool": np.bool_,
}


def mil_type(var: Var) -> str:
    """``"fp16"``, ``"fp32"``, ``"int32"``, ``"bool"``, ... of a MIL value."""
    from coremltools.converters.mil.mil import types

    return str(types.builtin_to_string(var.dtype))


class Emit:
    """Builds the MIL of one function, node by node.

    Args:
        builder: coremltools' ``Builder``.
        half: Whether torch's float32 is computed in fp16.
        weights: Parameter, buffer and constant placeholders -> their tensors.
        wide: Nodes whose float32 stays fp32 all the same.
        pool: Keeps weights that several functions have in common.
    """

    def __init__(
        self,
        builder: Any,
        half: bool,
        weights: Mapping[Node, torch.Tensor],
        wide: Collection[Node] = (),
        pool: Pool | None = None,
    ):
        self._builder = builder
        self.half = half
        self._wide = wide
        self._pool = pool
        self._weights = weights
        self._values: dict[Node, Any] = {}
        self._constants: dict[tuple[Any, ...], Var] = {}
        self._names: set[str] = set()
        self._node: Node | None = None
        self.origins: dict[str, Node] = {}  # MIL op output name -> node
        self.notes: dict[Node, list[str]] = {}  # precision decisions, for the report
        self.sizes = Sizes(self, ())  # extents that only run time knows

    # -- the node at hand ------------------------------------------------------------------------

    def start(self, node: Node) -> None:
        """What is emitted from here on belongs to ``node``."""
        self._node = node

    def bind(self, node: Node, value: Any) -> None:
        """``value`` is what ``node`` computes; later rules get it from :meth:`var`."""
        self._values[node] = value

    def reserve(self, names: Iterable[str]) -> None:
        """Keeps the names of graph nodes free for the values they stand for."""
        self._names.update(names)

    def read_sizes_from(self, inputs: Sequence[tuple[Var, Sequence[Extent]]]) -> None:
        """Dynamic extents are read from these values, given with PyTorch's shapes of them."""
        self.sizes = Sizes(self, inputs)

    def results(self, node: Node) -> tuple[Any, ...]:
        """All results of a node that computes several."""
        value = self._values[node]
        return value if isinstance(value, tuple) else (value,)

    def names(self) -> dict[str, str]:
        """Node -> the value that it is, for nodes of one result."""
        return {
            node.name: value.name
            for node, value in self._values.items()
            if not isinstance(value, tuple) and value is not None
        }

    def note(self, reason: str) -> None:
        """Records a decision about precision for the report."""
        if self._node is not None:
            self.notes.setdefault(self._node, []).append(reason)

    def name(self, suffix: str) -> str:
        """A name that no other value has: ``<node>__<suffix>``."""
        return self._free(f"{self._node.name if self._node is not None else 'border'}__{suffix}")

    def _free(self, base: str) -> str:
        name, count = base, 1
        while name in self._names:
            count += 1
            name = f"{base}_{count}"
        self._names.add(name)
        return name

    # -- values ----------------------------------------------------------------------------------

    def type_of(self, dtype: torch.dtype) -> str:
        """The MIL type that stands for a torch dtype in the node at hand."""
        if dtype is torch.float32 and self._node in self._wide:
            return "fp32"
        return self._usual_type(dtype)

    def _usual_type(self, dtype: torch.dtype) -> str:
        """The MIL type that stands for a torch dtype under the chosen precision."""
        if dtype is torch.float32:
            return "fp16" if self.half else "fp32"
        try:
            return _MIL_TYPES[dtype]
        except KeyError:
            raise LoweringError(f"{dtype} has no MIL type", location=self._where()) from None

    def var(self, value: Any, dtype: torch.dtype | str | None = None) -> Any:
        """A MIL value for a node, a weight or a number; None stays None.

        Args:
            value: An fx node, a Python number, a numpy array or None.
            dtype: A torch dtype, or a MIL type name to leave the chosen precision. Needed for
                numbers; a tensor of another type is cast, to a narrow torch dtype as PyTorch does.

        A narrow integer may have been computed as MIL int8 or uint8; it is an int32 for all who
        do not ask for those types by name.
        """
        if isinstance(value, Node) and is_size(value):
            value = self.sizes.scalar(value)
            return self._size(value, dtype if dtype is not None else "int32")
        if isinstance(dtype, torch.dtype) and _leaves(dtype, value):
            return wrap(self, self.var(value, "int32"), dtype)
        wanted = self.type_of(dtype) if isinstance(dtype, torch.dtype) else dtype
        if value is None:
            return None
        if isinstance(value, Node):
            if value in self._weights:
                return self._weight(value, wanted)
            found = self._values[value]
            if wanted is None and _is_float32(value):
                wanted = self.type_of(torch.float32)  # a wide node reads it wide, others do not
            if wanted is None and value.meta["val"].dtype in NARROW:
                wanted = "int32"
            return found if wanted is None else self.cast(found, wanted)
        if wanted is None:
            raise LoweringError("a number needs a dtype", location=self._where())
        return self.const(np.asarray(value), wanted)

    def _size(self, size: int | Var, dtype: torch.dtype | str) -> Var:
        wanted = self.type_of(dtype) if isinstance(dtype, torch.dtype) else dtype
        return self.const(size, wanted) if isinstance(size, int) else self.cast(size, wanted)

    def as_made(self, node: Node) -> Var:
        """The value of ``node`` in the float type it was computed in, wide or not."""
        return self.var(node) if node in self._weights else self._values[node]

    def array(self, value: Any) -> np.ndarray[Any, Any] | None:
        """The value as a numpy array when it is known now, in PyTorch's own dtype; else None."""
        if isinstance(value, Node):
            if value in self._weights:
                return _numpy(self._weights[value])
            known = getattr(self._values.get(value), "val", None)
            return None if known is None else np.asarray(known)
        return None if value is None else np.asarray(value)

    def const(self, array: Any, dtype: str | Var) -> Var:
        """A constant of MIL type ``dtype`` (or of the type of the value ``dtype``)."""
        wanted = dtype if isinstance(dtype, str) else mil_type(dtype)
        data = self._convert(np.asarray(array), wanted)
        return self._builder.const(val=_scalar(data), name=self.name("const"))

    def once(self, key: tuple[Any, ...], make: Callable[[], Var]) -> Var:
        """The constant that ``make`` gives, made once for all with the same ``key``."""
        if key not in self._constants:
            self._constants[key] = make()
        return self._constants[key]

    def cast(self, x: Var, dtype: str) -> Var:
        """``x`` as MIL type ``dtype``; nothing is emitted when it already is, or is constant."""
        if mil_type(x) == dtype:
            return x
        if x.val is not None:
            return self.const(x.val, dtype)
        return self.op("cast", x=x, dtype=dtype)

    def shaped(self, x: Var, shape: Sequence[Extent]) -> Var:
        """``x`` with its dynamic extents called what PyTorch calls them; nothing is emitted.

        MIL gives a new symbol to every extent it cannot work out, and coremltools (9.0) takes two
        symbols for two extents: its ``scatter_along_axis`` refuses data and indices that differ in
        them.
        """
        if dynamic(shape):
            from coremltools.converters.mil.mil import types

            x._sym_type = types.tensor(x.dtype, tuple(map(mil_extent, shape)))
        return x

    def _weight(self, node: Node, wanted: str | None) -> Var:
        tensor = self._weights[node]
        mil = wanted or self.type_of(tensor.dtype)
        # Tied weights share storage: one constant serves all of them.
        key = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype, mil)
        if tensor.numel() == 0 or key not in self._constants:
            data = self._convert(_numpy(tensor), mil)
            if self._pool is not None and data.size:
                data = self._pool.keep(data)
            name = node.name if mil == self._usual_type(tensor.dtype) else self.name(mil)
            self._constants[key] = self._builder.const(val=_scalar(data), name=name)
        return self._constants[key]

    def _convert(self, data: np.ndarray[Any, Any], mil: str) -> np.ndarray[Any, Any]:
        if mil == "fp16":
            return to_fp16(data)
        if mil == "int32" and data.dtype.kind == "f":
            # Infinite and NaN have no integer in PyTorch either (C++ leaves the conversion open),
            # but stand where a mask drops them: T5 takes the logarithm of distance 0.
            data = np.nan_to_num(data.astype(np.float64), posinf=INT32_MAX, neginf=INT32_MIN)
        if mil == "int32" and data.dtype.kind in "iuf" and data.size:
            low, high = data.min(), data.max()
            if low < INT32_MIN or high > INT32_MAX:
                raise UnsupportedOp(
                    f"a constant holds {low if low < INT32_MIN else high}, which does not fit "
                    "int32; Core ML has no int64",
                    location=self._where(),
                    hint="keep the values within 32 bits, or leave this op outside the delegate",
                )
        return data.astype(NUMPY[mil])

    def _where(self) -> str | None:
        return str(locate(self._node)) if self._node is not None else None

    # -- ops -------------------------------------------------------------------------------------

    def __getattr__(self, op: str) -> Callable[..., Any]:
        if op.startswith("_"):
            raise AttributeError(op)
        return partial(self.op, op)

    def op(self, op: str, **inputs: Any) -> Any:
        """Emits one MIL op and returns its value, or a tuple of them. None inputs are left out."""
        inputs = {name: value for name, value in inputs.items() if value is not None}
        floats = next((t for v in inputs.values() if (t := _float_type(v))), None)
        if floats is not None:
            inputs = {name: self._floats(value, floats) for name, value in inputs.items()}
        inputs = {name: self._argument(name, value) for name, value in inputs.items()}
        name = self.name(op)
        result = getattr(self._builder, op)(name=name, **inputs)
        for var in result if isinstance(result, (tuple, list)) else (result,):
            _numpy_value(var)
            if self._node is not None:
                self.origins[var.name] = self._node
        return tuple(result) if isinstance(result, (tuple, list)) else result

    def _floats(self, value: Any, mil: str) -> Any:
        """Python floats and float arrays take the float type of the op's tensors."""
        if isinstance(value, float) or (isinstance(value, np.ndarray) and value.dtype.kind == "f"):
            return _scalar(self._convert(np.asarray(value), mil))
        return value

    def _argument(self, name: str, value: Any) -> Any:
        """Axes, flags and other small arguments become one constant for all ops with equal ones."""
        items = value if isinstance(value, (list, tuple)) else (value,)
        if not items or not all(isinstance(item, (bool, int, str, np.generic)) for item in items):
            return value
        key = (type(value), *((type(item), np.asarray(item).tobytes()) for item in items))
        return self.once(key, lambda: self._builder.const(val=value, name=self._free(name)))

    def rename(self, var: Var, name: str) -> None:
        """Gives the final value of a node the node's own name."""
        node = self.origins.pop(var.name, None)
        self._names.add(name)
        var.name = name
        var.op.name = name
        if node is not None:
            self.origins[name] = node


_MIL_TYPES = {
    torch.float64: "fp32",  # scales that PyTorch computed in float32; no rule takes other float64
    torch.float32: "fp32",
    torch.float16: "fp16",
    torch.int64: "int32",
    torch.int32: "int32",
    torch.int16: "int32",
    torch.int8: "int32",
    torch.uint8: "int32",
    torch.bool: "bool",
}


def _is_float32(node: Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.dtype is torch.float32


def _leaves(dtype: torch.dtype, value: Any) -> bool:
    """Whether a node may have values that a narrow ``dtype`` does not have."""
    return isinstance(value, Node) and not holds(dtype, value.meta["val"].dtype)


def _float_type(value: Any) -> str | None:
    if isinstance(value, (list, tuple)):
        return next((t for item in value if (t := _float_type(item))), None)
    if not hasattr(value, "dtype") or isinstance(value, (np.ndarray, np.generic)):
        return None
    mil = mil_type(value)
    return mil if mil.startswith("fp") else None


def _scalar(data: np.ndarray[Any, Any]) -> Any:
    """numpy scalars for rank 0: the builder takes those, not 0-d arrays."""
    return data[()] if data.ndim == 0 else np.ascontiguousarray(data)


def _numpy_value(var: Var) -> None:
    """coremltools (9.0) infers Python's float for exp of a rank-0 constant; its abs and others then
    look for numpy's attributes."""
    if isinstance(var.val, float) and not isinstance(var.val, np.generic):
        var._sym_val.val = NUMPY[mil_type(var)](var.val)


def _numpy(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    return tensor.detach().cpu().contiguous().numpy()
