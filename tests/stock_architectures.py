"""Whole models for ExecuTorch's own Core ML backend; importing this imports neither backend."""

from __future__ import annotations

import torch
from architectures import DigitsCNN, First
from torch import nn

Model = tuple[nn.Module, tuple[torch.Tensor, ...]]


def digits() -> Model:
    return DigitsCNN(), (torch.randn(1, 1, 8, 8),)


def vision_transformer() -> Model:
    """ViT-S/16, of whose 12 layers two are enough: the others are the same."""
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=384, num_attention_heads=6, intermediate_size=1536, num_hidden_layers=2
    )
    return First(ViTForImageClassification(config)), (torch.randn(1, 3, 224, 224),)


MODELS = {"digits": digits, "ViT": vision_transformer}


def build(name: str) -> Model:
    """(model in eval mode, inputs), the same in every process."""
    torch.manual_seed(0)
    model, inputs = MODELS[name]()
    return model.eval(), inputs
