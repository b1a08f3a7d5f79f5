"""Mutations of MIL text: of its tokens and lines."""

from __future__ import annotations

import random
import re
from functools import lru_cache

from mutations.raw import bytes_mutated
from mutations.values import TEXTS, integer

_TOKEN = re.compile(r'"[^"\n]*"|[^\W\d][\w@]*|[-+]?\d[\w.+-]*|->|\s+|.', re.DOTALL)
_PIECES = (
    *'()[]{}<>,;=?"\\/*-',
    *("->", "tensor<", "list<", "state<", "string", "BLOBFILE(", "0x1p+", "nan", "[[[", "/*"),
    *("func main<ios18>(", "fp16(", "} -> (", "int32(-1)", "tensor<fp16, [?, 2]>", "ios15", "é"),
)


def text_mutated(generator: random.Random, data: bytes) -> bytes:
    if generator.random() < 0.1:
        return bytes_mutated(generator, data, data[::-1])
    text = data.decode()
    if generator.random() < 0.15:
        return _lines_mutated(generator, text).encode()
    tokens, kinds = _tokens(text)
    tokens = list(tokens)
    for _ in range(generator.choice((1, 1, 1, 2, 3))):
        place = generator.randrange(len(tokens))
        while not tokens[place].strip():
            place = generator.randrange(len(tokens))
        tokens[place] = _token(generator, tokens[place], kinds)
    return "".join(tokens).encode()


@lru_cache(64)
def _tokens(text: str) -> tuple[tuple[str, ...], dict[str, list[str]]]:
    """The tokens, and those of each kind."""
    tokens = tuple(_TOKEN.findall(text))
    kinds: dict[str, list[str]] = {"name": [], "number": [], "string": [], "symbol": []}
    for token in dict.fromkeys(tokens):
        if not token.isspace():
            kinds[_kind(token)].append(token)
    return tokens, kinds


def _kind(token: str) -> str:
    if token[0] == '"':
        return "string"
    if token[0].isdigit() or (token[0] in "+-" and len(token) > 1 and token != "->"):
        return "number"
    return "name" if token[0].isalpha() or token[0] == "_" else "symbol"


def _token(generator: random.Random, token: str, kinds: dict[str, list[str]]) -> str:
    kind = _kind(token)
    match generator.randrange(10):
        case 0:
            return ""
        case 1:
            return f"{token} {token}"
        case 2:
            return generator.choice(_PIECES)
        case 3:
            return token[: generator.randrange(len(token))]
        case 4 | 5 if kind == "number":
            return str(integer(generator))
        case 4 if kind == "string":
            return '"' + generator.choice(TEXTS).replace("\0", "\\0") + '"'
        case 4 if kind == "name":
            return generator.choice(TEXTS) or "x"
        case _:
            return generator.choice(kinds[kind] or _PIECES)


def _lines_mutated(generator: random.Random, text: str) -> str:
    lines = text.split("\n")
    place = generator.randrange(len(lines))
    match generator.randrange(4):
        case 0:
            del lines[place]
        case 1:
            lines.insert(generator.randrange(len(lines)), lines[place])
        case 2:
            lines.insert(generator.randrange(len(lines)), lines.pop(place))
        case _:
            lines[place : place + 1] = [lines[place]] * generator.choice((2, 100))
    return "\n".join(lines)
