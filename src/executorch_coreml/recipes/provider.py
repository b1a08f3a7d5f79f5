"""From a recipe's kind and parameters to ExecuTorch's ``ExportRecipe``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from executorch.exir import EdgeCompileConfig
from executorch.export import BackendRecipeProvider, ExportRecipe, LoweringRecipe, RecipeType

from executorch_coreml.compiler.backend import CoreMLBackend
from executorch_coreml.errors import OptionsError
from executorch_coreml.options import ComputePrecision
from executorch_coreml.partition import CoreMLPartitioner
from executorch_coreml.recipes.types import COREML_BACKEND, CoreMLRecipeType

Build: TypeAlias = Callable[[str, Mapping[str, Any]], ExportRecipe]

_SPECS = ("compute_unit", "minimum_deployment_target")
_PARTITIONER = (
    "skip_ops_for_coreml_delegation",
    "lower_full_graph",
    "take_over_constant_data",
    "take_over_mutable_buffer",
)


def lowering(precision: ComputePrecision, given: Mapping[str, Any]) -> LoweringRecipe:
    """The part that all recipes share: a partitioner with the parameters common to them.

    Raises:
        OptionsError: A parameter that no recipe of this kind has, or a wrong value.
    """
    unknown = sorted(set(given) - {*_SPECS, *_PARTITIONER})
    if unknown:
        raise OptionsError(
            f"this recipe has no parameters {', '.join(unknown)}",
            hint=f"it takes {', '.join((*_SPECS, *_PARTITIONER))}",
        )
    specs = CoreMLBackend.generate_compile_specs(
        compute_precision=precision, **{name: given[name] for name in _SPECS if name in given}
    )
    partitioner = CoreMLPartitioner(
        compile_specs=specs, **{name: given[name] for name in _PARTITIONER if name in given}
    )
    config = EdgeCompileConfig(_check_ir_validity=False, _skip_dim_order=False)
    return LoweringRecipe(partitioners=[partitioner], edge_compile_config=config)


def _float(precision: ComputePrecision) -> Build:
    def build(name: str, given: Mapping[str, Any]) -> ExportRecipe:
        return ExportRecipe(name=name, lowering_recipe=lowering(precision, given))

    return build


# One row per recipe; a kind without a row is not supported, and ExecuTorch says so.
_BUILD: Mapping[RecipeType, Build] = {
    CoreMLRecipeType.FP32: _float(ComputePrecision.FLOAT32),
    CoreMLRecipeType.FP16: _float(ComputePrecision.FLOAT16),
}


class CoreMLRecipeProvider(BackendRecipeProvider):  # type: ignore[misc]
    """What ExecuTorch asks for a recipe.

    Parameters of every recipe: ``compute_unit``, ``minimum_deployment_target``, and those of
    :class:`~executorch_coreml.CoreMLPartitioner`.
    """

    @property
    def backend_name(self) -> str:
        """The name that recipe types carry."""
        return COREML_BACKEND

    def get_supported_recipes(self) -> Sequence[RecipeType]:
        """The kinds that can be made."""
        return list(_BUILD)

    def create_recipe(self, recipe_type: RecipeType, **kwargs: Any) -> ExportRecipe | None:
        """A recipe, or None for a kind that cannot be made.

        Raises:
            OptionsError: Unknown parameters or values.
        """
        build = _BUILD.get(recipe_type)
        return None if build is None else build(recipe_type.value, kwargs)
