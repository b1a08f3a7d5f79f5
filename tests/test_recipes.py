"""Recipes: ``executorch.export`` with ours, through the runtime."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from executorch.export import ExportRecipe, export, recipe_registry

from case import assert_close, execute, randn
from executorch_coreml import ComputeUnit, Target
from executorch_coreml.errors import OptionsError
from executorch_coreml.mil.bundle import read
from executorch_coreml.mil.pte import read_pte
from executorch_coreml.recipes import COREML_BACKEND, CoreMLRecipeProvider, CoreMLRecipeType

X = randn(2, 8)
pytestmark = pytest.mark.filterwarnings("ignore:.*experimental")


def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.GELU(), torch.nn.Linear(16, 4))


@pytest.mark.parametrize(
    ("kind", "tol", "dtype"),
    [(CoreMLRecipeType.FP32, 1e-5, "fp32"), (CoreMLRecipeType.FP16, 4e-3, "fp16")],
)
def test_a_float_recipe_exports_what_runs_like_eager(kind: Any, tol: float, dtype: str) -> None:
    recipe = ExportRecipe.get_recipe(
        kind, minimum_deployment_target=Target.iOS17, compute_unit=ComputeUnit.CPU_ONLY
    )
    assert recipe.name == kind.value
    eager = model().eval()
    pte = export(eager, [(X,)], recipe).get_pte_buffer()
    assert_close(execute(pte, (X,))[0], eager(X).detach(), tol, tol, kind.value)
    bundle = read(bytes(pte))
    assert bundle.specification_version == Target.iOS17
    ops = bundle.program.functions["main"].body.operations
    linear = [str(op.outputs[0].type) for op in ops if op.type == "linear"]
    assert len(linear) == 2
    assert all(text.startswith(dtype) for text in linear)


def test_coremltools_enums_and_partitioner_arguments() -> None:
    import coremltools as ct

    recipe = ExportRecipe.get_recipe(
        CoreMLRecipeType.FP16,
        minimum_deployment_target=ct.target.iOS18,
        compute_unit=ct.ComputeUnit.CPU_AND_NE,
        skip_ops_for_coreml_delegation=["aten.gelu.default"],
        take_over_mutable_buffer=False,
    )
    (partitioner,) = recipe.lowering_recipe.partitioners
    assert partitioner.options.compute_unit is ComputeUnit.CPU_AND_NE
    assert partitioner.options.minimum_deployment_target is Target.iOS18
    assert partitioner.take_over_mutable_buffer is False
    assert {str(op) for op in partitioner.skipped} == {"aten.gelu.default"}


QUANTIZED: dict[Any, tuple[dict[str, Any], Target, float]] = {
    # Kind -> (parameters, the oldest target, least signal to noise in dB)
    CoreMLRecipeType.PT2E_INT8_STATIC: ({}, Target.iOS17, 25),
    CoreMLRecipeType.PT2E_INT8_WEIGHT_ONLY: ({}, Target.iOS16, 35),
    CoreMLRecipeType.TORCHAO_INT4_WEIGHT_ONLY_PER_CHANNEL: ({}, Target.iOS18, 15),
    CoreMLRecipeType.TORCHAO_INT4_WEIGHT_ONLY_PER_GROUP: ({"group_size": 16}, Target.iOS18, 15),
    CoreMLRecipeType.TORCHAO_INT8_WEIGHT_ONLY_PER_CHANNEL: ({}, Target.iOS16, 35),
    CoreMLRecipeType.TORCHAO_INT8_WEIGHT_ONLY_PER_GROUP: ({}, Target.iOS18, 35),
    CoreMLRecipeType.CODEBOOK_WEIGHT_ONLY: (
        {"bits": 4, "block_size": [-1, -1]},
        Target.iOS16,
        15,
    ),
}


@pytest.mark.parametrize("kind", QUANTIZED, ids=lambda kind: kind.value)
def test_a_quantized_recipe_exports_what_the_quantized_model_computes(kind: Any) -> None:
    given, oldest, least = QUANTIZED[kind]
    torch.manual_seed(0)
    eager = torch.nn.Sequential(
        torch.nn.Linear(128, 256), torch.nn.ReLU(), torch.nn.Linear(256, 128)
    ).eval()
    x = randn(3, 128)
    session = export(eager, [(x,)], ExportRecipe.get_recipe(kind, lower_full_graph=True, **given))
    pte = bytes(session.get_pte_buffer())
    (delegate,) = read_pte(memoryview(pte)).delegates
    half = 2 * sum(weight.numel() for weight in eager.parameters())  # bytes of it all in fp16
    assert len(delegate.processed) < 0.7 * half
    assert read(pte).specification_version == oldest
    (got,) = execute(pte, (x,))
    signal = eager(x).norm() / (got - eager(x)).norm()
    assert 20 * signal.log10() > least

    with pytest.raises(OptionsError, match=f"must be {oldest.name} or higher"):
        ExportRecipe.get_recipe(kind, minimum_deployment_target="iOS15", **given)
    newer = ExportRecipe.get_recipe(kind, minimum_deployment_target=Target.iOS26, **given)
    (partitioner,) = newer.lowering_recipe.partitioners
    assert partitioner.options.minimum_deployment_target is Target.iOS26


def test_every_kind_has_a_recipe() -> None:
    floats = {CoreMLRecipeType.FP32, CoreMLRecipeType.FP16}
    assert {*QUANTIZED, *floats} == set(CoreMLRecipeType)
    assert set(CoreMLRecipeProvider().get_supported_recipes()) == set(CoreMLRecipeType)


def test_which_layers_are_quantized_is_up_to_the_filter() -> None:
    def only_last(module: torch.nn.Module, name: str) -> bool:
        return name == "2"

    eager = model().eval()
    recipe = ExportRecipe.get_recipe(
        CoreMLRecipeType.TORCHAO_INT8_WEIGHT_ONLY_PER_CHANNEL, filter_fn=only_last
    )
    ops = read(bytes(export(eager, [(X,)], recipe).get_pte_buffer())).program.functions["main"]
    kinds = [op.type for op in ops.body.operations]
    assert kinds.count("linear") == 2
    assert kinds.count("constexpr_affine_dequantize") == 1


GROUPS = CoreMLRecipeType.TORCHAO_INT4_WEIGHT_ONLY_PER_GROUP
CODEBOOK = CoreMLRecipeType.CODEBOOK_WEIGHT_ONLY


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        (CoreMLRecipeType.FP16, {"group_size": 32}, r"no parameters group_size.*takes compute_"),
        (CoreMLRecipeType.FP16, {"minimum_deployment_target": "iOS12"}, "must be one of iOS15"),
        (GROUPS, {"group_size": "32"}, "group_size must be an integer"),
        (GROUPS, {"group_size": -1}, "group_size must be positive"),
        (CODEBOOK, {"bits": 3}, "needs block_size"),
        (CODEBOOK, {}, "needs bits and block_size"),
        (CODEBOOK, {"bits": 3.0, "block_size": [-1, 16]}, "bits must be an integer"),
        (CODEBOOK, {"bits": 9, "block_size": [-1, 16]}, "bits must be between 1 and 8"),
        (CODEBOOK, {"bits": 3, "block_size": 16}, "block_size must be a list"),
    ],
)
def test_wrong_parameters_are_errors(kind: Any, given: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionsError, match=message):
        ExportRecipe.get_recipe(kind, **given)


def test_the_provider_is_known_and_displaces_nobody() -> None:
    assert COREML_BACKEND in recipe_registry.list_backends()
    assert COREML_BACKEND != "coreml"  # the name of ExecuTorch's own
    assert recipe_registry.get_supported_recipes(COREML_BACKEND)


def test_recipes_combine_with_those_of_other_backends() -> None:
    from executorch.backends.xnnpack.recipes import XNNPackRecipeType

    ours = ExportRecipe.get_recipe(
        CoreMLRecipeType.FP32, skip_ops_for_coreml_delegation=["aten.linear.default"]
    )
    theirs = ExportRecipe.get_recipe(XNNPackRecipeType.FP32)
    both = ExportRecipe.combine([ours, theirs])
    eager = model().eval()
    pte = export(eager, [(X,)], both).get_pte_buffer()
    ids = [d.id for d in read_pte(memoryview(bytes(pte))).delegates]
    assert "CoreMLBackend" in ids
    assert_close(execute(pte, (X,))[0], eager(X).detach(), 1e-5, 1e-5, "both")
