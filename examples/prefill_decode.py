"""One set of weights, two methods: ``prefill`` reads a prompt, ``forward`` makes one token a step.

    python examples/prefill_decode.py

Both methods get the key and value caches as arguments and return them: each loaded method has
states of its own, so a cache inside the delegate would not reach the other method. The weights
are stored once, which the sizes at the end show.
"""

from __future__ import annotations

import warnings

import torch
from executorch.exir import to_edge_transform_and_lower
from executorch.runtime import Runtime

import executorch_coreml.runtime  # noqa: F401  (registers the delegate)
from executorch_coreml import CoreMLPartitioner

LENGTH, HEADS, WIDTH, VOCABULARY, PROMPT = 64, 4, 32, 256, 16


class Decoder(torch.nn.Module):
    """One layer of attention over a cache of ``LENGTH`` positions."""

    def __init__(self) -> None:
        super().__init__()
        size = HEADS * WIDTH
        self.embedding = torch.nn.Embedding(VOCABULARY, size)
        self.place = torch.nn.Embedding(LENGTH, size)
        self.attention = torch.nn.Linear(size, 3 * size)
        self.merge = torch.nn.Linear(size, size)
        self.head = torch.nn.Linear(size, VOCABULARY)

    def forward(
        self, tokens: torch.Tensor, at: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """tokens [1, n], at [n], caches [1, heads, length, width] -> logits, caches."""
        x = self.embedding(tokens) + self.place(at)
        parts = self.attention(x).view(1, at.shape[0], 3, HEADS, WIDTH).permute(2, 0, 3, 1, 4)
        query, key, value = parts[0], parts[1], parts[2]
        keys, values = keys.index_copy(2, at, key), values.index_copy(2, at, value)
        seen = torch.arange(LENGTH) <= at[:, None]
        mixed = torch.nn.functional.scaled_dot_product_attention(query, keys, values, seen)
        x = x + self.merge(mixed.transpose(1, 2).flatten(2))
        return self.head(x[:, -1]), keys, values


def lowered(model: Decoder, methods: dict[str, int]) -> bytes:
    """A program with a method per number of tokens."""
    cache = torch.zeros(1, HEADS, LENGTH, WIDTH)
    programs = {}
    for name, count in methods.items():
        tokens = torch.zeros(1, count, dtype=torch.int64)
        inputs = (tokens, torch.arange(count), cache, cache.clone())
        programs[name] = torch.export.export(model, inputs)
    edge = to_edge_transform_and_lower(programs, partitioner=[CoreMLPartitioner()])
    return bytes(edge.to_executorch().buffer)


def generate(pte: bytes, prompt: torch.Tensor, count: int) -> list[int]:
    """Tokens that greedy decoding adds to a prompt."""
    program = Runtime.get().load_program(pte)
    prefill, forward = program.load_method("prefill"), program.load_method("forward")
    cache = torch.zeros(1, HEADS, LENGTH, WIDTH)
    logits, keys, values = prefill.execute((prompt, torch.arange(PROMPT), cache, cache.clone()))
    made: list[int] = []
    for step in range(count):
        made.append(int(logits.argmax()))
        token, at = torch.tensor([[made[-1]]]), torch.tensor([PROMPT + step])
        inputs = (token, at, keys.clone(), values.clone())
        logits, keys, values = forward.execute(inputs)
    return made


def in_eager(model: Decoder, prompt: torch.Tensor, count: int) -> list[int]:
    """The same without any of this: everything so far, again for every token."""
    tokens = prompt
    for _ in range(count):
        cache = torch.zeros(1, HEADS, LENGTH, WIDTH)
        at = torch.arange(tokens.shape[1])
        with torch.no_grad():
            logits, _, _ = model(tokens, at, cache, cache)
        tokens = torch.cat([tokens, logits.argmax().view(1, 1)], 1)
    return tokens[0, PROMPT:].tolist()


def main() -> None:
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    model = Decoder().eval()
    prompt = torch.randint(0, VOCABULARY, (1, PROMPT))
    both = lowered(model, {"prefill": PROMPT, "forward": 1})
    one = lowered(model, {"forward": 1})
    made, expected = generate(both, prompt, 20), in_eager(model, prompt, 20)
    print("delegated:", *made)
    print("eager:    ", *expected)
    print(f"one method {len(one):,} bytes, two {len(both):,} ({len(both) / len(one):.2f} times)")
    if made != expected:
        raise SystemExit("the tokens differ")


if __name__ == "__main__":
    main()
