"""Lists of tensors: ``make_list`` and the ``list_*`` ops.

Semantics: coremltools ``mil/ops/defs/iOS15/control_flow.py`` and its tests. All elements of a list
have one shape, so a list is a tensor of one dimension more. Elements that are not yet written are
zero. A list of dynamic length grows when an index beyond its end is written. Any other index that
is not in the list is an error of the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset15 as ops

from executorch_coreml.engine.kernels.operand import (
    ELEMENT_TYPES,
    Array,
    ListValue,
    Operand,
    cast,
    i64,
    like,
    node,
    scalar,
    shape,
    shape_node,
)
from executorch_coreml.engine.kernels.shape import extent_of
from executorch_coreml.engine.kernels.table import Family
from executorch_coreml.engine.kernels.violations import PLACE, Violations
from executorch_coreml.errors import ProgramError
from executorch_coreml.mil.types import ListType, TensorType

kernels = Family()


def _element(out: Sequence[Any]) -> TensorType:
    """The type of the elements of the list that an op gives."""
    (kind,) = out
    if not isinstance(kind, ListType) or not isinstance(kind.element, TensorType):
        raise ProgramError(f"gives a list of tensors, which {kind} is not")
    return kind.element


def _inside(elements: ov.Output, indices: Operand, violations: Violations) -> ov.Output:
    """The places of elements, as a vector that leads nowhere outside the list: there OpenVINO
    fails, or leaves the result unwritten."""
    places = violations.within(indices, extent_of(elements, 0), PLACE)
    return ops.reshape(places, i64([-1]), False).output(0)


def _zeros(kind: ov.Type, extents: Sequence[Any]) -> ov.Node:
    target = ops.concat([ops.reshape(node(extent), i64([1]), False) for extent in extents], 0)
    return ops.broadcast(ops.constant(np.zeros(()), kind), target)


@kernels("make_list", exact=True)
def make_list(
    out: tuple[ListType, ...],
    elem_shape: Operand | str | tuple[Operand | str, ...],
    init_length: Operand | int = 1,
    dynamic_length: Operand | bool = True,
    dtype: Operand | str = "fp32",
) -> ListValue:
    """Extents that ``elem_shape`` only names are 0 until the first element is written."""
    element = _element(out)
    kind = ELEMENT_TYPES[element.dtype]
    length = i64(init_length) if isinstance(init_length, int) else cast(init_length, ov.Type.i64)
    extents = [i64(0 if extent is None else extent) for extent in element.shape]
    grows = bool(scalar(dynamic_length, "dynamic_length"))
    return ListValue(_zeros(kind, [length, *extents]).output(0), grows)


def _made_to_fit(elements: ov.Output, values: ov.Output) -> ov.Output:
    """``elements`` with the extents of the elements ``values``, where unknown ones are still 0."""
    own, given = shape(elements)[1:], shape(values)[1:]
    if len(own) != len(given):
        raise ProgramError(f"an element of {len(given)} dimensions in a list of {len(own)}")
    if own == given and None not in own:
        return elements
    lacking = ops.subtract(_from(shape_node(values), 1), _from(shape_node(elements), 1))
    amount = ops.concat([i64([0]), ops.maximum(lacking, i64(0))], 0)
    none = i64([0] * (len(own) + 1))
    return ops.pad(elements, none, amount, "constant", like(0, elements)).output(0)


def _from(vector: ov.Output, first: int) -> ov.Output:
    return ops.slice(vector, i64([first]), i64([2**31 - 1]), i64([1])).output(0)


def _last(indices: Operand) -> ov.Node:
    """The largest of a number or several."""
    places = ops.reshape(cast(indices, ov.Type.i64), i64([-1]), False)
    return ops.reduce_max(places, i64([0]), False)


def _grown(elements: ov.Output, indices: Operand) -> ov.Output:
    """``elements`` with zeros behind them, so many that the list has these places."""
    length = ops.add(_last(indices), i64(1))
    extents = shape_node(elements)
    own = ops.gather(extents, i64([0]), i64(0))
    lacking = ops.maximum(ops.subtract(ops.reshape(length, i64([1]), False), own), i64(0))
    added = ops.concat([lacking, _from(extents, 1)], 0)
    zeros = ops.broadcast(like(0, elements), added)
    return ops.concat([elements, zeros], 0).output(0)


def _put(elements: ov.Output, indices: ov.Output, value: ov.Output) -> ov.Output:
    """ScatterUpdate of the CPU plugin takes no bool."""
    if elements.get_element_type() != ov.Type.boolean:
        return ops.scatter_update(elements, indices, value, i64(0)).output(0)
    bytes_ = [ops.convert(x, "u8") for x in (elements, value)]
    return ops.convert(ops.scatter_update(bytes_[0], indices, bytes_[1], i64(0)), "boolean").output(
        0
    )


@kernels("list_write", exact=True)
def list_write(
    ls: ListValue,
    index: Operand,
    value: Operand,
    out: tuple[ListType, ...],
    violations: Violations,
) -> ListValue:
    new = ops.unsqueeze(cast(value, ELEMENT_TYPES[_element(out).dtype]), i64(0)).output(0)
    return _written(ls, index, new, violations)


@kernels("list_scatter", exact=True)
def list_scatter(
    ls: ListValue,
    indices: Operand,
    value: Operand,
    out: tuple[ListType, ...],
    violations: Violations,
) -> ListValue:
    new = cast(value, ELEMENT_TYPES[_element(out).dtype])
    return _written(ls, indices, new, violations)


def _written(
    ls: ListValue, indices: Operand, values: ov.Output, violations: Violations
) -> ListValue:
    """``values`` has one element for each index."""
    elements = _made_to_fit(ls.elements, values)
    if ls.grows:
        elements = _grown(elements, indices)
    return ListValue(_put(elements, _inside(elements, indices, violations), values), ls.grows)


@kernels("list_read", exact=True)
def list_read(ls: ListValue, index: Operand, violations: Violations) -> ov.Node:
    place = _inside(ls.elements, index, violations)
    return ops.squeeze(ops.gather(ls.elements, place, i64(0)), i64([0]))


@kernels("list_gather", exact=True)
def list_gather(ls: ListValue, indices: Operand, violations: Violations) -> ov.Node:
    return ops.gather(ls.elements, _inside(ls.elements, indices, violations), i64(0))


@kernels("list_length", exact=True)
def list_length(ls: ListValue) -> Array | ov.Node:
    known = shape(ls.elements)[0]
    if known is not None:
        return np.array(known, np.int32)
    return ops.gather(ops.shape_of(ls.elements, "i32"), i64(0), i64(0))
