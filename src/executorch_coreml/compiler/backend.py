"""``CoreMLBackend``: what ExecuTorch calls to compile a delegate, and its compile specs.

The device knows the delegate as ``CoreMLBackend``, and ExecuTorch finds the Python class of a
backend by that same name among ``BackendDetails.__subclasses__()``. ExecuTorch's own Core ML
backend carries the same name, so with both imported the name alone decides nothing. Two things
keep them apart: :func:`claim_name` makes the look-up end at this class whenever our partitioner
runs, and specs without our marker, which come from the stock partitioner, are handed back to the
stock class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, final

from executorch.exir.backend.backend_details import (
    BackendDetails,
    ExportedProgram,
    PreprocessResult,
)
from executorch.exir.backend.compile_spec_schema import CompileSpec

from executorch_coreml import options
from executorch_coreml.compiler.apple import require_compiler
from executorch_coreml.compiler.collector import collector_paused
from executorch_coreml.compiler.target import options_need
from executorch_coreml.errors import CompileError, OptionsError
from executorch_coreml.options import (
    CompileOptions,
    ComputePrecision,
    ComputeUnit,
    Target,
    WeightSharing,
)

MULTIMETHOD_WEIGHT_SHARING_STRATEGY = WeightSharing  # its name in ExecuTorch's own backend
MARKER = CompileSpec(options.COMPILER, b"1")


@final
class CoreMLBackend(BackendDetails):  # type: ignore[misc]
    """Compiles a delegated graph to the stock Core ML delegate's payload.

    The static methods make and read compile specs; names and arguments are those of
    ``executorch.backends.apple.coreml.compiler.CoreMLBackend``. Arguments accept coremltools'
    enums and the equal ones of :mod:`executorch_coreml`.
    """

    class MODEL_TYPE(Enum):
        """How the model is stored in the payload."""

        MODEL = "model"
        COMPILED_MODEL = "compiled_model"

    @staticmethod
    def generate_compile_specs(
        compute_unit: Any = ComputeUnit.ALL,
        minimum_deployment_target: Any = None,
        compute_precision: Any = ComputePrecision.FLOAT16,
        model_type: Any = MODEL_TYPE.MODEL,
        op_linear_quantizer_config: Mapping[str, Any] | None = None,
        pass_names: Sequence[str] | None = None,
        *,
        keep_fp32: Sequence[str] | None = None,
        op_pruner_config: Mapping[str, Any] | None = None,
    ) -> list[CompileSpec]:
        """Compile specs for :class:`~executorch_coreml.CoreMLPartitioner`.

        Args:
            compute_unit: Units Core ML may use on the device.
            minimum_deployment_target: The oldest OS to support; None chooses the lowest possible.
            compute_precision: Float type of the arithmetic.
            model_type: ``MODEL_TYPE.MODEL``; compiled models need Apple's compiler.
            op_linear_quantizer_config: Arguments of coremltools' ``OpLinearQuantizerConfig``.
            pass_names: coremltools passes to run on the finished program; none by default.
            keep_fp32: Modules that ``FLOAT16`` leaves in float32, by their paths, or single ops of
                them (:mod:`executorch_coreml.compiler.keep_fp32`). ExecuTorch's own backend lacks
                this argument and the next.
            op_pruner_config: As for :meth:`generate_op_pruner_config_compile_spec`.

        Raises:
            OptionsError: A value that is none of the allowed ones.
        """
        oldest, config = minimum_deployment_target, op_linear_quantizer_config
        chosen = CompileOptions(
            compute_unit=options.compute_unit(compute_unit),
            minimum_deployment_target=None if oldest is None else options.target(oldest),
            compute_precision=options.compute_precision(compute_precision),
            model_type=options.model_type(model_type),
            op_linear_quantizer_config=None if config is None else _known_config(config),
            pass_names=_known_passes(pass_names or ()),
            keep_fp32=options.keep_fp32(keep_fp32 or ()),
            op_pruner_config=None if op_pruner_config is None else _known_pruner(op_pruner_config),
        )
        return [CompileSpec(key, value) for key, value in chosen.to_pairs()]

    @staticmethod
    def generate_compute_unit_compile_spec(compute_unit: Any) -> CompileSpec:
        """The spec for the units Core ML may use."""
        return _spec(options.COMPUTE_UNITS, compute_unit=options.compute_unit(compute_unit))

    @staticmethod
    def generate_minimum_deployment_target_compile_spec(min_deployment_target: Any) -> CompileSpec:
        """The spec for the oldest OS to support; None leaves the choice to the model."""
        oldest = None if min_deployment_target is None else options.target(min_deployment_target)
        return _spec(options.MIN_DEPLOYMENT_TARGET, minimum_deployment_target=oldest)

    @staticmethod
    def generate_compute_precision_compile_spec(compute_precision: Any) -> CompileSpec:
        """The spec for the float type of the arithmetic."""
        chosen = options.compute_precision(compute_precision)
        return _spec(options.MODEL_COMPUTE_PRECISION, compute_precision=chosen)

    @staticmethod
    def generate_model_type_compile_spec(model_type: Any) -> CompileSpec:
        """The spec for how the model is stored."""
        return _spec(options.MODEL_TYPE, model_type=options.model_type(model_type))

    @staticmethod
    def generate_op_linear_quantizer_config_compile_spec(
        op_linear_quantizer_config: Mapping[str, Any],
    ) -> CompileSpec:
        """The spec for quantizing weights; see coremltools' ``OpLinearQuantizerConfig``."""
        chosen = _known_config(op_linear_quantizer_config)
        return _spec(options.OP_LINEAR_QUANTIZER_CONFIG, op_linear_quantizer_config=chosen)

    @staticmethod
    def generate_op_pruner_config_compile_spec(op_pruner_config: Mapping[str, Any]) -> CompileSpec:
        """The spec for storing weights without their zeros; ExecuTorch's own backend has none.

        Args:
            op_pruner_config: Fields of coremltools' ``OpThresholdPrunerConfig`` or, with
                ``target_sparsity`` or ``n_m_ratio``, of its ``OpMagnitudePrunerConfig``. ``{}``
                changes no weight and stores those without zeros of which half or more are 0.
                ``joint_compression`` (False) includes weights of few bits, which needs iOS18.

        Raises:
            OptionsError: An unknown field or value.
        """
        chosen = _known_pruner(op_pruner_config)
        return _spec(options.OP_PRUNER_CONFIG, op_pruner_config=chosen)

    @staticmethod
    def generate_pass_pipeline_compile_spec(pass_names: Sequence[str]) -> CompileSpec:
        """The spec for coremltools passes to run on the finished program, in this order."""
        return _spec(options.PASS_PIPELINE, pass_names=_known_passes(pass_names))

    @staticmethod
    def generate_keep_fp32_compile_spec(modules: Sequence[str]) -> CompileSpec:
        """The spec for the modules that stay in float32; beyond ExecuTorch's own backend."""
        return _spec(options.KEEP_FP32, keep_fp32=options.keep_fp32(modules))

    @staticmethod
    def generate_multimethod_weight_sharing_strategy_compile_spec(strategy: Any) -> CompileSpec:
        """The spec for how the delegates of several methods share one model."""
        return _spec(options.WEIGHT_SHARING, weight_sharing=options.weight_sharing(strategy))

    @staticmethod
    def generate_enumerated_shapes_compile_spec(
        ep: ExportedProgram, enumerated_shapes: Mapping[str, Sequence[Sequence[int]]]
    ) -> CompileSpec:
        """The spec for the only shapes that inputs may have.

        Args:
            ep: The program to be lowered; its dynamic inputs are the ones to list.
            enumerated_shapes: Input -> its shapes. The n-th shapes of all inputs belong together:
                with ``{"x": [[1, 24], [8, 24]], "y": [[6], [30]]}`` an x of [1, 24] comes with a y
                of [6].

        Raises:
            OptionsError: The names or shapes do not fit the program.
        """
        from executorch_coreml.compiler.enumerated import fitting

        chosen = fitting(ep, options.enumerated_shapes(enumerated_shapes))
        return _spec(options.ENUMERATED_SHAPES, enumerated_shapes=chosen)

    @staticmethod
    def compute_unit_from_compile_specs(compile_specs: list[CompileSpec]) -> ComputeUnit:
        """The units the specs allow."""
        return CompileOptions.from_specs(compile_specs).compute_unit

    @staticmethod
    def min_deployment_target_from_compile_specs(
        compile_specs: list[CompileSpec],
    ) -> Target | None:
        """The oldest OS the specs ask for, None when they leave it open."""
        return CompileOptions.from_specs(compile_specs).minimum_deployment_target

    @staticmethod
    def model_compute_precision_from_compile_specs(
        compile_specs: list[CompileSpec],
    ) -> ComputePrecision:
        """The float type the specs ask for."""
        return CompileOptions.from_specs(compile_specs).compute_precision

    @staticmethod
    def model_type_from_compile_specs(compile_specs: list[CompileSpec]) -> MODEL_TYPE:
        """How the specs ask the model to be stored."""
        return CoreMLBackend.MODEL_TYPE(CompileOptions.from_specs(compile_specs).model_type.value)

    @staticmethod
    def op_linear_quantizer_config_from_compile_specs(compile_specs: list[CompileSpec]) -> Any:
        """coremltools' ``OpLinearQuantizerConfig`` of the specs, None if they have none."""
        from executorch_coreml.compiler.weight_quantization import coremltools_config

        config = CompileOptions.from_specs(compile_specs).op_linear_quantizer_config
        return None if config is None else coremltools_config(config)

    @staticmethod
    def pass_pipeline_from_compile_specs(compile_specs: list[CompileSpec]) -> Any:
        """coremltools' ``PassPipeline`` of the passes the specs name, empty if they name none."""
        from executorch_coreml.compiler.mil_passes import pass_pipeline

        return pass_pipeline(CompileOptions.from_specs(compile_specs).pass_names)

    @staticmethod
    def multimethod_weight_sharing_strategy_from_compile_specs(
        compile_specs: list[CompileSpec],
    ) -> WeightSharing:
        """How the specs let methods share a model."""
        return CompileOptions.from_specs(compile_specs).weight_sharing

    @staticmethod
    def enumerated_shapes_from_compile_specs(
        compile_specs: list[CompileSpec],
    ) -> Mapping[str, options.Shapes] | None:
        """Input -> the shapes the specs allow, None if they allow any."""
        return CompileOptions.from_specs(compile_specs).enumerated_shapes

    @staticmethod
    def op_pruner_config_from_compile_specs(
        compile_specs: list[CompileSpec],
    ) -> Mapping[str, Any] | None:
        """The fields of the pruner config in the specs, None if they have none."""
        return CompileOptions.from_specs(compile_specs).op_pruner_config

    @classmethod
    def copy_exported_program_for_preprocess(
        cls, edge_program: ExportedProgram, compile_specs: list[CompileSpec]
    ) -> ExportedProgram:
        """The program itself: compiling reads it only, so no copy of the weights is made."""
        if _made_here(compile_specs):
            return edge_program
        return super().copy_exported_program_for_preprocess(edge_program, compile_specs)

    @staticmethod
    @collector_paused()
    def preprocess(
        edge_program: ExportedProgram, compile_specs: list[CompileSpec]
    ) -> PreprocessResult:
        """Compiles one delegated graph.

        Returns:
            The payload and the map from debug symbols to debug handles.

        Raises:
            CompileError: The graph cannot be lowered; the message names the user's line.
            OptionsError: The specs hold an unknown key or value.
        """
        from executorch_coreml.compiler import package
        from executorch_coreml.compiler.lower import lower

        if (stock := _stock_class()) and not _made_here(compile_specs):
            return stock.preprocess(edge_program, compile_specs)
        chosen = supported(CompileOptions.from_specs(compile_specs))
        built = package.build(lower(edge_program, chosen), chosen)
        return PreprocessResult(
            processed_bytes=built.payload(), debug_handle_map=built.debug_handles()
        )

    @classmethod
    def preprocess_multimethod(
        cls,
        edge_programs: dict[str, list[ExportedProgram]],
        compile_specs: dict[str, list[list[CompileSpec]]],
    ) -> dict[str, list[PreprocessResult]]:
        """Compiles the delegates of all methods; those that share weights become one model.

        Raises:
            CompileError: A graph cannot be lowered.
            OptionsError: The specs hold an unknown key or value, or weights cannot be shared as
                they ask.
        """
        stock = _stock_class()
        every = [specs for lists in compile_specs.values() for specs in lists]
        if stock is not None and not any(map(_made_here, every)):
            theirs: dict[str, list[PreprocessResult]] = stock.preprocess_multimethod(
                edge_programs, compile_specs
            )
            return theirs
        from executorch_coreml.compiler.multifunction import grouped, shared_model

        chosen = {
            method: [supported(CompileOptions.from_specs(specs)) for specs in lists]
            for method, lists in compile_specs.items()
        }
        made: dict[tuple[str, int], PreprocessResult] = {}
        for group in grouped(edge_programs, chosen):
            if len(group) > 1:
                results = shared_model(edge_programs, chosen, group)
                made |= {(method, n): results[method] for method, n in group.items()}
            for method, n in group.items() if len(group) == 1 else ():
                program, specs = edge_programs[method][n], compile_specs[method][n]
                made[method, n] = cls.preprocess(program, specs)
        return {
            method: [made[method, n] for n in range(len(each))]
            for method, each in edge_programs.items()
        }


def claim_name() -> None:
    """Makes ExecuTorch's look-up by the name ``CoreMLBackend`` end at this package's class.

    ``to_backend`` (executorch 1.5.1, ``exir/backend/backend_api.py``) builds a dictionary from
    ``BackendDetails.__subclasses__()``, so the last subclass of a name wins. Assigning
    ``__bases__`` lists this class anew, behind any that was imported later.

    Raises:
        CompileError: The look-up still ends at another class.
    """
    if _found_by_name() is not CoreMLBackend:
        CoreMLBackend.__bases__ = (BackendDetails,)
    if _found_by_name() is not CoreMLBackend:
        raise CompileError(
            "ExecuTorch would compile with another backend that is also called CoreMLBackend",
            hint="do not import executorch.backends.apple.coreml in this process",
        )


def _found_by_name() -> Any:
    return {cls.__name__: cls for cls in BackendDetails.__subclasses__()}.get("CoreMLBackend")


def _stock_class() -> Any:
    """ExecuTorch's own class of our name, when something imported it."""
    return next(
        (
            cls
            for cls in BackendDetails.__subclasses__()
            if cls.__name__ == "CoreMLBackend" and cls is not CoreMLBackend
        ),
        None,
    )


def _made_here(compile_specs: list[CompileSpec]) -> bool:
    return any(spec.key == options.COMPILER for spec in compile_specs)


def _spec(key: str, **field: Any) -> CompileSpec:
    return CompileSpec(key, dict(CompileOptions(**field).to_pairs(every=True))[key])


def _known_passes(names: Sequence[str]) -> tuple[str, ...]:
    from executorch_coreml.compiler.mil_passes import check_pass_names

    chosen = options.pass_names(names)
    if chosen:
        check_pass_names(chosen)
    return chosen


def _known_config(config: Any) -> Mapping[str, Any]:
    from executorch_coreml.compiler.weight_quantization import coremltools_config

    chosen = options.quantizer_config(config)
    coremltools_config(chosen)
    return chosen


def _known_pruner(config: Any) -> Mapping[str, Any]:
    from executorch_coreml.compiler.weight_pruning import coremltools_pruner

    chosen = options.pruner_config(config)
    coremltools_pruner(chosen)
    return chosen


def supported(chosen: CompileOptions) -> CompileOptions:
    """
    Raises:
        OptionsError: An option that is understood, but that nothing here can carry out.
        PackageError: A compiled model is asked for where Apple's compiler does not run.
    """
    if chosen.model_type is options.ModelType.COMPILED_MODEL:
        require_compiler()
    _known_passes(chosen.pass_names)
    target = chosen.minimum_deployment_target
    for need in options_need(chosen):
        if target is not None and target < need.target:
            raise OptionsError(
                f"{need.reason}: needs {need.target.name}; "
                f"minimum_deployment_target is {target.name}",
                hint=f"set minimum_deployment_target to {need.target.name}, or ask for less",
            )
    return chosen
