"""Architectures at a size that tests can afford: one or two layers, seeded random weights.

:data:`MODELS` maps a name to a function that returns (module, example inputs). Those that
transformers lacks, or builds only from other packages, are written out in ``vision_small``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers
from torch import Tensor, nn

import vision_small

Built = tuple[nn.Module, tuple[Tensor, ...]]


class Adapted(nn.Module):
    """A transformers model with positional inputs that returns a tuple of the named outputs."""

    def __init__(self, model: nn.Module, inputs: str, outputs: str, **fixed: Any):
        super().__init__()
        self.model = model
        self.inputs = inputs.split()
        self.outputs = outputs.split()
        self.fixed = fixed

    def forward(self, *args: Tensor) -> tuple[Tensor, ...]:
        result = self.model(**dict(zip(self.inputs, args, strict=True)), **self.fixed)
        return tuple(getattr(result, name) for name in self.outputs)


def images(size: int = 32, count: int = 1) -> Tensor:
    return torch.randn(count, 3, size, size)


def ids(length: int = 12, vocabulary: int = 64) -> Tensor:
    return torch.randint(3, vocabulary, (2, length))


def padded(length: int = 12) -> Tensor:
    """The attention mask of two texts, the second of which is shorter."""
    return torch.stack([torch.ones(length), torch.arange(length) < length - 4]).long()


def efficientnet() -> Built:
    config = transformers.EfficientNetConfig(
        image_size=32, in_channels=[16, 16, 24], out_channels=[16, 24, 32], hidden_dim=320,
        kernel_sizes=[3, 3, 5], strides=[1, 2, 2], expand_ratios=[1, 6, 6], num_labels=10,
        num_block_repeats=[1, 1, 2], depthwise_padding=[], width_coefficient=0.25,
        depth_coefficient=1.0,
    )  # fmt: skip
    model = transformers.EfficientNetForImageClassification(config)
    return Adapted(model, "pixel_values", "logits"), (images(64),)


def convnext() -> Built:
    config = transformers.ConvNextConfig(hidden_sizes=[16, 32], depths=[1, 1], num_stages=2)
    model = transformers.ConvNextForImageClassification(config)
    return Adapted(model, "pixel_values", "logits"), (images(),)


def swin() -> Built:
    """Two blocks in the first stage, so that the second shifts its windows."""
    config = transformers.SwinConfig(
        image_size=32, patch_size=2, embed_dim=16, depths=[2, 1], num_heads=[2, 4], window_size=4
    )
    model = transformers.SwinForImageClassification(config)
    return Adapted(model, "pixel_values", "logits"), (images(),)


def deit() -> Built:
    config = transformers.DeiTConfig(
        image_size=32, patch_size=8, hidden_size=32, num_hidden_layers=1, num_attention_heads=4,
        intermediate_size=64,
    )  # fmt: skip
    model = transformers.DeiTForImageClassificationWithTeacher(config)
    return Adapted(model, "pixel_values", "logits cls_logits distillation_logits"), (images(),)


def segformer() -> Built:
    config = transformers.SegformerConfig(
        num_encoder_blocks=2, depths=[1, 1], sr_ratios=[4, 2], hidden_sizes=[16, 32],
        patch_sizes=[7, 3], strides=[4, 2], num_attention_heads=[1, 2], mlp_ratios=[2, 2],
        decoder_hidden_size=32, num_labels=5,
    )  # fmt: skip
    model = transformers.SegformerForSemanticSegmentation(config)
    return Adapted(model, "pixel_values", "logits"), (images(),)


def clip() -> Built:
    text = {
        "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
        "num_attention_heads": 4, "max_position_embeddings": 16, "eos_token_id": 63,
    }  # fmt: skip
    vision = {
        "image_size": 32, "patch_size": 8, "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 1, "num_attention_heads": 4,
    }  # fmt: skip
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
    texts = ids(vocabulary=63)
    texts[0, -1] = texts[1, -5] = 63
    return (
        Adapted(
            transformers.CLIPModel(config),
            "input_ids attention_mask pixel_values",
            "logits_per_image text_embeds image_embeds",
        ),
        (texts, padded(), images(count=2)),
    )


def distilbert() -> Built:
    config = transformers.DistilBertConfig(
        vocab_size=64, dim=32, n_layers=1, n_heads=4, hidden_dim=64, max_position_embeddings=16
    )
    model = transformers.DistilBertForSequenceClassification(config)
    return Adapted(model, "input_ids attention_mask", "logits"), (ids(), padded())


def t5() -> Built:
    """Encoder and decoder; texts long enough for the logarithmic buckets of positions."""
    config = transformers.T5Config(
        vocab_size=64, d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    model = transformers.T5ForConditionalGeneration(config)
    names = "input_ids attention_mask decoder_input_ids"
    return Adapted(model, names, "logits", use_cache=False), (ids(20), padded(20), ids(5))


def whisper_config() -> Any:
    return transformers.WhisperConfig(
        vocab_size=64, num_mel_bins=8, d_model=32, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=64,
        decoder_ffn_dim=64, max_source_positions=16, max_target_positions=16, pad_token_id=0,
        bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip


def whisper_encoder() -> Built:
    model = transformers.WhisperModel(whisper_config()).encoder
    return Adapted(model, "input_features", "last_hidden_state"), (torch.randn(1, 8, 32),)


def whisper_decoder() -> Built:
    model = transformers.WhisperModel(whisper_config()).decoder
    names = "input_ids encoder_hidden_states"
    inputs = ids(), torch.randn(2, 16, 32)
    return Adapted(model, names, "last_hidden_state", use_cache=False), inputs


def wav2vec2() -> Built:
    config = transformers.Wav2Vec2Config(
        vocab_size=32, hidden_size=32, num_hidden_layers=1, num_attention_heads=4,
        intermediate_size=64, conv_dim=(16, 16), conv_kernel=(10, 3), conv_stride=(5, 2),
        num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=4, num_feat_extract_layers=2,
    )  # fmt: skip
    model = transformers.Wav2Vec2ForCTC(config)
    return Adapted(model, "input_values", "logits"), (torch.randn(1, 400),)


def gpt2() -> Built:
    config = transformers.GPT2Config(
        vocab_size=64, n_positions=16, n_embd=32, n_layer=1, n_head=4, bos_token_id=1,
        eos_token_id=2,
    )  # fmt: skip
    model = transformers.GPT2LMHeadModel(config)
    names = "input_ids attention_mask"
    return Adapted(model, names, "logits", use_cache=False), (ids(), padded())


def decoder(name: str, suffix: str = "", layers: int = 1, **options: Any) -> Callable[[], Built]:
    """A builder for one of the language models that take the same sizes as Llama.

    Args:
        suffix: Follows the name in the name of the configuration.
    """

    def built() -> Built:
        config = getattr(transformers, f"{name}{suffix}Config")(
            vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=layers,
            num_attention_heads=4, num_key_value_heads=2, head_dim=8, max_position_embeddings=32,
            pad_token_id=0, bos_token_id=1, eos_token_id=2, **options,
        )  # fmt: skip
        model = getattr(transformers, f"{name}ForCausalLM")(config)
        names = "input_ids attention_mask"
        return Adapted(model, names, "logits", use_cache=False), (ids(), padded())

    return built


def mamba() -> Built:
    """Six tokens: without its CUDA kernel, the scan is a loop that export unrolls."""
    config = transformers.MambaConfig(
        vocab_size=64, hidden_size=32, num_hidden_layers=1, state_size=4, pad_token_id=0,
        bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    model = transformers.MambaForCausalLM(config)
    return Adapted(model, "input_ids", "logits", use_cache=False), (ids(6),)


def detr() -> Built:
    backbone = transformers.ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic",
        out_features=["stage2"],
    )  # fmt: skip
    config = transformers.DetrConfig(
        backbone_config=backbone, use_timm_backbone=False, use_pretrained_backbone=False,
        backbone=None, num_queries=6, d_model=32, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=64,
        decoder_ffn_dim=64, num_labels=5,
    )  # fmt: skip
    model = transformers.DetrForObjectDetection(config)
    seen = torch.ones(1, 64, 64, dtype=torch.int64)
    seen[:, 40:] = 0
    return Adapted(model, "pixel_values pixel_mask", "logits pred_boxes"), (images(64), seen)


MODELS: dict[str, Callable[[], Built]] = {
    "MobileNetV3": lambda: (vision_small.MobileNetV3(), (images(),)),
    "U-Net": lambda: (vision_small.UNet(), (images(),)),
    "YOLO": lambda: (vision_small.Yolo(), (images(64),)),
    "EfficientNet": efficientnet,
    "ConvNeXt": convnext,
    "Swin": swin,
    "DeiT": deit,
    "SegFormer": segformer,
    "DETR": detr,
    "CLIP": clip,
    "DistilBERT": distilbert,
    "T5": t5,
    "Whisper encoder": whisper_encoder,
    "Whisper decoder": whisper_decoder,
    "Wav2Vec2": wav2vec2,
    "GPT-2": gpt2,
    "Llama": decoder("Llama"),
    "Qwen2": decoder("Qwen2"),
    "Qwen3": decoder("Qwen3"),
    "Gemma": decoder("Gemma"),
    "Gemma 2": decoder("Gemma2", query_pre_attn_scalar=8, sliding_window=4),
    "Gemma 3": decoder(
        "Gemma3",
        "Text",
        layers=2,
        query_pre_attn_scalar=8,
        sliding_window=4,
        layer_types=["sliding_attention", "full_attention"],
    ),
    "Mamba": mamba,
}


def spread(model: nn.Module) -> None:
    """Draws weights that keep the scale of their input, so that every part of a model shows.

    As initialised for training (deviation 0.02, zero biases, layer scales of 1e-6) a narrow
    model's attention is uniform and its blocks vanish beside the residual path.
    """
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
        else:
            parameter.data += 0.1 * torch.randn_like(parameter)


def calibrate(model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Batch-norm statistics of the inputs, as training leaves them."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.train()
        norm.momentum = None  # averages all batches
    for _ in range(3 if norms else 0):
        model(*(x if x.dtype == torch.int64 else torch.randn(4, *x.shape[1:]) for x in inputs))


def build(name: str) -> Built:
    """(model in eval mode, example inputs), the same in every process."""
    return prepared(MODELS[name])


@torch.no_grad()
def prepared(make: Callable[[], Built]) -> Built:
    """As :func:`build`, of a model that is not in :data:`MODELS`."""
    torch.manual_seed(0)
    model, inputs = make()
    model.eval()
    spread(model)
    calibrate(model, inputs)
    return model.eval(), inputs
