"""Graph passes that run before lowering, in this order, each for the reason beside it.

A pass rewrites a :class:`~executorch_coreml.compiler.graph.DelegatedGraph` in place; the graph is
the compiler's own copy. Every node it makes carries the ``val`` of what it computes and the source
location of what it replaces.
"""

from __future__ import annotations

from collections.abc import Callable

from executorch_coreml.compiler.graph import DelegatedGraph
from executorch_coreml.compiler.passes.fewer_axes import fewer_axes
from executorch_coreml.compiler.passes.fold_batch_norm import fold_batch_norm
from executorch_coreml.compiler.passes.fold_quantized import fold_quantized
from executorch_coreml.compiler.passes.fuse_dequantize import fuse_dequantize
from executorch_coreml.options import CompileOptions

Pass = Callable[[DelegatedGraph, CompileOptions], None]

PASSES: tuple[Pass, ...] = (
    fold_quantized,  # what the rules of quantized weights read is then a weight itself
    fuse_dequantize,  # what is known is stored as it is read
    fewer_axes,  # Core ML has tensors of at most five
    fold_batch_norm,  # one op and one rounding to fp16 instead of two per convolution
)


def run_passes(graph: DelegatedGraph, options: CompileOptions) -> None:
    """All passes in order."""
    for graph_pass in PASSES:
        graph_pass(graph, options)
    graph.graph.eliminate_dead_code()
