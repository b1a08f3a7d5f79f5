"""Whole models whose batch or length is decided at run time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers
from executorch.exir import to_edge_transform_and_lower
from executorch.runtime import Runtime
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.export import Dim

from architectures_small import Adapted, spread
from case import FP16, FP32, EdgeProgram, export, lower, snippets
from executorch_coreml import CoreMLBackend, CoreMLPartitioner, Target
from test_architectures import BOUNDS, assert_equal

BATCH, LENGTH = Dim("batch", min=1, max=6), Dim("length", min=2, max=24)
SHAPES = [[1, 3, 32, 32], [2, 3, 32, 32], [5, 3, 32, 32]]


def vit() -> nn.Module:
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        image_size=32, patch_size=8, hidden_size=32, num_hidden_layers=1,
        num_attention_heads=4, intermediate_size=48, num_labels=5,
    )  # fmt: skip
    model = Adapted(transformers.ViTForImageClassification(config), "pixel_values", "logits").eval()
    spread(model)
    return model


class Decoder(nn.Module):
    """One layer of a causal language model with learnt positions."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(64, 32), nn.Embedding(24, 32)
        self.norm, self.qkv = nn.LayerNorm(32), nn.Linear(32, 96)
        self.out, self.head = nn.Linear(32, 32), nn.Linear(32, 64)

    def forward(self, ids: Tensor) -> Tensor:
        batch, length = ids.shape
        x = self.tokens(ids) + self.positions(torch.arange(length))
        q, k, v = self.qkv(self.norm(x)).view(batch, length, 3, 4, 8).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.head(x + self.out(y.transpose(1, 2).reshape(batch, length, 32)))


def decoder_model() -> nn.Module:
    torch.manual_seed(0)
    return Decoder().eval()


def llama() -> nn.Module:
    """Its mask is read by index, from positions: what transformers builds when it is exported."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=1,
        num_attention_heads=4, num_key_value_heads=2, use_cache=False,
    )  # fmt: skip
    model = Adapted(transformers.LlamaForCausalLM(config), "input_ids", "logits").eval()
    spread(model)
    return model


def bert() -> nn.Module:
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=1,
        num_attention_heads=4, max_position_embeddings=32,
    )  # fmt: skip
    wanted = "last_hidden_state pooler_output"
    model = Adapted(transformers.BertModel(config), "input_ids attention_mask", wanted).eval()
    spread(model)
    return model


def text(batch: int, length: int) -> tuple[Tensor]:
    return (ids(batch, length),)


def padded_text(batch: int, length: int) -> tuple[Tensor, Tensor]:
    """Each text one token shorter than the one before, as far as that goes."""
    kept = (length - torch.arange(batch)).clamp(min=1)
    return ids(batch, length), (torch.arange(length) < kept[:, None]).long()


def images(batch: int) -> Tensor:
    return torch.randn(batch, 3, 32, 32, generator=torch.Generator().manual_seed(batch))


def ids(batch: int, length: int) -> Tensor:
    return torch.arange(batch * length).reshape(batch, length) * 7 % 64


def method(lowered: Any) -> Any:
    """The program is kept with it: ExecuTorch 1.5.1's ``Method`` does not keep it alive."""
    program = Runtime.get().load_program(lowered.buffer)
    loaded = program.load_method("forward")
    loaded.program = program
    return loaded


def test_vit_of_any_batch() -> None:
    model = vit()
    program = EdgeProgram(export(model, (images(3),), ({0: BATCH},)))
    for precision, bound in BOUNDS:
        lowered, partitioner = program.lower(precision)
        assert partitioner.report.delegates == 1
        assert not partitioner.report.refused, str(partitioner.report)
        with snippets(precision):
            loaded = method(lowered)
            for batch in (1, 2, 3, 6):
                (got,), (wanted,) = loaded.execute((images(batch),)), model(images(batch))
                assert_equal(got, wanted, bound)


def test_vit_of_enumerated_batches() -> None:
    model = vit()
    program = export(model, (images(2),), ({0: Dim.AUTO(min=1, max=8)},))
    (name,) = program.graph_signature.user_inputs
    specs = CoreMLBackend.generate_compile_specs(compute_precision=FP32)
    specs.append(CoreMLBackend.generate_enumerated_shapes_compile_spec(program, {name: SHAPES}))
    partitioner = CoreMLPartitioner(compile_specs=specs, lower_full_graph=True)
    loaded = method(to_edge_transform_and_lower(program, partitioner=[partitioner]).to_executorch())
    for shape in SHAPES:
        (got,), (wanted,) = loaded.execute((images(shape[0]),)), model(images(shape[0]))
        assert_equal(got, wanted, 1e-4)
    with pytest.raises(RuntimeError) as caught:
        loaded.execute((images(3),))
    assert "(1, 3, 32, 32) or (2, 3, 32, 32) or (5, 3, 32, 32)" in str(caught.value.__cause__)


@pytest.mark.parametrize(("make", "inputs"), [(llama, text), (bert, padded_text)])
def test_transformer_of_any_batch_and_length(make: Callable[[], nn.Module], inputs: Any) -> None:
    """In fp16 on iOS18 too, where attention is an op of its own."""
    model, example = make(), inputs(2, 9)
    program = export(model, example, ({0: BATCH, 1: LENGTH},) * len(example))
    for (precision, bound), target in zip(BOUNDS, (None, Target.iOS18), strict=True):
        lowered, partitioner = lower(program, precision, minimum_deployment_target=target)
        assert partitioner.report.delegates == 1
        assert not partitioner.report.refused, str(partitioner.report)
        with snippets(precision):
            loaded = method(lowered)
            for batch, length in ((1, 2), (2, 9), (6, 24), (3, 7)):
                given = inputs(batch, length)
                for got, wanted in zip(loaded.execute(given), model(*given), strict=True):
                    assert_equal(got, wanted, bound)


@pytest.fixture(scope="module")
def decoder_program() -> tuple[nn.Module, EdgeProgram]:
    model = decoder_model()
    return model, EdgeProgram(export(model, (ids(2, 9),), ({0: BATCH, 1: LENGTH},)))


@pytest.fixture(scope="module", params=[FP32, FP16], ids=["fp32", "fp16"])
def decoder(request: pytest.FixtureRequest, decoder_program: Any) -> tuple[nn.Module, Any, float]:
    model, program = decoder_program
    lowered, partitioner = program.lower(request.param)
    assert partitioner.report.delegates == 1
    assert not partitioner.report.refused, str(partitioner.report)
    return model, method(lowered), dict(BOUNDS)[request.param]


@pytest.mark.xdist_group("dynamic_decoder")
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(batch=st.integers(1, 6), length=st.integers(2, 24))
def test_decoder_of_any_batch_and_length(decoder: Any, batch: int, length: int) -> None:
    model, loaded, bound = decoder
    (got,), wanted = loaded.execute((ids(batch, length),)), model(ids(batch, length))
    assert_equal(got, wanted, bound)


@pytest.mark.xdist_group("dynamic_decoder")
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(batch=st.integers(1, 12), length=st.integers(1, 40))
def test_decoder_refuses_what_is_outside(decoder: Any, batch: int, length: int) -> None:
    _, loaded, _ = decoder
    if batch <= 6 and length <= 24:
        batch += 6
    with pytest.raises((RuntimeError, ValueError)):
        loaded.execute((ids(batch, length),))
