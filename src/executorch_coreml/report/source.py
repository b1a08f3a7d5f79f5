"""A report on a model that was just lowered, with its source at hand."""

from __future__ import annotations

import linecache
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

import torch
from executorch.exir.lowered_backend_module import LoweredBackendModule
from torch.export import ExportedProgram
from torch.fx import Graph, Node
from torch.utils._pytree import tree_leaves

from executorch_coreml import __version__
from executorch_coreml.compiler.notes import by_reason
from executorch_coreml.debug.program import Delegate, delegate_of
from executorch_coreml.location import Location, locate
from executorch_coreml.mil.artefact import Artefact
from executorch_coreml.mil.types import Bundle
from executorch_coreml.ops import TABLE
from executorch_coreml.ops.call import Call, normalise
from executorch_coreml.options import CompileOptions
from executorch_coreml.partition.report import Report
from executorch_coreml.report import graph
from executorch_coreml.report.artefact import artefact_facts, findings, shape
from executorch_coreml.report.facts import Facts, Method, Row
from executorch_coreml.report.models import OpFacts, op_facts
from executorch_coreml.report.units import CPU, OUTSIDE, merged

_VERSIONS = ("torch", "executorch", "torchao", "coremltools")


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """A method's program as it was before ExecuTorch made a ``.pte`` of it.

    Attributes:
        graph: A copy of its graph.
        delegates: Name of an attribute -> the delegate that it is.
        inputs, outputs: What the user gives and gets, by node name.
    """

    graph: Graph
    delegates: Mapping[str, LoweredBackendModule]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def program_of(edge: ExportedProgram) -> Program:
    """Copies what a report needs: ``to_executorch`` (executorch 1.5.1) rewrites the graph."""
    graph = Graph()
    graph.output(graph.graph_copy(edge.graph, {}))
    delegates = {
        name: module
        for name, module in edge.graph_module.named_children()
        if isinstance(module, LoweredBackendModule)
    }
    signature = edge.graph_signature
    return Program(
        graph,
        delegates,
        tuple(map(str, signature.user_inputs)),
        tuple(map(str, signature.user_outputs)),
    )


def source_facts(
    title: str,
    programs: Mapping[str, Program],
    reports: Mapping[str, Report],
    made: Artefact,
) -> Facts:
    """What the compiler knew, with what can be seen in the program that it made.

    Args:
        title: What to call the model.
        programs: Method -> its program with delegates.
        reports: Method -> the partitioner's report of it.
        made: The ``.pte``.
    """
    facts = artefact_facts(made)
    bundles = {
        (user.method, user.index): bundle
        for user, bundle in zip(made.users, made.models, strict=True)
    }
    numbers = count()
    facts.methods, facts.rows = [], []
    for name, program in programs.items():
        walk = _Walk(name, reports[name], bundles, numbers)
        facts.methods.append(walk.method(program))
        facts.rows += walk.rows
    lowest = [each.minimum for each in reports.values() if each.minimum is not None]
    facts.title, facts.source, facts.unknown = title, True, []
    facts.better = [str(need) for each in lowest for need in each.better]
    facts.versions = {"executorch-coreml": __version__} | {n: version(n) for n in _VERSIONS}
    facts.precision = findings(
        by_reason((note.reason, note.location) for note in each.precision)
        for each in reports.values()
    )
    facts.outside = findings(
        by_reason((decision.reason or "", decision.location) for decision in each.refused)
        for each in reports.values()
    )
    return facts


@dataclass(slots=True, eq=False)
class _Walk:
    """One method's program, node by node.

    Attributes:
        made: Node of the method -> what it is: rows, or ``-1 - n`` for input n; one entry per
            result of a delegate.
    """

    name: str
    report: Report
    bundles: Mapping[tuple[str, int], Bundle]
    numbers: count[int]
    rows: list[Row] = field(default_factory=list)
    made: dict[Node, list[list[int]]] = field(default_factory=dict)

    def method(self, program: Program) -> Method:
        nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
        inputs = [nodes[name] for name in program.inputs if name in nodes]
        words = [_described(node) for node in inputs]
        self.made = {node: [[-1 - place]] for place, node in enumerate(inputs)}
        delegates = 0
        for node in program.graph.nodes:
            if node.op != "call_function":
                continue
            module = _lowered(node, program)
            if module is not None:
                self._delegate(node, module, delegates)
                delegates += 1
            elif getattr(node.target, "__name__", "") == "getitem":
                several, place = self._of(node.args[0]), node.args[1]
                self.made[node] = [several[place] if place < len(several) else several[0]]
            else:
                self._outside(node)
        returned = program.graph.output_node().all_input_nodes
        results = [row for node in returned for each in self._of(node) for row in each]
        outputs = [_described(node) for node in returned if node.name in program.outputs]
        blocks = graph.blocks(self.rows, words, results, outputs)
        return Method(
            self.name,
            blocks,
            len(self.report.delegated),
            len(self.report.decisions),
            [str(buffer) for buffer in self.report.buffers],
            exact=True,
        )

    def _of(self, node: Any) -> list[list[int]]:
        return self.made.get(node, [[]])

    def _outside(self, node: Node) -> None:
        place = locate(node)
        reasons = {d.location.node: d.reason for d in self.report.refused}
        row = _row(next(self.numbers), self.name, None, place, node)
        row.reason = reasons.get(node.name) or ""
        row.units, row.rules = [CPU], [OUTSIDE.key]
        row.inputs = _flat(self._of(source) for source in node.all_input_nodes)
        self.rows.append(row)
        self.made[node] = [[row.id]]

    def _delegate(self, call: Node, module: LoweredBackendModule, index: int) -> None:
        bundle = self.bundles[self.name, index]
        found = delegate_of(f"delegate {index} of {self.name}", module, bundle)
        options = CompileOptions.from_specs(module.compile_specs)
        ops = _emitted(found, options)
        notes: dict[str, list[str]] = {}
        for note in self.report.precision:
            notes.setdefault(note.location.node, []).append(note.reason)
        inside: dict[Node, list[int]] = {
            node: _flat([self._of(given)])
            for node, given in zip(found.graph.inputs, call.args[1:], strict=False)
        }
        for node in found.graph.graph.nodes:
            if node.op != "call_function":
                continue
            sources = _flat([inside.get(source, [])] for source in node.all_input_nodes)
            if getattr(node.target, "__name__", "") == "getitem":
                inside[node] = sources
                continue
            row = _row(next(self.numbers), self.name, index, locate(node), node)
            row.inputs = sources
            row.precision = notes.get(node.name, [])
            _judge(row, node, found, _own(ops.get(node.name, []), found.values.of.get(node.name)))
            inside[node] = [row.id]
            self.rows.append(row)
        self.made[call] = [
            inside.get(each, []) if isinstance(each, Node) else [] for each in found.graph.outputs
        ] or [[]]


def _own(ops: list[OpFacts], value: str | None) -> list[OpFacts]:
    """The ops up to the one that computes the node's value; casts at the border come behind."""
    for place, each in enumerate(ops, 1):
        if any(output.name == value for output in each.op.outputs):
            return ops[:place]
    return ops


def _judge(row: Row, node: Node, delegate: Delegate, ops: Sequence[OpFacts]) -> None:
    """What its rule and the MIL ops that it became say of a node."""
    rule = TABLE.get(normalise(node.target))
    if rule is not None:
        row.since = rule.oldest(Call(node, fixed=delegate.graph.weights)).name
        row.better = rule.better.name if rule.better is not None else ""
    row.mil = [each.op.type for each in ops]
    if ops:
        where = merged([each.expected for each in ops])
        row.units, row.rules = list(where.units), list(where.rules)
        weights = {weight.name: weight for each in ops for weight in each.weights}
        row.weights = list(dict.fromkeys(weight.encoding for weight in weights.values()))
        row.bytes = sum(weight.bytes for weight in weights.values())
        if (kind := ops[-1].type) is not None:
            row.dtype = kind.dtype


def _emitted(delegate: Delegate, options: CompileOptions) -> dict[str, list[OpFacts]]:
    """Node -> the MIL ops that were emitted for it."""
    bundle = delegate.bundle
    function = bundle.program.functions[bundle.default_function]
    found: dict[str, list[OpFacts]] = {}
    for each in op_facts(function, options.compute_unit):
        owner = delegate.values.owner.get(each.op.name)
        if owner is not None:
            found.setdefault(owner, []).append(each)
    return found


def _row(number: int, method: str, delegate: int | None, place: Location, node: Node) -> Row:
    fake = next((f for f in tree_leaves(node.meta.get("val")) if torch.is_tensor(f)), None)
    file, line = place.file or "", place.line
    return Row(
        id=number,
        method=method,
        delegate=delegate,
        op=place.op,
        name=place.node,
        module=place.module,
        file=Path(file).name,
        line=line,
        code=linecache.getline(file, line).strip() if file and line is not None else "",
        dtype=str(fake.dtype).removeprefix("torch.") if fake is not None else "",
        shape=shape(_extents(fake)) if fake is not None else "",
    )


def _extents(fake: torch.Tensor) -> Iterator[int | None]:
    yield from (extent if isinstance(extent, int) else None for extent in fake.shape)


def _described(node: Node) -> str:
    fake = node.meta.get("val")
    if not isinstance(fake, torch.Tensor):
        return node.name
    return f"{node.name} {str(fake.dtype).removeprefix('torch.')} {shape(_extents(fake))}"


def _lowered(node: Node, program: Program) -> LoweredBackendModule | None:
    """The delegate that a node calls."""
    first = node.args[0] if node.args else None
    if not isinstance(first, Node) or first.op != "get_attr":
        return None
    return program.delegates.get(str(first.target))


def _flat(each: Iterable[list[list[int]]]) -> list[int]:
    return list(dict.fromkeys(n for results in each for rows in results for n in rows))
