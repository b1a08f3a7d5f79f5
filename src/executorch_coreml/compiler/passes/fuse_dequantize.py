"""Arithmetic that dequantizes a weight -> one ``dequantize_affine`` call.

Given::

    floats = _to_copy(integers, dtype=float32) - _to_copy(zero, dtype=float32)
    weight = view(floats * scale, [64, 128])

Result::

    weight = dequantize_affine(integers, block_size, scale, zero, int8)

whose rule stores the integers, so that layers, and lookups, read a weight. Where the deployment
target that is asked for cannot hold it, the arithmetic remains.
"""

from __future__ import annotations

import torch
import torchao.quantization  # noqa: F401  (defines torchao)
from torch.fx import Node

from executorch_coreml.compiler.graph import DelegatedGraph
from executorch_coreml.ops.call import normalise
from executorch_coreml.ops.dequantized import Dequantized, dequantized
from executorch_coreml.options import CompileOptions, Target

_FEW = (-8, 7)  # int4


def fuse_dequantize(graph: DelegatedGraph, options: CompileOptions) -> None:
    """Fuses every weight that the target can hold."""
    oldest = options.minimum_deployment_target
    for weight in dequantized(graph.graph.nodes, graph.weights):
        if oldest is None or weight.target <= oldest:
            _fuse(graph, weight, oldest)


def _fuse(graph: DelegatedGraph, weight: Dequantized, oldest: Target | None) -> None:
    node, result = weight.result, weight.result.meta["val"]
    integers = _value(graph, weight.data).reshape(weight.shape).contiguous()
    scale = _value(graph, weight.scale).reshape(weight.blocks)
    made = {"data": integers, "scale": scale}
    if weight.zero is not None:
        made["zero"] = _value(graph, weight.zero).reshape(weight.blocks)
    names = {
        what: graph.constant(
            f"{node.name}_{what}", value, result.new_empty(value.shape, dtype=value.dtype)
        )
        for what, value in made.items()
    }
    sizes = [n // count for n, count in zip(weight.shape, weight.blocks, strict=True)]
    arguments = (names["data"], sizes, names["scale"], names.get("zero"), integers.dtype)
    with graph.graph.inserting_before(node):
        fused = graph.graph.call_function(
            torch.ops.torchao.dequantize_affine.default,
            (*arguments, *_range(integers, weight.target, oldest)),
            {"output_dtype": result.dtype},
        )
    fused.meta = dict(node.meta)
    node.replace_all_uses_with(fused)


def _range(integers: torch.Tensor, needs: Target, oldest: Target | None) -> tuple[int, int]:
    """The range of 4 bits where they suffice and the target, which may be open, has them anyway.

    The program does not tell any more for how many bits the integers were made.
    """
    info = torch.iinfo(integers.dtype)
    few = int(integers.min()) >= _FEW[0] and int(integers.max()) <= _FEW[1]
    if few and integers.dtype is torch.int8 and max(needs, oldest or needs) >= Target.iOS18:
        return _FEW
    return info.min, info.max


def _value(graph: DelegatedGraph, node: Node) -> torch.Tensor:
    """What a weight is in the shapes and dtypes it is given on the way to ``node``."""
    if node in graph.weights:
        return graph.weights[node]
    args = [_value(graph, arg) if isinstance(arg, Node) else arg for arg in node.args]
    with torch.no_grad():
        made: torch.Tensor = normalise(node.target)(*args, **node.kwargs)
    return made
