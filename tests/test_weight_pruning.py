"""``op_pruner_config``: weights without their zeros, as coremltools makes them, run here."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune
from torchao.prototype.quantization.codebook_coreml import CodebookWeightOnlyConfig
from torchao.prototype.sparsity.sparsifier.weight_norm_sparsifier import WeightNormSparsifier
from torchao.quantization import (
    IntxWeightOnlyConfig,
    MappingType,
    PerAxis,
    PerGroup,
    quantize_,
)
from torchao.sparsity import WandaSparsifier, apply_fake_sparsity, sparsify_
from torchao.sparsity.sparse_api import BlockSparseWeightConfig, SemiSparseWeightConfig

from case import FP16, FP32, assert_close, execute, export
from executorch_coreml import ComputePrecision, CoreMLBackend, CoreMLPartitioner, Model, Target
from executorch_coreml.compiler.quiet import quiet_coremltools
from executorch_coreml.errors import OptionsError
from executorch_coreml.mil.bundle import read
from executorch_coreml.mil.summary import Summary, summarise
from finished_weights import TOKENS, Layers, unpacked

with quiet_coremltools():
    import coremltools as ct
    from coremltools.optimize import coreml as theirs

pytestmark = pytest.mark.filterwarnings("ignore")  # torchao and torch.export have many

JOINT = {"joint_compression": True}
_SPECS = CoreMLBackend.generate_compile_specs


def _lower(
    program: Any,
    precision: ComputePrecision = FP32,
    pruner: dict[str, Any] | None = None,
    **options: Any,
) -> tuple[bytes, CoreMLPartitioner]:
    from executorch.exir import to_edge_transform_and_lower

    specs = _SPECS(compute_precision=precision, op_pruner_config=pruner, **options)
    partitioner = CoreMLPartitioner(compile_specs=specs, lower_full_graph=True)
    edge = to_edge_transform_and_lower(program, partitioner=[partitioner])
    return bytes(edge.to_executorch().buffer), partitioner


def _summary(pte: bytes) -> Summary:
    return summarise(read(pte))


# -- as coremltools does ---------------------------------------------------------------------------

# name -> (our fields, coremltools' config, fields of a quantizer, the oldest target)
CONFIGS: dict[str, tuple[dict[str, Any], Any, dict[str, Any] | None, Target]] = {
    "blocks": (
        {"target_sparsity": 0.6, "block_size": 4},
        theirs.OpMagnitudePrunerConfig(target_sparsity=0.6, block_size=4),
        None,
        Target.iOS16,
    ),
    "n_m": (
        {"n_m_ratio": [3, 4]},
        theirs.OpMagnitudePrunerConfig(n_m_ratio=(3, 4)),
        None,
        Target.iOS16,
    ),
    "either": (  # each weight is sparse or in 8 bits
        {"threshold": 0.08},
        theirs.OpThresholdPrunerConfig(threshold=0.08),
        {"weight_threshold": 500},
        Target.iOS16,
    ),
    "int8": (
        {"target_sparsity": 0.5, **JOINT},
        theirs.OpMagnitudePrunerConfig(target_sparsity=0.5),
        {},
        Target.iOS18,
    ),
    "int4": (
        {"target_sparsity": 0.5, **JOINT},
        theirs.OpMagnitudePrunerConfig(target_sparsity=0.5),
        {"mode": "linear", "dtype": "uint4", "granularity": "per_block", "block_size": 8},
        Target.iOS18,
    ),
}


@cache
def _layers() -> Any:
    return export(Layers(), (TOKENS,))


@cache
def _plain(precision: ComputePrecision, target: Target) -> bytes:
    return _lower(_layers(), precision, minimum_deployment_target=target)[0]


@pytest.mark.parametrize("name", CONFIGS)
def test_equals_what_coremltools_makes_of_the_plain_model(name: str, tmp_path: Path) -> None:
    ours, pruner, quantizer, target = CONFIGS[name]
    precision = FP16 if name == "int4" else FP32
    pte, partitioner = _lower(_layers(), precision, ours, op_linear_quantizer_config=quantizer)
    assert read(pte).specification_version == target
    assert f"{target.name} or later because: op_" in str(partitioner.report)

    plain = _plain(precision, target)
    with quiet_coremltools():
        model = ct.models.MLModel(str(unpacked(plain, tmp_path)), skip_model_load=True)
        model = theirs.prune_weights(model, theirs.OptimizationConfig(pruner))
        if quantizer is not None:
            chosen = theirs.OptimizationConfig(
                global_config=theirs.OpLinearQuantizerConfig._from_dict(quantizer),
                op_type_configs={"gather": None},
            )
            joint = ours.get("joint_compression", False)
            model = theirs.linear_quantize_weights(model, chosen, joint_compression=joint)
        model.save(str(tmp_path / "theirs.mlpackage"))
    (expected,) = Model(tmp_path / "theirs.mlpackage").run([TOKENS.numpy().astype(np.int32)])
    (got,) = execute(pte, (TOKENS,))
    np.testing.assert_array_equal(got.numpy(), expected)
    assert not torch.allclose(got, Layers()(TOKENS), atol=1e-3)  # something was pruned
    assert sum(_summary(pte).weights.values()) < 0.75 * sum(_summary(plain).weights.values())


# -- models pruned in PyTorch ----------------------------------------------------------------------


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(256, 192)
        self.second = nn.Linear(192, 128)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.second(torch.relu(self.first(x)))
        return y


X = torch.randn(4, 256, generator=torch.Generator().manual_seed(0))
ELEMENTS, BIASES = 256 * 192 + 192 * 128, 192 + 128


def _norm(squash: bool) -> Callable[[nn.Module], None]:
    def sparsify(model: nn.Module) -> None:
        sparsifier = WeightNormSparsifier(
            sparsity_level=1.0, sparse_block_shape=(1, 4), zeros_per_block=3
        )
        layers = [{"tensor_fqn": "first.weight"}, {"tensor_fqn": "second.weight"}]
        sparsifier.prepare(model, layers)
        sparsifier.step()
        if squash:
            sparsifier.squash_mask()

    return sparsify


def _unstructured(remove: bool) -> Callable[[nn.Module], None]:
    def sparsify(model: nn.Module) -> None:
        for layer in (model.first, model.second):
            prune.l1_unstructured(layer, "weight", 0.75)
            if remove:
                prune.remove(layer, "weight")

    return sparsify


def _wanda(model: nn.Module) -> None:
    sparsifier = WandaSparsifier(sparsity_level=0.75)
    sparsifier.prepare(model, None)
    model(X)
    sparsifier.step()
    sparsifier.squash_mask()


# name -> (what prunes, the fraction that stays)
PRUNED: dict[str, tuple[Callable[[nn.Module], None], float]] = {
    "torchao norms": (_norm(squash=True), 0.25),
    "torchao norms, masks kept": (_norm(squash=False), 0.25),
    "torchao 2:4": (apply_fake_sparsity, 0.5),
    "torchao wanda": (_wanda, 0.25),
    "torch": (_unstructured(remove=True), 0.25),
    "torch, masks kept": (_unstructured(remove=False), 0.25),
}


class Pairs(nn.Module):
    """A pair for each way."""

    def __init__(self, pairs: dict[str, nn.Module]) -> None:
        super().__init__()
        self.pairs = nn.ModuleList(pairs.values())

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [pair(x) for pair in self.pairs]


def test_zeros_of_a_pruned_model_are_not_stored() -> None:
    pairs = {name: Pair().eval() for name in PRUNED}
    for name, (sparsify, _) in PRUNED.items():
        sparsify(pairs[name])
    model = Pairs(pairs).eval()
    pte, _ = _lower(export(model, (X,)), FP32, {})
    for name, got, expected in zip(PRUNED, execute(pte, (X,)), model(X), strict=True):
        assert_close(got, expected, 1e-5, 1e-6, name)
    summary = _summary(pte)
    ops = summary.functions[0].ops
    assert ops["constexpr_sparse_to_dense"] == 2 * len(PRUNED)
    assert "mul" not in ops
    assert summary.minimum_os == "iOS16"
    kept = sum(fraction for _, fraction in PRUNED.values())
    theory = len(PRUNED) * (ELEMENTS / 8 + BIASES * 4) + ELEMENTS * kept * 4
    assert abs(sum(summary.weights.values()) - theory) <= 0.03 * theory


def test_masks_are_applied_without_the_option_as_well() -> None:
    model = Pair().eval()
    _unstructured(remove=False)(model)
    pte, _ = _lower(export(model, (X,)))
    (got,) = execute(pte, (X,))
    assert_close(got, model(X), 1e-5, 1e-6, "masked")
    assert sum(_summary(pte).weights.values()) == (ELEMENTS + BIASES) * 4


def test_weights_with_few_zeros_and_small_ones_stay_dense() -> None:
    model = Pair().eval()
    with torch.no_grad():
        model.first.weight[:, :100] = 0  # of 256
        model.second.weight[:, :150] = 0  # of 192
    dense, program = (256 * 192 + BIASES) * 4, export(model, (X,))
    for fields, sparse in (
        ({}, True),
        ({"weight_threshold": 192 * 128}, False),
    ):
        pte, _ = _lower(program, FP32, fields)
        second = 192 * 128 / 8 + 8 + 42 * 128 * 4 if sparse else 192 * 128 * 4
        assert sum(_summary(pte).weights.values()) == dense + second


def test_a_weight_of_zeros_alone() -> None:
    model = Pair().eval()
    with torch.no_grad():
        model.first.weight.zero_()
        model.second.weight[0, 0] = float("nan")
    pte, _ = _lower(export(model, (X,)), FP32, {}, minimum_deployment_target=Target.iOS18)
    (got,) = execute(pte, (X,))
    torch.testing.assert_close(got, model(X), equal_nan=True)
    assert _summary(pte).functions[0].ops["constexpr_sparse_to_dense"] == 1


# -- few bits and few elements ---------------------------------------------------------------------

INT8, INT4 = torch.int8, torch.int4
SCALED, LOOKED_UP = "constexpr_sparse_blockwise_shift_scale", "constexpr_lut_to_sparse"
# name -> (torchao's config, the op, bits of an element, bytes of scales or tables of a weight)
FEW_BITS: dict[str, tuple[Any, str, int, Callable[[int, int], float]]] = {
    "int8": (IntxWeightOnlyConfig(INT8, PerAxis(0)), SCALED, 8, lambda n, k: n * 4),
    "int4 asymmetric": (
        IntxWeightOnlyConfig(INT4, PerGroup(32), MappingType.ASYMMETRIC),
        SCALED,
        4,
        lambda n, k: n * k / 32 * 4.5,
    ),
    "palettes": (CodebookWeightOnlyConfig(torch.uint2, [32, -1]), LOOKED_UP, 2, lambda n, k: n / 2),
}


def _zeroed_rows(model: nn.Module) -> None:
    """Three of four columns."""
    for layer in (model.first, model.second):
        with torch.no_grad():
            layer.weight[:, torch.arange(layer.in_features) % 4 != 0] = 0


def test_few_bits_and_few_elements() -> None:
    pairs, without = {name: Pair().eval() for name in FEW_BITS}, {}
    theory = 0.0
    for name, (config, _, bits, extra) in FEW_BITS.items():
        _zeroed_rows(pairs[name])
        quantize_(pairs[name], config)
        without[name] = Pair().eval()
        for layer, other in zip(pairs[name].children(), without[name].children(), strict=True):
            weight = layer.weight.dequantize()
            other.weight = nn.Parameter(torch.where(weight.abs() <= 0.004, 0.0, weight))
            kept, (rows, columns) = int((other.weight != 0).sum()), other.weight.shape
            assert kept < 0.3 * weight.numel()
            theory += kept * bits / 8 + weight.numel() / 8 + rows * 4 + extra(rows, columns)
    pte, partitioner = _lower(
        export(Pairs(pairs).eval(), (X,)), FP32, {**JOINT, "threshold": 0.004}
    )
    for name, got, expected in zip(FEW_BITS, execute(pte, (X,)), Pairs(without)(X), strict=True):
        assert_close(got, expected, 1e-5, 1e-6, name)
    summary = _summary(pte)
    ops = summary.functions[0].ops
    assert ops["constexpr_sparse_to_dense"] == 2 * len(FEW_BITS)
    for op in (SCALED, LOOKED_UP):
        assert ops[op] == 2 * sum(row[1] == op for row in FEW_BITS.values())
    assert summary.minimum_os == "iOS18"
    assert "op_pruner_config with joint_compression" in str(partitioner.report)
    assert abs(sum(summary.weights.values()) - theory) <= 0.03 * theory


def test_weights_of_few_bits_stay_as_they_are_unless_asked() -> None:
    model = Pair().eval()
    _zeroed_rows(model)
    quantize_(model, IntxWeightOnlyConfig(INT8, PerAxis(0)))
    pte, _ = _lower(export(model, (X,)), FP32, {})
    summary = _summary(pte)
    assert "constexpr_sparse_to_dense" not in summary.functions[0].ops
    assert summary.minimum_os == "iOS16"


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"treshold": 0.1}, "Extra fields in constructor for OpThresholdPrunerConfig: treshold"),
        ({"threshold": -1.0}, "Invalid value of"),
        ({"minimum_sparsity_percentile": 2.0}, r"Needs to be in \[0, 1\]"),
        ({"target_sparsity": 1.5}, r"Needs to be in \[0, 1\]"),
        ({"target_sparsity": 0.5, "threshold": 0.1}, "Extra fields .* OpMagnitudePrunerConfig"),
        ({"block_size": 4}, "need to be set"),
        ({"n_m_ratio": [3, 2]}, "n <= m"),
        ({"weight_threshold": None}, "weight_threshold must be a number; got None.*Hint: .*0"),
        ({"joint_compression": "yes"}, "joint_compression must be True or False; got 'yes'"),
        ({"threshold": torch.int8}, "op_pruner_config: it is no plain data"),
        ([], "op_pruner_config: it must be a dictionary"),
    ],
)
def test_wrong_configurations_are_refused_when_the_spec_is_made(config: Any, message: str) -> None:
    with pytest.raises(OptionsError, match=message):
        CoreMLBackend.generate_op_pruner_config_compile_spec(config)


@pytest.mark.parametrize(
    ("config", "target", "message"),
    [
        ({}, "iOS15", "op_pruner_config: needs iOS16; minimum_deployment_target is iOS15"),
        (JOINT, "iOS17", "op_pruner_config with joint_compression: needs iOS18"),
    ],
)
def test_a_target_that_lacks_the_form_is_an_error_that_says_which_has_it(
    config: dict[str, Any], target: str, message: str
) -> None:
    with pytest.raises(OptionsError, match=message) as caught:
        _lower(export(Pair(), (X,)), FP32, config, minimum_deployment_target=target)
    assert "set minimum_deployment_target to iOS1" in str(caught.value)


def test_the_spec_is_read_again() -> None:
    config = {"n_m_ratio": [2, 4], "joint_compression": True}
    spec = CoreMLBackend.generate_op_pruner_config_compile_spec(config)
    assert spec in CoreMLBackend.generate_compile_specs(op_pruner_config=config)
    assert CoreMLBackend.op_pruner_config_from_compile_specs([spec]) == config
    assert CoreMLBackend.op_pruner_config_from_compile_specs([]) is None


@pytest.mark.parametrize(
    ("sparsify", "error", "message"),
    [
        (lambda m: sparsify_(m.half(), SemiSparseWeightConfig()), RuntimeError, "Only CUDA"),
        (lambda m: sparsify_(m, BlockSparseWeightConfig()), AssertionError, "triton"),
    ],
    ids=["2:4", "blocks"],
)
def test_sparse_layouts_of_torchao_do_not_exist_on_a_cpu(
    sparsify: Callable[[nn.Module], None], error: type[Exception], message: str
) -> None:
    model = Pair().eval()
    apply_fake_sparsity(model)

    def run() -> None:
        sparsify(model)
        model(X)

    with pytest.raises(error, match=message):
        run()
