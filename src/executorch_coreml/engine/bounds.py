"""Guards of NaN that inputs of ordinary size never need.

OpenVINO's clamps and relus lose a NaN, so kernels put a selection around them
(:func:`~executorch_coreml.engine.kernels.operand.keeping_nan`), which keeps them from becoming part
of the convolution before. But a NaN comes from a NaN, an infinity or an overflow: where the inputs
are finite and not huge, the weights often prove that there is none. Such guards are taken out of
the graph, and inputs of other kinds are for another one, which has them all
(:mod:`executorch_coreml.engine.runners`).

A *bound* of a value is a number that no element exceeds in magnitude; infinity if elements may be
infinite but not NaN; NaN if they may be NaN. It is computed for each node from those of what it
reads, by the rule of its type. A type without a rule has none of these properties.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from math import inf, isnan, nan, prod
from typing import Any, TypeAlias

import numpy as np
import openvino as ov

from executorch_coreml.engine.kernels.operand import keeps_nan
from executorch_coreml.engine.port import Array
from executorch_coreml.engine.precision import OVERFLOW, rounded

LIMIT = 65504.0
"""What the elements of an ordinary input do not exceed in magnitude: the largest fp16 number."""

_WIDE = 1e30
"""Beyond it a sum counts as an overflow: convolutions add and scale in orders of their own."""

_WAITING = ("Constant", "Convert")
"""What weights are made of: they are read when a rule asks for them, and many never are."""

_MARGIN = 1.001  # for the rounding of what is computed

_Given: TypeAlias = Callable[[int], float]  # number of an input -> its bound
_Rule: TypeAlias = Callable[[Any, _Given], float]


def is_ordinary(array: Array) -> bool:
    """Whether all elements are numbers of a magnitude up to :data:`LIMIT`. What is no float is."""
    if array.dtype.kind != "f" or not array.size:
        return True
    if array.dtype == np.float16:  # whose comparisons are slow: by its bits, infinity is 0x7C00
        return bool((array.view(np.uint16) & 0x7FFF).max() < 0x7C00)
    return bool(array.min() >= -LIMIT and array.max() <= LIMIT)


def without_idle_guards(model: ov.Model, inputs: Iterable[ov.Node]) -> bool:
    """Take the guards out of ``model`` that are of no use if ``inputs`` are ordinary.

    Args:
        inputs: Of the parameters of ``model``, those that are checked before each run.

    Returns:
        Whether there were any.
    """
    nodes = model.get_ordered_ops()
    guards = [i for i, each in enumerate(nodes) if keeps_nan(each)]
    if not guards:
        return False
    bounds = Bounds({each.get_name(): LIMIT for each in inputs})
    for each in nodes[: guards[-1] + 1]:  # what a node reads comes before it
        if each.get_type_name() not in _WAITING:
            bounds.of(each)
    idle = [nodes[i] for i in guards if not isnan(bounds.of_input(nodes[i], 1))]
    for each in idle:
        each.output(0).replace(each.input_value(2))
    return bool(idle)


class Bounds:
    """The bounds of nodes, each computed when it is asked for, behind those it reads.

    Args:
        known: Name of a node -> its bound.
    """

    def __init__(self, known: Mapping[str, float]):
        self._known = dict(known)

    def of(self, node: Any) -> float:
        """The bound of all outputs of ``node``."""
        name = node.get_name()
        if name not in self._known:
            self._known[name] = self._computed(node)
        return self._known[name]

    def of_input(self, node: Any, i: int) -> float:
        return self.of(node.input_value(i).get_node())

    def _computed(self, node: Any) -> float:
        if (exact := rounded(node)) is not None:
            bound = self.of(exact.get_node())
            return inf if bound >= OVERFLOW else min(bound * _MARGIN + 2.0**-24, LIMIT)
        given = partial(self.of_input, node)
        if not (element := node.get_output_element_type(0)).is_real():
            return _integer(element, _all(node, given))
        if keeps_nan(node):
            return nan if isnan(given(1)) else given(2)
        rule = _RULES.get(node.get_type_name())
        bound = nan if rule is None else rule(node, given) * _MARGIN
        return bound if bound <= _WIDE or bound == inf else nan


def _all(node: Any, given: _Given) -> list[float]:
    return [given(i) for i in range(node.get_input_size())]


def _integer(element: ov.Type, given: list[float]) -> float:
    """Of an integer that comes from an infinity nothing is known: OpenVINO may not compute it, if
    it becomes a float again."""
    if element == ov.Type.boolean:
        return 1.0
    return float(2**element.bitwidth) if all(each < inf for each in given) else nan


def _values(x: ov.Output) -> Array | None:
    """The elements of a constant, or of one that is converted, as floats."""
    node = x.get_node()
    if node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    if node.get_type_name() != "Constant":
        return None
    found: Array = node.data
    return found if found.dtype.kind == "f" else found.astype(np.float32)


def _finite(bound: float) -> float:
    """NaN where there may be an infinity, of which the op may make one."""
    return nan if bound == inf else bound


def _constant(node: Any, given: _Given) -> float:
    return float(np.max(np.abs(node.data), initial=0))


def _same(node: Any, given: _Given) -> float:
    return given(0)


def _smaller(node: Any, given: _Given) -> float:
    return _finite(given(0))


def _most(bounds: list[float]) -> float:
    return nan if any(map(isnan, bounds)) else max(bounds)


def _largest(node: Any, given: _Given) -> float:
    return _most(_all(node, given))


def _chosen(node: Any, given: _Given) -> float:
    return _most([given(1), given(2)])


def _padded(node: Any, given: _Given) -> float:
    return _most([given(0), *(given(i) for i in range(3, node.get_input_size()))])


def _sum(node: Any, given: _Given) -> float:
    x, y = given(0), given(1)
    return nan if x == y == inf else x + y


def _product(node: Any, given: _Given) -> float:
    x, y = given(0), given(1)
    if inf not in (x, y):
        return x * y
    other = 1 if x == inf else 0  # an infinity times 0 is NaN
    factors = _values(node.input_value(other))
    return inf if given(other) < inf and factors is not None and np.all(factors) else nan


def _quotient(node: Any, given: _Given) -> float:
    divisor = _values(node.input_value(1))
    least = 0.0 if divisor is None else float(np.min(np.abs(divisor), initial=inf))
    return _finite(given(0)) / least if least else nan


def _clamp(node: Any, given: _Given) -> float:
    limits = node.get_attributes()
    return nan if isnan(given(0)) else float(max(abs(limits["min"]), abs(limits["max"])))


def _one(node: Any, given: _Given) -> float:
    return nan if isnan(given(0)) else 1.0


def _prelu(node: Any, given: _Given) -> float:
    return _finite(given(0)) * max(1.0, given(1)) if not isnan(given(1)) else nan


def _convolution(*kept: int) -> _Rule:
    """A sum over all dimensions of the weights but ``kept``, those of groups and outputs."""

    def rule(node: Any, given: _Given) -> float:
        rank = node.input_value(1).get_partial_shape().rank.get_length()
        return _weighted(node, given, tuple(i for i in range(rank) if i not in kept))

    return rule


def _matmul(node: Any, given: _Given) -> float:
    rank = node.input_value(1).get_partial_shape().rank.get_length()
    axis = rank - 1 if node.get_attributes()["transpose_b"] or rank == 1 else rank - 2
    return _weighted(node, given, (axis,))


def _weighted(node: Any, given: _Given, axes: tuple[int, ...]) -> float:
    """Of sums over ``axes`` of the second operand."""
    bound = _finite(given(0))
    if isnan(bound):
        return nan  # and the weights need not be read
    if (weights := _values(node.input_value(1))) is not None:
        sums = np.sum(np.abs(weights), axes, np.float32)
        return bound * float(np.max(sums, initial=0))
    extents = node.input_value(1).get_partial_shape()
    if any(extents[axis].is_dynamic for axis in axes):
        return nan
    count: int = prod(extents[axis].get_length() for axis in axes)
    return bound * _finite(given(1)) * count


_RULES: dict[str, _Rule] = {
    **dict.fromkeys(
        (
            *("Broadcast", "Convert", "DepthToSpace", "Gather", "GatherElements", "MaxPool"),
            *("Negative", "ReduceMax", "ReduceMin", "Relu", "Reshape", "ShuffleChannels", "Slice"),
            *("SpaceToDepth", "Split", "Squeeze", "StridedSlice", "Tile", "Transpose"),
            *("Unsqueeze", "VariadicSplit"),
        ),
        _same,
    ),
    **dict.fromkeys(("AvgPool", "Gelu", "HSwish", "ReduceMean", "Swish"), _smaller),
    **dict.fromkeys(("Concat", "Maximum", "Minimum"), _largest),
    **dict.fromkeys(("HSigmoid", "Sigmoid", "Tanh"), _one),
    **dict.fromkeys(("Add", "Subtract"), _sum),
    "Clamp": _clamp,
    "Constant": _constant,
    "Convolution": _convolution(0),
    "ConvolutionBackpropData": _convolution(1),
    "Divide": _quotient,
    "GroupConvolution": _convolution(0, 1),
    "GroupConvolutionBackpropData": _convolution(0, 2),
    "MatMul": _matmul,
    "Multiply": _product,
    "PRelu": _prelu,
    "Pad": _padded,
    "Select": _chosen,
}

__all__ = ["LIMIT", "Bounds", "is_ordinary", "without_idle_guards"]
