"""Runs coremltools' tests with our engine, and writes the page of what came of them.

    python -m conformance --out build/conformance --table docs/conformance.md [words of paths ...]

What is done stays done: another call goes on where this one was stopped.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from conformance.outcome import read
from conformance.table import markdown, summary

FOLDERS = (
    "converters/mil/mil/ops/tests",
    "converters/mil/mil/passes/tests",
    "converters/mil/mil/tests",
    "converters/mil/backend/mil",
    "converters/mil/frontend/torch/test",
    "converters/mil/frontend/milproto",
    "converters/mil/test_inputs_outputs_shape.py",
    "optimize/coreml/experimental",
    "test/api",
    "test/blob",
    "test/ml_program",
    "test/modelpackage",
    "test/optimize",
)
"""Where coremltools 9.0 keeps tests of ML Programs, in its package."""

WITHOUT = "test/optimize/torch"
"""Tests of torch modules, which need torchvision and make no ML Program."""

# The tests ask for the first two as they are imported: ML Programs only, in both precisions. The
# other ones spare time: models this small gain nothing from threads, nor tests from plugins.
ENVIRONMENT = {
    "PYMIL_TEST_TARGETS": "mlprogram",
    "INCLUDE_MIL_FP32_UNIT_TESTS": "1",
    "OMP_NUM_THREADS": "1",
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
}

PYTEST = ("-q", "-c", os.devnull, "-W", "ignore", "-p", "no:cacheprovider", "--capture=sys")


def root() -> Path:
    """The folder of the installed coremltools, without importing it."""
    found = find_spec("coremltools")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


def files(words: list[str]) -> list[Path]:
    """The test files whose path has one of ``words``, or all."""
    found = [
        file
        for folder in FOLDERS
        for file in (sorted((root() / folder).rglob("test_*.py")) or [root() / folder])
    ]
    return [
        file
        for file in found
        if WITHOUT not in str(file) and (not words or any(word in str(file) for word in words))
    ]


def command(target: Path, tests: Sequence[Path], *options: str) -> list[str]:
    """The call of pytest that runs ``tests`` and writes their outcomes to ``target``."""
    plugin = ["-p", "conformance.plugin", "--conformance-json", str(target)]
    return [sys.executable, "-m", "pytest", *PYTEST, *plugin, *options, *map(str, tests)]


def environment() -> dict[str, str]:
    paths = (str(Path(__file__).parents[1]), *sys.path)
    return {**os.environ, **ENVIRONMENT, "PYTHONPATH": os.pathsep.join(paths)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("words", nargs="*")
    parser.add_argument("--out", type=Path, default=Path("build/conformance"))
    parser.add_argument("--table", type=Path)
    parser.add_argument("--sample", type=int, help="so many tests of each function and precision")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes at a time")
    given = parser.parse_args()
    options = ["--tb=no", "--conformance-workers", str(given.workers)]
    if given.sample:
        options += ["--conformance-sample", str(given.sample)]
    target = (given.out / "outcomes.jsonl").resolve()
    subprocess.run(command(target, files(given.words), *options), env=environment(), check=False)
    found = read(target)
    print(summary(found))
    if given.table:
        given.table.write_text(markdown(found, given.sample))


if __name__ == "__main__":
    main()
