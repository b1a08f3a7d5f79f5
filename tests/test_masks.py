"""What attention masks that are known cost in the file."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from case import FP32, export, lower, randn
from executorch_coreml import Target
from executorch_coreml.mil.bundle import read
from executorch_coreml.mil.summary import summarise

LENGTH = 64
CAUSAL = torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril()
SLIDING = CAUSAL & ~CAUSAL.tril(-8)
OPEN = torch.ones_like(CAUSAL)
ONE = 4 * LENGTH * LENGTH  # bytes of a float32 mask for all samples


class Layers(torch.nn.Module):
    """Attention to itself, a mask a layer, each with a copy for all of four samples."""

    def __init__(self, *masks: torch.Tensor) -> None:
        super().__init__()
        for number, mask in enumerate(masks):
            self.register_buffer(f"mask{number}", mask.repeat(4, 1, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for mask in self.buffers():
            x = F.scaled_dot_product_attention(x, x, x, mask)
        return x


@pytest.mark.parametrize("target", [None, Target.iOS18])
@pytest.mark.parametrize(
    ("masks", "stored"),
    [((OPEN, OPEN), 0), ((CAUSAL, CAUSAL), 1), ((CAUSAL, SLIDING, OPEN), 2)],
)
def test_equal_masks_are_stored_once(
    masks: tuple[torch.Tensor, ...], stored: int, target: Target | None
) -> None:
    program = export(Layers(*masks), (randn(4, 2, LENGTH, 8),))
    lowered, partitioner = lower(program, FP32, minimum_deployment_target=target)
    assert partitioner.report.delegates == 1
    weights = sum(summarise(read(lowered.buffer)).weights.values())
    assert stored * ONE <= weights < stored * ONE + 512
