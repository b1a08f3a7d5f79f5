"""``CoreMLBackend``: what ExecuTorch calls to compile a delegate, and its compile specs.

The device knows the delegate as ``CoreMLBackend``, and ExecuTorch finds the Python class of a
backend by that same name among ``BackendDetails.__subclasses__()``. ExecuTorch's own Core ML
backend carries the same name, so with both imported the name alone decides nothing. Two things
keep them apart: :func:`claim_name` makes the look-up end at this class whenever our partitioner
runs, and specs without our marker, which come from the stock partitioner, are handed back to the
stock class.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, final

from executorch.exir.backend.backend_details import (
    BackendDetails,
    ExportedProgram,
    PreprocessResult,
)
from executorch.exir.backend.compile_spec_schema import CompileSpec

from executorch_coreml import options
from executorch_coreml.errors import CompileError, OptionsError
from executorch_coreml.options import CompileOptions, ComputePrecision, ComputeUnit, Target

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
    ) -> list[CompileSpec]:
        """Compile specs for :class:`~executorch_coreml.CoreMLPartitioner`.

        Args:
            compute_unit: Units Core ML may use on the device.
            minimum_deployment_target: The oldest OS to support; None chooses the lowest possible.
            compute_precision: Float type of the arithmetic.
            model_type: ``MODEL_TYPE.MODEL``; compiled models need Apple's compiler.

        Raises:
            OptionsError: A value that is none of the allowed ones.
        """
        oldest = minimum_deployment_target
        chosen = CompileOptions(
            compute_unit=options.compute_unit(compute_unit),
            minimum_deployment_target=None if oldest is None else options.target(oldest),
            compute_precision=options.compute_precision(compute_precision),
            model_type=_supported(options.model_type(model_type)),
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
        chosen = _supported(options.model_type(model_type))
        return _spec(options.MODEL_TYPE, model_type=chosen)

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

    @classmethod
    def copy_exported_program_for_preprocess(
        cls, edge_program: ExportedProgram, compile_specs: list[CompileSpec]
    ) -> ExportedProgram:
        """The program itself: compiling reads it only, so no copy of the weights is made."""
        if _made_here(compile_specs):
            return edge_program
        return super().copy_exported_program_for_preprocess(edge_program, compile_specs)

    @staticmethod
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
        chosen = CompileOptions.from_specs(compile_specs)
        _supported(chosen.model_type)
        built = package.build(lower(edge_program, chosen))
        return PreprocessResult(
            processed_bytes=built.payload(), debug_handle_map=built.debug_handles()
        )

    @classmethod
    def preprocess_multimethod(
        cls,
        edge_programs: dict[str, list[ExportedProgram]],
        compile_specs: dict[str, list[list[CompileSpec]]],
    ) -> dict[str, list[PreprocessResult]]:
        """Compiles the delegates of all methods, each on its own."""
        stock = _stock_class()
        every = [specs for lists in compile_specs.values() for specs in lists]
        home: Any = super() if stock is None or any(map(_made_here, every)) else stock
        results: dict[str, list[PreprocessResult]] = home.preprocess_multimethod(
            edge_programs, compile_specs
        )
        return results


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
    return CompileSpec(key, dict(CompileOptions(**field).to_pairs())[key])


def _supported(chosen: options.ModelType) -> options.ModelType:
    if chosen is options.ModelType.COMPILED_MODEL:
        raise OptionsError(
            "model_type=COMPILED_MODEL needs Apple's compiler, which this package does not call",
            hint="use MODEL_TYPE.MODEL: the device compiles it on first load and caches the result",
        )
    return chosen
