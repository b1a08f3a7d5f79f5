"""What the mutations put in place of what is there."""

from __future__ import annotations

import random
from typing import Any

INTEGERS = (
    *(0, 1, -1, 2, 3, 4, 5, 7, 8, 9, 16, 32, 63, 64, 65, 127, 128, 255, 256, 1000),
    *(2**15, 2**16 - 1, 2**16, 2**20, 2**31 - 1, 2**31, -(2**31), 2**32 - 1, 2**40),
    *(2**62, 2**63 - 1, -(2**63), 2**63, 2**64 - 1, 2**64 - 64),
)

FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-8, 65504.0, 65536.0, 3e38, float("inf"), float("nan"))

TEXTS = (
    *("", "x", "é\0", "a" * 5000, "../x", "/etc/hostname", "@model_path/", "main", "val", "name"),
    *("CoreML5", "CoreML9", "CoreML99", "CoreML", "fp16", "fp32", "int32", "int8", "uint4", "bool"),
    *("string", "same", "valid", "custom", "update", "nearest", "linear", "relu", "axis"),
    *("const", "add", "conv", "reshape", "concat", "gather", "cond", "while_loop", "cast"),
    *("classify", "read_state", "list_read", "constexpr_lut_to_dense", "no_such_op"),
)


def integer(generator: random.Random) -> int:
    return generator.choice(INTEGERS)


def little(generator: random.Random, size: int) -> bytes:
    """An integer of so many bytes."""
    return (integer(generator) % (1 << 8 * size)).to_bytes(size, "little")


def json_value(generator: random.Random, depth: int = 0) -> Any:
    """A JSON value; rarely one that nests deep."""
    kind = generator.randrange(10)
    if kind < 3:
        return integer(generator)
    if kind < 6:
        return generator.choice((*TEXTS, "\ud800"))
    if kind == 6:
        return generator.choice((None, True, False, 0.5, -1.5, 1e308))
    if kind == 7 and depth < 3:
        return [json_value(generator, depth + 1) for _ in range(generator.randrange(4))]
    if kind == 8 and depth < 3:
        return {str(i): json_value(generator, depth + 1) for i in range(generator.randrange(4))}
    return [] if generator.random() < 0.5 else {}
