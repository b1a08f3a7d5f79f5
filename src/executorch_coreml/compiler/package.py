"""MIL program -> :class:`Package`: the model file, the weights and what the border is called."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from executorch_coreml import __version__
from executorch_coreml.compiler import payload
from executorch_coreml.compiler.apple import compile_package
from executorch_coreml.compiler.lower import Lowered
from executorch_coreml.compiler.mil_passes import check_pass_names, run_passes
from executorch_coreml.compiler.notes import by_reason
from executorch_coreml.compiler.payload import COMPILER_VERSION, MINIMUM_OS_REASON
from executorch_coreml.compiler.pool import Pool
from executorch_coreml.compiler.quiet import quiet_coremltools
from executorch_coreml.compiler.shapes import tie
from executorch_coreml.compiler.target import Need, deciding
from executorch_coreml.compiler.weight_pruning import prune_weights
from executorch_coreml.compiler.weight_quantization import quantize_weights
from executorch_coreml.errors import LoweringError, PackageError
from executorch_coreml.location import locate
from executorch_coreml.options import CompileOptions, ModelType, Target

# coremltools writes random item ids into Manifest.json; the format only asks that they differ.
_MODEL_ID = "8A7C1C7E-3D0E-4B7B-9F5C-000000000001"
_WEIGHTS_ID = "8A7C1C7E-3D0E-4B7B-9F5C-000000000002"
_AUTHOR = "com.apple.CoreML"
# The options whose work is coremltools' own code.
_OPTIONAL = ("pass_names", "op_linear_quantizer_config", "op_pruner_config")


@dataclass(frozen=True, slots=True)
class DebugOp:
    """One MIL op of a finished package and the graph node it came from.

    Attributes:
        output: Name of the op's first output.
        type: The MIL op.
        handles: ExecuTorch debug handles of the node.
        source: The node's location, for messages.
    """

    output: str
    type: str
    handles: tuple[int, ...]
    source: str

    @property
    def symbol(self) -> str:
        """The name under which delegate events are logged."""
        return payload.symbol(self.output, self.type)


@dataclass(frozen=True, slots=True)
class Border:
    """What crosses into and out of a function."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def names(self) -> dict[str, list[str]]:
        """As in ``metadata.json``."""
        return {"inputNames": list(self.inputs), "outputNames": list(self.outputs)}


@dataclass(frozen=True, slots=True)
class Package:
    """A serialised model.

    Attributes:
        model: ``model.mlmodel``, a serialised protobuf ``Model``.
        weights: ``weight.bin`` in pieces, none when every constant is inside the model file.
        border: Names at the border, in the delegate's argument order.
        debug: The ops that come from a graph node, in program order.
        facts: What a reader may want to know and a device need not.
        precision: Why fp16 was not used, or not as it is -> the nodes, with the user's lines.
        outside: Why the program's other nodes stayed outside of all delegates -> those nodes; with
            a method's first delegate only.
        methods: The border per ExecuTorch method, for a model that several methods share.
        compiled: Whether to store what Apple's compiler makes of the package.
    """

    model: bytes
    weights: tuple[payload.Buffer, ...]
    border: Border
    debug: tuple[DebugOp, ...]
    facts: Mapping[str, str]
    precision: Mapping[str, tuple[str, ...]]
    outside: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    methods: Mapping[str, Border] = field(default_factory=dict)
    compiled: bool = False

    @property
    def identifier(self) -> str:
        """Hash of everything that decides what the model computes; keys the device's cache."""
        digest = hashlib.sha256(self.model)
        for part in self.weights:
            digest.update(part)
        borders = self.methods or {"": self.border}
        digest.update(json.dumps([[m, b.inputs, b.outputs] for m, b in borders.items()]).encode())
        return f"executorch_{digest.hexdigest()[:32]}"

    def files(self) -> dict[str, payload.Content]:
        """Path inside the ``.mlpackage`` -> content."""
        items = {_MODEL_ID: ("model.mlmodel", "CoreML Model Specification")}
        data: dict[str, payload.Content] = {"model.mlmodel": self.model}
        if self.weights:
            items[_WEIGHTS_ID] = ("weights", "CoreML Model Weights")
            data["weights/weight.bin"] = self.weights
        manifest = {
            "fileFormatVersion": "1.0.0",
            "itemInfoEntries": {
                item: {
                    "author": _AUTHOR,
                    "description": description,
                    "name": name,
                    "path": f"{_AUTHOR}/{name}",
                }
                for item, (name, description) in items.items()
            },
            "rootModelIdentifier": _MODEL_ID,
        }
        files = {f"Data/{_AUTHOR}/{path}": content for path, content in data.items()}
        return {"Manifest.json": _json(manifest), **files}

    def payload(self) -> bytes:
        """The delegate payload that holds this package (see :mod:`.payload` for the bytes)."""
        kind, model = "mlpackage", self.files()
        if self.compiled:
            kind, model = "mlmodelc", dict(compile_package(model))
        names = (
            {"methods": {method: border.names() for method, border in self.methods.items()}}
            if self.methods
            else self.border.names()
        )
        files: dict[str, payload.Content] = {
            **{f"model.{kind}/{path}": data for path, data in model.items()},
            "metadata.json": _json({**names, "identifier": self.identifier}),
            "debug_info.json": _json(self._debug_info()),
        }
        return payload.pack({f"lowered_module/{path}": data for path, data in files.items()})

    def debug_handles(self) -> dict[str, tuple[int, ...]]:
        """Debug symbol -> handles, as ExecuTorch's Inspector wants it."""
        return {op.symbol: op.handles for op in self.debug if op.handles}

    def _debug_info(self) -> dict[str, Any]:
        path = [{"Type": "Program"}, {"Type": "Function", "Name": "main"}, {"Type": "Block"}]
        handled = [op for op in self.debug if op.handles]
        # Ours; the delegate looks up the keys below by name and ignores others.
        ours: dict[str, Mapping[str, tuple[str, ...]]] = {payload.PRECISION_NOTES: self.precision}
        if self.outside:
            ours[payload.OUTSIDE] = self.outside
        return ours | {
            "versionInfo": dict(self.facts),
            "debugSymbolToOperationPath": {
                op.symbol: [
                    *path,
                    {"Type": "Operation", "Operator": op.type, "Output": op.output},
                ]
                for op in handled
            },
            payload.DEBUG_HANDLES: {op.symbol: list(op.handles) for op in handled},
        }


def build(lowered: Lowered, options: CompileOptions) -> Package:
    """Serialises a lowered program.

    Raises:
        OptionsError: coremltools knows no pass of a name in ``options.pass_names``.
        PackageError: coremltools refused the program; its exception is the cause.
    """
    spec, weights = _serialised(lowered.program, lowered.target, options)
    tie(spec.description, lowered.enumerated)
    return Package(
        model=spec.SerializeToString(deterministic=True),
        weights=weights,
        border=_border(spec.description),
        debug=tuple(_debug_ops(spec, lowered)),
        facts=_facts(lowered.needs, lowered.target),
        precision=_precision([lowered]),
        outside=_outside([lowered]),
        compiled=options.model_type is ModelType.COMPILED_MODEL,
    )


def build_functions(
    functions: Mapping[str, Lowered],
    pool: Pool,
    target: Target,
    options: CompileOptions,
    needs: Sequence[Need],
) -> Package:
    """Serialises programs of one function each as one model, weights stored once.

    Args:
        functions: Function, and ExecuTorch method, name -> its program.
        pool: Names the weights.
        target: What all of them were lowered for.
        options: What holds for all: the passes, how weights are quantized, the model type.
        needs: What decided the target.

    Raises:
        OptionsError, PackageError: As for :func:`build`.
    """
    with quiet_coremltools():
        from coremltools.converters.mil.mil import Program

        program = Program()
        for name, lowered in functions.items():
            program.add_function(name, lowered.program.functions["main"])
        program.default_function_name = next(iter(functions))
        program.export_as_multifunction = True
    spec, weights = _serialised(program, target, options, pool)
    for each in spec.description.functions:
        tie(each, functions[each.name].enumerated)
    borders = {each.name: _border(each) for each in spec.description.functions}
    return Package(
        model=spec.SerializeToString(deterministic=True),
        weights=weights,
        border=borders[program.default_function_name],
        debug=(),  # a symbol may mean another op in each function
        facts=_facts(needs, target),
        precision=_precision(functions.values()),
        outside=_outside(functions.values()),
        methods=borders,
        compiled=options.model_type is ModelType.COMPILED_MODEL,
    )


def _name_weights(program: Any, pool: Pool) -> None:
    """Equal constants of all functions get one name, and with it one place in the weight file."""
    for op in (op for function in program.functions.values() for op in function.operations):
        value = op.outputs[0].val if op.op_type == "const" else None
        if isinstance(value, np.ndarray) and value.dtype.kind in "biuf" and op.weight_id is None:
            op.weight_id = f"{op.outputs[0].dtype.__name__}_{pool.name(value)}"


def _serialised(
    program: Any, target: Target, options: CompileOptions, pool: Pool | None = None
) -> tuple[Any, tuple[payload.Buffer, ...]]:
    """The protobuf of a model and the pieces of its weight file."""
    names = options.pass_names
    with quiet_coremltools():
        from executorch_coreml.compiler.exporter import export

        check_pass_names(names)
        before = _signature(program) if names else None
        try:
            run_passes(program, names)
            changed = before is not None and before != _signature(program)
            _compress_weights(program, options)
            if pool is not None:
                _name_weights(program, pool)
            spec, weights = export(program, target.value)
        except LoweringError:  # a weight that does not decode to what it encodes
            raise
        except Exception as cause:
            given = [name for name in _OPTIONAL if getattr(options, name) not in (None, ())]
            raise PackageError(
                f"the program could not be serialised: {cause}",
                hint=f"leave out {' and '.join(given)} to see whether that is the cause"
                if given
                else "this is a bug in executorch-coreml; please report it with the model",
            ) from cause
    if changed:
        raise PackageError(
            "the passes changed the model's inputs or outputs",
            hint=f"leave some of {', '.join(names)} out of pass_names",
        )
    return spec, weights.parts


def _compress_weights(program: Any, options: CompileOptions) -> None:
    """Stores weights in fewer bits as the options ask: zeros are left out first."""
    joint = False
    if options.op_pruner_config is not None:
        joint = prune_weights(program, options.op_pruner_config)
    if options.op_linear_quantizer_config is not None:
        quantize_weights(program, options.op_linear_quantizer_config, joint)


def _signature(program: Any) -> list[Any]:
    """Names, shapes and types of all that crosses the border."""
    return [
        [name, *((v.name, str(v.sym_type)) for v in (*function.inputs.values(), *function.outputs))]
        for name, function in program.functions.items()
    ]


def _border(description: Any) -> Border:
    """The names as the serialiser wrote them: it renames what MIL reserves ("int32")."""
    return Border(
        tuple(feature.name for feature in description.input),
        tuple(feature.name for feature in description.output),
    )


def _facts(needs: Sequence[Need], target: Target) -> dict[str, str]:
    return {
        COMPILER_VERSION: __version__,
        MINIMUM_OS_REASON: "; ".join(deciding(needs, target)),
    }


def _debug_ops(spec: Any, lowered: Lowered) -> list[DebugOp]:
    """The ops of the finished program whose name still leads back to a node."""
    found = []
    for function in spec.mlProgram.functions.values():
        for block in function.block_specializations.values():
            for op in block.operations:
                node = lowered.origins.get(op.outputs[0].name) if op.outputs else None
                if node is not None and op.type != "const":
                    handles = _handles(node.meta.get("debug_handle"))
                    found.append(DebugOp(op.outputs[0].name, op.type, handles, str(locate(node))))
    return found


def _precision(programs: Iterable[Lowered]) -> dict[str, tuple[str, ...]]:
    """The notes by reason."""
    return by_reason(
        (reason, locate(node))
        for lowered in programs
        for node, reasons in lowered.notes.items()
        for reason in reasons
    )


def _outside(programs: Iterable[Lowered]) -> dict[str, tuple[str, ...]]:
    """What was left outside of all of them, by reason."""
    found: dict[str, dict[str, None]] = {}
    for lowered in programs:
        for reason, places in lowered.outside.items():
            found.setdefault(reason, {}).update(dict.fromkeys(places))
    return {reason: tuple(places) for reason, places in found.items()}


def _handles(given: Any) -> tuple[int, ...]:
    if given is None:
        return ()
    return tuple(given) if isinstance(given, (list, tuple)) else (int(given),)


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True).encode()  # indented, it would take six times as long
