"""Models and their packages, for tests of options that compress the weights of a finished model."""

from __future__ import annotations

from pathlib import Path

import torch

from case import randint
from executorch_coreml.compiler import payload
from executorch_coreml.mil.pte import read_pte

TOKENS = randint(2, 8, low=0, high=50)


class Layers(torch.nn.Module):
    """One layer of each kind with weights, and a table that only a lookup uses."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = torch.nn.Embedding(50, 64)
        self.linear = torch.nn.Linear(64, 96)
        self.conv = torch.nn.Conv1d(8, 32, 3, padding=1)
        self.up = torch.nn.ConvTranspose1d(32, 24, 4)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x: torch.Tensor = self.up(self.conv(self.linear(self.table(tokens))))
        return x


def unpacked(pte: bytes, directory: Path) -> Path:
    """The package of the only delegate."""
    files = payload.unpack(read_pte(memoryview(pte)).delegates[0].processed)
    for name, data in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return directory / "lowered_module" / "model.mlpackage"
