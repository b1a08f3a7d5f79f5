"""C++ programs for tests: made by the machine's compiler and CMake, run with scripts."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import executorch_coreml
from executorch_coreml import cmake_prefix

SOURCE = Path(__file__).parents[1]
PACKAGE = SOURCE / "src" / "executorch_coreml"
SANITIZE = "-fsanitize=address,undefined -fno-sanitize-recover=undefined -O0 -g1"
SHIM = "libexecutorch_coreml_backend.so"


def cmake(*words: str | Path) -> str:
    """Runs the machine's CMake, or that of the Python environment where there is none."""
    command = shutil.which("cmake") or str(Path(sys.executable).with_name("cmake"))
    run = subprocess.run([command, *words], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout + run.stderr


def build(source: Path, directory: Path, *options: str) -> Path:
    """Configures and builds the CMake project in ``source``."""
    prefix = f"-DCMAKE_PREFIX_PATH={cmake_prefix.prefix()}"
    cmake("-S", source, "-B", directory, prefix, *options)
    cmake("--build", directory, "--parallel", "2")
    return directory


@dataclass(frozen=True)
class Result:
    """What a program did: its lines, by the word that begins them, and its log."""

    status: int
    lines: list[str]
    log: str

    def of(self, word: str) -> list[str]:
        return [line for line in self.lines if line.split(" ", 1)[0] == word]

    @property
    def outputs(self) -> list[tuple[list[int], list[float]]]:
        """Shape and values of each tensor that was printed."""
        halves = [line.split(":") for line in self.of("out")]
        return [
            ([int(n) for n in shape.split()[1:]], [float(x) for x in values.split()])
            for shape, values in halves
        ]


def run(program: Path, script: str, **environment: str) -> Result:
    """Runs a driver, without the environment of the tests, which it must not need."""
    done = subprocess.run(
        [program], input=script, capture_output=True, text=True, check=False, env=environment
    )
    return Result(done.returncode, done.stdout.splitlines(), done.stderr)


def sanitized(directory: Path) -> Path:
    """The plugin with AddressSanitizer and UndefinedBehaviorSanitizer, as an installed package."""
    made = directory / "build"
    options: dict[str, str | Path] = {
        "Python_EXECUTABLE": sys.executable,
        "SKBUILD_PROJECT_VERSION": executorch_coreml.__version__,
        "CMAKE_CXX_FLAGS": SANITIZE,
        "CMAKE_PROJECT_INCLUDE": SOURCE / "tests" / "cpp" / "sanitized.cmake",
        "CMAKE_UNITY_BUILD": "ON",
        "CMAKE_UNITY_BUILD_BATCH_SIZE": "0",
    }
    cmake("-S", SOURCE, "-B", made, *(f"-D{name}={value}" for name, value in options.items()))
    cmake("--build", made, "--parallel", "2")
    cmake("--install", made, "--prefix", directory)
    return directory / "executorch_coreml"


def sanitizer_environment(package: Path, interposed: Path) -> dict[str, str]:
    """Makes a driver run the sanitized plugin. What is alive at exit is no leak: see shim.h."""
    compiler = shutil.which("g++") or "c++"
    runtimes = [
        subprocess.check_output([compiler, f"-print-file-name={name}"], text=True).strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    return {
        "LD_PRELOAD": " ".join([str(interposed), *runtimes]),
        "LD_LIBRARY_PATH": str(package / "runtime"),
        "ASAN_OPTIONS": "detect_leaks=0:verify_asan_link_order=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }


def copied_package(directory: Path) -> Path:
    """An installation of the package of its own, which a test may damage.

    A driver takes it with ``LD_LIBRARY_PATH``; see :func:`use`. Its Python is not the one of the
    tests, where an editable installation comes before all others, but has the same dependencies.
    """
    package = directory / "executorch_coreml"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("cpp", "__pycache__"))
    installed = cmake_prefix.prefix()
    for path in (installed / "runtime").iterdir():
        if path.is_file():
            shutil.copy2(path, package / "runtime")
    (directory / "dependencies.pth").write_text(f"{installed.parent}\n")
    configure(package)
    return package


def use(package: Path) -> dict[str, str]:
    return {"LD_LIBRARY_PATH": str(package / "runtime")}


def configure(package: Path, **settings: str) -> None:
    """Changes values of the package's ``python.cfg``."""
    base = {"executable": getattr(sys, "_base_executable", sys.executable)}
    values = {**cmake_prefix.settings(), **base, **settings}
    (package / "runtime" / cmake_prefix.CONFIG).write_text(cmake_prefix.text(values))
