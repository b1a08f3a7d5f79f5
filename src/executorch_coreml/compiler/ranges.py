"""Which nodes must stay in float32 when a model computes in fp16: values beyond fp16's range.

Such values stand on the way to results that fp16 can hold:

- ``rsqrt(mean(x^2) + eps)`` and its ``sqrt``: the square of 300 overflows, its root does not;
- masks that come in as inputs filled with ``finfo(float32).min``. As -inf they would turn wholly
  masked rows of a softmax into NaN;
- sums of products of 8-bit integers, until they are multiplied by the scales;
- constants that are converted first: ``x / 90000`` divides by an integer that becomes a float. What
  reads one of them can then tell that fp16 does not have it.
"""

from __future__ import annotations

import torch
from executorch.exir.passes import dim_order_ops_registry  # noqa: F401  (defines dim_order_ops)
from torch.fx import Node

from executorch_coreml.compiler.graph import DelegatedGraph
from executorch_coreml.compiler.positions import CONVERSIONS, leading_to
from executorch_coreml.ops import TABLE
from executorch_coreml.ops.call import Call, normalise
from executorch_coreml.ops.half import fits_fp16

aten = torch.ops.aten
_ROOTS = {aten.sqrt.default, aten.rsqrt.default}
_SUMS = {aten.add.Tensor, aten.add.Scalar, aten.sub.Tensor}
_MEANS = {aten.mean.dim, aten.mean.default, aten.sum.dim_IntList, aten.sum.default}
_SOFTMAXES = {aten.softmax.int, aten._softmax.default}
_SCALES_OF_A_PRODUCT = 2  # the activation's and the weight's
_BEFORE_A_SCALE = {
    aten._to_copy.default,
    torch.ops.dim_order_ops._to_dim_order_copy.default,
    aten.sub.Tensor,
    aten.view.default,
    aten.view_copy.default,
}
_ATTENTION = aten.scaled_dot_product_attention.default


def beyond_half(graph: DelegatedGraph) -> dict[Node, str]:
    """Node, inputs among them -> why its float32 must stay float32."""
    found: dict[Node, str] = {}
    for node in graph.graph.nodes:
        found |= dict.fromkeys(_mean_square(node), "a mean of squares: kept in fp32")
        found |= dict.fromkeys(_masked(graph, node), "masked by an input: kept in fp32")
        found |= dict.fromkeys(_scaled_product(node), "sums of 8-bit products: kept in fp32")
        if _is_large_constant(graph, node):
            found[node] = "a constant beyond fp16's range: kept in fp32"
    return {node: why for node, why in found.items() if node.meta["val"].dtype is torch.float32}


def _mean_square(root: Node) -> list[Node]:
    """The nodes of root(mean(x * x) + eps), or none if it is something else."""
    if normalise(root.target) not in _ROOTS:
        return []
    chain, node = [root], root.all_input_nodes[0]
    while normalise(node.target) in _SUMS | _MEANS:
        chain.append(node)
        node = node.all_input_nodes[0]
    return [*chain, node] if len(chain) > 1 and _is_square(node) else []


def _is_large_constant(graph: DelegatedGraph, node: Node) -> bool:
    """Whether it converts a constant to a float that fp16 does not have."""
    if normalise(node.target) not in CONVERSIONS:
        return False
    value = graph.weights.get(node.all_input_nodes[0])
    return value is not None and not fits_fp16(value.detach().cpu().numpy())


def _is_square(node: Node) -> bool:
    op = normalise(node.target)
    if op is aten.pow.Tensor_Scalar:
        return bool(Call(node)["exponent"] == 2)
    return op is aten.square.default or (
        op is aten.mul.Tensor and Call(node)["self"] is Call(node)["other"]
    )


def _scaled_product(product: Node) -> set[Node]:
    """What lies between a product of 8-bit matrices and its result in the scale of the layer."""
    if normalise(product.target) is not aten._int_mm.default:
        return set()
    scaled: list[Node] = []
    node = product
    while len(scaled) < _SCALES_OF_A_PRODUCT and len(node.users) == 1:
        node = next(iter(node.users))
        if normalise(node.target) is aten.mul.Tensor:
            scaled.append(node)
        elif normalise(node.target) not in _BEFORE_A_SCALE:
            break
    return leading_to(scaled[-1:])


def _masked(graph: DelegatedGraph, node: Node) -> list[Node]:
    """The mask of an attention, or a softmax, the sum it reads, and the mask in that sum.

    An attention itself looks after its mask; only a mask that is an input counts.
    """
    op = normalise(node.target)
    if op is _ATTENTION:
        mask = Call(node)["attn_mask"]
        return [] if mask is None else _from_input(graph, mask)
    if op not in _SOFTMAXES or normalise(Call(node)["self"].target) not in _SUMS:
        return []
    scores = Call(node)["self"]
    if not any(_from_input(graph, source) for source in scores.all_input_nodes):
        return []
    # All of the sum: a mask that is scaled on the way must keep its range as well.
    return [*leading_to([scores]), node]


def _from_input(graph: DelegatedGraph, mask: Node) -> list[Node]:
    """The input that ``mask`` is, and the data movements in between; none if it is computed."""
    chain = [mask]
    while (rule := TABLE.get(normalise(chain[-1].target))) is not None:
        if not rule.moves_data or len(chain[-1].all_input_nodes) != 1:
            return []
        chain.append(chain[-1].all_input_nodes[0])
    return chain if chain[-1] in graph.inputs else []
