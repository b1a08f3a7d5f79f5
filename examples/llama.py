"""A small decoder in the shape of Llama, and its training on text that ships with Python.

RMS norms, rotary positions, heads that share keys and values, gated feed-forward layers. Tokens are
bytes. The model takes the key and value caches as arguments and returns the new ones, so training,
reading a prompt and making a token are one ``forward``; :class:`Stateful` keeps them as buffers.
"""

from __future__ import annotations

import pydoc_data.topics
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import nn

VOCABULARY = 256


@dataclass(frozen=True)
class Shape:
    """Extents of a model: ``length`` positions of cache, heads of ``width / heads``, of which
    ``groups`` hold keys and values."""

    layers: int = 2
    width: int = 128
    heads: int = 4
    groups: int = 2
    hidden: int = 352
    length: int = 128

    @property
    def head(self) -> int:
        return self.width // self.heads

    def caches(self, batch: int = 1) -> list[torch.Tensor]:
        """Empty ones, keys and values of each layer in turn: [batch, groups, length, head]."""
        extents = (batch, self.groups, self.length, self.head)
        return [torch.zeros(extents) for _ in range(2 * self.layers)]


class Layer(nn.Module):
    """Attention over everything in the cache up to each position, then the feed-forward part."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        cached = shape.groups * shape.head
        self.before_attention = nn.RMSNorm(shape.width, eps=1e-5)
        self.query = nn.Linear(shape.width, shape.width, bias=False)
        self.key = nn.Linear(shape.width, cached, bias=False)
        self.value = nn.Linear(shape.width, cached, bias=False)
        self.merge = nn.Linear(shape.width, shape.width, bias=False)
        self.before_hidden = nn.RMSNorm(shape.width, eps=1e-5)
        self.gate = nn.Linear(shape.width, shape.hidden, bias=False)
        self.up = nn.Linear(shape.width, shape.hidden, bias=False)
        self.down = nn.Linear(shape.hidden, shape.width, bias=False)

    def forward(
        self,
        x: torch.Tensor,
        at: torch.Tensor,
        turn: Callable[[torch.Tensor], torch.Tensor],
        keys: torch.Tensor,
        values: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        normed = self.before_attention(x)
        query, key, value = (
            project(normed).unflatten(2, (-1, self.shape.head)).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        )
        keys, values = keys.index_copy(2, at, turn(key)), values.index_copy(2, at, value)
        seen = torch.arange(keys.shape[2]) <= at[:, None]
        mixed = nn.functional.scaled_dot_product_attention(
            turn(query), keys, values, seen, enable_gqa=True
        )
        x = x + self.merge(mixed.transpose(1, 2).flatten(2))
        normed = self.before_hidden(x)
        return x + self.down(nn.functional.silu(self.gate(normed)) * self.up(normed)), keys, values


class Llama(nn.Module):
    """``forward(tokens [batch, n], at [n], *caches)`` -> logits [batch, n, 256], the new caches.

    ``at`` are the positions of the tokens in the text, below the length of the caches.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(VOCABULARY, shape.width)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width, eps=1e-5)
        self.head = nn.Linear(shape.width, VOCABULARY, bias=False)
        rates = 10000 ** -(torch.arange(0, shape.head, 2) / shape.head)
        angles = torch.arange(shape.length)[:, None] * rates
        self.register_buffer("cosines", angles.cos(), persistent=False)
        self.register_buffer("sines", angles.sin(), persistent=False)

    def forward(
        self, tokens: torch.Tensor, at: torch.Tensor, *caches: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        cosine, sine = self.cosines[at], self.sines[at]

        def turn(x: torch.Tensor) -> torch.Tensor:
            first, second = x.chunk(2, dim=3)
            return torch.cat(
                (first * cosine - second * sine, second * cosine + first * sine), dim=3
            )

        x = self.embedding(tokens)
        kept: list[torch.Tensor] = []
        for layer, keys, values in zip(self.layers, caches[::2], caches[1::2], strict=True):
            x, *new = layer(x, at, turn, keys, values)
            kept += new
        return self.head(self.norm(x)), *kept


class Stateful(nn.Module):
    """The same model with its caches as buffers: ``forward(tokens, at)`` -> logits."""

    def __init__(self, model: Llama) -> None:
        super().__init__()
        self.model = model
        for number, cache in enumerate(model.shape.caches()):
            self.register_buffer(f"cache{number}", cache)

    def forward(self, tokens: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        caches = [self.get_buffer(f"cache{n}") for n in range(2 * self.model.shape.layers)]
        logits, *new = self.model(tokens, at, *caches)
        for cache, value in zip(caches, new, strict=True):
            cache.copy_(value)
        return logits


def texts() -> tuple[torch.Tensor, torch.Tensor]:
    """(training text, held-out text), [bytes] each: Python's help topics, every tenth held out."""
    topics = [text.encode() for _, text in sorted(pydoc_data.topics.topics.items())]
    held_out = b"".join(topics[5::10])
    training = b"".join(text for n, text in enumerate(topics) if n % 10 != 5)
    return torch.tensor(list(training)), torch.tensor(list(held_out))


def train(
    shape: Shape,
    text: torch.Tensor,
    steps: int,
    track: Callable[[Iterable[int]], Iterable[int]],
    batch: int = 8,
) -> Llama:
    """A model trained on random windows of ``text``, as long as its caches.

    Args:
        track: Passes on the numbers of the steps; draws a progress bar.
    """
    torch.manual_seed(0)
    model = Llama(shape)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
    caches, at = shape.caches(batch), torch.arange(shape.length)
    for _ in track(range(steps)):
        starts = torch.randint(len(text) - shape.length, (batch, 1))
        chosen = text[starts + torch.arange(shape.length + 1)]
        logits = model(chosen[:, :-1], at, *caches)[0]
        optimiser.zero_grad()
        nn.functional.cross_entropy(logits.flatten(0, 1), chosen[:, 1:].flatten()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return model.requires_grad_(False).eval()
