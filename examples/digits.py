"""scikit-learn's handwritten digits, and models trained on them, the same in every process."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import NamedTuple, TypeVar

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

BATCH = 64

Classifier = TypeVar("Classifier", bound=nn.Module)


class Digits(NamedTuple):
    """Images [n, 1, 8, 8] from 0 to 1 with their labels [n]; 360 of them are for tests."""

    images: torch.Tensor
    labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor


@lru_cache(maxsize=1)
def digits() -> Digits:
    bunch = load_digits()
    images = torch.tensor(bunch.images, dtype=torch.float32).unsqueeze(1) / 16
    labels = torch.tensor(bunch.target)
    x, test_x, y, test_y = train_test_split(
        images, labels, test_size=360, random_state=0, stratify=labels
    )
    return Digits(x, y, test_x, test_y)


def train(
    make: Callable[[], Classifier],
    epochs: int,
    track: Callable[[Iterable[int]], Iterable[int]],
) -> Classifier:
    """A model trained on the digits, in eval mode.

    Args:
        make: Builds it, from seeded random numbers.
        track: Passes on the numbers of the epochs; draws a progress bar.
    """
    torch.manual_seed(0)
    model = make()
    x, y, *_ = digits()
    optimiser = torch.optim.AdamW(model.parameters())
    steps = epochs * -(-len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
    for _ in track(range(epochs)):
        for batch in torch.randperm(len(x)).split(BATCH):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimiser.step()
            schedule.step()
    return model.requires_grad_(False).eval()
