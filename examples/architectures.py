"""The models that demo, tests and benchmarks share: real architectures, seeded random weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn


class DigitsCNN(nn.Module):
    """Two convolutions and a linear layer for 8x8 images; input [N, 1, 8, 8], output [N, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        )  # fmt: skip
        self.classify = nn.Linear(32 * 4 * 4, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classify(self.features(images).flatten(1))


class First(nn.Module):
    """A transformers model that returns its first output tensor instead of a dataclass."""

    def __init__(self, model: nn.Module, **fixed: Any):
        super().__init__()
        self.model = model
        self.fixed = fixed

    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        return self.model(*args, **self.fixed, return_dict=False)[0]


def photos(count: int, seed: int, size: int = 224) -> torch.Tensor:
    """Random crops of the two photographs that scikit-learn ships, normalised as for ImageNet.

    Returns:
        ``count`` images, [count, 3, size, size], the same for the same seed.
    """
    from sklearn.datasets import load_sample_images

    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    deviation = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    whole = [torch.tensor(i).permute(2, 0, 1) / 255 for i in load_sample_images().images]
    generator = torch.Generator().manual_seed(seed)

    def crop(photo: torch.Tensor) -> torch.Tensor:
        top, left = (
            int(torch.randint(0, extent - size, (), generator=generator))
            for extent in photo.shape[1:]
        )
        return (photo[:, top : top + size, left : left + size] - mean) / deviation

    return torch.stack([crop(whole[number % 2]) for number in range(count)])


def image() -> tuple[torch.Tensor]:
    return (photos(1, seed=9),)


def tokens(length: int, vocabulary: int) -> tuple[torch.Tensor]:
    return (torch.randint(0, vocabulary, (1, length), generator=torch.Generator().manual_seed(0)),)


def calibrate(model: nn.Module) -> nn.Module:
    """Batch-norm statistics of photographs, as training leaves them.

    With those of a fresh model (mean 0, variance 1) the activations of random weights shrink from
    layer to layer until fp16 holds none of them, which no trained model does.
    """
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # averages all batches
    with torch.no_grad():
        for seed in range(2):
            model(photos(8, seed))
    return model.eval()


def mobilenet_v2() -> tuple[nn.Module, tuple[torch.Tensor]]:
    from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

    model = MobileNetV2ForImageClassification(MobileNetV2Config(num_labels=1001))
    return First(calibrate(model)), image()


def resnet50() -> tuple[nn.Module, tuple[torch.Tensor]]:
    from transformers import ResNetConfig, ResNetForImageClassification

    return First(calibrate(ResNetForImageClassification(ResNetConfig(num_labels=1000)))), image()


def vit_small() -> tuple[nn.Module, tuple[torch.Tensor]]:
    """ViT-S/16: 12 layers, width 384, 6 heads."""
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=384, num_attention_heads=6, intermediate_size=1536, num_labels=1000
    )
    return First(ViTForImageClassification(config)), image()


def minilm() -> tuple[nn.Module, tuple[torch.Tensor]]:
    """BERT in the shape of MiniLM-L6: 6 layers, width 384, 12 heads, 128 tokens."""
    from transformers import BertConfig, BertModel

    config = BertConfig(
        hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
    )
    return First(BertModel(config)), tokens(128, config.vocab_size)


def llama(
    layers: int = 2, width: int = 512, vocabulary: int = 4096
) -> tuple[nn.Module, tuple[torch.Tensor]]:
    """Llama without a cache: heads of 64, of which every second holds keys; 64 tokens."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=width * 11 // 4,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        num_key_value_heads=width // 128,
        max_position_embeddings=256,
    )
    return First(LlamaForCausalLM(config), use_cache=False), tokens(64, config.vocab_size)


def whisper_encoder() -> tuple[nn.Module, tuple[torch.Tensor]]:
    """Whisper's encoder in the shape of tiny: 4 layers, width 384, 6 heads, 30 s of sound as 80 mel
    bands in 3000 frames."""
    from transformers import WhisperConfig, WhisperModel

    config = WhisperConfig(
        d_model=384,
        encoder_layers=4,
        encoder_attention_heads=6,
        encoder_ffn_dim=1536,
        decoder_layers=1,
    )
    mel = torch.randn(1, 80, 3000, generator=torch.Generator().manual_seed(0))
    return First(WhisperModel(config).encoder), (mel,)


MODELS: dict[str, Callable[[], tuple[nn.Module, tuple[torch.Tensor]]]] = {
    "MobileNetV2": mobilenet_v2,
    "ResNet-50": resnet50,
    "ViT-S/16": vit_small,
    "MiniLM": minilm,
    "Llama, 2 layers": llama,
}

# Too large for the test suite: benchmarks alone use them.
LARGE_MODELS: dict[str, Callable[[], tuple[nn.Module, tuple[torch.Tensor]]]] = {
    "Whisper-tiny encoder": whisper_encoder,
    "Llama, 8 layers, 150 M": partial(llama, layers=8, width=1024, vocabulary=28672),
}


def build(name: str) -> tuple[nn.Module, tuple[torch.Tensor]]:
    """(model in eval mode, example inputs), the same weights in every process."""
    torch.manual_seed(0)
    model, inputs = (MODELS | LARGE_MODELS)[name]()
    return model.eval(), inputs
