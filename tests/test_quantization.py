"""Quantized models through the ExecuTorch runtime, equal to the quantized model in PyTorch."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from torch import nn
from torchao.quantization import (
    Int8DynamicActivationIntxWeightConfig,
    PerAxis,
    PerGroup,
    quantize_,
)
from torchao.quantization.pt2e import allow_exported_model_train_eval
from torchao.quantization.pt2e.fake_quantize import FakeQuantizeBase
from torchao.quantization.pt2e.quantize_pt2e import (
    convert_pt2e,
    prepare_pt2e,
    prepare_qat_pt2e,
)

from case import FP16, FP32, EdgeProgram, assert_close, execute, export, lower, snippets
from executorch_coreml import CoreMLPartitioner, Target
from executorch_coreml.errors import OptionsError, UnsupportedOp
from executorch_coreml.mil.bundle import read
from executorch_coreml.mil.summary import Summary, summarise
from executorch_coreml.quantizer import (
    CoreMLQuantizer,
    LinearQuantizerConfig,
    ModuleLinearQuantizerConfig,
)
from quantized_models import (
    PT2E,
    TORCHAO,
    Layers,
    assert_as_quantized,
    layer_inputs,
    pt2e,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # torchao and torch.export have many


def _run(model: nn.Module, inputs: tuple[Any, ...], precision: Any, **options: Any) -> list[Any]:
    return _outputs(lower(export(model, inputs), precision, **options), inputs)


def _outputs(made: tuple[Any, CoreMLPartitioner], inputs: tuple[Any, ...]) -> list[Any]:
    """Of a program that must be one delegate."""
    lowered, partitioner = made
    assert not partitioner.report.refused, str(partitioner.report)
    assert partitioner.report.delegates == 1
    return execute(lowered.buffer, inputs)


def _summary(model: nn.Module, inputs: tuple[Any, ...], precision: Any = FP16) -> Summary:
    lowered, _ = lower(export(model, inputs), precision)
    return summarise(read(lowered.buffer))


class Schemes(nn.Module):
    """Modules that are quantized in different ways, in one program."""

    def __init__(self, modules: list[nn.Module]) -> None:
        super().__init__()
        self.schemes = nn.ModuleList(modules)

    def forward(self, *inputs: torch.Tensor) -> list[tuple[torch.Tensor, ...]]:
        return [module(*inputs) for module in self.schemes]


@pytest.mark.parametrize("target", [Target.iOS16, Target.iOS17, Target.iOS18])
def test_equals_the_quantized_model_in_pytorch(target: Target) -> None:
    """All schemes that need the same target, which is what is chosen for them."""
    schemes = [scheme for scheme in (*PT2E, *TORCHAO) if scheme.needs == target]
    model = Schemes([one.quantize(Layers().eval(), layer_inputs(seed=1)) for one in schemes])
    # Not what it was calibrated with: the extremes of that lie half way between two integers.
    inputs = layer_inputs(seed=2)
    program = EdgeProgram(export(model, inputs))
    with torch.no_grad():
        expected = model(*inputs)
    for precision in (FP32, FP16):
        lowered, partitioner = program.lower(precision)
        assert read(lowered.buffer).specification_version == target
        with snippets(precision):
            outputs = iter(_outputs((lowered, partitioner), inputs))
        for scheme, results in zip(schemes, expected, strict=True):
            for index, other in enumerate(results):
                what = f"{scheme.id}, {precision.name}, output {index}"
                assert_as_quantized(next(outputs), other, precision, scheme.activations, what)
        assert not list(outputs)


class Wide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(512, 256)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x)


_WIDE = 512 * 256


@pytest.mark.parametrize("precision", [FP32, FP16], ids=["fp32", "fp16"])
@pytest.mark.parametrize("bits", [4, 8])
def test_dynamic_activations_of_torchao(bits: int, precision: Any) -> None:
    granularity = PerGroup(32) if bits == 4 else PerAxis(0)
    config = Int8DynamicActivationIntxWeightConfig(
        weight_dtype=getattr(torch, f"int{bits}"), weight_granularity=granularity
    )
    model = Wide().eval()
    quantize_(model, config)
    inputs = (torch.randn(2, 3, 512, generator=torch.Generator().manual_seed(0)),)
    lowered, partitioner = lower(export(model, inputs), precision)
    assert not partitioner.report.refused, str(partitioner.report)
    (got,) = execute(lowered.buffer, inputs)
    assert_close(got, model(*inputs), 1e-5 if precision is FP32 else 4e-3, 1e-6, "dynamic")
    stored = summarise(read(lowered.buffer)).weights[f"int{bits}"]
    assert _WIDE * bits / 8 <= stored < 1.03 * _WIDE * bits / 8


def test_tied_weights_are_stored_once() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(512, 256)
            self.head = nn.Linear(256, 512, bias=False)
            self.head.weight = self.embedding.weight

        def forward(self, indices: torch.Tensor) -> torch.Tensor:
            return self.head(self.embedding(indices))

    inputs = (torch.tensor([[1, 5, 7]]),)
    weights = _summary(pt2e(Tied().eval(), inputs, activation_dtype="float32"), inputs).weights
    assert weights["int8"] < 1.03 * _WIDE


@pytest.mark.parametrize(
    ("scheme", "target", "ops"),
    [
        ("weight_only", Target.iOS16, {"constexpr_affine_dequantize"}),
        ("palette4", Target.iOS16, {"constexpr_lut_to_dense"}),
        ("static", Target.iOS17, {"constexpr_affine_dequantize", "quantize", "dequantize"}),
        ("int4_group", Target.iOS18, {"constexpr_blockwise_shift_scale"}),
        ("palette4_columns", Target.iOS18, {"constexpr_lut_to_dense"}),
    ],
)
def test_the_oldest_target_that_holds_the_form_is_chosen(
    scheme: str, target: Target, ops: set[str]
) -> None:
    by_id = {one.id: one for one in (*PT2E, *TORCHAO)}
    inputs = (torch.randn(1, 512),)
    summary = _summary(by_id[scheme].quantize(Wide().eval(), inputs), inputs)
    assert summary.minimum_os == target.name
    assert ops <= set(summary.functions[0].ops)


@pytest.mark.parametrize("scheme", ["weight_only", "palette4", "int8_axis"])
def test_the_newest_target_takes_the_old_forms(scheme: str) -> None:
    by_id = {one.id: one for one in (*PT2E, *TORCHAO)}
    inputs = (torch.randn(1, 512),)
    model = by_id[scheme].quantize(Wide().eval(), inputs)
    (got,) = _run(model, inputs, FP32, minimum_deployment_target=Target.iOS26)
    assert_close(got, model(*inputs), 1e-5, 1e-6, scheme)


def test_a_target_without_weights_of_8_bits_is_an_error() -> None:
    inputs = (torch.randn(1, 512),)
    model = {one.id: one for one in TORCHAO}["int8_axis"].quantize(Wide().eval(), inputs)
    with pytest.raises(UnsupportedOp, match=r"in linear: .*: needs iOS16 or later.*Hint: set the"):
        lower(export(model, inputs), minimum_deployment_target=Target.iOS15)


def test_scales_too_small_for_fp16_keep_their_weight_in_fp32() -> None:
    model = Wide().eval()
    with torch.no_grad():
        model.linear.weight *= 1e-4
    inputs = (torch.randn(1, 512).half().float(),)
    quantized = pt2e(model, inputs, activation_dtype="float32")
    (got,) = _run(quantized, inputs, FP16)
    assert_close(got, quantized(*inputs), 2e-3, 0.0, "tiny weight")


class Net(nn.Module):
    """What fuses, shares and joins."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.act = nn.ReLU6(inplace=True)
        self.pool = nn.MaxPool2d(2)
        self.branch = nn.Conv2d(8, 8, 1)
        self.fc = nn.Linear(16 * 16, 10)
        self.soft = nn.Softmax(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.act(self.bn(self.conv(x))))
        x = torch.cat([x + self.branch(x), x], dim=1)
        return self.soft(self.fc(x.flatten(1)))


def _net() -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    return Net().eval(), (torch.randn(1, 3, 8, 8).half().float(),)


def _quantizers(prepared: nn.Module) -> list[FakeQuantizeBase]:
    return [module for module in prepared.modules() if isinstance(module, FakeQuantizeBase)]


@pytest.mark.parametrize("prepare", [prepare_pt2e, prepare_qat_pt2e], ids=["ptq", "qat"])
def test_fusions_and_shared_observers(prepare: Any) -> None:
    model, inputs = _net()
    prepared = prepare(torch.export.export(model, inputs).module(), CoreMLQuantizer())
    prepared(*inputs)
    converted = allow_exported_model_train_eval(convert_pt2e(prepared))
    inputs = (torch.randn(1, 3, 8, 8),)  # not the extremes of the calibration
    (got,) = _run(converted, inputs, FP32)
    expected = converted(*inputs)
    assert_close(got, expected, 1e-5, 1e-6, "net")
    assert (expected - model(*inputs)).abs().max() < 0.1 * model(*inputs).abs().max()
    scales = {
        node.args[1] for node in converted.graph.nodes if "quantize_per_tensor" in str(node.target)
    }
    # the input; the activation; the branch; what is joined (the sum and the activation); logits
    assert len(scales) <= 5


def test_prepare_is_quick() -> None:
    model, inputs = _net()
    exported = torch.export.export(model, inputs).module()
    start = time.process_time()
    prepared = prepare_pt2e(exported, CoreMLQuantizer())
    assert time.process_time() - start < 1.0
    assert _quantizers(prepared)


@pytest.mark.parametrize(
    "config",
    [
        {"module_name_configs": {"fc": None}, "global_config": {}},
        {"module_type_configs": {"Linear": None}, "global_config": {}},
        {"module_type_configs": {nn.Linear: None}, "global_config": {}},
        {"module_type_configs": {nn.functional.linear: None}, "global_config": {}},
        LinearQuantizerConfig(
            global_config=ModuleLinearQuantizerConfig(),
            module_name_configs={"fc": ModuleLinearQuantizerConfig(weight_dtype=torch.float32)},
        ),
    ],
    ids=["name", "type_name", "type", "function", "float32"],
)
def test_layers_can_be_left_as_they_are(config: Any) -> None:
    model, inputs = _net()
    converted = pt2e(model, inputs, config)
    linear = next(n for n in converted.graph.nodes if n.target is torch.ops.aten.linear.default)
    assert linear.args[1].op == "get_attr"
    assert "dequantize" not in linear.args[1].name
    convolutions = [n for n in converted.graph.nodes if n.target is torch.ops.aten.conv2d.default]
    assert all("dequantize" in n.args[1].name for n in convolutions)


def test_the_longest_module_name_wins() -> None:
    model = nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), nn.Linear(4, 4))
    weight_only = {"activation_dtype": "float32"}
    config = {"module_name_configs": {"0": weight_only, "0.1": None}}
    converted = pt2e(model.eval(), (torch.randn(1, 4),), config)
    linears = [n for n in converted.graph.nodes if n.target is torch.ops.aten.linear.default]
    assert ["dequantize" in n.args[1].name for n in linears] == [True, False, False]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"module_name_configs": {"head": None}}, r"\['head'\]: the model has no such module"),
        ({"module_name_configs": {"soft": {}}}, r"\['soft'\]: the module holds no op"),
        ({"module_type_configs": {"Lienar": None}}, "'Lienar', which is no class of torch.nn"),
        ({"module_name_configs": {"fc": {"weight_dtype": "int3"}}}, r"\['fc'\]: weight_dtype must"),
        ({"global_config": {"activation_dtype": "qint4"}}, "activation_dtype must be one of"),
        ({"global_config": {"quantization_scheme": "odd"}}, "quantization_scheme must be one of"),
        ({"global_config": {"weight_observer": "ema_min_max"}}, "weight_observer must be one of"),
        ({"global_config": {"algorithm": "learnable"}}, "algorithm must be 'vanilla'"),
        ({"global_config": {"bits": 4}}, "unknown keys for ModuleLinearQuantizerConfig: bits"),
        ({"globl": {}}, "unknown keys for LinearQuantizerConfig: globl"),
        (17, "a LinearQuantizerConfig, a mapping or YAML is needed; got 17"),
    ],
)
def test_a_config_that_cannot_be_honoured_is_an_error(config: Any, message: str) -> None:
    model, inputs = _net()
    with pytest.raises(OptionsError, match=message):
        pt2e(model, inputs, config)
