"""``etcoreml export``: the program that it writes, what it says, and how it fails."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from executorch.runtime import Runtime

import report_models
from case import FP16, assert_close, export, lower
from console import call, printed

MODELS = Path(report_models.__file__)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the command says of a model of which a part stays outside."""
    path = tmp_path_factory.mktemp("export") / "new" / "model.pte"
    found: dict[str, Any] = printed("export", f"{MODELS}:mixed", "-o", path)
    return found


def test_the_program_is_the_one_that_the_library_makes_and_runs(mixed: dict[str, Any]) -> None:
    path = Path(mixed["path"])
    model, inputs = report_models.mixed()
    made, _ = lower(export(model, inputs), FP16)
    assert path.read_bytes() == made.buffer
    assert mixed["bytes"] == path.stat().st_size
    (output,) = Runtime.get().load_program(path).load_method("forward").execute(inputs)
    assert_close(output, model(*inputs).detach(), 4e-3, 1e-3, "mixed")


def test_what_is_delegated_and_what_is_not_is_told(mixed: dict[str, Any], tmp_path: Path) -> None:
    (method,) = mixed["methods"].values()
    assert method["delegates"] == 2
    assert method["delegated"] + sum(each["count"] for each in method["outside"]) == method["nodes"]
    assert {each["op"] for each in method["outside"]} >= {"aten.cosh.default"}
    assert method["minimum_os"] == "iOS15"
    assert any("kept in fp32" in note for note in method["precision"])
    shown = call("export", f"{MODELS}:small", "-o", tmp_path / "model.pte", "-v")
    assert "2 of 2 nodes delegated in 1 delegate(s)" in shown.stdout
    assert "lowering: " in shown.stderr


def test_inspect_says_why_ops_stayed_outside_from_the_program_alone(mixed: dict[str, Any]) -> None:
    (method,) = printed("inspect", mixed["path"])["methods"]
    assert (method["name"], method["delegate_calls"]) == ("forward", 2)
    assert method["outside"]["aten.cosh.out"] == 1
    (cosh,) = (
        (reason, place)
        for reason, places in method["reasons"].items()
        for place in places
        if "aten.cosh" in place
    )
    assert "float64" in cosh[0]
    line = next(i for i, text in enumerate(MODELS.read_text().splitlines(), 1) if "cosh" in text)
    assert cosh[1].endswith(f"at {MODELS.name}:{line}")
    shown = call("inspect", mixed["path"]).stdout
    assert "outside the delegates of method forward" in shown
    assert f"{MODELS.name}:{line}" in shown


def test_every_option_reaches_the_compile_specs(tmp_path: Path) -> None:
    path = tmp_path / "model.pte"
    options = {
        "--compute-unit": "CPU_AND_NE",
        "--target": "iOS18",
        "--quantize": json.dumps({"dtype": "int4", "granularity": "per_block", "block_size": 32}),
        "--keep-fp32": ":aten.relu.default",
        "--weight-sharing": "disabled",
        "--pass": "common::const_deduplication",
    }
    flat = [part for pair in options.items() for part in pair]
    assert call("export", f"{MODELS}:small", "-o", path, *flat, "--full-graph").exit_code == 0
    (delegate,) = printed("inspect", path)["delegates"]
    specs = delegate["compile_specs"]
    assert (specs["compute_units"], specs["min_deployment_target"]) == ("cpu_and_ne", "9")
    assert json.loads(specs["op_linear_quantizer_config"])["block_size"] == 32
    assert json.loads(specs["keep_fp32"]) == [":aten.relu.default"]
    assert specs["multimethod_weight_sharing_strategy"] == "disabled"
    assert json.loads(specs["pass_pipeline"]) == ["common::const_deduplication"]
    (model,) = printed("inspect", path)["models"]
    assert model["weights"]["int4"] == 64 * 64 // 2


def test_methods_share_one_set_of_weights(tmp_path: Path) -> None:
    path = tmp_path / "model.pte"
    models = (f"one={MODELS}:small", f"four={MODELS}:longer")
    facts = printed("export", *models, "-o", path, "--weight-sharing", "positional")
    assert set(facts["methods"]) == {"one", "four"}
    # Each method by itself would do with less.
    assert {each["minimum_os"] for each in facts["methods"].values()} == {"iOS15"}
    assert facts["minimum_os"] == "iOS18"
    assert facts["bytes"] < 2 * 64 * 64 * 2
    program = Runtime.get().load_program(path)
    model, inputs = report_models.longer()
    (output,) = program.load_method("four").execute(inputs)
    assert_close(output, model(*inputs).detach(), 4e-3, 1e-3, "four")


def test_options_that_leave_ops_outside(tmp_path: Path) -> None:
    path = tmp_path / "model.pte"
    skipped = printed("export", f"{MODELS}:small", "-o", path, "--skip", "aten.relu.default")
    (outside,) = skipped["methods"]["forward"]["outside"]
    assert (outside["op"], outside["count"]) == ("aten.relu.default", 1)
    assert "skip_ops_for_coreml_delegation" in outside["reason"]
    kept = printed("export", f"{MODELS}:small", "-o", path, "--no-constants")
    assert kept["methods"]["forward"]["delegates"] == 1
    (model,) = printed("inspect", path)["models"]
    assert "fp16" not in model["weights"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([f"{MODELS}:mixed", "--full-graph"], 1, "cannot run in Core ML"),
        ([f"{MODELS}:broken"], 1, "no checkpoint"),
        ([f"{MODELS}:nothing"], 1, "has no callable 'nothing'"),
        ([f"{MODELS}:small", f"{MODELS}:longer"], 1, "names no method"),
        ([f"a={MODELS}:small", f"a={MODELS}:longer"], 1, "method a is given twice"),
        ([f"{MODELS}:small", "--skip", "aten.nonsense"], 1, "unknown ops: aten.nonsense"),
        ([f"{MODELS}:small", "--quantize", "{"], 2, "no JSON"),
        ([f"{MODELS}:small", "--quantize", "@nothing.json"], 2, "No such file"),
        ([f"{MODELS}:small", "--target", "iOS12"], 2, "iOS12"),
        ([], 2, "Missing argument"),
    ],
)
def test_errors_say_what_is_wrong(
    arguments: list[str], code: int, message: str, tmp_path: Path
) -> None:
    result = call("export", *arguments, "-o", tmp_path / "model.pte")
    assert (result.exit_code, result.stdout) == (code, "")
    assert message in result.stderr
    assert not (tmp_path / "model.pte").exists()


def test_a_saved_program_takes_no_other_way(tmp_path: Path) -> None:
    model, inputs = report_models.small()
    torch.export.save(export(model, inputs), tmp_path / "small.pt2")
    result = call("export", tmp_path / "small.pt2", "-o", tmp_path / "model.pte")
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"{tmp_path / 'model.pte'}: " in result.stdout


def test_the_exit_code_of_the_process(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "executorch_coreml.cli", "export", str(tmp_path / "no.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
