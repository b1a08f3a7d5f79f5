"""Mutations of bytes, and of the weight files and flatbuffers whose integers decide most."""

from __future__ import annotations

import random
import struct

from mutations.values import integer, little

_METADATA = 64  # bytes of a blob's record in a weight file
_SENTINEL = struct.pack("<I", 0xDEADBEEF)


def flipped(generator: random.Random, data: bytes, low: int = 0, high: int | None = None) -> bytes:
    """Some bytes in [low, high) are others; the length stays."""
    found, end = bytearray(data), len(data) if high is None else high
    if low >= end:
        return data
    for _ in range(generator.choice((1, 1, 1, 2, 4, 16))):
        position = generator.randrange(low, end)
        match generator.randrange(4):
            case 0:
                found[position] ^= 1 << generator.randrange(8)
            case 1:
                found[position] = generator.choice((0, 1, 0x7F, 0x80, 0xFF))
            case 2:
                found[position] = generator.randrange(256)
            case _:
                size = min(generator.choice((2, 4, 8)), end - position)
                found[position : position + size] = little(generator, size)
    return bytes(found)


def bytes_mutated(generator: random.Random, data: bytes, other: bytes) -> bytes:
    """``data`` with bytes changed, cut, repeated or taken from ``other``."""
    if not data:
        return little(generator, 8)
    start = generator.randrange(len(data))
    end = min(len(data), start + generator.choice((1, 2, 4, 8, 16, 64, 256, 4096)))
    match generator.randrange(9):
        case 0 | 1 | 2 | 3:
            return flipped(generator, data)
        case 4:
            return data[:start]
        case 5:
            return data[:start] + data[end:]
        case 6:
            return data[:end] + data[start:end] * generator.choice((1, 3, 50)) + data[end:]
        case 7 if other:
            place = generator.randrange(len(other))
            piece = other[place : place + end - start]
            return data[:start] + piece + data[start + generator.choice((0, len(piece))) :]
        case _:
            return data + generator.choice((b"\0", b"\0" * 100, data[-64:], other[:1000]))


def weights_mutated(generator: random.Random, data: bytes, other: bytes) -> bytes:
    """A weight file whose header or one of whose records lies."""
    records = [i for i in range(0, len(data) - _METADATA, 64) if data[i : i + 4] == _SENTINEL]
    if not records or generator.random() < 0.25:
        return bytes_mutated(generator, data, other)
    found = bytearray(data)
    if generator.random() < 0.1:
        position = generator.choice((0, 4))
        found[position : position + 4] = little(generator, 4)
        return bytes(found)
    record = generator.choice(records)
    place, size = generator.choice(((0, 4), (4, 4), (8, 8), (16, 8), (24, 8)))
    (now,) = struct.unpack_from({4: "<I", 8: "<Q"}[size], data, record + place)
    near = now + generator.choice((-64, -8, -2, -1, 1, 2, 8, 64))
    value = near if generator.random() < 0.6 else integer(generator)
    found[record + place : record + place + size] = (value % (1 << 8 * size)).to_bytes(
        size, "little"
    )
    return bytes(found)


def flatbuffer_mutated(generator: random.Random, data: bytes, size: int) -> bytes:
    """The first ``size`` bytes are a flatbuffer and what comes with it: offsets and counts lie."""
    found = bytearray(data)
    for _ in range(generator.choice((1, 1, 2, 3))):
        width = generator.choice((1, 2, 4, 4, 8))
        position = generator.randrange(max(1, size // width)) * width
        now = int.from_bytes(found[position : position + width], "little")
        near = now + generator.choice((-8, -4, -2, -1, 1, 2, 4, 8))
        value = near if generator.random() < 0.5 else integer(generator)
        found[position : position + width] = (value % (1 << 8 * width)).to_bytes(width, "little")
    return bytes(found)
