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


def test_wrong_parameters_and_kinds_are_errors() -> None:
    with pytest.raises(OptionsError, match=r"no parameters group_size.*it takes compute_unit"):
        ExportRecipe.get_recipe(CoreMLRecipeType.FP16, group_size=32)
    with pytest.raises(OptionsError, match="minimum_deployment_target must be one of iOS15"):
        ExportRecipe.get_recipe(CoreMLRecipeType.FP16, minimum_deployment_target="iOS12")
    unsupported = set(CoreMLRecipeType) - set(CoreMLRecipeProvider().get_supported_recipes())
    for kind in unsupported:
        with pytest.raises(ValueError, match="not supported by 'executorch_coreml'"):
            ExportRecipe.get_recipe(kind)


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
