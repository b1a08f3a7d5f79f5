"""Runs coremltools' tests, one process a file, and writes the page of what came of them.

    python -m conformance --out build/conformance --table docs/conformance.md [words of paths ...]

What is done stays done: another call goes on where this one was stopped.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from conformance.outcome import Outcome, read
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

# The tests ask for them as they are imported: ML Programs only, in both precisions.
ENVIRONMENT = {"PYMIL_TEST_TARGETS": "mlprogram", "INCLUDE_MIL_FP32_UNIT_TESTS": "1"}

PYTEST = ("-q", "-c", os.devnull, "-W", "ignore", "-p", "no:cacheprovider", "-p", "no:xdist")


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
    return [file for file in found if not words or any(word in str(file) for word in words)]


def command(target: Path, tests: list[str], *options: str) -> list[str]:
    """The call of pytest that runs ``tests`` and writes their outcomes to ``target``."""
    plugin = ["-p", "conformance.plugin", "--conformance-json", str(target)]
    return [sys.executable, "-m", "pytest", *PYTEST, *plugin, *options, *tests]


def environment() -> dict[str, str]:
    paths = (str(Path(__file__).parents[1]), *sys.path)
    return {**os.environ, **ENVIRONMENT, "PYTHONPATH": os.pathsep.join(paths)}


def outcomes(directory: Path) -> list[Outcome]:
    """All that is written in ``directory``."""
    return [one for path in sorted(directory.glob("*.jsonl")) for one in read(path)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("words", nargs="*")
    parser.add_argument("--out", type=Path, default=Path("build/conformance"))
    parser.add_argument("--table", type=Path)
    parser.add_argument("--sample", type=int, help="so many tests of each function")
    given = parser.parse_args()
    options = ["--conformance-sample", str(given.sample)] if given.sample else []
    for file in files(given.words):
        name = ".".join(file.relative_to(root()).with_suffix("").parts)
        target = given.out / f"{name}.jsonl"
        print(name, flush=True)
        subprocess.run(
            command(target, [str(file)], "--tb=no", *options), env=environment(), check=False
        )
    found = outcomes(given.out)
    print(summary(found))
    if given.table:
        given.table.write_text(markdown(found, given.sample))


if __name__ == "__main__":
    main()
