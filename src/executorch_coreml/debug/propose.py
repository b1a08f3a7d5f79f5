"""Which parts of a model to keep in float32, or which layers to leave in float."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch.fx import Node

from executorch_coreml.debug.comparison import PRECISION, Comparison, Row
from executorch_coreml.debug.measure import representable
from executorch_coreml.location import locate

_NOISIEST = 6.0  # dB: where all values are good and the results are not, how many count as worst


def keep_fp32(comparison: Comparison, computed: Sequence[tuple[Row, Node, Any]]) -> tuple[str, ...]:
    """Entries of ``keep_fp32`` that should make the results good; none where they are, or where
    float32 does not help.

    Kept are the ops that are bad by themselves. One whose values fp16 cannot hold is kept with the
    ops that read them; one that loses what its inputs had left of it, with the ops that make those.

    Args:
        comparison: What was found.
        computed: Its rows, each with its node and the node's value in PyTorch.
    """
    if comparison.cause != PRECISION:
        return ()
    half = [(row, node, value) for row, node, value in computed if row.dtype == "fp16"]
    chosen: dict[Node, None] = {}
    for row, node, value in half:
        if not representable(value.detach().cpu().float().numpy()):
            chosen |= dict.fromkeys(_computing([node, *node.users]))
        elif row.own is not None and row.own.beyond(comparison.min_snr):
            chosen |= dict.fromkeys(_computing([node, *node.all_input_nodes]))
    if not chosen:
        own = [(node, row.own.snr) for row, node, _ in half if row.own is not None]
        limit = min((snr for _, snr in own), default=0.0) + _NOISIEST
        chosen |= dict.fromkeys(_computing(node for node, snr in own if snr <= limit))
    modules = {locate(node).module for _, node, _ in computed}
    entries = dict.fromkeys(_entry(node, modules) for node in chosen)
    return tuple(entry for entry in entries if entry not in comparison.keep_fp32)


def leave_in_float(comparison: Comparison) -> tuple[str, ...]:
    """The layers that quantization made bad by themselves; the worst, where the results are bad
    and no layer is."""
    layers = [(row.location.module, row.own) for row in comparison.rows if row.own is not None]
    bad = [name for name, own in layers if own.beyond(comparison.min_snr)]
    if bad or comparison.ok or not layers:
        return tuple(dict.fromkeys(bad))
    lowest = min(own.snr for _, own in layers)
    return tuple(dict.fromkeys(name for name, own in layers if own.snr <= lowest + _NOISIEST / 2))


def _computing(nodes: Iterable[Node]) -> Sequence[Node]:
    """The ops among them, with the one that computes it in place of one of several results."""
    found = [n.args[0] if getattr(n.target, "__name__", "") == "getitem" else n for n in nodes]
    return [node for node in found if isinstance(node, Node) and node.op == "call_function"]


def _entry(node: Node, modules: Iterable[str]) -> str:
    """The node's module, or only the op in it where the module has others inside."""
    place = locate(node)
    around = not place.module or any(m.startswith(f"{place.module}.") for m in modules)
    return f"{place.module}:{place.op}" if around else place.module
