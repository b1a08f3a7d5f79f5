"""conv, then batch_norm with fixed statistics -> conv with other weights.

Given::

    y = conv(x, weight, bias)
    z = batch_norm(y, gamma, beta, mean, variance, eps)

Result, with ``scale = gamma / sqrt(variance + eps)`` per output channel, itself computed in
float64::

    z = conv(x, weight * scale, (bias - mean) * scale + beta)

Nothing is folded when the convolution has other readers, when any of the tensors is computed at
run time, or when a folded value would not fit fp16 in a model that computes in fp16.
"""

from __future__ import annotations

import operator

import torch
from torch.fx import Node

from executorch_coreml.compiler.graph import DelegatedGraph
from executorch_coreml.ops.call import Call, normalise
from executorch_coreml.ops.half import fits_fp16
from executorch_coreml.options import CompileOptions

aten = torch.ops.aten
CONVOLUTIONS = {
    aten.conv1d.default,
    aten.conv2d.default,
    aten.conv3d.default,
    aten.convolution.default,
}
BATCH_NORMS = {aten.batch_norm.default, aten._native_batch_norm_legit_no_training.default}


def fold_batch_norm(graph: DelegatedGraph, options: CompileOptions) -> None:
    """Folds every batch norm that directly follows a convolution of its own."""
    for node in list(graph.graph.nodes):
        if node.op == "call_function" and normalise(node.target) in BATCH_NORMS:
            norm = Call(node)
            conv = norm["input"]
            if follows_convolution(norm) and (
                folded := folded_weights(graph, Call(conv), norm, options.half)
            ):
                _replace(graph, conv, node, *folded)


def follows_convolution(norm: Call) -> bool:
    conv: Node = norm["input"]
    return (
        conv.op == "call_function"
        and normalise(conv.target) in CONVOLUTIONS
        and not Call(conv).args.get("transposed", False)
        and len(conv.users) == 1
        and not norm.args.get("training", False)
        and all(_reads_first(user) for user in norm.node.users if isinstance(norm.out, tuple))
    )


def _reads_first(user: Node) -> bool:
    return user.target is operator.getitem and bool(Call(user)["index"] == 0)


def folded_weights(
    graph: DelegatedGraph, conv: Call, norm: Call, half: bool
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """(weight, bias) of the folded convolution, or None when it cannot be computed here."""
    given = [conv["weight"], conv["bias"]]
    given += [norm[name] for name in ("weight", "bias", "running_mean", "running_var")]
    if any(value is not None and value not in graph.weights for value in given):
        return None
    weight = graph.weights[conv["weight"]].detach()
    bias, gamma, beta, mean, variance = (
        None if value is None else graph.weights[value].detach().double() for value in given[1:]
    )
    if mean is None or variance is None:
        return None
    scale = (variance + norm["eps"]).rsqrt() * (1 if gamma is None else gamma)
    shift = ((0 if bias is None else bias) - mean) * scale + (0 if beta is None else beta)
    dtype, factors = conv.dtype("weight"), scale.float().reshape(-1, *[1] * (weight.dim() - 1))
    folded = (weight * factors).to(dtype), shift.to(dtype)
    in_fp16 = half or dtype is torch.float16
    return folded if not in_fp16 or all(fits_fp16(tensor.numpy()) for tensor in folded) else None


def _replace(
    graph: DelegatedGraph, conv: Node, norm: Node, weight: torch.Tensor, bias: torch.Tensor
) -> None:
    call = Call(conv)
    metas = (call["weight"].meta, Call(norm)["running_mean"].meta)
    placeholders = [
        graph.constant(f"{conv.name}_{what}_folded", tensor, meta["val"])
        for what, tensor, meta in zip(("weight", "bias"), (weight, bias), metas, strict=True)
    ]
    arguments = dict(call.args) | dict(zip(("weight", "bias"), placeholders, strict=True))
    conv.args, conv.kwargs = tuple(arguments.values()), {}
    readers = list(norm.users) if isinstance(norm.meta["val"], (tuple, list)) else [norm]
    for reader in readers:
        reader.replace_all_uses_with(conv)
        graph.graph.erase_node(reader)
    if norm.graph is graph.graph and norm not in readers:
        graph.graph.erase_node(norm)
