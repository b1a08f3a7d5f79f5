"""The parts of a model that its user keeps in float32: ``keep_fp32`` of the compile options.

Each entry names a place:

- ``"encoder.ffn"``: that module and all inside it. ``*`` stands for anything, here and below, as
  in ``"encoder.*.norm"``.
- ``"encoder.ffn:aten.add.Tensor"``: the calls of one op by the module itself, not by modules inside
  it; ``":aten.add.Tensor"`` those by the model itself, ``"*:aten.add.Tensor"`` all of them.

A kept node is computed in fp32 between casts, whatever it reads; an input of the delegate reaches
it as the float32 that crosses the border. Named is what the lowered program has: a batch norm that
is folded is part of its convolution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from torch.fx import Node

from executorch_coreml.compiler.graph import DelegatedGraph
from executorch_coreml.errors import OptionsError
from executorch_coreml.location import Location, locate

KEPT = "named in keep_fp32: kept in fp32"


def kept(graph: DelegatedGraph, entries: Sequence[str]) -> dict[Node, str]:
    """Node that some entry names, or input that such a node reads -> why it stays float32."""
    found = named(graph.graph.nodes, entries)
    inputs = {source for node in found for source in node.all_input_nodes} & {*graph.inputs}
    return dict.fromkeys([*found, *(node for node in graph.inputs if node in inputs)], KEPT)


def named(nodes: Iterable[Node], entries: Sequence[str]) -> list[Node]:
    """The computing nodes that some entry names."""
    tests = [_test(entry) for entry in entries]
    if not tests:
        return []
    computing = [(node, locate(node)) for node in nodes if node.op == "call_function"]
    return [node for node, place in computing if any(test(place) for test in tests)]


def require_known(nodes: Iterable[Node], entries: Sequence[str]) -> None:
    """
    Raises:
        OptionsError: An entry that names nothing in the program.
    """
    if not entries:
        return
    places = [locate(node) for node in nodes if node.op == "call_function"]
    for entry in entries:
        test = _test(entry)
        if not any(test(place) for place in places):
            modules = dict.fromkeys(part for place in places for part in _around(place.module))
            names = [*modules, *dict.fromkeys(f"{place.module}:{place.op}" for place in places)]
            close = get_close_matches(entry, names, n=3)
            raise OptionsError(
                f"keep_fp32 names {entry!r}, where the program computes nothing",
                hint=(f"did you mean {' or '.join(map(repr, close))}? " if close else "")
                + "A folded batch norm is part of its convolution",
            )


def _test(entry: str) -> Callable[[Location], bool]:
    module, colon, op = entry.partition(":")
    if colon:
        return lambda place: fnmatchcase(place.op, op) and fnmatchcase(place.module, module)
    return lambda place: any(fnmatchcase(around, module) for around in _around(place.module))


def _around(module: str) -> list[str]:
    """The module and those around it, the model itself aside: ``a``, ``a.b``, ``a.b.c``."""
    parts = module.split(".") if module else []
    return [".".join(parts[: count + 1]) for count in range(len(parts))]
