"""Architectures of :mod:`test_converted` alone, as small as those of ``architectures_small``.

Language models take their mask in four dimensions, added to the scores: coremltools 9.0 does not
convert what transformers makes one of two dimensions with (``new_ones``).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import transformers
from torch import Tensor

from architectures_small import Adapted, Built, ids, images, padded

TEXT = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
VISION = {
    "image_size": 32, "patch_size": 8, "hidden_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 4, "intermediate_size": 64,
}  # fmt: skip
MASKED = "input_ids attention_mask"


def mask(causal: bool = False) -> Tensor:
    """[2, 1, 12, 12]: of two texts the second is shorter; a causal one hides what comes later."""
    seen = padded()[:, None, None, :].bool().expand(2, 1, 12, 12)
    if causal:
        seen = seen & torch.ones(12, 12, dtype=torch.bool).tril()
    return torch.where(seen, 0.0, -1e4)


def bert() -> Built:
    config = transformers.BertConfig(**TEXT, intermediate_size=64, max_position_embeddings=16)
    model = transformers.BertForSequenceClassification(config)
    return Adapted(model, MASKED, "logits"), (ids(), mask())


def distilbert() -> Built:
    config = transformers.DistilBertConfig(
        vocab_size=64, dim=32, n_layers=2, n_heads=4, hidden_dim=64, max_position_embeddings=16
    )
    model = transformers.DistilBertForSequenceClassification(config)
    return Adapted(model, MASKED, "logits"), (ids(), mask())


def gpt2() -> Built:
    config = transformers.GPT2Config(
        vocab_size=64, n_positions=16, n_embd=32, n_layer=1, n_head=4, bos_token_id=1,
        eos_token_id=2,
    )  # fmt: skip
    model = transformers.GPT2LMHeadModel(config)
    return Adapted(model, MASKED, "logits", use_cache=False), (ids(), mask(causal=True))


def t5_encoder() -> Built:
    config = transformers.T5Config(
        vocab_size=64, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4
    )
    model = transformers.T5EncoderModel(config)
    return Adapted(model, MASKED, "last_hidden_state"), (ids(), mask())


def clip_vision() -> Built:
    model = transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**VISION))
    return Adapted(model, "pixel_values", "last_hidden_state pooler_output"), (images(),)


def clip_text() -> Built:
    config = transformers.CLIPTextConfig(
        **TEXT, intermediate_size=64, max_position_embeddings=16, eos_token_id=63
    )
    texts = ids(vocabulary=63)
    texts[0, -1] = texts[1, -5] = 63
    model = transformers.CLIPTextModel(config)
    return Adapted(model, MASKED, "last_hidden_state pooler_output"), (texts, mask(causal=True))


def vit() -> Built:
    model = transformers.ViTForImageClassification(transformers.ViTConfig(**VISION))
    return Adapted(model, "pixel_values", "logits"), (images(),)


def resnet() -> Built:
    config = transformers.ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic", num_labels=10
    )
    model = transformers.ResNetForImageClassification(config)
    return Adapted(model, "pixel_values", "logits"), (images(),)


MODELS: dict[str, Callable[[], Built]] = {
    "BERT": bert,
    "DistilBERT with a mask of 4 dimensions": distilbert,
    "GPT-2 with a mask of 4 dimensions": gpt2,
    "T5 encoder": t5_encoder,
    "CLIP vision": clip_vision,
    "CLIP text": clip_text,
    "ViT": vit,
    "ResNet": resnet,
}
