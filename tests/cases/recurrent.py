"""Recurrent layers: ExecuTorch unrolls what has several results, so no rule is their own."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from case import Case, Reject, randn

SEQUENCE = BATCH_FIRST = randn(2, 2, 3)
CELL, STATE = randn(2, 3), randn(2, 4)


class Flat(nn.Module):
    """A recurrent layer whose outputs and states are one tuple; its weights come from a seed."""

    def __init__(self, layer: type[nn.Module], *args: Any, **options: Any):
        super().__init__()
        torch.manual_seed(0)
        self.layer = layer(*args, **options)

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(torch.utils._pytree.tree_leaves(self.layer(*inputs)))


VARIANTS: dict[str, tuple[dict[str, Any], torch.Tensor]] = {
    "plain": ({}, SEQUENCE),
    "two-layers-both-ways": ({"num_layers": 2, "bidirectional": True}, SEQUENCE),
    "both-ways": ({"bidirectional": True}, SEQUENCE),
    "no-bias": ({"bias": False}, SEQUENCE),
    "unbatched": ({}, randn(2, 3)),
    "batch-first": ({"batch_first": True}, BATCH_FIRST),
}


def layers(kind: type[nn.Module], *variants: str) -> list[Case]:
    name = kind.__name__.lower()
    return [
        Case(
            f"{name}-{variant}", Flat(kind, 3, 4, **VARIANTS[variant][0]), VARIANTS[variant][1:], ()
        )
        for variant in variants
    ]


ROWS: list[Case | Reject] = [
    *layers(nn.LSTM, *(name for name in VARIANTS if name != "both-ways")),
    *layers(nn.GRU, "plain", "both-ways"),
    *layers(nn.RNN, "plain", "batch-first"),
    Case("lstm-projection", Flat(nn.LSTM, 3, 4, proj_size=2), (SEQUENCE,), covers=()),
    Case("lstm-long", Flat(nn.LSTM, 3, 4), (randn(5, 1, 3) * 3,), covers=()),
    Case("rnn-relu", Flat(nn.RNN, 3, 4, nonlinearity="relu"), (SEQUENCE,), covers=()),
    Case("gru-state", Flat(nn.GRU, 3, 4), (SEQUENCE, randn(1, 2, 4)), covers=()),
    Case("lstm-cell", Flat(nn.LSTMCell, 3, 4), (CELL,), covers=()),
    Case("gru-cell", Flat(nn.GRUCell, 3, 4), (CELL, STATE), covers=()),
    Case("rnn-cell", Flat(nn.RNNCell, 3, 4), (CELL, STATE), covers=()),
]
