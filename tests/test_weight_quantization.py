"""``op_linear_quantizer_config``: the weights coremltools makes of the same model, run here."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from case import FP16, FP32, EdgeProgram, execute, export, lower, partitioned, randn
from executorch_coreml import ComputePrecision, CoreMLBackend, Model, Target
from executorch_coreml.compiler.quiet import quiet_coremltools
from executorch_coreml.errors import OptionsError, PackageError
from executorch_coreml.mil.bundle import read
from executorch_coreml.mil.pte import read_pte
from finished_weights import TOKENS, Layers, unpacked

with quiet_coremltools():
    import coremltools as ct
    from coremltools.optimize.coreml import (
        OpLinearQuantizerConfig,
        OptimizationConfig,
        linear_quantize_weights,
    )

CONFIGS: dict[str, tuple[dict[str, Any], Target]] = {
    "default": ({}, Target.iOS16),
    "tensor": ({"granularity": "per_tensor"}, Target.iOS16),
    "affine": ({"mode": "linear", "dtype": "uint8"}, Target.iOS16),
    "int4": ({"dtype": "int4", "granularity": "per_channel"}, Target.iOS18),
    "blocks": ({"dtype": "int4", "granularity": "per_block", "block_size": 8}, Target.iOS18),
    "large": ({"weight_threshold": 5000}, Target.iOS16),
}


def weights(pte: bytes) -> int:
    return len(read_pte(memoryview(pte)).delegates[0].processed)


@cache
def program() -> EdgeProgram:
    """Weights are quantized when a delegate is compiled."""
    return EdgeProgram(export(Layers(), (TOKENS,)))


@pytest.mark.xdist_group("weight_quantization")
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("precision", [FP32, FP16], ids=["fp32", "fp16"])
def test_equals_what_coremltools_makes_of_the_plain_model(
    name: str, precision: ComputePrecision, tmp_path: Path
) -> None:
    config, target = CONFIGS[name]
    ours, partitioner = program().lower(precision, op_linear_quantizer_config=config)
    assert partitioner.report.delegates == 1
    assert not partitioner.report.refused
    assert read(bytes(ours.buffer)).specification_version == target
    reason = f"{target.name} or later because: op_linear_quantizer_config"
    assert reason in str(partitioner.report)

    plain, _ = program().lower(precision, minimum_deployment_target=target)
    with quiet_coremltools():
        model = ct.models.MLModel(
            str(unpacked(bytes(plain.buffer), tmp_path)), skip_model_load=True
        )
        chosen = OptimizationConfig(
            global_config=OpLinearQuantizerConfig._from_dict(config),
            op_type_configs={"gather": None},
        )
        linear_quantize_weights(model, chosen).save(str(tmp_path / "theirs.mlpackage"))
    theirs = Model(tmp_path / "theirs.mlpackage")
    (expected,) = theirs.run([TOKENS.numpy().astype(np.int32)])
    (got,) = execute(ours.buffer, (TOKENS,))
    np.testing.assert_array_equal(got.numpy(), expected)
    eager = Layers()(TOKENS)
    assert not torch.allclose(got, eager, atol=1e-3)  # it is quantized
    error = (got - eager).norm() / eager.norm()
    assert error < (0.25 if config.get("dtype") == "int4" else 0.02)
    assert weights(bytes(ours.buffer)) < weights(bytes(plain.buffer))


class Tied(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(512, 64)
        self.head = torch.nn.Linear(64, 512, bias=False)
        self.head.weight = self.table.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.table(tokens))
        return logits


def test_a_table_that_is_also_a_layers_weight_is_quantized_once() -> None:
    torch.manual_seed(0)
    model = Tied()
    lowered, _ = lower(export(model, (TOKENS,)), FP32, op_linear_quantizer_config={})
    assert 512 * 64 < weights(bytes(lowered.buffer)) < 1.4 * 512 * 64
    with torch.no_grad():
        scale = model.table.weight.abs().amax(1, keepdim=True) / 127
        model.table.weight.copy_((model.table.weight / scale).round() * scale)
    (got,) = execute(lowered.buffer, (TOKENS,))
    torch.testing.assert_close(got, model(TOKENS), rtol=0, atol=1e-4)


def test_methods_share_quantized_weights() -> None:
    from executorch.exir import to_edge_transform_and_lower

    from executorch_coreml import CoreMLPartitioner

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(256, 512), torch.nn.ReLU())
    specs = CoreMLBackend.generate_compile_specs(
        op_linear_quantizer_config={"dtype": "int4"}, minimum_deployment_target="iOS18"
    )
    inputs = {"one": (randn(1, 256),), "many": (randn(5, 256),)}
    lowered = to_edge_transform_and_lower(
        {name: export(model, given) for name, given in inputs.items()},
        partitioner={name: [CoreMLPartitioner(compile_specs=specs)] for name in inputs},
    ).to_executorch()
    assert 256 * 512 / 2 < len(lowered.buffer) < 1.2 * 256 * 512 / 2


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"dtype": "int3"}, "Invalid dtype int3"),
        ({"granularity": "per_row"}, "Invalid granularity=per_row"),
        ({"mode": "cubic"}, "Got mode"),
        ({"bits": 4}, "Extra fields in constructor"),
    ],
)
def test_wrong_configurations_are_refused_when_the_specs_are_made(
    config: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionsError, match=message):
        CoreMLBackend.generate_compile_specs(op_linear_quantizer_config=config)
    with pytest.raises(OptionsError, match=message):
        CoreMLBackend.generate_op_linear_quantizer_config_compile_spec(config)


@pytest.mark.parametrize(
    ("name", "target", "message"),
    [
        ("default", "iOS15", "op_linear_quantizer_config: needs iOS16"),
        ("int4", "iOS17", "with 4 bits: needs iOS18; minimum_deployment_target is iOS17"),
        ("blocks", "iOS16", "with blocks: needs iOS18"),
    ],
)
def test_a_target_that_lacks_the_form_is_an_error_that_says_which_has_it(
    name: str, target: str, message: str
) -> None:
    program = export(Layers(), (TOKENS,))
    options = {"minimum_deployment_target": target, "op_linear_quantizer_config": CONFIGS[name][0]}
    with pytest.raises(OptionsError, match=message) as caught:
        partitioned(program, **options)
    assert "set minimum_deployment_target to" in str(caught.value)


def test_blocks_that_fit_no_weight_name_the_option() -> None:
    blocks = {"granularity": "per_block", "block_size": [1, 8], "weight_threshold": 500}
    with pytest.raises(PackageError, match=r"op_linear_quantizer_config to see whether"):
        lower(export(Layers(), (TOKENS,)), FP32, op_linear_quantizer_config=blocks)
