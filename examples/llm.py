"""A language model, end to end: train, quantize, lower, generate in the ExecuTorch runtime, compare.

    python examples/llm.py           # about three minutes on two cores
    python examples/llm.py --quick   # a smaller model, hardly trained

Each way of storing the weights is lowered three times: in float32 and in fp16 with the caches as
inputs and outputs, and in fp16 with the caches as Core ML states. The first two are programs of two
methods that share the weights: ``prefill`` reads ``CHUNK`` tokens at once, ``forward`` one. Each
loaded method has states of its own, so a state that ``prefill`` fills would stay empty in
``forward``: the third has ``forward`` only, and reads its prompt token by token.
"""

from __future__ import annotations

import argparse
import copy
import logging
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

warnings.simplefilter("ignore")
logging.disable(logging.WARNING)

import torch  # noqa: E402
from executorch.exir import to_edge_transform_and_lower  # noqa: E402
from executorch.runtime import Runtime  # noqa: E402
from llama import Llama, Shape, Stateful, texts, train  # noqa: E402
from report import Report, write  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.progress import Progress  # noqa: E402
from torch import nn  # noqa: E402
from torchao.prototype.quantization.codebook_coreml import CodebookWeightOnlyConfig  # noqa: E402
from torchao.quantization import IntxWeightOnlyConfig, PerAxis, PerGroup, quantize_  # noqa: E402

import executorch_coreml.runtime  # noqa: E402, F401  (registers the delegate)
from executorch_coreml import ComputePrecision, CoreMLBackend, CoreMLPartitioner  # noqa: E402

CHUNK = 32
FLOAT32, FLOAT16 = ComputePrecision.FLOAT32, ComputePrecision.FLOAT16

# What runs a step: tokens [1, n] and their positions [n] -> logits [n, 256]. It keeps the caches.
Step = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

LINEARS = {
    "float": None,
    "int4, groups of 32": IntxWeightOnlyConfig(
        weight_dtype=torch.int4, granularity=PerGroup(32)
    ),
    "4-bit palettes": CodebookWeightOnlyConfig(dtype=torch.uint4, block_size=[16, -1]),
    "3-bit palettes": CodebookWeightOnlyConfig(dtype=torch.uint3, block_size=[16, -1]),
}


def quantized(model: Llama, linears: Any) -> Llama:
    """A copy with its linear layers as ``linears`` says and int8 embeddings, a scale per row."""
    model = copy.deepcopy(model)
    if linears is not None:
        rows = IntxWeightOnlyConfig(weight_dtype=torch.int8, granularity=PerAxis(0))
        quantize_(model, rows, filter_fn=lambda module, _: isinstance(module, nn.Embedding))
        quantize_(model, linears)
    return model


def lower(
    model: nn.Module, methods: dict[str, int], caches: list[torch.Tensor], precision: Any
) -> bytes:
    """A program with a method per number of tokens; ``caches`` are its inputs beside them."""
    programs = {
        name: torch.export.export(
            model, (torch.zeros(1, count, dtype=torch.int64), torch.arange(count), *caches)
        )
        for name, count in methods.items()
    }
    specs = CoreMLBackend.generate_compile_specs(compute_precision=precision)
    partitioner = CoreMLPartitioner(compile_specs=specs, take_over_mutable_buffer=True)
    return bytes(to_edge_transform_and_lower(programs, partitioner=[partitioner]).to_executorch().buffer)


def in_eager(model: Llama) -> Step:
    caches = model.shape.caches()

    @torch.no_grad()
    def step(tokens: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        logits, *caches[:] = model(tokens, at, *caches)
        return logits[0]

    return step


def through_executorch(pte: bytes, caches: list[torch.Tensor]) -> Step:
    """``caches``: the empty ones; [] if the program keeps them as states."""
    program = Runtime.get().load_program(pte)
    methods = {name: program.load_method(name) for name in program.method_names}
    kept = list(caches)

    def step(tokens: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        name = "prefill" if len(at) == CHUNK and "prefill" in methods else "forward"
        if name == "forward" and len(at) > 1:
            return torch.cat([step(token, place) for token, place in zip(tokens.split(1, 1), at.split(1))])
        logits, *new = methods[name].execute((tokens, at, *kept))
        kept[:] = [cache.clone() for cache in new]
        return logits[0].clone()

    return step
