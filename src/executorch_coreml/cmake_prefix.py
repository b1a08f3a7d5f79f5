"""``python -m executorch_coreml.cmake_prefix``: where CMake finds this package.

    cmake -S . -B build -DCMAKE_PREFIX_PATH="$(python -m executorch_coreml.cmake_prefix)"

The engine of a C++ program runs in the Python that this package is installed in. Which one that is
the file ``runtime/python.cfg`` tells, which is written when the package is built, and anew by this
command where it is wrong: after installing a wheel that was built elsewhere, or moving a virtual
environment. This module needs the standard library only; the build runs it as a script.
"""

from __future__ import annotations

import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

CONFIG = "python.cfg"


def prefix() -> Path:
    """The directory for ``CMAKE_PREFIX_PATH``.

    Raises:
        FileNotFoundError: This installation has no C++ parts.
    """
    import executorch_coreml

    for directory in map(Path, executorch_coreml.__path__):
        if (directory / "share" / "cmake").is_dir():
            return directory
    raise FileNotFoundError(
        "this installation of executorch-coreml has no C++ parts; build them: pip install . in "
        "the source folder"
    )


def settings() -> dict[str, str]:
    """What a program must know to host this Python.

    ``library`` is empty if this Python has no shared library, ``executorch`` if there is none.
    """
    library = next((str(path) for path in _libraries() if path.is_file()), "")
    executorch = find_spec("executorch")
    roots = (executorch.submodule_search_locations if executorch else None) or [""]
    return {
        "version": sysconfig.get_python_version(),
        "executable": sys.executable,
        "library": library,
        "extension": "_native" + sysconfig.get_config_var("EXT_SUFFIX"),
        "executorch": roots[0],
    }


def _libraries() -> list[Path]:
    """Where the shared library of this Python may be, the likeliest first."""
    version = sysconfig.get_python_version() + getattr(sys, "abiflags", "")
    names = [f"libpython{version}.so.1.0", f"libpython{version}.so"]
    directory = sysconfig.get_config_var("LIBDIR")
    directories = [Path(directory)] if directory else []
    multiarch = sysconfig.get_config_var("MULTIARCH")
    if directory and multiarch:
        directories.append(Path(directory) / multiarch)
    directories.append(Path(sys.base_prefix) / "lib")
    return [directory / name for directory in directories for name in names]


def obstacle(values: dict[str, str]) -> str | None:
    """Why no C++ program can host this Python, and what to do, if none can."""
    if values["library"] or sys.platform != "linux":
        return None
    return (
        f"{values['executable']} has no shared library, without which no C++ program can host it. "
        f"Install it (Debian: apt-get install libpython{values['version']}; "
        "pyenv: PYTHON_CONFIGURE_OPTS=--enable-shared)."
    )


def text(values: dict[str, str]) -> str:
    """The content of ``python.cfg``."""
    lines = [f"{name} = {value}" for name, value in values.items() if value]
    head = "# The Python of the engine in C++ programs, by executorch_coreml.cmake_prefix"
    return "\n".join([head, *lines]) + "\n"


def refresh(path: Path, values: dict[str, str]) -> None:
    """Writes ``path`` if it says something else.

    Raises:
        OSError: It must be written and cannot be.
    """
    content = text(values)
    if not path.is_file() or path.read_text() != content:
        path.write_text(content)


def main() -> int:
    if len(sys.argv) == 2:  # the build: only write the file
        refresh(Path(sys.argv[1]), settings())
        return 0
    try:
        directory, values = prefix(), settings()
        refresh(directory / "runtime" / CONFIG, values)
    except OSError as error:
        print(f"executorch_coreml.cmake_prefix: {error}", file=sys.stderr)
        return 1
    if warning := obstacle(values):
        print(f"executorch_coreml.cmake_prefix: warning: {warning}", file=sys.stderr)
    print(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
