"""Which mutated buffers a delegate takes over as Core ML states, and why the others cross.

A buffer that is not taken over is an input of the delegates that read it, its new value an output
of the one that computes it, and ExecuTorch keeps it between runs. Both ways compute the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.export import ExportedProgram
from torch.fx import Node

from executorch_coreml.compiler.graph import DelegatedGraph
from executorch_coreml.compiler.keep_fp32 import named
from executorch_coreml.compiler.positions import positions
from executorch_coreml.compiler.state import state_shape
from executorch_coreml.mil.types import STATE_ALIGNMENT
from executorch_coreml.options import CompileOptions, ComputeUnit, Target


@dataclass(frozen=True, slots=True)
class Buffer:
    """What became of one mutated buffer.

    Attributes:
        name: The buffer's name in the user's module.
        reason: Why it crosses the border; None when a delegate takes it over as a state.
        warning: What may still go wrong on a device; None if nothing is known.
    """

    name: str
    reason: str | None
    warning: str | None = None

    def __str__(self) -> str:
        if self.reason is not None:
            return f"buffer {self.name}: an input and an output of its delegate: {self.reason}"
        return f"buffer {self.name}: a state" + (f". {self.warning}" if self.warning else "")


def mutated_buffers(
    program: ExportedProgram,
    pieces: Sequence[Sequence[Node]],
    options: CompileOptions,
    take_over: bool,
) -> dict[Node, tuple[Buffer, int | None]]:
    """The placeholder of every mutated buffer that some piece uses -> what becomes of it, and the
    number of the piece that takes it over."""
    home = {node: number for number, piece in enumerate(pieces) for node in piece}
    signature = program.graph_signature
    placeholders = {n.name: n for n in program.graph.nodes if n.op == "placeholder"}
    names = {n.name: n for n in program.graph.nodes}
    counted = positions(DelegatedGraph(program.graph, {}, [])) if options.half else frozenset()
    written = {target: names[name] for name, target in signature.buffers_to_mutate.items()}
    results = Counter(spec.arg.name for spec in signature.output_specs)
    found: dict[Node, tuple[Buffer, int | None]] = {}
    for name, target in signature.inputs_to_buffers.items():
        node = placeholders[name]
        if target not in written or not any(user in home for user in node.users):
            continue
        reason = (
            _asked(options, take_over)
            or _unfit(node, options, node in counted)
            or _kept(node, written[target], options)
            or _shared(node, written[target], home, results[written[target].name])
        )
        if reason:
            found[node] = Buffer(target, reason), None
        else:
            piece = next(home[user] for user in node.users)
            found[node] = Buffer(target, None, _misaligned(node, options)), piece
    return found


def _asked(options: CompileOptions, take_over: bool) -> str | None:
    if not take_over:
        return "take_over_mutable_buffer is False"
    target = options.minimum_deployment_target
    if target is not None and target < Target.iOS18:
        return f"a state needs iOS18 or later; minimum_deployment_target is {target.name}"
    return None


def _unfit(node: Node, options: CompileOptions, counted: bool) -> str | None:
    dtype = node.meta["val"].dtype
    if dtype is torch.float32 and not options.half:
        return "a state holds fp16, and compute_precision is FLOAT32"
    if dtype is torch.float32 and counted:
        return "a state holds fp16, and its values are positions or angles"
    if dtype not in (torch.float32, torch.float16):
        return f"a state holds fp16, and its dtype is {str(dtype).removeprefix('torch.')}"
    return None


def _kept(node: Node, written: Node, options: CompileOptions) -> str | None:
    if node.meta["val"].dtype is not torch.float32 or not named(
        [*node.users, written], options.keep_fp32
    ):
        return None
    return "a state holds fp16, and what uses it is named in keep_fp32"


def _shared(node: Node, written: Node, home: Mapping[Node, int], times: int) -> str | None:
    """A state has one owner, which alone sees its old and its new value.

    ``times`` is how often the program returns the new value, as a buffer's or a result.
    """
    places = {home.get(user) for user in node.users}
    if any(user.op == "output" for user in node.users):
        return "its old value is returned"
    if None in places:
        return "an op outside the delegate uses it"
    if len(places) > 1:
        return f"{len(places)} delegates use it, and a state belongs to one"
    if home.get(written) not in places:
        return "its new value is computed outside the delegate that reads it"
    if times > 1:
        return "its new value is also returned, or is that of another buffer"
    if any(home.get(user) not in places for user in written.users if user.op != "output"):
        return "an op outside the delegate uses its new value"
    return None


def _misaligned(node: Node, options: CompileOptions) -> str | None:
    """coremltools#2631: the Neural Engine fails on a state 270 wide and takes one of 256."""
    width = state_shape(tuple(node.meta["val"].shape))[-1]
    units = options.compute_unit in (ComputeUnit.ALL, ComputeUnit.CPU_AND_NE)
    if not units or width % STATE_ALIGNMENT == 0:
        return None
    return (
        f"Its last extent is {width}, no multiple of {STATE_ALIGNMENT}, which the Neural Engine "
        f"may refuse: pad it to {-(-width // STATE_ALIGNMENT) * STATE_ALIGNMENT}"
    )
