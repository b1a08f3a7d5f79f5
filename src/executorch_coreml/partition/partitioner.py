"""``CoreMLPartitioner``: asks the table about every node and tags what Core ML will run.

It knows no op by name. A node is delegated when its rule's checks pass, when everything that
crosses the border of its piece may cross, and when its piece computes something or is the whole
program.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from executorch.exir.backend.compile_spec_schema import CompileSpec
from executorch.exir.backend.partitioner import DelegationSpec, Partitioner, PartitionResult
from executorch.exir.backend.utils import tag_constant_data
from torch._subclasses.fake_tensor import FakeTensor
from torch.export import ExportedProgram
from torch.fx import Node

from executorch_coreml.compiler.backend import MARKER, CoreMLBackend, claim_name, supported
from executorch_coreml.compiler.collector import collector_paused
from executorch_coreml.compiler.keep_fp32 import require_known
from executorch_coreml.compiler.notes import PrecisionNotes, leave_outside
from executorch_coreml.compiler.passes.fold_quantized import computed_now
from executorch_coreml.errors import OptionsError, UnsupportedOp
from executorch_coreml.location import locate
from executorch_coreml.ops import TABLE
from executorch_coreml.ops.bounds import NUMBER
from executorch_coreml.ops.call import Call, normalise
from executorch_coreml.ops.refused import why_not
from executorch_coreml.ops.rule import ASKED_TARGET, INT, stays_whole
from executorch_coreml.ops.sizes import inexpressible, is_assertion, is_size
from executorch_coreml.options import CompileOptions, Target
from executorch_coreml.partition.border import cannot_enter, cannot_leave
from executorch_coreml.partition.buffers import mutated_buffers
from executorch_coreml.partition.fold import fold_before_export
from executorch_coreml.partition.pieces import Piece, computing, pieces_of
from executorch_coreml.partition.report import Decision, Minimum, Report

_WITH_KERNELS = ("aten", "dim_order_ops")  # ExecuTorch's own: it makes out variants as needed


class CoreMLPartitioner(Partitioner):  # type: ignore[misc]
    """Chooses what becomes a Core ML delegate; for ``to_edge_transform_and_lower``.

    Args:
        skip_ops_for_coreml_delegation: Ops to leave outside, as ``"aten.add.Tensor"``,
            ``"add.Tensor"`` or the edge name ``"aten.add.tensor"``; unknown names are an error.
            An op that is not in ExecuTorch's edge dialect (``aten.silu.default``) is decomposed
            then, and its parts are delegated unless they are named too.
        compile_specs: From :meth:`CoreMLBackend.generate_compile_specs`.
        take_over_mutable_buffer: Let delegates own mutated buffers as Core ML states, which need
            iOS18. Else, and where a state cannot stand for the buffer, it crosses the border as an
            input and an output; :attr:`report` says which and why.
        lower_full_graph: Raise one :class:`UnsupportedOp` that lists every node that cannot be
            delegated, instead of leaving those nodes outside.
        take_over_constant_data: Store weights inside the delegate; else they are passed to it.

    Raises:
        OptionsError: Arguments that contradict each other or name unknown ops.
    """

    def __init__(
        self,
        *,
        skip_ops_for_coreml_delegation: Sequence[str] | None = None,
        compile_specs: list[CompileSpec] | None = None,
        take_over_mutable_buffer: bool | None = True,
        lower_full_graph: bool = False,
        take_over_constant_data: bool = True,
    ) -> None:
        self.options = supported(CompileOptions.from_specs(compile_specs or []))
        self.skipped = _known_ops(skip_ops_for_coreml_delegation or ())
        self.take_over_mutable_buffer = take_over_mutable_buffer
        self.lower_full_graph = lower_full_graph
        self.take_over_constant_data = take_over_constant_data
        if lower_full_graph and self.skipped:
            raise OptionsError(
                "lower_full_graph=True contradicts skip_ops_for_coreml_delegation",
                hint="drop one of the two arguments",
            )
        if self.options.enumerated_shapes and not lower_full_graph:
            raise OptionsError(
                "enumerated shapes need lower_full_graph=True: they name inputs of the program",
                hint="set lower_full_graph=True, or export with ranges (torch.export.Dim)",
            )
        if lower_full_graph and not take_over_constant_data:
            raise OptionsError(
                "lower_full_graph=True needs take_over_constant_data=True",
                hint="drop one of the two arguments",
            )
        given = [spec for spec in compile_specs or [] if spec.key != MARKER.key]
        self.delegation_spec = DelegationSpec(CoreMLBackend.__name__, [*given, MARKER])
        self._report, self._notes = Report(), PrecisionNotes()

    @property
    def report(self) -> Report:
        """What was decided per node the last time :meth:`partition` ran, and once its delegates
        are compiled, the precision decisions."""
        return replace(self._report, precision=tuple(self._notes))

    def transform_for_pre_decomposition(self, exported_program: ExportedProgram) -> ExportedProgram:
        """Folds batch norms, unless weights or some ops are to stay outside."""
        if self.skipped or not self.take_over_constant_data:
            return exported_program
        return fold_before_export(exported_program, self.options)

    @collector_paused()
    def ops_to_not_decompose(
        self, ep: ExportedProgram
    ) -> tuple[list[Any], Callable[[Node], bool] | None]:
        """The ops to keep whole: those whose every call in the program can be delegated as it is,
        and those of quantization libraries, which :meth:`partition` then says the reason for.

        No per-node filter is returned: ExecuTorch decides per op then, and one call of an op that
        must decompose decomposes them all.
        """
        kept: dict[Any, bool] = {}
        outside = self._outside(ep)
        for node in ep.graph.nodes:
            op = node.target  # not normalised: in the edge dialect it is too late to keep an op
            if node.op == "call_function" and op in TABLE:
                takes = self._only_here(node) or node not in outside
                kept[op] = kept.get(op, True) and takes
        return [op for op, keep in kept.items() if keep and stays_whole(op)], None

    def _outside(self, program: ExportedProgram) -> set[Node]:
        """The nodes that cannot be delegated as they are, if ops without a rule decompose into
        ops that can: refused by their rules, or where something illegal would cross the border.
        """
        fixed = self._fixed(program)
        nodes = [node for node in program.graph.nodes if node.op == "call_function"]
        ruled = [node for node in nodes if node.target in TABLE]
        outside = {node for node in ruled if self._refuse(node, fixed) is not None}
        while illegal := self._illegal([[n for n in nodes if n not in outside]], program):
            outside.update(illegal)
        return outside

    @collector_paused()
    def partition(self, exported_program: ExportedProgram) -> PartitionResult:
        """Tags the nodes to delegate and fills :attr:`report`.

        Raises:
            UnsupportedOp: ``lower_full_graph`` is set and something must stay outside, or it is
                an op that only Core ML could run.
            OptionsError: ``keep_fp32`` names what the program does not have.
        """
        claim_name()
        _note_numbers(exported_program)
        # ExecuTorch 1.5.1 deletes what a delegate takes over from this dictionary, which it shares
        # with the user's program: without a copy that program could be lowered only once.
        exported_program._constants = dict(exported_program.constants)
        module = exported_program.graph_module
        nodes = [node for node in module.graph.nodes if node.op == "call_function"]
        require_known(nodes, self.options.keep_fp32)
        fixed = self._fixed(exported_program)
        refused = {node: reason for node in nodes if (reason := self._refuse(node, fixed))}
        stranded = {node: why for node, why in refused.items() if self._only_here(node)}
        pieces = pieces_of(module, refused)
        while illegal := self._illegal(pieces, exported_program):
            refused.update(illegal)
            pieces = pieces_of(module, refused)
        if refused and not self.lower_full_graph:
            pieces, moved = computing(pieces)
            refused.update(moved)
        buffers = mutated_buffers(
            exported_program, pieces, self.options, bool(self.take_over_mutable_buffer)
        )
        states = [buffer.name for buffer, piece in buffers.values() if piece is not None]
        self._report = Report(
            tuple(Decision(locate(node), refused.get(node)) for node in nodes),
            len(pieces),
            tuple(buffer for buffer, _ in buffers.values()),
            Minimum.of(pieces, fixed, self.options, states),
        )
        self._notes = PrecisionNotes()
        if self.lower_full_graph and self._report.refused:
            raise _not_full(self._report)
        if stranded:
            raise _stranded(stranded)
        for buffer in self._report.buffers:
            if buffer.warning:
                warnings.warn(str(buffer), stacklevel=2)
        owners = {node: piece for node, (_, piece) in buffers.items() if piece is not None}
        return self._tag(exported_program, pieces, owners)

    def _tag(
        self, program: ExportedProgram, pieces: list[Piece], owners: dict[Node, int]
    ) -> PartitionResult:
        tags = {}
        for number, piece in enumerate(pieces):
            tag = f"tag{number}"
            tags[tag] = self.delegation_spec
            self._notes.asked_from(piece)
            if number == 0:
                leave_outside(piece, [(d.reason or "", d.location) for d in self._report.refused])
            for node in piece:
                node.meta["delegation_tag"] = tag
        for node, number in owners.items():
            node.meta["delegation_tag"] = f"tag{number}"
        if self.take_over_constant_data:
            tag_constant_data(program)
            for node in _returned_constants(program):
                node.meta.pop("delegation_tag", None)
        return PartitionResult(tagged_exported_program=program, partition_tags=tags)

    def _fixed(self, program: ExportedProgram) -> set[Node]:
        """The nodes whose values a delegate knows when it is compiled."""
        if not self.take_over_constant_data:
            return set()
        weights = _constants(program) - _returned_constants(program)
        return weights | computed_now(program.graph.nodes, weights)

    def _refuse(self, node: Node, fixed: set[Node]) -> str | None:
        """Why the node must stay outside, judged by itself."""
        if is_assertion(node):
            return None
        if is_size(node):
            return inexpressible(node)
        if node.target is operator.getitem:
            return self._refuse(Call(node)["input"], fixed)
        op = normalise(node.target)
        if op in self.skipped:
            return "named in skip_ops_for_coreml_delegation"
        if node in fixed:
            return None  # computed when the delegate is compiled
        rule = TABLE.get(op)
        if rule is None:
            return why_not(op)
        return rule.refuse(Call(node, self.options.minimum_deployment_target, fixed))

    def _only_here(self, node: Node) -> bool:
        """Whether ExecuTorch has no kernel for an op of a library that a rule exists for.

        Unless somebody asked to leave it outside, as for another backend that takes it.
        """
        op = normalise(node.target)
        if op not in TABLE or op in self.skipped or op.namespace in _WITH_KERNELS:
            return False
        packet = getattr(getattr(torch.ops, op.namespace), op._schema.name.rpartition("::")[2])
        return not any(overload.endswith("out") for overload in packet.overloads())

    def _inside(self, program: ExportedProgram) -> set[Node]:
        """The constants that delegates hold themselves."""
        if not self.take_over_constant_data:
            return set()
        return _constants(program) - _returned_constants(program)

    def _illegal(self, pieces: list[Piece], program: ExportedProgram) -> dict[Node, str]:
        """Nodes that put something across the border of their piece that Core ML cannot take."""
        target = self.options.minimum_deployment_target or Target.iOS26
        constants = self._inside(program)
        illegal: dict[Node, str] = {}
        for piece in pieces:
            inside = set(piece)
            crossing_in = False
            for node in piece:
                for source in node.all_input_nodes:
                    if source in inside or source in constants:
                        continue
                    crossing_in = True
                    if reason := cannot_enter(source, target):
                        illegal[node] = f"its input {source.name} {reason}"
                outside = any(user not in inside for user in node.users)
                if outside and (reason := cannot_leave(node, target)):
                    illegal[node] = f"its result leaves the delegate and {reason}"
                    if node.target is operator.getitem:  # goes where its producer goes
                        illegal[Call(node)["input"]] = (
                            f"a result of it leaves the delegate and {reason}"
                        )
            if not crossing_in and target < Target.iOS18:
                reason = "its piece has no inputs, which Core ML takes from iOS18 on"
                illegal.update(dict.fromkeys(piece, reason))
        return illegal


def _constants(program: ExportedProgram) -> set[Node]:
    """Placeholders whose values are fixed: parameters, constants and buffers nobody writes."""
    signature = program.graph_signature
    written = set(signature.buffers_to_mutate.values())
    fixed = {
        *signature.inputs_to_parameters,
        *signature.inputs_to_lifted_tensor_constants,
        *(name for name, buffer in signature.inputs_to_buffers.items() if buffer not in written),
    }
    return {n for n in program.graph.nodes if n.op == "placeholder" and n.name in fixed}


def _note_numbers(program: ExportedProgram) -> None:
    """Puts the integers that ExecuTorch made rank-0 constants where checks can read them."""
    signature = program.graph_signature
    names = signature.inputs_to_buffers | signature.inputs_to_lifted_tensor_constants
    for node in _constants(program):
        name = names.get(node.name, "")
        tensor = program.state_dict.get(name, program.constants.get(name))
        # ExecuTorch may partition a fake copy of the program; some fake tensors know their value.
        if isinstance(tensor, FakeTensor):
            tensor = tensor.constant
        if not isinstance(tensor, torch.Tensor):
            continue
        if tensor.dim() == 0 and node.meta["val"].dtype in INT:
            node.meta[NUMBER] = tensor.item()


def _returned_constants(program: ExportedProgram) -> set[Node]:
    """Constants that the program returns as they are; ExecuTorch cannot move those away."""
    return _constants(program) & set(program.graph.output_node().all_input_nodes)


def _known_ops(names: Iterable[str]) -> frozenset[Any]:
    """The overloads that the names stand for, in any of the documented spellings."""
    spellings: dict[str, Any] = {}
    for op in TABLE:
        name = str(op).lower()
        spellings[name] = spellings[name.split(".", 1)[1]] = op
    unknown = [name for name in names if name.lower() not in spellings]
    if unknown:
        raise OptionsError(
            f"skip_ops_for_coreml_delegation names unknown ops: {', '.join(unknown)}",
            hint='write them as "aten.add.Tensor"; ops without a rule are never delegated anyway',
        )
    return frozenset(spellings[name.lower()] for name in names)


def _not_full(report: Report) -> UnsupportedOp:
    old = any(ASKED_TARGET in (decision.reason or "") for decision in report.refused)
    return _refusal(
        report.refused,
        "",
        ("set the minimum_deployment_target that is named, or none; " if old else "")
        + "rewrite those lines, or set lower_full_graph=False to run them outside the delegate",
    )


def _stranded(refused: dict[Node, str]) -> UnsupportedOp:
    return _refusal(
        [Decision(locate(node), reason) for node, reason in refused.items()],
        ", nor does ExecuTorch have a kernel",
        "set the minimum_deployment_target that is named, quantize these layers otherwise, or "
        "name the op in skip_ops_for_coreml_delegation if another backend takes it",
    )


def _refusal(refused: Sequence[Decision], more: str, hint: str) -> UnsupportedOp:
    """One error for all of them, at the place of the first."""
    first, *others = refused
    listed = "".join(f"\n  {decision}" for decision in others)
    also = f"; {len(others)} more node(s) cannot run in Core ML:{listed}" if others else ""
    return UnsupportedOp(
        f"it cannot run in Core ML{more}: {first.reason}{also}",
        location=str(first.location),
        hint=hint,
    )
