"""Programs in C++ that run Core ML programs with ExecuTorch's Module, and all that can go wrong."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

import cpp_programs
from cpp_programs import Result, copied_package, run, use
from executorch_coreml import cmake_prefix

# ExecuTorch's numbers.
OK, NOT_FOUND, INVALID_PROGRAM, NOT_SUPPORTED, FAILED = 0, 0x20, 0x23, 0x10, 0x32

LINEAR = torch.nn.functional.linear(
    torch.ones(1, 8), torch.linspace(-1, 1, 32).reshape(4, 8), torch.tensor([0.5, -0.25, 0.125, 1])
).relu()


class Programs:
    """The drivers, and how to run each with the plugin."""

    def __init__(self, directory: Path):
        made = cpp_programs.build(cpp_programs.SOURCE / "tests" / "cpp", directory / "programs")
        self.shared, self.by_dlopen = made / "shared" / "driver", made / "shared" / "driver_dlopen"
        self.static = made / "static" / "driver_static"
        self.interposed = made / "libno_deepbind.so"
        self.sanitized_package = cpp_programs.sanitized(directory / "sanitized")
        package = copied_package(directory / "sanitized" / "package")
        for name in (cpp_programs.SHIM, cmake_prefix.settings()["extension"]):
            shutil.copy2(self.sanitized_package / "runtime" / name, package / "runtime" / name)
        self.sanitizers = cpp_programs.sanitizer_environment(package, self.interposed)

    def run(self, variant: str, script: str, **environment: str) -> Result:
        if variant == "sanitized":
            return run(self.shared, script, **self.sanitizers, **environment)
        if variant == "dlopen":
            library = cmake_prefix.prefix() / "runtime" / cpp_programs.SHIM
            # Closed at once: the registry refers to it, so it stays.
            script = f"dlopen {library} close\n{script}"
            return run(self.by_dlopen, script, **environment)
        return run(self.static if variant == "static" else self.shared, script, **environment)


@pytest.fixture(scope="module")
def programs(stock: Path, tmp_path_factory: pytest.TempPathFactory) -> Programs:
    return Programs(tmp_path_factory.mktemp("cpp"))


def errors(result: Result) -> list[int]:
    """The numbers of ``load`` and ``run``, in order."""
    lines = [line for line in result.lines if line.split()[0] in ("load", "run")]
    return [int(line.split()[1], 16) for line in lines]


@pytest.mark.parametrize("variant", ["shared", "static", "dlopen", "sanitized"])
def test_programs_run(programs: Programs, stock: Path, tmp_path: Path, variant: str) -> None:
    """Fixed and dynamic shapes, states, methods, options, and types; in a hostile environment."""
    (tmp_path / "numpy.py").write_text("raise ImportError('PYTHONPATH was used')")
    result = programs.run(
        variant,
        f"""
        backends
        redirect
        module add {stock}/add_fp32.pte
        run add forward f32 3,4 1 2 3 ; f32 3,4 0.5
        module dynamic {stock}/dynamic.pte mmap
        run dynamic forward f32 5,8 1
        run dynamic forward f32 2,8 1
        module counter {stock}/counter.pte
        run counter forward f32 4 1
        module other {stock}/counter.pte
        run other forward f32 4 5
        run counter forward f32 4 1
        module methods {stock}/methods.pte
        run methods prefill f32 6,8 1
        run methods decode f32 1,8 1
        module longs {stock}/add_int64.pte
        run longs forward i64 5 1 2 3 4 5 ; i64 5 2
        module scalar {stock}/add_rank0.pte
        run scalar forward f32 - 1.5 ; f32 - 0.25
        module faithful {stock}/add_subtract.pte
        run faithful forward f32 3,4 1 ; f32 3,4 4096.3
        module exact {stock}/add_subtract.pte
        options exact precision=float32 compute_unit=cpu_only threads=1
        run exact forward f32 3,4 1 ; f32 3,4 4096.3
        set_option precision=float32
        module default {stock}/add_subtract.pte
        run default forward f32 3,4 1 ; f32 3,4 4096.3
        redirected
        free counter
        """,
        PYTHONHOME="/nowhere",
        PYTHONPATH=str(tmp_path),
    )
    assert result.status == 0, result.log
    assert result.of("backends") == ["backends CoreMLBackend"]
    assert errors(result) == [OK] * 13, result.log
    assert " E " not in result.log
    shapes = [shape for shape, _ in result.outputs]
    assert shapes == [
        [3, 4], [5, 4], [2, 4], [4], [4], [4], [6, 4], [1, 4], [5], [], [3, 4], [3, 4], [3, 4],
    ]  # fmt: skip
    values = [value for _, value in result.outputs]
    assert values[0] == [1.5, 2.5, 3.5] * 4
    for rows, got in ((5, values[1]), (2, values[2]), (6, values[6]), (1, values[7])):
        assert got == pytest.approx(LINEAR.repeat(rows, 1).flatten().tolist(), rel=1e-5)
    assert values[3:6] == [[1] * 4, [5] * 4, [2] * 4], "each Module has a state of its own"
    assert values[8:10] == [[3, 4, 5, 6, 7], [1.75]]
    assert values[10] == [0] * 12, "fp16 rounds 1 + 4096.3 to 4096"
    assert values[11] == values[12] == pytest.approx([1] * 12, abs=1e-3)
    assert result.of("redirected") == ["redirected 1"], "std::cout is the program's own"


@pytest.mark.parametrize("variant", ["shared", "sanitized"])
def test_threads(programs: Programs, stock: Path, variant: str) -> None:
    """The engine starts once; then each thread has a Module."""
    command = f"threads 4 50 {stock}/linear_relu.pte forward f32 2,8 1"
    result = programs.run(variant, f"{command}\n{command}\n")
    assert result.status == 0, result.log
    expected = LINEAR.repeat(2, 1).flatten().tolist()
    assert len(result.of("thread")) == 8
    for line in result.of("thread"):
        assert [float(x) for x in line.split()[1:]] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("variant", ["shared", "static", "sanitized"])
def test_failures_name_the_file_and_leave_the_module_usable(
    programs: Programs, stock: Path, tmp_path: Path, variant: str
) -> None:
    corrupt = tmp_path / "corrupt.pte"
    corrupt.write_bytes((stock / "add_fp32.pte").read_bytes().replace(b"sedon", b"seXon"))
    result = programs.run(
        variant,
        f"""
        module dynamic {stock}/dynamic.pte
        run dynamic forward f32 1,8 1
        run dynamic forward f32 17,8 1
        run dynamic forward f32 3,8 1
        module longs {stock}/add_int64.pte
        run longs forward i64 5 1 ; i64 5 1099511627776
        run longs forward i64 5 1 ; i64 5 2
        module corrupt {corrupt}
        load corrupt forward
        module wrong {stock}/add_fp32.pte
        options wrong precision=double
        load wrong forward
        module unit {stock}/add_fp32.pte
        options unit compute_unit=abacus
        load unit forward
        """,
    )
    assert result.status == 0, result.log
    assert errors(result) == [
        FAILED, NOT_SUPPORTED, OK, FAILED, OK, INVALID_PROGRAM, INVALID_PROGRAM, INVALID_PROGRAM
    ], result.log  # fmt: skip
    log = result.log
    assert f"method 'forward' of {stock}/dynamic.pte did not run" in log
    assert "InputError: input x: it cannot have shape (1, 8); allowed: (2..16, 8)" in log
    assert f"method 'forward' of {corrupt} did not load" in log
    assert "PayloadError: " in log
    assert (
        "OptionsError: precision must be one of 'faithful', 'float32', 'bfloat16'; got 'double'"
        in log
    )
    assert "abacus" in log
    assert "Traceback" not in log, "these are the user's errors"


def test_an_exception_inside_the_engine(programs: Programs, stock: Path, tmp_path: Path) -> None:
    package = copied_package(tmp_path)
    with (package / "runtime" / "bridge.py").open("a") as file:
        file.write("\n\ndef execute(*args):\n    return 1 / 0\n")
    script = f"""
        module add {stock}/add_fp32.pte
        run add forward f32 3,4 1 ; f32 3,4 1
        """
    result = run(programs.shared, script, **use(package))
    assert result.status == 0
    assert errors(result) == [FAILED]
    assert "Traceback" in result.log
    assert "ZeroDivisionError: division by zero" in result.log


def broken(package: Path, how: str) -> None:
    """Damages the installation."""
    config = package / "runtime" / cmake_prefix.CONFIG
    extension = package / "runtime" / cmake_prefix.settings()["extension"]
    if how == "no file":
        config.unlink()
    elif how == "static Python":
        cpp_programs.configure(package, library="")
    elif how == "moved Python":
        cpp_programs.configure(package, library="/nowhere/libpython3.11.so.1.0")
    elif how == "other Python":
        cpp_programs.configure(package, version="3.9")
    elif how == "no extension":
        extension.unlink()
    elif how == "other release":
        extension.write_bytes(extension.read_bytes().replace(b"\x000.1.0\x00", b"\x000.9.9\x00"))
    else:
        (package / "engine" / "model.py").write_text("import openvino_that_is_missing\n")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("no file", ["python.cfg is missing", "python -m executorch_coreml.cmake_prefix"]),
        ("static Python", ["has no shared library", "--enable-shared"]),
        ("moved Python", ["/nowhere/libpython3.11.so.1.0", "cmake_prefix"]),
        ("other Python", ["the plugin is for 3.9", "Install executorch-coreml into that Python"]),
        ("no extension", ["_native", "--force-reinstall"]),
        ("other release", ["0.1.0 for executorch 1.5.1", "0.9.9", "Build the program anew"]),
        (
            "no engine",
            ["the engine cannot be imported", "openvino_that_is_missing", "Hint"],
        ),
    ],
)
def test_a_missing_engine(
    programs: Programs, stock: Path, tmp_path: Path, how: str, words: list[str]
) -> None:
    package = copied_package(tmp_path)
    broken(package, how)
    script = f"module add {stock}/add_fp32.pte\nload add forward\nload add forward\n"
    result = run(programs.shared, script, **use(package))
    assert result.status == 0, result.log
    expected = INVALID_PROGRAM if how == "no engine" else NOT_FOUND
    assert errors(result) == [expected] * 2, result.log
    for word in words:
        assert word in result.log


@pytest.mark.parametrize("variant", ["shared", "static"])
def test_a_second_plugin_stays_unused(
    programs: Programs, stock: Path, tmp_path: Path, variant: str
) -> None:
    second = copied_package(tmp_path) / "runtime" / cpp_programs.SHIM
    result = programs.run(
        variant,
        f"""
        dlopen {second}
        backends
        module add {stock}/add_fp32.pte
        run add forward f32 3,4 1 ; f32 3,4 1
        """,
    )
    assert (result.status, errors(result)) == (0, [OK]), result.log
    assert result.of("dlopen") == ["dlopen ok"]
    assert result.of("backends") == ["backends CoreMLBackend"]
    assert "CoreMLBackend is registered already; this plugin stays unused" in result.log


def test_another_executorch_is_refused(programs: Programs, stock: Path, tmp_path: Path) -> None:
    spec = find_spec("executorch")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    (tmp_path / "lib").symlink_to(Path(spec.submodule_search_locations[0]) / "lib")
    (tmp_path / "version.py").write_text('__version__ = "1.4.0+cpu"\n')
    script = f"backends\nmodule add {stock}/add_fp32.pte\nload add forward\n"
    result = run(programs.shared, script, LD_LIBRARY_PATH=str(tmp_path / "lib"))
    assert result.status == 0, result.log
    assert result.of("backends") == ["backends"]
    assert errors(result) == [NOT_FOUND]
    assert "is of executorch 1.4.0+cpu" in result.log
    assert "pip install executorch==1.5.1" in result.log
