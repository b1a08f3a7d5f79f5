"""``etcoreml doctor`` and ``etcoreml completion``: this installation, and ones that are broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from console import call
from executorch_coreml import cmake_prefix
from executorch_coreml.cli import COMMANDS, main


def checked() -> dict[str, dict[str, str]]:
    result = call("doctor", "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == (0 if found["ok"] else 3)
    return {check["name"]: check for check in found["checks"]}


def test_this_installation_works() -> None:
    found = checked()
    assert [name for name, check in found.items() if check["state"] == "bad"] == []
    assert found["torch"]["found"] == version("torch")
    assert found["executorch"]["found"] == version("executorch")
    assert found["runtime plugin"]["state"] == "ok"
    assert found["C++ programs"]["state"] == "ok"
    assert found["engine device CPU"]["found"]
    shown = call("doctor")
    assert shown.exit_code == 0
    assert all(name in shown.stdout for name in found)
    assert "all that is required works" in shown.stdout


def test_what_c_programs_lack_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = Path(checked()["C++ programs"]["found"])
    (tmp_path / "runtime").mkdir()
    monkeypatch.setattr(cmake_prefix, "prefix", lambda: tmp_path)
    moved = checked()["C++ programs"]
    assert moved["state"] == "note"
    assert moved["fix"] == "python -m executorch_coreml.cmake_prefix"
    config = tmp_path / "runtime" / "python.cfg"
    config.write_text((where / "runtime" / "python.cfg").read_text())
    assert checked()["C++ programs"]["state"] == "ok"
    monkeypatch.setattr(cmake_prefix, "_libraries", list)
    bare = checked()["C++ programs"]
    assert bare["state"] == "note"
    assert "apt-get install libpython3" in bare["note"]


def _package(folder: Path, name: str, number: str, *needs: str) -> None:
    """The metadata of an installed package, as pip leaves them."""
    info = folder / f"{name}-{number}.dist-info"
    info.mkdir()
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {number}"]
    (info / "METADATA").write_text("\n".join([*lines, *(f"Requires-Dist: {n}" for n in needs)]))


def test_what_does_not_fit_comes_with_the_command_that_fixes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _package(tmp_path, "torchao", "0.1.0")
    _package(tmp_path, "torchvision", "0.20.0", "numpy", "torch==2.5.0")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = checked()
    assert found["torchao"]["state"] == "bad"
    assert found["torchao"]["fix"].startswith("pip install 'torchao")
    assert found["torchvision"]["state"] == "bad"
    assert "torch==2.5.0" in found["torchvision"]["note"]
    shown = call("doctor")
    assert shown.exit_code == 3
    assert "torchvision: pip uninstall torchvision" in shown.stdout
    assert "2 to fix" in shown.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_call_the_command(shell: str) -> None:
    result = call("completion", shell)
    assert result.exit_code == 0
    assert f"_ETCOREML_COMPLETE={shell}_complete" in result.stdout
    printed = json.loads(call("completion", shell, "--json").stdout)
    assert printed == {"shell": shell, "script": result.stdout.removesuffix("\n")}


def _completed(words: str, place: int) -> list[str]:
    """What the shell is offered for the word at ``place``."""
    asked = {"_ETCOREML_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(place)}
    done = subprocess.run(
        [sys.executable, "-m", "executorch_coreml.cli"],
        env=os.environ | asked,
        capture_output=True,
        text=True,
        check=False,
    )
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


def test_commands_options_and_choices_are_completed() -> None:
    assert set(_completed("etcoreml ", 1)) == set(COMMANDS)
    assert "--keep-fp32" in _completed("etcoreml export --k", 2)
    assert _completed("etcoreml export --target iOS1", 3) == ["iOS15", "iOS16", "iOS17", "iOS18"]


def test_every_command_prints_json() -> None:
    for name in COMMANDS:
        command = main.get_command(None, name)  # type: ignore[arg-type, attr-defined]
        assert "--json" in {option for each in command.params for option in each.opts}, name
