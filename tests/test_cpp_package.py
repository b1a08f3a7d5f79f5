"""The CMake package: what find_package(executorch_coreml) gives, and the command that finds it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cpp_programs import cmake
from executorch_coreml import cmake_prefix

PROJECT = """
cmake_minimum_required(VERSION 3.24)
project(application LANGUAGES NONE)
find_package(executorch_coreml CONFIG)
if(executorch_coreml_FOUND)
  get_target_property(aliased executorch_coreml::coremldelegate ALIASED_TARGET)
  get_target_property(linked coremldelegate INTERFACE_LINK_LIBRARIES)
  message(STATUS "alias of ${aliased}, linked with ${linked}")
endif()
"""

# An executorch package that is another than the installed one.
OTHER = """
set(executorch_FOUND TRUE)
set(EXECUTORCH_BUILD_VERSION "{version}")
if(NOT TARGET executorch::runtime)
  add_library(executorch::runtime SHARED IMPORTED)
  add_library({delegate} SHARED IMPORTED)
endif()
"""


def configured(
    directory: Path,
    *options: str,
    version: str | None = None,
    delegate: str = "executorch::backend_xnnpack",
) -> str:
    """What CMake says of a project that looks for the package."""
    directory.mkdir(exist_ok=True)
    (directory / "CMakeLists.txt").write_text(PROJECT)
    if version is not None:
        other = OTHER.format(version=version, delegate=delegate)
        (directory / "executorch-config.cmake").write_text(other)
        options = (*options, f"-Dexecutorch_DIR={directory}")
    prefix = f"-DCMAKE_PREFIX_PATH={cmake_prefix.prefix()}"
    # Lines are wrapped.
    return " ".join(cmake("-S", directory, "-B", directory / "made", prefix, *options).split())


def test_the_command_prints_the_prefix_and_repairs_the_file(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "executorch_coreml.cmake_prefix"]
    printed = subprocess.check_output(command, text=True)
    prefix = cmake_prefix.prefix()
    assert printed == f"{prefix}\n"
    assert (prefix / "share" / "cmake" / "executorch_coreml").is_dir()
    values = cmake_prefix.settings()
    assert (prefix / "runtime" / cmake_prefix.CONFIG).read_text() == cmake_prefix.text(values)

    file = tmp_path / "python.cfg"
    file.write_text("executable = /nowhere/python\n")
    cmake_prefix.refresh(file, values)
    assert f"executable = {sys.executable}\n" in file.read_text()
    file.chmod(0o444)
    cmake_prefix.refresh(file, values)  # nothing to write


def test_a_python_without_a_shared_library_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cmake_prefix, "_libraries", lambda: [])
    monkeypatch.setattr(cmake_prefix, "refresh", lambda path, values: None)
    monkeypatch.setattr(sys, "argv", ["cmake_prefix"])
    assert cmake_prefix.main() == 0
    said = capsys.readouterr()
    assert said.out == f"{cmake_prefix.prefix()}\n"
    assert "has no shared library" in said.err
    assert "--enable-shared" in said.err


def test_linux_gets_the_plugin(tmp_path: Path) -> None:
    said = configured(tmp_path)
    assert "alias of coremldelegate, linked with executorch_coreml_runtime" in said


@pytest.mark.parametrize("delegate", ["executorch::backend_coreml", "coremldelegate"])
def test_apple_gets_the_stock_delegate(tmp_path: Path, delegate: str) -> None:
    """Of a wheel, or of a source build: executorch's own targets."""
    said = configured(tmp_path, "-DCMAKE_SYSTEM_NAME=Darwin", version="1.4.0", delegate=delegate)
    linked = "executorch::backend_coreml" if "::" in delegate else "linked-NOTFOUND"
    assert f"alias of coremldelegate, linked with {linked}" in said


def test_apple_without_a_delegate_is_told(tmp_path: Path) -> None:
    said = configured(tmp_path, "-DCMAKE_SYSTEM_NAME=Darwin", version="1.5.1")
    assert "this executorch has no Core ML delegate" in said


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("1.4.0+cpu", ["found is 1.4.0", "Run: pip install executorch==1.5.1"]),
        ("", ["does not say which release", "-DEXECUTORCH_COREML_EXECUTORCH_VERSION="]),
    ],
)
def test_another_executorch_is_refused(tmp_path: Path, version: str, words: list[str]) -> None:
    said = configured(tmp_path, version=version)
    assert "alias of" not in said
    for word in words:
        assert word in said


@pytest.mark.parametrize(("release", "fits"), [("1.5.1", True), ("1.4.0", False)])
def test_the_header_of_an_installed_source_build_tells(
    tmp_path: Path, release: str, fits: bool
) -> None:
    header = tmp_path / "include" / "executorch" / "runtime" / "core" / "version.h"
    header.parent.mkdir(parents=True)
    header.write_text(f'#define ET_VERSION_MAJOR 1\n#define ET_VERSION "{release}"\n')
    said = configured(tmp_path, f"-DEXECUTORCH_INCLUDE_DIRS={tmp_path / 'include'}", version="")
    assert ("alias of coremldelegate" in said) == fits
    assert (f"found is {release}" in said) != fits


def test_the_release_of_a_source_build_can_be_told(tmp_path: Path) -> None:
    option = "-DEXECUTORCH_COREML_EXECUTORCH_VERSION=1.5.1"
    assert "alias of coremldelegate" in configured(tmp_path, option, version="")


def test_another_release_of_the_package_is_refused(tmp_path: Path) -> None:
    project = tmp_path / "CMakeLists.txt"
    text = PROJECT.replace("executorch_coreml CONFIG", "executorch_coreml 0.9")
    project.write_text(text)
    prefix = f"-DCMAKE_PREFIX_PATH={cmake_prefix.prefix()}"
    said = " ".join(cmake("-S", tmp_path, "-B", tmp_path / "made", prefix).split())
    assert "executorch_coreml-config.cmake, version: 0.1.0" in said
