"""What a function of a program says and holds, as a digest."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import numpy as np

from executorch_coreml.mil.types import Argument, Block, Constant, Function


def digest(function: Function) -> bytes:
    """32 bytes that differ where the function's inputs, ops, constants or weights do. They are the
    same in every process, and whatever file the function was read from."""
    return _Digest().function(function)


class _Digest:
    """Feeds a hash with lengths before all that varies in length, so that no two functions give the
    same bytes."""

    def __init__(self) -> None:
        self._hash = sha256()

    def function(self, function: Function) -> bytes:
        self._text(function.opset)
        self._text(repr(function.inputs))
        self._block(function.body)
        return self._hash.digest()

    def _text(self, text: str) -> None:
        encoded = text.encode("utf-8", "surrogatepass")
        self._count(len(encoded))
        self._hash.update(encoded)

    def _count(self, count: int) -> None:
        self._hash.update(count.to_bytes(8, "little"))

    def _block(self, block: Block) -> None:
        self._text(repr((block.inputs, block.outputs)))
        self._count(len(block.operations))
        for op in block.operations:
            self._text(op.type)
            self._text(repr(op.outputs))
            self._arguments(op.inputs)
            self._arguments({name: (value,) for name, value in op.attributes.items()})
            self._count(len(op.blocks))
            for inner in op.blocks:
                self._block(inner)

    def _arguments(self, named: Mapping[str, tuple[Argument, ...]]) -> None:
        self._count(len(named))
        for name, arguments in named.items():
            self._text(name)
            self._count(len(arguments))
            for argument in arguments:
                if isinstance(argument, Constant):
                    self._text(f"constant {argument.type}")
                    self._data(argument.data)
                else:
                    self._text(f"value {argument.name}")

    def _data(self, data: Any) -> None:
        if isinstance(data, Constant):
            data = data.data
        if isinstance(data, np.ndarray) and data.dtype != object:
            self._text(f"array {data.dtype.str} {data.shape}")
            self._hash.update(np.ascontiguousarray(data).reshape(-1).view(np.uint8).data)
        elif isinstance(data, (tuple, list, np.ndarray)):
            self._text(f"list {len(data)}")
            for item in data:
                self._data(item)
        elif isinstance(data, dict):
            self._text(f"dictionary {len(data)}")
            for key, item in data.items():
                self._data(key)
                self._data(item)
        else:
            self._text(f"{type(data).__name__} {data!r}")


__all__ = ["digest"]
