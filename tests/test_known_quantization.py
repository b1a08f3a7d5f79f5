"""Known failures of quantized models in today's tools, each by the issue that reported it.

Those that only a device shows (which unit runs a weight, and what it makes of it) are not here.
"""

from __future__ import annotations

import pytest
import torch
from executorch.exir import to_edge_transform_and_lower
from executorch.runtime import Runtime
from torch import nn
from torchao.quantization import quantize_

from case import FP16, FP32, assert_close, execute, export, lower, randn
from executorch_coreml import CoreMLBackend, CoreMLPartitioner, Target
from executorch_coreml.errors import UnsupportedOp
from executorch_coreml.mil.bundle import read
from package_files import main_ops
from quantized_models import PT2E, TORCHAO, palette, pt2e

pytestmark = pytest.mark.filterwarnings("ignore")  # torchao and torch.export have many
SCHEMES = {scheme.id: scheme for scheme in (*PT2E, *TORCHAO)}
X = randn(3, 64)


class Layer(nn.Module):
    def __init__(self, outputs: int = 120) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(64, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.linear(x)
        return y


def quantized(scheme: str) -> nn.Module:
    return SCHEMES[scheme].quantize(Layer().eval(), (X,))


def run(model: nn.Module, target: Target | None = None) -> tuple[torch.Tensor, set[str]]:
    """(result in float32, the types of the ops)."""
    lowered, partitioner = lower(export(model, (X,)), FP32, minimum_deployment_target=target)
    assert not partitioner.report.refused, str(partitioner.report)
    types = {op.type for op in main_ops(read(lowered.buffer)).values()}
    return execute(lowered.buffer, (X,))[0], types


@pytest.mark.parametrize("target", ["iOS15", "iOS16"])
def test_et13305_quantized_activations_say_which_target_they_need(target: str) -> None:
    with pytest.raises(UnsupportedOp, match="needs iOS17 or later; minimum_deployment_target is"):
        lower(export(quantized("static"), (X,)), minimum_deployment_target=target)


@pytest.mark.parametrize(
    ("scheme", "oldest"), [("weight_only", "iOS16"), ("static", "iOS17"), ("int4_group", "iOS18")]
)
def test_et12059_no_newer_opset_than_the_model_needs(scheme: str, oldest: str) -> None:
    lowered, partitioner = lower(export(quantized(scheme), (X,)), FP16)
    assert read(lowered.buffer).specification_version == Target[oldest]
    assert f"{oldest} or later because: " in str(partitioner.report)


@pytest.mark.parametrize("target", [Target.iOS16, Target.iOS17])
def test_ct2589_weights_per_axis_before_ios18(target: Target) -> None:
    model = quantized("int8_axis")
    got, types = run(model, target)
    assert "constexpr_affine_dequantize" in types
    assert_close(got, model(X), 1e-5, 1e-6, "int8 per axis")


@pytest.mark.parametrize("scheme", ["int4_axis", "int8_group"])
def test_ct2589_what_has_no_form_before_ios18_says_so(scheme: str) -> None:
    with pytest.raises(UnsupportedOp, match=r"in linear: it cannot run .*: needs iOS18 or later"):
        lower(export(quantized(scheme), (X,)), minimum_deployment_target=Target.iOS17)


@pytest.mark.parametrize("target", [Target.iOS16, Target.iOS18])
def test_ct2688_a_palette_has_no_scale_beside_it(target: Target) -> None:
    model = quantized("palette4")
    got, types = run(model, target)
    assert "constexpr_lut_to_dense" in types
    assert not types & {"constexpr_blockwise_shift_scale", "dequantize"}
    assert_close(got, model(X), 1e-5, 1e-6, "palette")


def test_ct2777_a_palette_for_every_group_of_channels() -> None:
    model = Layer().eval()
    quantize_(model, palette(4, 8, -1))
    got, types = run(model)
    assert "constexpr_lut_to_dense" in types
    assert_close(got, model(X), 1e-5, 1e-6, "15 palettes")


def test_ct2777_groups_that_do_not_divide_the_channels_never_reach_us() -> None:
    with pytest.raises((AssertionError, RuntimeError, ValueError)):
        quantize_(Layer().eval(), palette(4, 16, -1))


class Accumulating(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = Layer(64)
        self.register_buffer("total", torch.zeros(3, 64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.total.mul_(0.5).add_(self.layer(x))
        return self.total * 1.0


def test_ct2716_palettes_and_a_state_for_200_predictions() -> None:
    model = Accumulating().eval()
    quantize_(model, palette(4, -1, -1))
    partitioner = CoreMLPartitioner(
        compile_specs=CoreMLBackend.generate_compile_specs(compute_precision=FP16),
        take_over_mutable_buffer=True,
        lower_full_graph=True,
    )
    edge = to_edge_transform_and_lower(export(model, (X,)), partitioner=[partitioner])
    pte = edge.to_executorch().buffer
    assert "read_state" in {op.type for op in main_ops(read(pte)).values()}
    method = Runtime.get().load_program(pte).load_method("forward")
    for step in range(200):
        x = X * (1 + step % 7)
        (got,) = method.execute((x,))
        with torch.no_grad():
            expected = model(x)
        assert_close(got, expected, 4e-3, 1e-3, f"prediction {step}")


@pytest.mark.parametrize("activations", [False, True])
def test_et9617_weights_of_4_bits_from_pt2e(activations: bool) -> None:
    model = quantized("static_quint4" if activations else "weight_only_qint4")
    got, _ = run(model)
    assert_close(got, model(X), 1e-5, 1e-6, "4 bits")


def test_et9649_palettes_beside_quantized_activations() -> None:
    """PT2E has no palettes; torchao's, made first, stay where PT2E leaves the layer alone."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.palette, self.static = Layer(64), Layer(32)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.static(torch.relu(self.palette(x)))
            return y

    model = Two().eval()
    quantize_(model.palette, palette(4, -1, -1))
    config = {"global_config": {}, "module_name_configs": {"palette": None}}
    model = pt2e(model, (X,), config)
    got, types = run(model)
    assert {"constexpr_lut_to_dense", "quantize", "dequantize"} <= types
    assert_close(got, model(X), 1e-5, 1e-6, "palette and static")
