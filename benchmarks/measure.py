"""Clocks, memory and the description of the machine, shared by the benchmarks."""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from statistics import median


def machine() -> str:
    """One line about what the figures were measured on."""
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    import os

    packages = ("torch", "executorch", "coremltools", "openvino")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"{os.cpu_count()} cores of {cpu}; Python {platform.python_version()}; {versions}"


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


class PeakMemory:
    """Bytes of resident memory that a block adds at its peak, over what was there before."""

    def __enter__(self) -> PeakMemory:
        Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
        self._before = _status("VmRSS")
        self.added = 0
        return self

    def __exit__(self, *_: object) -> None:
        self.added = _status("VmHWM") - self._before


def side_by_side(
    variants: Mapping[str, Callable[[], object]], rounds: int = 15, seconds: float = 0.2
) -> dict[str, float]:
    """Median milliseconds per call of each variant, measured in turns so that noise hits all.

    Each round runs every variant for about ``seconds``; a variant's figure is the median of its
    rounds' fastest calls.
    """
    best: dict[str, list[float]] = {name: [] for name in variants}
    for run in variants.values():
        run()
        run()
    for _ in range(rounds):
        for name, run in variants.items():
            fastest, until = float("inf"), time.perf_counter() + seconds
            while time.perf_counter() < until:
                start = time.perf_counter()
                run()
                fastest = min(fastest, time.perf_counter() - start)
            best[name].append(fastest)
    return {name: median(times) * 1e3 for name, times in best.items()}


def parser(description: str, names: Iterable[str]) -> argparse.ArgumentParser:
    """Command line of a benchmark: the models to measure, all of ``names`` if none is given."""
    found = argparse.ArgumentParser(description=description.split("\n\n")[0])
    found.add_argument(
        "models", nargs="*", metavar="model", type=_one_of(list(names)), default=list(names)
    )
    return found


def _one_of(names: list[str]) -> Callable[[str], str]:
    def model(name: str) -> str:
        if name not in names:
            raise argparse.ArgumentTypeError(
                f"no {name!r}; there are {', '.join(map(repr, names))}"
            )
        return name

    return model
