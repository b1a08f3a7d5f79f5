"""Pages of weight files that a compiled model has no more use for.

OpenVINO repacks the weights of convolutions and matrix products into the layout of its kernels. The
originals stay mapped, because the compiled model refers to them, but nothing reads them again.
Their pages are given back to the system, which keeps them as cache of the file: whoever reads one
after all gets it from there.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from mmap import PAGESIZE
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = "np.ndarray[Any, Any]"
_Span: TypeAlias = "tuple[int, int]"

_WORTH = 1 << 25  # bytes of weights from which on it is worth it
_INTERVAL = 0.02  # seconds, in which OpenVINO repacks some tens of megabytes
_MADV_DONTNEED = 4  # bits/mman-linux.h


@contextmanager
def given_back(arrays: Collection[Array]) -> Iterator[None]:
    """Gives back the pages of those of ``arrays`` that lie in files mapped for reading: at once,
    again and again while the block repacks them, and at its end.

    Other memory is left alone, and so is everything where the system is not Linux. ExecuTorch's
    loader may have locked the pages; they are unlocked.
    """
    spans = _spans(arrays) if sys.platform == "linux" else []
    if sum(end - start for start, end in spans) < _WORTH:
        yield
        return
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_INTERVAL):
            _give_back(spans)

    _unlock(spans)
    _give_back(spans)
    watcher = threading.Thread(target=watch, name="pages of weights", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
        _give_back(spans)


def _spans(arrays: Collection[Array]) -> list[_Span]:
    """Whole pages that the arrays lie on, where those belong to read-only maps of files."""
    wanted = sorted(
        (address := array.__array_interface__["data"][0], address + array.nbytes)
        for array in arrays
        if array.nbytes >= PAGESIZE
    )
    if sum(end - start for start, end in wanted) < _WORTH:
        return []
    files = _file_maps()
    spans: list[_Span] = []
    for start, end in wanted:
        start, end = start // PAGESIZE * PAGESIZE, -(-end // PAGESIZE) * PAGESIZE
        if not any(low <= start and end <= high for low, high in files):
            continue
        if spans and start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
        else:
            spans.append((start, end))
    return spans


def _file_maps() -> list[_Span]:
    """Address ranges of this process that show a file and cannot be written (proc(5), maps)."""
    found = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, rights, _, _, inode, *_ = line.split(maxsplit=5)
        if inode != "0" and "w" not in rights:
            start, end = (int(address, 16) for address in addresses.split("-"))
            found.append((start, end))
    return found


def _unlock(spans: Collection[_Span]) -> None:
    libc = ctypes.CDLL(None)
    for start, end in spans:
        libc.munlock(ctypes.c_void_p(start), ctypes.c_size_t(end - start))


def _give_back(spans: Collection[_Span]) -> None:
    """A failure leaves the pages where they are, which does no harm."""
    libc = ctypes.CDLL(None)
    for start, end in spans:
        libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_DONTNEED)


__all__ = ["given_back"]
