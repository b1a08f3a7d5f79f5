"""A language model, end to end: train, quantize, lower, generate in ExecuTorch, compare.

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
import operator
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

if __name__ == "__main__":  # before the imports below, some of which warn
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)

import torch
from executorch.exir import to_edge_transform_and_lower
from executorch.runtime import Runtime
from llama import Llama, Shape, Stateful, texts, train
from report import Report, write
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from torch import nn
from torchao.prototype.quantization.codebook_coreml import CodebookWeightOnlyConfig
from torchao.quantization import IntxWeightOnlyConfig, PerAxis, PerGroup, quantize_

import executorch_coreml.runtime  # noqa: F401  (registers the delegate)
from executorch_coreml import ComputePrecision, CoreMLBackend, CoreMLPartitioner

console = Console()

CHUNK = 32
PROMPTS = 4
FLOAT32, FLOAT16 = ComputePrecision.FLOAT32, ComputePrecision.FLOAT16

# What runs a step: tokens [1, n] and their positions [n] -> logits [n, 256]. It keeps the caches.
Step = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

# How the linear layers are stored.
LINEARS: dict[str, Any] = {
    "float": None,
    "int4 group 32": IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(32)),
    "4-bit palettes": CodebookWeightOnlyConfig(dtype=torch.uint4, block_size=[16, -1]),
    "3-bit palettes": CodebookWeightOnlyConfig(dtype=torch.uint3, block_size=[16, -1]),
}


@dataclass(frozen=True)
class Variant:
    """How a model is lowered: its arithmetic, and what becomes of its caches."""

    precision: ComputePrecision
    states: bool = False

    def __str__(self) -> str:
        kind = "float32" if self.precision is FLOAT32 else "fp16"
        return f"{kind}, {'states' if self.states else 'arguments'}"


EXACT = Variant(FLOAT32)
VARIANTS = (EXACT, Variant(FLOAT16), Variant(FLOAT16, states=True))


@dataclass(frozen=True)
class Plan:
    """A model, its training, and how much of it is measured.

    Attributes:
        tokens: That greedy decoding adds to each prompt.
        windows: Of held-out text, each as long as the caches, for the perplexity.
        variants: For each way of storing linear layers, the ways of lowering.
    """

    shape: Shape
    steps: int
    tokens: int
    windows: int
    variants: dict[str, tuple[Variant, ...]]


FULL = Plan(Shape(), 300, 64, 12, dict.fromkeys(LINEARS, VARIANTS))
QUICK = Plan(
    Shape(layers=1, width=64, heads=2, groups=1, hidden=96, length=64),
    60,
    24,
    2,
    dict.fromkeys(LINEARS, (EXACT,)) | {"int4 group 32": (EXACT, VARIANTS[2])},
)


@dataclass(frozen=True)
class Result:
    """One row of the table; ``variant`` and ``pte`` are None in eager PyTorch.

    Attributes:
        perplexity: Per byte of held-out text.
        speed: Tokens per second of greedy decoding, one by one.
        made: The tokens after each prompt.
    """

    linears: str
    variant: Variant | None
    pte: bytes | None
    perplexity: float
    speed: float
    made: list[list[int]]


def quantized(model: Llama, linears: Any) -> Llama:
    """A copy with its linear layers as ``linears`` says and int8 embeddings, a scale per row."""
    model = copy.deepcopy(model)
    if linears is not None:
        rows = IntxWeightOnlyConfig(weight_dtype=torch.int8, granularity=PerAxis(0))
        quantize_(model, rows, filter_fn=lambda module, _: isinstance(module, nn.Embedding))
        quantize_(model, linears)
    return model


def lower(model: Llama, variant: Variant) -> bytes:
    """Methods ``prefill`` and ``forward`` with caches as inputs, or ``forward`` with states."""
    methods = {"forward": 1} if variant.states else {"prefill": CHUNK, "forward": 1}
    caches = [] if variant.states else model.shape.caches()
    programs = {
        name: torch.export.export(
            Stateful(model) if variant.states else model,
            (torch.zeros(1, count, dtype=torch.int64), torch.arange(count), *caches),
        )
        for name, count in methods.items()
    }
    specs = CoreMLBackend.generate_compile_specs(compute_precision=variant.precision)
    partitioner = CoreMLPartitioner(compile_specs=specs, take_over_mutable_buffer=variant.states)
    edge = to_edge_transform_and_lower(programs, partitioner=[partitioner])
    return bytes(edge.to_executorch().buffer)


def in_eager(model: Llama) -> Step:
    caches = model.shape.caches()

    @torch.no_grad()
    def step(tokens: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        logits, *caches[:] = model(tokens, at, *caches)
        return logits[0]

    return step


def through_executorch(pte: bytes, caches: list[torch.Tensor]) -> Step:
    """``caches``: the empty ones, none if the program keeps them as states."""
    program = Runtime.get().load_program(pte)
    methods = {name: program.load_method(name) for name in program.method_names}
    kept = list(caches)

    def step(tokens: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        chunk = len(at) == CHUNK and "prefill" in methods
        if len(at) > 1 and not chunk:
            pairs = zip(tokens.split(1, 1), at.split(1), strict=True)
            return torch.cat([step(token, place) for token, place in pairs])
        method = methods["prefill" if chunk else "forward"]
        logits, *new = method.execute((tokens, at, *kept))
        kept[:] = [cache.clone() for cache in new]
        return logits[0].clone()

    return step


def read(step: Step, text: torch.Tensor) -> torch.Tensor:
    """Logits [bytes, 256] of a text from its start, a chunk at a time.

    What an earlier text left in the caches does not matter: a position sees those before it only.
    """
    at = torch.arange(len(text))
    pairs = zip(text.split(CHUNK), at.split(CHUNK), strict=True)
    return torch.cat([step(tokens[None], places) for tokens, places in pairs])


def perplexity(step: Step, text: torch.Tensor, plan: Plan) -> float:
    length = plan.shape.length
    losses = []
    for window in text.unfold(0, length + 1, length)[: plan.windows]:
        losses.append(nn.functional.cross_entropy(read(step, window[:-1]), window[1:]))
    return torch.stack(losses).mean().exp().item()


def generate(step: Step, text: torch.Tensor, plan: Plan) -> tuple[list[list[int]], float]:
    """(greedy tokens after each of the first prompts of a text, tokens per second)."""
    made, seconds = [], 0.0
    for prompt in text.split(CHUNK)[:PROMPTS]:
        tokens = [int(read(step, prompt)[-1].argmax())]
        start = time.perf_counter()
        while len(tokens) < plan.tokens:
            at = torch.tensor([CHUNK + len(tokens) - 1])
            tokens.append(int(step(torch.tensor([tokens[-1:]]), at).argmax()))
        seconds += time.perf_counter() - start
        made.append(tokens)
    return made, PROMPTS * (plan.tokens - 1) / seconds


def study(plan: Plan) -> list[Result]:
    """Trains a model, and for each way of storing its weights: eager PyTorch, then the variants."""
    training, held_out = texts()
    results = []

    def measure(step: Step, linears: str, variant: Variant | None, pte: bytes | None) -> None:
        made, speed = generate(step, held_out, plan)
        found = perplexity(step, held_out, plan)
        results.append(Result(linears, variant, pte, found, speed, made))

    with Progress(console=console, transient=True) as progress:
        base = train(
            plan.shape,
            training,
            plan.steps,
            lambda steps: progress.track(steps, description="training"),
        )
        task = progress.add_task("", total=sum(len(each) for each in plan.variants.values()))
        for linears, variants in plan.variants.items():
            progress.update(task, description=f"quantizing, {linears}")
            model = quantized(base, LINEARS[linears])
            measure(in_eager(model), linears, None, None)
            for variant in variants:
                progress.update(task, description=f"lowering, {linears}, {variant}")
                pte = lower(model, variant)
                progress.update(task, description=f"running, {linears}, {variant}")
                caches = [] if variant.states else plan.shape.caches()
                measure(through_executorch(pte, caches), linears, variant, pte)
                progress.advance(task)
    return results


def agreement(made: list[list[int]], expected: list[list[int]]) -> int:
    """How many tokens are equal, counted in each text up to the first that is not."""
    return sum(
        sum(accumulate((a == b for a, b in zip(*pair, strict=True)), operator.and_))
        for pair in zip(made, expected, strict=True)
    )


def table(results: list[Result]) -> Report:
    headings = ("linear layers", "arithmetic, caches as", ".pte", "perplexity", "tokens/s", "equal")
    report = Report("A small Llama in the ExecuTorch runtime", headings)
    eager = {result.linears: result.made for result in results if result.variant is None}
    for result in results:
        expected = eager[result.linears]
        total = sum(map(len, expected))
        report.rows.append(
            (
                result.linears,
                "eager PyTorch" if result.variant is None else str(result.variant),
                "" if result.pte is None else f"{len(result.pte) / 1024:,.0f} KiB",
                f"{result.perplexity:.3f}",
                f"{result.speed:,.0f}",
                "" if result.pte is None else f"{agreement(result.made, expected)}/{total}",
            )
        )
    return report


def differing(results: list[Result]) -> list[str]:
    """The float32 programs whose tokens are not those of the quantized model in PyTorch."""
    eager = {result.linears: result.made for result in results if result.variant is None}
    exact = [result for result in results if result.variant == EXACT]
    return [result.linears for result in exact if result.made != eager[result.linears]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="a smaller model, hardly trained")
    parser.add_argument("--write-docs", action="store_true", help="the table into docs/llm.md")
    arguments = parser.parse_args()
    start = time.perf_counter()
    results = study(QUICK if arguments.quick else FULL)
    report = table(results)
    report.show(console)
    prompt, made = texts()[1][:CHUNK], results[-1].made[0]
    shown = [escape(bytes(part).decode(errors="replace")) for part in (prompt.tolist(), made)]
    console.print(f"[dim]{shown[0]}[/dim]{shown[1]}", highlight=False)
    console.print(f"Done in {time.perf_counter() - start:.0f} s.")
    if arguments.write_docs:
        write("llm.md", "examples/llm.py", [report])
    if differ := differing(results):
        raise SystemExit(f"the tokens differ: {', '.join(differ)}")


if __name__ == "__main__":
    main()
