"""Apple's model compiler: a ``.mlpackage`` -> the files of its ``.mlmodelc``.

``coremlcompiler`` comes with Xcode and runs on macOS only. Whatever takes the same arguments,
``compile <package> <directory>``, can stand in for it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from executorch_coreml.compiler.payload import Content
from executorch_coreml.errors import PackageError

COMPILER = ("xcrun", "coremlcompiler")
_ELSEWHERE = (
    "use model_type MODEL, which the device compiles on first load and caches; or lower with MODEL "
    "here and run 'etcoreml finish model.pte' on a Mac"
)


def require_compiler() -> None:
    """
    Raises:
        PackageError: This is no Mac, so there is no compiler.
    """
    if sys.platform != "darwin":
        raise PackageError(
            "compiled models need Apple's compiler, which runs on macOS only",
            location="model_type COMPILED_MODEL",
            hint=_ELSEWHERE,
        )


def compile_package(
    package: Mapping[str, Content], compiler: Sequence[str] | None = None
) -> dict[str, bytes]:
    """Compiles a package.

    Args:
        package: Path inside the ``.mlpackage`` -> content.
        compiler: The command; Apple's if None.

    Returns:
        Path inside the ``.mlmodelc`` -> content.

    Raises:
        PackageError: There is no such compiler here, it failed, or it wrote no compiled model.
    """
    if compiler is None:
        require_compiler()
        compiler = COMPILER
    with tempfile.TemporaryDirectory() as name:
        source, target = Path(name, "model.mlpackage"), Path(name, "compiled")
        target.mkdir()
        for path, content in package.items():
            file = source / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"".join(content) if isinstance(content, tuple) else content)
        _run([*compiler, "compile", str(source), str(target)])
        found = sorted(target.glob("*.mlmodelc"))
        if len(found) != 1:
            raise PackageError(f"{compiler[0]} wrote {len(found)} compiled models; one is expected")
        files = {
            file.relative_to(found[0]).as_posix(): file.read_bytes()
            for file in sorted(found[0].rglob("*"))
            if file.is_file()
        }
    if not files:
        raise PackageError(f"{compiler[0]} wrote an empty compiled model")
    return files


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as cause:
        raise PackageError(
            f"{command[0]} cannot be run: {cause.strerror}",
            hint="install Xcode, not only its tools",
        ) from cause
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise PackageError(
            f"{' '.join(command[:-2])} failed with exit code {done.returncode}: "
            f"{said[-1] if said else 'it said nothing'}"
        )
