"""From a recipe's kind and parameters to ExecuTorch's ``ExportRecipe``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from executorch.exir import EdgeCompileConfig
from executorch.export import (
    AOQuantizationConfig,
    BackendRecipeProvider,
    ExportRecipe,
    LoweringRecipe,
    QuantizationRecipe,
    RecipeType,
)
from torchao.quantization.granularity import PerAxis, PerGroup
from torchao.quantization.quant_api import IntxWeightOnlyConfig

from executorch_coreml.compiler.backend import CoreMLBackend
from executorch_coreml.errors import OptionsError
from executorch_coreml.options import ComputePrecision, Target, target
from executorch_coreml.partition import CoreMLPartitioner
from executorch_coreml.quantizer import (
    CoreMLQuantizer,
    LinearQuantizerConfig,
    ModuleLinearQuantizerConfig,
    QuantizationScheme,
)
from executorch_coreml.recipes.types import COREML_BACKEND, CoreMLRecipeType

# What quantizes a model, from the parameters given to the recipe.
Quantize: TypeAlias = Callable[[Mapping[str, Any]], QuantizationRecipe]

_SPECS = ("compute_unit", "minimum_deployment_target")
_PARTITIONER = (
    "skip_ops_for_coreml_delegation",
    "lower_full_graph",
    "take_over_constant_data",
    "take_over_mutable_buffer",
)


def lowering(precision: ComputePrecision, given: Mapping[str, Any]) -> LoweringRecipe:
    """The part that all recipes share: a partitioner with the parameters common to them."""
    specs = CoreMLBackend.generate_compile_specs(
        compute_precision=precision, **{name: given[name] for name in _SPECS if name in given}
    )
    partitioner = CoreMLPartitioner(
        compile_specs=specs, **{name: given[name] for name in _PARTITIONER if name in given}
    )
    config = EdgeCompileConfig(_check_ir_validity=False, _skip_dim_order=False)
    return LoweringRecipe(partitioners=[partitioner], edge_compile_config=config)


def _pt2e(activation_dtype: str) -> Quantize:
    """Symmetric 8 bit, one scale per output channel of a weight."""

    def quantize(given: Mapping[str, Any]) -> QuantizationRecipe:
        config = ModuleLinearQuantizerConfig(
            quantization_scheme=QuantizationScheme.symmetric,
            activation_dtype=activation_dtype,
            weight_dtype="qint8",
            weight_per_channel=True,
        )
        quantizer = CoreMLQuantizer(LinearQuantizerConfig(global_config=config))
        return QuantizationRecipe(quantizers=[quantizer])

    return quantize


def _per_channel(dtype: str) -> Quantize:
    def quantize(given: Mapping[str, Any]) -> QuantizationRecipe:
        return _torchao(_integers(dtype, PerAxis(axis=0)), given.get("filter_fn"))

    return quantize


def _per_group(dtype: str) -> Quantize:
    def quantize(given: Mapping[str, Any]) -> QuantizationRecipe:
        size = _integer("group_size", given.get("group_size", 32))
        if size <= 0:
            raise OptionsError(f"group_size must be positive; got {size}")
        return _torchao(_integers(dtype, PerGroup(group_size=size)), given.get("filter_fn"))

    return quantize


def _integers(dtype: str, granularity: Any) -> IntxWeightOnlyConfig:
    return IntxWeightOnlyConfig(weight_dtype=getattr(torch, dtype), granularity=granularity)


def _codebook(given: Mapping[str, Any]) -> QuantizationRecipe:
    from torchao.prototype.quantization.codebook_coreml import CodebookWeightOnlyConfig

    missing = [name for name in ("bits", "block_size") if name not in given]
    if missing:
        raise OptionsError(
            f"a codebook recipe needs {' and '.join(missing)}",
            hint="for instance bits=4, block_size=[-1, 16]",
        )
    bits, block_size = _integer("bits", given["bits"]), given["block_size"]
    if not 1 <= bits <= 8:
        raise OptionsError(f"bits must be between 1 and 8; got {bits}")
    if not isinstance(block_size, list):
        raise OptionsError(
            f"block_size must be a list of an extent per axis, -1 for all of it; got {block_size!r}"
        )
    weights = CodebookWeightOnlyConfig(dtype=getattr(torch, f"uint{bits}"), block_size=block_size)
    return _torchao(weights, given.get("filter_fn", _linear_or_embedding))


def _integer(name: str, value: Any) -> int:
    if type(value) is not int:
        raise OptionsError(f"{name} must be an integer; got {value!r}")
    return value


def _linear_or_embedding(module: torch.nn.Module, name: str) -> bool:
    return isinstance(module, (torch.nn.Linear, torch.nn.Embedding))


def _torchao(weights: Any, filter_fn: Any) -> QuantizationRecipe:
    config = AOQuantizationConfig(ao_base_config=weights, filter_fn=filter_fn)
    return QuantizationRecipe(quantizers=None, ao_quantization_configs=[config])


@dataclass(frozen=True, slots=True)
class _Row:
    """How one recipe is made.

    Attributes:
        precision: Of the arithmetic.
        quantize: Makes the part for the quantizer; None if nothing is quantized.
        oldest: The first target that has what the recipe makes.
        parameters: Those that only recipes like it have.
    """

    precision: ComputePrecision = ComputePrecision.FLOAT16
    quantize: Quantize | None = None
    oldest: Target = Target.iOS15
    parameters: tuple[str, ...] = ()


def _torchao_row(quantize: Quantize, oldest: Target, *parameters: str) -> _Row:
    return _Row(quantize=quantize, oldest=oldest, parameters=(*parameters, "filter_fn"))


_ROWS: Mapping[RecipeType, _Row] = {
    CoreMLRecipeType.FP32: _Row(ComputePrecision.FLOAT32),
    CoreMLRecipeType.FP16: _Row(),
    CoreMLRecipeType.PT2E_INT8_STATIC: _Row(quantize=_pt2e("quint8"), oldest=Target.iOS17),
    CoreMLRecipeType.PT2E_INT8_WEIGHT_ONLY: _Row(quantize=_pt2e("float32"), oldest=Target.iOS16),
    CoreMLRecipeType.TORCHAO_INT4_WEIGHT_ONLY_PER_CHANNEL: _torchao_row(
        _per_channel("int4"), Target.iOS18
    ),
    CoreMLRecipeType.TORCHAO_INT4_WEIGHT_ONLY_PER_GROUP: _torchao_row(
        _per_group("int4"), Target.iOS18, "group_size"
    ),
    CoreMLRecipeType.TORCHAO_INT8_WEIGHT_ONLY_PER_CHANNEL: _torchao_row(
        _per_channel("int8"), Target.iOS16
    ),
    CoreMLRecipeType.TORCHAO_INT8_WEIGHT_ONLY_PER_GROUP: _torchao_row(
        _per_group("int8"), Target.iOS18, "group_size"
    ),
    CoreMLRecipeType.CODEBOOK_WEIGHT_ONLY: _torchao_row(
        _codebook, Target.iOS16, "bits", "block_size"
    ),
}


class CoreMLRecipeProvider(BackendRecipeProvider):  # type: ignore[misc]
    """What ExecuTorch asks for a recipe.

    Parameters of every recipe: ``compute_unit``, ``minimum_deployment_target``, and those of
    :class:`~executorch_coreml.CoreMLPartitioner`. The recipes of torchao also take ``filter_fn``
    (module and its name -> whether to quantize it; its default is torchao's, linear layers, and
    for codebooks embeddings too), those per group a ``group_size`` (32), and the one of codebooks
    needs ``bits`` (1 to 8) and ``block_size`` (a list with an extent per axis, -1 for all of it).
    """

    @property
    def backend_name(self) -> str:
        """The name that recipe types carry."""
        return COREML_BACKEND

    def get_supported_recipes(self) -> Sequence[RecipeType]:
        """The kinds that can be made."""
        return list(_ROWS)

    def create_recipe(self, recipe_type: RecipeType, **kwargs: Any) -> ExportRecipe | None:
        """A recipe, or None for a kind of another backend.

        Raises:
            OptionsError: Unknown parameters or values, or a target that lacks what the recipe
                makes.
        """
        row = _ROWS.get(recipe_type)
        if row is None:
            return None
        known = (*_SPECS, *_PARTITIONER, *row.parameters)
        if unknown := sorted(set(kwargs) - set(known)):
            raise OptionsError(
                f"{recipe_type.value} has no parameters {', '.join(unknown)}",
                hint=f"it takes {', '.join(known)}",
            )
        asked = kwargs.get("minimum_deployment_target")
        if asked is not None and target(asked) < row.oldest:
            raise OptionsError(
                f"minimum_deployment_target must be {row.oldest.name} or higher for "
                f"{recipe_type.value}; got {target(asked).name}",
                hint="leave it out, and the oldest that the model needs is chosen",
            )
        return ExportRecipe(
            name=recipe_type.value,
            quantization_recipe=row.quantize(kwargs) if row.quantize else None,
            lowering_recipe=lowering(row.precision, kwargs),
        )
