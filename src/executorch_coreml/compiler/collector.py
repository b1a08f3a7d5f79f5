"""Python's cyclic garbage collector, paused while a program is partitioned or compiled."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """No garbage is collected inside; also a decorator.

    What a compiler makes lives until the compiler is done, while each full collection walks every
    object of torch and of the model, to find nothing: 0.4 s per collection beside a Llama of eight
    layers, whose compilation takes three times that.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
