"""Configs of the quantizer from other places: YAML, coremltools' objects."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from executorch_coreml.errors import OptionsError
from executorch_coreml.quantizer import (
    CoreMLQuantizer,
    LinearQuantizerConfig,
    ModuleLinearQuantizerConfig,
    ObserverType,
    QuantizationScheme,
)
from quantized_models import pt2e

TEXT = """
global_config:
  quantization_scheme: affine
  weight_dtype: qint8
  activation_dtype: float32
module_type_configs:
  Conv2d: {weight_per_channel: false, weight_observer: min_max}
  torch.nn.Embedding: null
module_name_configs:
  "1.head": {weight_dtype: qint4}
  "0": null
"""
EQUAL = LinearQuantizerConfig(
    global_config=ModuleLinearQuantizerConfig(
        quantization_scheme=QuantizationScheme.affine, activation_dtype=torch.float32
    ),
    module_type_configs={
        nn.Conv2d: ModuleLinearQuantizerConfig(
            weight_per_channel=False, weight_observer=ObserverType.min_max
        ),
        nn.Embedding: None,
    },
    module_name_configs={"1.head": ModuleLinearQuantizerConfig(weight_dtype="qint4"), "0": None},
)


def test_yaml_from_a_path_a_file_and_a_text(tmp_path: Path) -> None:
    path = tmp_path / "quantize.yaml"
    path.write_text(TEXT)
    assert LinearQuantizerConfig.from_yaml(path) == EQUAL
    assert LinearQuantizerConfig.from_yaml(str(path)) == EQUAL
    assert LinearQuantizerConfig.from_yaml(TEXT) == EQUAL
    assert LinearQuantizerConfig.from_yaml(io.StringIO(TEXT)) == EQUAL
    with path.open() as file:
        assert LinearQuantizerConfig.from_yaml(file) == EQUAL
    for given in (path, str(path), TEXT):
        assert CoreMLQuantizer(given).config == EQUAL
    one = ModuleLinearQuantizerConfig.from_yaml("{weight_dtype: quint4, activation_dtype: quint8}")
    assert one == ModuleLinearQuantizerConfig(weight_dtype="quint4")


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("# nothing yet\n")
    assert LinearQuantizerConfig.from_yaml(path) == LinearQuantizerConfig()


def test_yaml_quantizes_a_model(tmp_path: Path) -> None:
    path = tmp_path / "quantize.yaml"
    path.write_text("{global_config: {activation_dtype: float32}, module_name_configs: {'1': }}")
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    converted = pt2e(model, (torch.randn(1, 8),), path)
    linears = [n for n in converted.graph.nodes if n.target is torch.ops.aten.linear.default]
    assert ["dequantize" in n.args[1].name for n in linears] == [True, False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("global_config: {bits: 4}", r"c.yaml: global_config: unknown keys for Module.*: bits;"),
        ("globl: {}", r"c.yaml: unknown keys for LinearQuantizerConfig: globl;"),
        (
            "module_name_configs: {a.b: {weight_dtype: int3}}",
            r"c.yaml: module_name_configs\['a.b'\]: weight_dtype must be one of .* got 'int3'",
        ),
        (
            "module_type_configs: {Conv2d: {weight_per_channel: 1}}",
            r"c.yaml: module_type_configs\['torch.nn.modules.conv.Conv2d'\]: weight_per_channel is",
        ),
        ("module_type_configs: {Lienar: }", r"c.yaml: module_type_configs names 'Lienar'"),
        ("module_name_configs: {0.1: {}}", r"c.yaml: .* has key 0.1;.*Hint: .*in quotes: \"0.1\""),
        ("module_name_configs: [fc]", r"c.yaml: module_name_configs: it must be a mapping; got \["),
        ("global_config: affine", r"c.yaml: global_config: it must be a config, .*got 'affine'"),
        ("- 1", r"c.yaml: a mapping is needed; got \[1\]"),
        ("a: [", r"c.yaml: it is no YAML: .*line 1"),
    ],
)
def test_errors_name_the_file_the_key_and_the_module(
    text: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(OptionsError, match=f"(?s){message}"):
        CoreMLQuantizer(path)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(OptionsError, match=r"nowhere.yaml: cannot be read as a quantizer config"):
        CoreMLQuantizer("nowhere.yaml")
    with pytest.raises(OptionsError, match="the YAML text: it is no YAML"):
        CoreMLQuantizer("a: [")


def test_configs_of_coremltools_are_read() -> None:
    observer = SimpleNamespace(value="min_max")
    module = SimpleNamespace(
        weight_dtype=torch.qint8,
        activation_dtype=torch.float32,
        weight_observer=observer,
        activation_observer=observer,
        weight_per_channel=True,
        weight_n_bits=4,
        milestones=[0, 0, 10, 10],
        quantization_scheme=QuantizationScheme.affine,
    )
    whole = SimpleNamespace(
        global_config=module, module_type_configs={}, module_name_configs={"fc": None}
    )
    config = CoreMLQuantizer(whole).config
    assert config.module_name_configs == {"fc": None}
    read_config = config.global_config
    assert read_config is not None
    assert read_config.weight_dtype == "qint4"
    assert read_config.activation is None
    assert not read_config.symmetric
