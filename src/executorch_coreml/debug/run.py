"""``compare``: PyTorch against the lowered program, op for op or layer for layer."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from executorch.exir.backend.compile_spec_schema import CompileSpec
from executorch.exir.lowered_backend_module import LoweredBackendModule
from torch.export import ExportedProgram
from torch.fx import Node

from executorch_coreml.compiler.backend import CoreMLBackend
from executorch_coreml.debug import propose
from executorch_coreml.debug.comparison import Comparison, Output, Row
from executorch_coreml.debug.execute import (
    Errors,
    Expected,
    Reference,
    by_itself,
    in_engine,
    in_pytorch,
    measured,
)
from executorch_coreml.debug.inputs import example_inputs, flat_inputs
from executorch_coreml.debug.layers import of_float_model
from executorch_coreml.debug.measure import Error
from executorch_coreml.debug.program import LoweredProgram, lowered
from executorch_coreml.debug.record import run_program
from executorch_coreml.errors import CompileError, InputError, OptionsError
from executorch_coreml.location import locate, raised_at, said
from executorch_coreml.options import KEEP_FP32, CompileOptions, ComputePrecision

MIN_SNR = 30.0  # dB; noise of 3 % of the signal's amplitude
_ROUNDS = 3  # of proposals: what was masked by an overflow shows only when that is gone


def compare(
    model: torch.nn.Module | ExportedProgram,
    inputs: Any = None,
    *,
    compile_specs: Sequence[CompileSpec] | None = None,
    reference: torch.nn.Module | ExportedProgram | None = None,
    min_snr: float = MIN_SNR,
    tolerance: float | None = None,
    apply: bool = False,
) -> Comparison:
    """Lowers a model and compares every value it computes with eager PyTorch's.

    Args:
        model: A module in eval mode, or an exported program.
        inputs: A tuple as for ``torch.export.export``; for an exported program also a dictionary by
            its input names, or None for the inputs it was exported with.
        compile_specs: From ``CoreMLBackend.generate_compile_specs``; fp16 by default.
        reference: The float model that ``model`` was quantized from: layers are compared with it
            instead of ops with ``model`` itself.
        min_snr: In dB. Values below are bad.
        tolerance: The largest error of a result relative to the result's largest value, if any.
        apply: Also lower with the proposal in ``keep_fp32`` and compare again, up to three times.

    Returns:
        The comparison; ``comparison.applied`` is the one with the proposal applied.

    Raises:
        InputError: Inputs that the model does not take, or a reference that is another model.
        CompileError: The model cannot be lowered, or nothing of it is delegated.
        OptionsError: ``apply`` with ``reference``: only quantizing anew changes layers.
    """
    if apply and reference is not None:
        raise OptionsError(
            "apply keeps ops in float32; what quantization lost it does not bring back",
            hint="leave the proposed layers in float when quantizing, and compare again",
        )
    program = exported(model, inputs)
    float_model = None if reference is None else exported(reference, inputs)
    job = _Job(program, _leaves(program, inputs), float_model, min_snr, tolerance)
    specs = list(compile_specs or [])
    found = job.run(specs)
    return replace(found, applied=_applied(job, specs, found)) if apply else found


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """What stays the same from one lowering to the next."""

    program: ExportedProgram
    leaves: Sequence[Any]
    reference: ExportedProgram | None
    min_snr: float
    tolerance: float | None

    def run(self, specs: list[CompileSpec]) -> Comparison:
        made = lowered(self.program, specs)
        options = CompileOptions.from_specs(specs)
        expected = in_pytorch(made, self.leaves)
        if self.reference is None:
            results, _ = run_program(self.program, self.leaves)
        else:
            results, expected = of_float_model(made, expected, self.reference, self.leaves, options)
        half, faithful = in_engine(made, self.leaves, expected, "faithful")
        full, float32 = in_engine(made, self.leaves, expected, "float32")
        wrong = any(error.beyond(self.min_snr) for error in _measured(results, full))
        if wrong and options.half and self.reference is None:
            full = self._in_float32(specs)
        rows = _rows(made, expected, faithful, float32)
        names = self.program.graph_signature.user_outputs
        errors = zip(names, _measured(results, half), _measured(results, full), strict=True)
        found = Comparison(
            tuple(row for row, _, _ in rows),
            tuple(Output(str(name), error, wide) for name, error, wide in errors),
            self.min_snr,
            self.tolerance,
            self.reference is not None,
            options.keep_fp32,
        )
        if self.reference is not None:
            return replace(found, proposal=propose.leave_in_float(found))
        return replace(found, proposal=propose.keep_fp32(found, rows))

    def _in_float32(self, specs: list[CompileSpec]) -> list[Any]:
        """The results of the program lowered in float32."""
        precision = CoreMLBackend.generate_compute_precision_compile_spec(ComputePrecision.FLOAT32)
        made = lowered(self.program, [*(s for s in specs if s.key != precision.key), precision])
        nothing = {module: Expected((), {}) for module in made.delegates}
        return in_engine(made, self.leaves, nothing, "float32")[0]


def _measured(expected: Sequence[Any], got: Sequence[Any]) -> list[Error]:
    return [measured(want, found) for want, found in zip(expected, got, strict=True)]


def _applied(job: _Job, specs: list[CompileSpec], before: Comparison) -> Comparison | None:
    """The best of the comparisons in which each proposal is added to those before it."""
    best, latest = None, before
    for _ in range(_ROUNDS):
        if not latest.proposal:
            break
        kept = CoreMLBackend.generate_keep_fp32_compile_spec([*latest.keep_fp32, *latest.proposal])
        latest = job.run([*(spec for spec in specs if spec.key != KEEP_FP32), kept])
        if best is None or latest.snr > best.snr:
            best = latest
    return best


def exported(model: torch.nn.Module | ExportedProgram, inputs: Any = None) -> ExportedProgram:
    """The model as a program; a module is exported with ``inputs``, as the tuple it takes.

    Raises:
        InputError: No model, or inputs of a module that are no tuple.
        CompileError: ``torch.export`` cannot export the module; its exception is the cause.
    """
    if isinstance(model, ExportedProgram):
        return model
    if not isinstance(model, torch.nn.Module):
        raise InputError(f"a {type(model).__name__} is neither a module nor an exported program")
    if not isinstance(inputs, tuple):
        raise InputError(
            "the inputs of a module are a tuple",
            hint="write (x,) for one; only exported programs name their inputs",
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return torch.export.export(model, inputs, strict=False)
        except Exception as cause:  # of torch, or of the module's own code
            raise CompileError(
                f"torch.export cannot export the model: {said(cause)}",
                location=raised_at(cause),
                hint="the model must run on the inputs, without branches on values of tensors",
            ) from cause


def _leaves(program: ExportedProgram, inputs: Any) -> list[Any]:
    return example_inputs(program) if inputs is None else flat_inputs(program, inputs)


def _rows(
    program: LoweredProgram, expected: Reference, faithful: Errors, float32: Errors
) -> list[tuple[Row, Node, Any]]:
    """In the order in which delegates and their nodes run."""
    order: list[LoweredBackendModule] = list(expected)
    rows = []
    for number, module in enumerate(order):
        delegate = program.delegates[module]
        own = by_itself(delegate, expected[module])
        types = delegate.types()
        for value, node in delegate.shown().items():
            if value in faithful[module]:
                row = Row(
                    locate(node),
                    number,
                    types[value],
                    faithful[module][value],
                    own.get(value),
                    float32[module].get(value),
                )
                rows.append((row, node, expected[module].values[value]))
    return rows
