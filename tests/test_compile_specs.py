"""Compile specs: the helpers of ExecuTorch's own backend, what they accept, write and read."""

from __future__ import annotations

import inspect
import json
import sys
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import torch
from executorch.exir.backend.compile_spec_schema import CompileSpec

from case import FP32, execute, export, lower, randn
from executorch_coreml import ComputeUnit, CoreMLBackend, CoreMLPartitioner, Target
from executorch_coreml.compiler import MULTIMETHOD_WEIGHT_SHARING_STRATEGY
from executorch_coreml.errors import OptionsError, PackageError

X = randn(2, 8)


def test_every_helper_of_the_stock_backend_is_here_with_its_arguments(stock: Path) -> None:
    theirs: dict[str, list[str]] = json.loads((stock / "helpers.json").read_text())
    assert len(theirs) > 12
    for name, parameters in theirs.items():
        ours = inspect.signature(getattr(CoreMLBackend, name)).parameters
        assert list(ours)[: len(parameters)] == parameters
        more = [ours[each] for each in list(ours)[len(parameters) :]]
        assert all(each.kind is each.KEYWORD_ONLY and each.default is None for each in more)


def test_coremltools_enums_own_enums_and_plain_values_give_the_same_specs() -> None:
    import coremltools as ct

    given: list[dict[str, Any]] = [
        {
            "compute_unit": ct.ComputeUnit.CPU_AND_NE,
            "minimum_deployment_target": ct.target.iOS17,
            "compute_precision": ct.precision.FLOAT32,
            "model_type": CoreMLBackend.MODEL_TYPE.MODEL,
        },
        {
            "compute_unit": ComputeUnit.CPU_AND_NE,
            "minimum_deployment_target": Target.iOS17,
            "compute_precision": FP32,
            "model_type": "model",
        },
        {
            "compute_unit": "cpu_and_ne",
            "minimum_deployment_target": "iOS17",
            "compute_precision": "float32",
        },
        {
            "compute_unit": "CPU_AND_NE",
            "minimum_deployment_target": 8,
            "compute_precision": "FLOAT32",
        },
    ]
    specs = [CoreMLBackend.generate_compile_specs(**arguments) for arguments in given]
    assert all(each == specs[0] for each in specs)
    assert [(spec.key, spec.value) for spec in specs[0]] == [
        ("compute_units", b"cpu_and_ne"),
        ("min_deployment_target", b"8"),
        ("model_compute_precision", b"float32"),
        ("model_type", b"model"),
    ]
    assert CoreMLBackend.compute_unit_from_compile_specs(specs[0]) is ComputeUnit.CPU_AND_NE
    assert CoreMLBackend.min_deployment_target_from_compile_specs(specs[0]) is Target.iOS17
    assert CoreMLBackend.model_compute_precision_from_compile_specs(specs[0]) is FP32
    assert CoreMLBackend.model_type_from_compile_specs(specs[0]) is CoreMLBackend.MODEL_TYPE.MODEL


def test_single_helpers_write_what_the_common_one_writes() -> None:
    config = {"mode": "linear_symmetric", "dtype": "int4", "granularity": "per_channel"}
    passes = ["common::const_elimination", "common::dead_code_elimination"]
    together = CoreMLBackend.generate_compile_specs(
        "cpu_only", Target.iOS18, "float16", "model", config, passes
    )
    single = [
        CoreMLBackend.generate_compute_unit_compile_spec("cpu_only"),
        CoreMLBackend.generate_minimum_deployment_target_compile_spec(Target.iOS18),
        CoreMLBackend.generate_compute_precision_compile_spec("float16"),
        CoreMLBackend.generate_model_type_compile_spec("model"),
        CoreMLBackend.generate_op_linear_quantizer_config_compile_spec(config),
        CoreMLBackend.generate_pass_pipeline_compile_spec(passes),
    ]
    assert together == single
    assert json.loads(single[4].value) == config
    assert json.loads(single[5].value) == passes
    assert CoreMLBackend.pass_pipeline_from_compile_specs(single).passes == passes
    assert CoreMLBackend.pass_pipeline_from_compile_specs([]).passes == []
    read = CoreMLBackend.op_linear_quantizer_config_from_compile_specs(single)
    assert (read.mode.lower(), read.granularity.name) == ("linear_symmetric", "PER_CHANNEL")
    assert CoreMLBackend.op_linear_quantizer_config_from_compile_specs([]) is None


def test_weight_sharing_strategies() -> None:
    class Theirs(Enum):  # as ExecuTorch's own backend defines it
        POSITIONAL = "positional"

    generate = CoreMLBackend.generate_multimethod_weight_sharing_strategy_compile_spec
    read = CoreMLBackend.multimethod_weight_sharing_strategy_from_compile_specs
    assert generate(Theirs.POSITIONAL) == CompileSpec(
        "multimethod_weight_sharing_strategy", b"positional"
    )
    for strategy in MULTIMETHOD_WEIGHT_SHARING_STRATEGY:
        assert read([generate(strategy)]) is strategy
        assert read([generate(strategy.value)]) is strategy
    assert read([]) is MULTIMETHOD_WEIGHT_SHARING_STRATEGY.BY_CONTENT


def test_named_passes_run_on_the_finished_program() -> None:
    """relu(relu(x)) loses an op to a pass, and computes the same."""
    from executorch_coreml.mil.bundle import read

    def fn(x: torch.Tensor) -> torch.Tensor:
        return torch.relu(torch.relu(x))

    def ops(pte: bytes) -> list[str]:
        return [op.type for op in read(pte).program.functions["main"].body.operations]

    plain, _ = lower(export(fn, (X,)))
    passed, _ = lower(export(fn, (X,)), pass_names=["common::merge_consecutive_relus"])
    assert ops(bytes(plain.buffer)).count("relu") == 2
    assert ops(bytes(passed.buffer)).count("relu") == 1
    assert torch.equal(execute(passed.buffer, (X,))[0], fn(X))


def test_unknown_passes_are_named_with_what_comes_close() -> None:
    with pytest.raises(OptionsError, match=r"no passes 'common::const_eliminaton'.*const_elimin"):
        CoreMLBackend.generate_compile_specs(pass_names=["common::const_eliminaton"])
    specs = [CompileSpec("pass_pipeline", b'["nonsense"]')]
    with pytest.raises(OptionsError, match="no passes 'nonsense'"):
        CoreMLPartitioner(compile_specs=specs)


def _dynamic() -> torch.export.ExportedProgram:
    class Two(torch.nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return x.sum() + y

    auto = torch.export.Dim.AUTO
    return torch.export.export(
        Two(),
        (randn(4, 6, 10), randn(5, 11)),
        dynamic_shapes=[{0: auto(min=1, max=4), 1: auto(min=5, max=6)}, {0: auto(min=3, max=5)}],
    )


def test_enumerated_shapes_are_checked_against_the_program() -> None:
    program = _dynamic()
    shapes = {"x": [[1, 5, 10], [4, 6, 10]], "y": [[3, 11], [5, 11]]}
    spec = CoreMLBackend.generate_enumerated_shapes_compile_spec(program, shapes)
    assert spec.key == "enumerated_shapes"
    read = CoreMLBackend.enumerated_shapes_from_compile_specs([spec])
    assert read == {n: tuple(map(tuple, each)) for n, each in shapes.items()}
    for wrong, message in [
        ({"x": shapes["x"], "z": shapes["y"]}, "names no inputs of the program: z"),
        ({"x": shapes["x"]}, "input y has a dynamic shape"),
        ({"x": shapes["x"], "y": [[3, 11]]}, "as many shapes for each input"),
        ({"x": [[1, 5], [4, 6, 10]], "y": shapes["y"]}, "the input has rank 3"),
        ({"x": [[1, 5, 9], [4, 6, 10]], "y": shapes["y"]}, "extent 2 of the input is always 10"),
        ({"x": [[1, 5, 10], [7, 6, 10]], "y": shapes["y"]}, "extent 0 of the input lies in"),
        ({}, "names no input"),
        ({"x": 3}, "must map each input to a list of shapes"),
    ]:
        with pytest.raises(OptionsError, match=message):
            CoreMLBackend.generate_enumerated_shapes_compile_spec(program, wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("pass_pipeline", b"[", "is no JSON"),
        ("pass_pipeline", b'"a"', "must be a list of names"),
        ("op_linear_quantizer_config", b"[1]", "must be a dictionary"),
        ("multimethod_weight_sharing_strategy", b"some", "must be one of BY_CONTENT, POSITIONAL"),
        ("enumerated_shapes", b'{"x": [[0], [1]]}', "must be positive"),
    ],
)
def test_malformed_specs(key: str, value: bytes, message: str) -> None:
    with pytest.raises(OptionsError, match=message):
        CoreMLPartitioner(compile_specs=[CompileSpec(key, value)])


def test_configs_that_are_no_plain_data() -> None:
    with pytest.raises(OptionsError, match="is no plain data"):
        CoreMLBackend.generate_compile_specs(op_linear_quantizer_config={"dtype": torch.int8})


@pytest.mark.skipif(sys.platform == "darwin", reason="there is a compiler")
def test_compiled_models_are_refused_with_the_alternative() -> None:
    specs = CoreMLBackend.generate_compile_specs(model_type=CoreMLBackend.MODEL_TYPE.COMPILED_MODEL)
    with pytest.raises(PackageError, match=r"macOS only.*use model_type MODEL.*etcoreml finish"):
        CoreMLPartitioner(compile_specs=specs)
