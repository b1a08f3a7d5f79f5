"""Cases of ops that only move data, each followed by an op that computes.

A delegate of data movement alone is never made, so every result is doubled (or negated, for bool)
before it leaves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from case import Case


def _computed(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return tuple(_computed(item) for item in value)
    return torch.logical_not(value) if value.dtype is torch.bool else value * 2


def moved(id: str, covers: Any, fn: Callable[..., Any], *inputs: torch.Tensor) -> Case:
    return Case(id, lambda *args: _computed(fn(*args)), inputs, covers=covers)
