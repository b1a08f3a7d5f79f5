"""What ``etcoreml doctor`` looks at. Required versions are those of the package's own metadata."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, requires, version
from typing import Literal

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from executorch_coreml import cmake_prefix
from executorch_coreml.errors import CoreMLError

State = Literal["ok", "note", "bad"]

_PACKAGE = "executorch-coreml"
# Compiled for one release of torch: another one breaks their import, and with it that of libraries
# that try them (transformers).
_BESIDE_TORCH = ("torchvision", "torchaudio")
_OPTIONAL = {"pillow": "image inputs and outputs of Model.predict and etcoreml run"}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What.
        state: ``"bad"`` stops everybody, ``"note"`` some.
        found: What is there.
        note: What follows.
        fix: The command that changes it, if one does.
    """

    name: str
    state: State
    found: str
    note: str = ""
    fix: str = ""


def checks() -> Iterator[Check]:
    """All of them, in the order in which to repair."""
    yield _python()
    for requirement in _required():
        yield _installed(requirement)
    for name in _BESIDE_TORCH:
        yield from _beside(name)
    yield _plugin()
    yield _cpp()
    yield from _devices()
    for name, use in _OPTIONAL.items():
        if _version(name) is None:
            yield Check(name, "note", "missing", f"needed for {use}", f"pip install {name}")
    yield _apple_compiler()
    yield _machine()


def _python() -> Check:
    wanted = distribution(_PACKAGE).metadata["Requires-Python"]
    found = platform.python_version()
    if found in SpecifierSet(wanted):
        return Check("python", "ok", found)
    return Check(
        "python", "bad", found, f"needs {wanted}", "python3.12 -m venv .venv, and install again"
    )


def _required() -> list[Requirement]:
    """The requirements without an extra that hold here."""
    found = [Requirement(text) for text in requires(_PACKAGE) or ()]
    return [each for each in found if each.marker is None or each.marker.evaluate({"extra": ""})]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _installed(requirement: Requirement) -> Check:
    found = _version(requirement.name)
    fix = f"pip install '{requirement}'"
    if found is None:
        return Check(requirement.name, "bad", "missing", f"needs {requirement.specifier}", fix)
    if not requirement.specifier.contains(found, prereleases=True):
        return Check(requirement.name, "bad", found, f"needs {requirement.specifier}", fix)
    return Check(requirement.name, "ok", found)


def _beside(name: str) -> Iterator[Check]:
    """A package that wants another torch than the one that is there."""
    found, torch = _version(name), _version("torch")
    if found is None or torch is None:
        return
    for text in requires(name) or ():
        wanted = Requirement(text)
        if wanted.name == "torch" and not wanted.specifier.contains(torch, prereleases=True):
            yield Check(
                name,
                "bad",
                found,
                f"is for torch{wanted.specifier}, not {torch}: importing it fails, and so does "
                "what imports it",
                f"pip uninstall {name}",
            )
            return
    yield Check(name, "ok", found)


def _plugin() -> Check:
    """Whether the ExecuTorch runtime here runs Core ML delegates."""
    try:
        from executorch_coreml import runtime
        from executorch_coreml.runtime._build_info import EXECUTORCH_VERSION
    except CoreMLError as error:
        return Check("runtime plugin", "bad", "does not load", error.message, error.hint or "")
    except (ImportError, OSError) as error:
        return Check(
            "runtime plugin",
            "bad",
            "does not load",
            str(error),
            "pip install --force-reinstall --no-deps executorch-coreml",
        )
    built = f"for executorch {EXECUTORCH_VERSION}"
    if runtime.is_active():
        return Check("runtime plugin", "ok", built, "programs run in the engine")
    if "CoreMLBackend" in runtime.registered_backends():
        return Check("runtime plugin", "ok", built, "ExecuTorch's own delegate runs programs here")
    return Check("runtime plugin", "bad", built, "CoreMLBackend is not registered")


def _cpp() -> Check:
    """Whether C++ programs can link the delegate and start its engine."""
    name, writes = "C++ programs", "python -m executorch_coreml.cmake_prefix"
    try:
        directory = cmake_prefix.prefix()
    except FileNotFoundError as error:
        return Check(name, "note", "cannot link the delegate", str(error), "pip install .")
    values = cmake_prefix.settings()
    config = directory / "runtime" / cmake_prefix.CONFIG
    if warning := cmake_prefix.obstacle(values):
        return Check(name, "note", "cannot start the engine", warning)
    if not config.is_file() or config.read_text() != cmake_prefix.text(values):
        return Check(name, "note", "start another Python", f"{config} is not of this one", writes)
    return Check(name, "ok", str(directory), "a directory for CMAKE_PREFIX_PATH")


def _devices() -> Iterator[Check]:
    """The devices of the engine."""
    try:
        import openvino as ov

        core = ov.Core()
        names = list(core.available_devices)
    except (ImportError, RuntimeError) as error:
        yield Check("engine", "bad", "OpenVINO fails", str(error), "pip install 'openvino>=2026.4'")
        return
    if "CPU" not in names:
        yield Check("engine", "bad", ", ".join(names) or "no device", "needs OpenVINO's CPU plugin")
    for name in names:
        full = str(core.get_property(name, "FULL_DEVICE_NAME")).strip()
        yield Check(f"engine device {name}", "ok", full)


def _apple_compiler() -> Check:
    name = "Apple's model compiler"
    if sys.platform != "darwin":
        return Check(
            name, "note", "not on this system", "etcoreml finish and COMPILED_MODEL need a Mac"
        )
    if shutil.which("xcrun"):
        return Check(name, "ok", "xcrun")
    return Check(name, "note", "missing", "etcoreml finish needs it", "xcode-select --install")


def _machine() -> Check:
    parts = [platform.platform(terse=True), f"{os.cpu_count()} CPUs"]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        parts.append(f"{memory / 2**30:.1f} GiB of memory")
    return Check("machine", "ok", ", ".join(parts))
