"""examples/cpp, by the commands of its README."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from cpp_programs import SOURCE

EXAMPLE = SOURCE / "examples" / "cpp"


def commands() -> list[str]:
    """The lines of the README's console block."""
    _, _, rest = (EXAMPLE / "README.md").read_text().partition("```console\n")
    return rest.partition("```")[0].strip().splitlines()


def test_three_commands_configure_build_and_classify(tmp_path: Path) -> None:
    made = tmp_path / "cpp"
    lines = commands()
    assert len(lines) == 3
    for line in lines:
        # The same, but elsewhere, with the Python of the tests and the CMake there is.
        line = line.replace("build/cpp", shlex.quote(str(made)))
        line = line.replace(".venv/bin/python", shlex.quote(sys.executable))
        if shutil.which("cmake") is None:
            line = line.replace("cmake ", f"{Path(sys.executable).with_name('cmake')} ", 1)
        run = subprocess.run(
            line, shell=True, cwd=SOURCE, capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stdout + run.stderr
    printed = run.stdout + subprocess.check_output(
        [made / "classify", made / "mobilenet_v2.pte", "threads=1", made / "photo.ppm"], text=True
    )
    failed = subprocess.run(
        [made / "classify", made / "digits.pte", made / "photo.ppm"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (failed.returncode, failed.stdout) == (1, "")
    assert f"{made / 'photo.ppm'}: Error::NotSupported" in failed.stderr

    # "digit-0.pgm: 0 (99.9 %) ..." against "digit-0.pgm 0"
    classes = [" ".join(line.split()[:2]).replace(":", "") for line in printed.splitlines()]
    expected = (made / "expected.txt").read_text().splitlines()
    assert classes == expected
    right = sum(line.split()[0] == f"digit-{line.split()[1]}.pgm" for line in expected)
    assert right >= 9, "it has learned nothing"
