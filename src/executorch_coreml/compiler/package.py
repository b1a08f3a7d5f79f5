"""MIL program -> :class:`Package`: the model file, the weights and what the border is called."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from executorch_coreml.compiler import payload
from executorch_coreml.compiler.lower import Lowered
from executorch_coreml.compiler.mil_passes import check_pass_names, run_passes
from executorch_coreml.compiler.quiet import quiet_coremltools
from executorch_coreml.errors import PackageError
from executorch_coreml.location import locate

# coremltools writes random item ids into Manifest.json; the format only asks that they differ.
_MODEL_ID = "8A7C1C7E-3D0E-4B7B-9F5C-000000000001"
_WEIGHTS_ID = "8A7C1C7E-3D0E-4B7B-9F5C-000000000002"
_AUTHOR = "com.apple.CoreML"


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
        return f"{self.output}:{self.type}"


@dataclass(frozen=True, slots=True)
class Package:
    """A serialised model.

    Attributes:
        model: ``model.mlmodel``, a serialised protobuf ``Model``.
        weights: ``weight.bin`` in pieces, none when every constant is inside the model file.
        inputs, outputs: Names at the border, in the delegate's argument order.
        debug: The ops that come from a graph node, in program order.
        precision: Why fp16 was not used, or not as it is -> the nodes, with the user's lines.
    """

    model: bytes
    weights: tuple[payload.Buffer, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    debug: tuple[DebugOp, ...]
    precision: Mapping[str, tuple[str, ...]]

    @property
    def identifier(self) -> str:
        """Hash of everything that decides what the model computes; keys the device's cache."""
        digest = hashlib.sha256(self.model)
        for part in self.weights:
            digest.update(part)
        digest.update(json.dumps([self.inputs, self.outputs]).encode())
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
        root = "lowered_module"
        files = {f"{root}/model.mlpackage/{path}": data for path, data in self.files().items()}
        files[f"{root}/metadata.json"] = _json(
            {
                "inputNames": list(self.inputs),
                "outputNames": list(self.outputs),
                "identifier": self.identifier,
            }
        )
        files[f"{root}/debug_info.json"] = _json(self._debug_info())
        return payload.pack(files)

    def debug_handles(self) -> dict[str, tuple[int, ...]]:
        """Debug symbol -> handles, as ExecuTorch's Inspector wants it."""
        return {op.symbol: op.handles for op in self.debug if op.handles}

    def _debug_info(self) -> dict[str, Any]:
        path = [{"Type": "Program"}, {"Type": "Function", "Name": "main"}, {"Type": "Block"}]
        handled = [op for op in self.debug if op.handles]
        return {
            "versionInfo": {},
            "debugSymbolToOperationPath": {
                op.symbol: [
                    *path,
                    {"Type": "Operation", "Operator": op.type, "Output": op.output},
                ]
                for op in handled
            },
            "debugSymbolToHandles": {op.symbol: list(op.handles) for op in handled},
            # Ours; the delegate looks up the keys above by name and ignores others.
            payload.PRECISION_NOTES: {why: list(nodes) for why, nodes in self.precision.items()},
        }


def build(lowered: Lowered, pass_names: Sequence[str] = ()) -> Package:
    """Serialises a lowered program.

    Args:
        lowered: The program.
        pass_names: coremltools passes to run on it first.

    Raises:
        OptionsError: coremltools knows no such pass.
        PackageError: coremltools refused the program; its exception is the cause.
    """
    with quiet_coremltools():
        from executorch_coreml.compiler.exporter import export

        check_pass_names(pass_names)
        try:
            run_passes(lowered.program, pass_names)
            spec, weights = export(lowered.program, lowered.target.value)
        except Exception as cause:
            raise PackageError(
                f"the program could not be serialised: {cause}",
                hint="this is a bug in executorch-coreml; please report it with the model",
            ) from cause
    return Package(
        model=spec.SerializeToString(deterministic=True),
        weights=weights.parts,
        # Not the names that lowering chose: the serialiser renames what MIL reserves ("int32").
        inputs=tuple(feature.name for feature in spec.description.input),
        outputs=tuple(feature.name for feature in spec.description.output),
        debug=tuple(_debug_ops(spec, lowered)),
        precision=_precision(lowered),
    )


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


def _precision(lowered: Lowered) -> dict[str, tuple[str, ...]]:
    """The notes by reason. Of paths only the file's name: the rest is the machine's, not the
    model's, and would make equal models differ."""
    found: dict[str, list[str]] = {}
    for node, reasons in lowered.notes.items():
        location = locate(node)
        if location.file is not None:
            location = replace(location, file=Path(location.file).name)
        for reason in dict.fromkeys(reasons):
            found.setdefault(reason, []).append(str(location))
    return {reason: tuple(places) for reason, places in found.items()}


def _handles(given: Any) -> tuple[int, ...]:
    if given is None:
        return ()
    return tuple(given) if isinstance(given, (list, tuple)) else (int(given),)


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode()
