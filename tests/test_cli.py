"""``etcoreml``, as it is installed and called."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from executorch.exir.program._program import _remove_invalid_ops_for_not_decompose

import package_files
from case import FP16, assert_close, export, lower, randn
from console import call, printed
from executorch_coreml.cli import COMMANDS
from executorch_coreml.cli.output import replacing
from executorch_coreml.errors import CompileError
from executorch_coreml.mil.schema import Model as Message
from executorch_coreml.ops import TABLE
from executorch_coreml.ops.catalogue import entries
from executorch_coreml.ops.refused import REFUSED

SCRIPT = Path(sys.executable).with_name("etcoreml")
OPERATORS = Path(__file__).parents[1] / "docs" / "operators.md"
REGENERATE = "etcoreml ops --markdown > docs/operators.md"

X = randn(2, 8)
MODEL = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.ReLU())


@pytest.fixture(scope="module")
def pte(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear layer and a relu, in fp16, with its input beside it as ``x.npy``."""
    directory = tmp_path_factory.mktemp("cli")
    with torch.no_grad():
        MODEL[0].weight.copy_(torch.linspace(-1, 1, 32).reshape(4, 8))
    program, _ = lower(export(MODEL, (X,)), FP16)
    (directory / "model.pte").write_bytes(program.buffer)
    np.save(directory / "x.npy", X.numpy())
    return directory / "model.pte"


def script(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


# -- the command itself --------------------------------------------------------------------------


def test_help_names_every_command_and_imports_nothing_heavy() -> None:
    """The time is the process's own, from its start: a busy machine does not change it."""
    code = (
        "import sys, time; from executorch_coreml.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "heavy = {'torch', 'coremltools', 'openvino', 'numpy', 'rich'} & set(sys.modules)\n"
        "print(time.process_time(), sorted(heavy), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    took, heavy = done.stderr.split(maxsplit=1)
    assert all(f"  {command} " in done.stdout for command in COMMANDS)
    assert heavy.strip() == "[]"
    assert float(took) < 0.3


def test_installed_script_and_its_exit_codes(pte: Path) -> None:
    good = script("inspect", pte)
    assert (good.returncode, good.stderr) == (0, "")
    assert "linear" in good.stdout
    wrong = script("inspect", pte.with_name("nothing.pte"))
    assert (wrong.returncode, wrong.stdout) == (1, "")
    said = f"Error: {pte.with_name('nothing.pte')}: No such file or directory. Hint: check the path"
    assert wrong.stderr.startswith(said)
    assert wrong.stderr.count("\n") == 1
    assert script("nonsense").returncode == 2


# -- ops -----------------------------------------------------------------------------------------


def test_ops_lists_both_tables() -> None:
    listed = printed("ops")
    assert {row["op"] for row in listed["delegated"]} == {str(op) for op in TABLE}
    assert {row["op"]: row["reason"] for row in listed["refused"]} == {
        str(op): reason for op, reason in REFUSED.items()
    }


def test_ops_shows_why_an_op_is_refused() -> None:
    assert "Core ML has non_zero only" in call("ops", "bincount").stdout


def test_ops_of_a_name_as_json_and_as_a_table() -> None:
    found = printed("ops", "ATEN.CDIST.")
    (row,) = found["delegated"]
    assert not found["refused"]
    assert row == {
        "op": "aten.cdist.default",
        "dtypes": ["float16", "float32"],
        "since": "iOS15",
        "limits": ["x1 has rank 2 or 3 or 4", "x2 has rank 2 or 3 or 4", "the shapes are fixed"],
        "core": False,
        "kept_whole": True,
    }
    shown = call("ops", "cdist.").stdout
    assert all(word in shown for word in (row["op"], "float16 float32", "whole", *row["limits"]))


def test_every_check_says_what_it_allows() -> None:
    silent = [str(op) for op, rule in TABLE.items() if not all(rule.limits)]
    assert not silent, "checks without a docstring"


@pytest.mark.filterwarnings("ignore:The 'warn' function:DeprecationWarning")  # executorch's
def test_ops_kept_whole_are_those_that_executorch_lets_us_keep() -> None:
    whole = {entry.op for entry in entries() if entry.kept_whole}
    kept = [op for op in TABLE if str(op) in whole]
    assert torch.ops.aten.linear.default in kept
    # Transposes pass the first decomposition; the edge dialect has copies with kernels for them.
    views = {torch.ops.aten.transpose.int, torch.ops.aten.t.default}
    assert set(kept) - set(_remove_invalid_ops_for_not_decompose(kept)) == views


def test_operators_page_is_current() -> None:
    written = call("ops", "--markdown").stdout
    assert OPERATORS.read_text() == written, f"run: {REGENERATE}"


def test_ops_options_that_exclude_each_other() -> None:
    assert call("ops", "--json", "--markdown").exit_code == 2
    assert call("ops", "add", "--markdown").exit_code == 2


# -- run -----------------------------------------------------------------------------------------


def _input(pte: Path) -> str:
    (feature,) = printed("inspect", pte)["models"][0]["functions"][0]["inputs"]
    return f"{feature['name']}={pte.with_name('x.npy')}"


def test_run_saves_and_describes_what_eager_computes(pte: Path, tmp_path: Path) -> None:
    (row,) = printed("run", pte, "--input", _input(pte), "--output-dir", tmp_path / "new")
    saved = np.load(tmp_path / "new" / f"{row['name']}.npy")
    assert_close(torch.from_numpy(saved), MODEL(X).detach(), 2e-3, 0, "linear, relu")
    assert (row["dtype"], row["shape"]) == ("float32", [2, 4])
    exact = saved.astype(np.float64)
    assert [row["min"], row["max"], row["mean"]] == [exact.min(), exact.max(), exact.mean()]
    shown = call("run", pte, "--input", _input(pte)).stdout
    assert all(word in shown for word in (row["name"], "[2, 4]", f"{row['mean']:.6g}"))


def test_run_rounds_to_fp16_unless_told_otherwise(pte: Path) -> None:
    rounded, plain = (
        printed("run", pte, "--input", _input(pte), "--precision", precision)[0]["max"]
        for precision in ("faithful", "float32")
    )
    assert rounded != plain
    assert rounded == np.float16(rounded)


def test_run_tells_infinity_in_valid_json(pte: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "big.npy", np.full((2, 8), np.inf, np.float32))
    name = _input(pte).partition("=")[0]
    (row,) = printed("run", pte, "--input", f"{name}={tmp_path / 'big.npy'}")
    assert (row["min"], row["max"], row["mean"]) == (0.0, "inf", "inf")


def test_run_needs_neither_torch_nor_coremltools(pte: Path) -> None:
    code = (
        "import sys; from executorch_coreml.cli import main\n"
        "main(sys.argv[1:], standalone_mode=False)\n"
        "print(sorted({'torch', 'coremltools'} & set(sys.modules)), file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, "run", str(pte), "--input", _input(pte)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "are missing"),
        (["--input", "nobody={x}"], "unknown"),
        (["--input", "x={pte}"], "input x cannot be read"),
        (["--input", "x=nothing.npy"], "input x cannot be read"),
        (["--function", "backward"], "no function 'backward'"),
        (["--delegate", "7"], "no Core ML delegate 7"),
    ],
)
def test_run_errors_are_one_line(pte: Path, arguments: list[str], message: str) -> None:
    filled = [text.format(x=pte.with_name("x.npy"), pte=pte) for text in arguments]
    result = call("run", pte, *filled)
    assert (result.exit_code, result.stdout) == (1, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("given", [["x"], ["=a.npy"], ["x="], ["x=a.npy", "--input", "x=b.npy"]])
def test_run_refuses_malformed_inputs(pte: Path, given: list[str]) -> None:
    assert call("run", pte, "--input", *given).exit_code == 2


# -- inspect -------------------------------------------------------------------------------------


def test_inspect_program(pte: Path) -> None:
    found = printed("inspect", pte)
    (delegate,) = found["delegates"]
    assert (delegate["method"], delegate["backend"]) == ("forward", "CoreMLBackend")
    assert delegate["compile_specs"]["model_compute_precision"] == "float16"
    (model,) = found["models"]
    (function,) = model["functions"]
    assert (model["minimum_os"], function["opset"]) == ("iOS15", "CoreML5")
    assert {(f["dtype"], tuple(f["shape"])) for f in function["inputs"]} == {("fp32", (2, 8))}
    assert {(f["dtype"], tuple(f["shape"])) for f in function["outputs"]} == {("fp32", (2, 4))}
    assert function["ops"] == {"cast": 2, "linear": 1, "relu": 1}
    assert model["weights"]["fp16"] == (4 * 8 + 4) * 2


class Fraction(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.fmod(x / 3.7, 1)


def test_inspect_lists_what_fp16_could_not_do_with_the_users_line(tmp_path: Path) -> None:
    path = tmp_path / "model.pte"
    path.write_bytes(lower(export(Fraction(), (X,)), FP16)[0].buffer)
    (model,) = printed("inspect", path)["models"]
    reason = "a position, an angle or a fraction: kept in fp32"
    assert set(model["precision"]) == {reason}
    place = r"aten\.fmod\.Scalar \(node \w+\) at test_cli\.py:\d+"
    assert any(re.fullmatch(place, text) for text in model["precision"][reason])
    shown = call("inspect", path).stdout
    assert f"precision: {reason}\n  aten.div.Tensor (node" in shown


def test_inspect_package_and_payload_with_state_and_packed_weights(tmp_path: Path) -> None:
    files = package_files.files()
    payload = tmp_path / "payload.bin"
    payload.write_bytes(package_files.pack(files))
    for path in (package_files.write(files, tmp_path / "constants.mlpackage"), payload):
        found = printed("inspect", path)
        assert found["delegates"] == []
        (model,) = found["models"]
        (function,) = model["functions"]
        assert model["minimum_os"] == "iOS18"
        assert [state["shape"] for state in function["states"]] == [[2, 16]]
        assert function["ops"]["cond"] == 1
        assert function["ops"]["add"] == 1
        assert "const" not in function["ops"]
        # 30 elements of so many bits each
        assert (model["weights"]["uint1"], model["weights"]["uint3"]) == (4, 12)
        assert "state" in call("inspect", path).stdout


def test_inspect_tells_a_default_of_nan_in_valid_json(tmp_path: Path) -> None:
    path = package_files.write(package_files.files(), tmp_path / "m.mlpackage")
    file = path / package_files.MODEL
    model = Message.FromString(file.read_bytes())
    kind = model.description.input[0].type
    kind.isOptional = True
    kind.multiArrayType.floatDefaultValue = math.nan
    file.write_bytes(model.SerializeToString())
    (found,) = printed("inspect", path)["models"]
    assert found["functions"][0]["inputs"][0]["default"] == "nan"


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "new" / "model.pte"
    with replacing(target) as part:
        part.write_bytes(b"first")

    def fail() -> None:
        with replacing(target) as part:
            part.write_bytes(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with pytest.raises(CompileError, match="new cannot be written"), replacing(tmp_path / "new"):
        (tmp_path / "new").joinpath("missing", "file").write_bytes(b"")
    assert [path.name for path in target.parent.iterdir()] == ["model.pte"]
    assert target.read_bytes() == b"first"
