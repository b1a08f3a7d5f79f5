"""Tensors of more than five axes -> the same elements with fewer.

Given::

    cut = view(x, [B, H // h, h, W // w, w, C])
    swapped = permute(cut, [0, 1, 3, 2, 4, 5])
    windows = view(swapped, [-1, h, w, C])

Result::

    cut = view(x, [B * H // h, h, W // w, w * C])
    swapped = permute(cut, [0, 2, 1, 3])
    windows = view(swapped, [-1, h, w, C])

How one call is written with fewer axes is :mod:`executorch_coreml.ops.ranks`'s; nothing remains
that has more, for what has is neither an input nor an output of the graph.
"""

from __future__ import annotations

import operator
from contextlib import nullcontext
from typing import Any

import torch
from torch._guards import detect_fake_mode
from torch.fx import Node
from torch.fx.node import map_arg

from executorch_coreml.compiler.graph import DelegatedGraph
from executorch_coreml.errors import LoweringError
from executorch_coreml.ops import TABLE
from executorch_coreml.ops.call import Call, normalise
from executorch_coreml.ops.ranks import MAX_RANK, Merged, Moved, Shape, reshaped, too_many_axes
from executorch_coreml.ops.sizes import is_size
from executorch_coreml.options import CompileOptions

aten = torch.ops.aten


def fewer_axes(graph: DelegatedGraph, _: CompileOptions) -> None:
    """Rewrites every call that reads or makes a tensor of too many axes."""
    rewriting = _Rewriting(graph)
    for node in list(graph.weights):
        if node.meta["val"].dim() > MAX_RANK:
            rewriting.flatten(node)
    for node in list(graph.graph.nodes):
        if node.op == "call_function" and not is_size(node):
            with graph.graph.inserting_before(node):
                rewriting.rewrite(node)
    graph.graph.eliminate_dead_code()


class _Rewriting:
    """Attributes:
    flat: A tensor of too many axes -> a node with its elements, in order, in fewer.
    several: A call of several results -> the call in its place.
    """

    def __init__(self, graph: DelegatedGraph):
        self.graph = graph
        self.flat: dict[Node, Node] = {}
        self.several: dict[Node, Node] = {}

    def flatten(self, weight: Node) -> None:
        value = self.graph.weights[weight].reshape(-1)
        fake = weight.meta["val"].new_empty(value.shape)
        self.flat[weight] = self.graph.constant(f"{weight.name}_flat", value, fake)

    def rewrite(self, node: Node) -> None:
        call = Call(node)
        if node.target is operator.getitem and call["input"] in self.several:
            merged = self.several[call["input"]]
            item = merged.meta["val"][call["index"]]
            self._replace(node, self._call(node, node.target, (merged, call["index"]), item))
        elif too_many_axes(call) and not TABLE[call.op].any_rank:
            fewer = TABLE[call.op].fewer
            form = None if fewer is None else fewer(call)
            if isinstance(form, Moved):
                self._replace(node, self._moved(call, form))
            elif form is None:
                raise LoweringError("it has too many axes", location=str(call.location))
            elif isinstance(call.out, (tuple, list)):
                self.several[node] = self._merged(call, form)
            else:
                self._replace(node, self._merged(call, form))

    def _replace(self, node: Node, made: Node) -> None:
        shape = tuple(node.meta["val"].shape)
        if len(shape) > MAX_RANK:
            self.flat[node] = made
        else:
            node.replace_all_uses_with(self._shaped(node, made, shape))

    def _moved(self, call: Call, form: Moved) -> Node:
        made: Node = self.flat.get(call["self"], call["self"])
        for shape, perm in form.moves:
            made = self._shaped(call.node, made, shape)
            value = made.meta["val"].new_empty([shape[axis] for axis in perm])
            made = self._call(call.node, aten.permute_copy.default, (made, list(perm)), value)
        return made

    def _merged(self, call: Call, form: Merged) -> Node:
        def merged(node: Node) -> Node:
            source = self.flat.get(node, node)
            shape = form.shapes.get(node)
            return source if shape is None else self._shaped(call.node, source, shape)

        given = map_arg({**call.args, **form.arguments}, merged)
        named = {a.name for a in call.op._schema.arguments if a.kwarg_only}
        args = tuple(value for name, value in given.items() if name not in named)
        kwargs = {name: value for name, value in given.items() if name in named}
        fakes = map_arg((args, kwargs), lambda node: node.meta["val"])
        with detect_fake_mode(fakes) or nullcontext():
            value = call.op(*fakes[0], **fakes[1])
        return self._call(call.node, call.node.target, args, value, kwargs)

    def _shaped(self, like: Node, source: Node, shape: Shape) -> Node:
        """``source``, or what it is a view of, in another shape."""
        while source.op == "call_function" and _is_view(source):
            source = source.all_input_nodes[0]
        value = source.meta["val"]
        if tuple(value.shape) == shape:
            return source
        arguments = (source, list(shape))
        return self._call(like, aten.view_copy.default, arguments, value.new_empty(shape))

    def _call(
        self, like: Node, op: Any, args: tuple[Any, ...], value: Any, kwargs: Any = None
    ) -> Node:
        node = self.graph.graph.call_function(op, args, kwargs)
        node.meta = {**like.meta, "val": value}
        return node


def _is_view(node: Node) -> bool:
    rule = TABLE.get(normalise(node.target))
    return rule is not None and rule.fewer is reshaped
