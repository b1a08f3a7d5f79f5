"""Recipes for ``executorch.export``: a model to a program in one call.

>>> from executorch.export import ExportRecipe, export
>>> from executorch_coreml.recipes import CoreMLRecipeType
>>> recipe = ExportRecipe.get_recipe(CoreMLRecipeType.FP16, minimum_deployment_target="iOS17")
>>> session = export(model, [inputs], recipe)

Importing this package makes the recipes known to ExecuTorch, as its own backends do; under a
backend name of their own, so that neither displaces the other.
"""

from __future__ import annotations

from executorch.export import recipe_registry

from executorch_coreml.recipes.provider import CoreMLRecipeProvider
from executorch_coreml.recipes.types import COREML_BACKEND, CoreMLRecipeType

recipe_registry.register_backend_recipe_provider(CoreMLRecipeProvider())

__all__ = ["COREML_BACKEND", "CoreMLRecipeProvider", "CoreMLRecipeType"]
