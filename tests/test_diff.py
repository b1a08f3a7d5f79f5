"""``etcoreml diff`` of programs that differ in ways that are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import report_models
from console import call

MODELS = Path(report_models.__file__)
INT4 = json.dumps({"dtype": "int4", "granularity": "per_block", "block_size": 32})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One model in several ways."""
    folder = tmp_path_factory.mktemp("diff")
    ways: dict[str, list[str]] = {
        "small": ["small"],
        "again": ["small"],
        "other": ["other"],
        "int4": ["small", "--quantize", INT4],
        "mixed": ["mixed"],
    }
    for name, (model, *options) in ways.items():
        result = call("export", f"{MODELS}:{model}", "-o", folder / f"{name}.pte", *options)
        assert result.exit_code == 0, result.output
    return {name: folder / f"{name}.pte" for name in ways}


def compared(*arguments: object) -> Any:
    result = call("diff", *arguments, "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == (0 if found["equal"] else 3), result.output
    return found


def test_equal_programs(made: dict[str, Path]) -> None:
    found = compared(made["small"], made["again"])
    assert found["equal"]
    assert not found["functions"]
    shown = call("diff", made["small"], made["again"])
    assert (shown.exit_code, "no difference" in shown.stdout) == (0, True)


def test_one_weight_and_one_op(made: dict[str, Path]) -> None:
    found = compared(made["small"], made["other"])
    (function,) = found["functions"]
    assert function["ops"] == {"relu": [1, None], "tanh": [None, 1]}
    (weight,) = function["weights"]
    assert weight["encoding"] == ["fp16", "fp16"]
    assert weight["bytes"] == [64 * 64 * 2] * 2
    assert weight["values"] == pytest.approx(0.5, abs=1e-3)
    assert function["equal_weights"] == 1  # the bias
    shown = call("diff", made["small"], made["other"])
    assert shown.exit_code == 3
    assert all(word in shown.stdout for word in ("relu", "tanh", weight["name"], "0.5"))


def test_weights_in_few_bits(made: dict[str, Path]) -> None:
    found = compared(made["small"], made["int4"])
    assert found["minimum_os"] == ["iOS15", "iOS18"]
    assert found["weight_bytes"]["int4"] == [None, 64 * 64 // 2]
    assert list(found["options"]) == ["forward/0: op_linear_quantizer_config"]
    (function,) = found["functions"]
    (weight,) = function["weights"]
    assert weight["encoding"] == ["fp16", "int4 per block of 32"]
    assert function["opset"] == ["CoreML5", "CoreML8"]


def test_methods_delegates_and_what_is_outside(made: dict[str, Path]) -> None:
    found = compared(made["small"], made["mixed"])
    assert found["delegates"] == {"forward": [1, 2]}
    assert found["outside"]["forward: aten.cosh.out"] == [None, 1]
    only = [each["name"] for each in found["functions"] if each["there"] == [False, True]]
    assert only == ["forward/1"]


def test_a_program_and_the_package_inside(made: dict[str, Path], tmp_path: Path) -> None:
    assert call("extract", made["small"], "-o", tmp_path).exit_code == 0
    assert compared(made["small"], tmp_path / "small.mlpackage")["equal"]


def test_a_file_that_is_no_model(made: dict[str, Path]) -> None:
    result = call("diff", made["small"], MODELS)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1
