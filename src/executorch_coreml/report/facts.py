"""What a report says, as plain data: made from a model's source or from an artefact, shown by
:mod:`executorch_coreml.report.page`, printed by ``etcoreml report --json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

INPUT, DELEGATE, OUTSIDE, OUTPUT = "input", "delegate", "outside", "output"


@dataclass(slots=True)
class Row:
    """One op: a node of the program where its source is known, an op of the model elsewhere.

    Attributes:
        id: Its place among all rows.
        method: The ExecuTorch method, or the function of a model by itself.
        delegate: The index of the delegate that it is in; None if it is outside.
        op: ``"aten.linear.default"`` of a program, ``"linear"`` of a model.
        name: Of the node, or of the op's first output.
        module, file, line, code: Where it is written, and the line itself; empty or None where that
            is not known.
        dtype, shape: Of its first result, as in the model.
        inputs: The rows that it reads; ``-1 - n`` for input n of the method.
        reason: Why it is outside; empty if it is not, or nobody recorded it.
        mil: The MIL ops that it became.
        units, rules: Where it is expected to run, and the keys of the rules that say so.
        since: The oldest iOS that has it, ``"iOS15"``.
        better: The iOS from which on it has a better form; empty if this is the best.
        precision: What was done where fp16 would not do.
        weights: Encodings of the weights that it reads.
        bytes: Of these weights.
    """

    id: int
    method: str
    delegate: int | None
    op: str
    name: str
    module: str = ""
    file: str = ""
    line: int | None = None
    code: str = ""
    dtype: str = ""
    shape: str = ""
    inputs: list[int] = field(default_factory=list)
    reason: str = ""
    mil: list[str] = field(default_factory=list)
    units: list[str] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)
    since: str = ""
    better: str = ""
    precision: list[str] = field(default_factory=list)
    weights: list[str] = field(default_factory=list)
    bytes: int = 0


@dataclass(slots=True)
class Block:
    """A part of a method: its inputs, a delegate, ops between delegates, or its outputs.

    Attributes:
        id: Its place among the blocks of the method.
        kind: ``INPUT``, ``DELEGATE``, ``OUTSIDE`` or ``OUTPUT``.
        title, detail: What to write into it.
        rows: The ids of its rows.
        reads: Block -> how many values come from it.
    """

    id: int
    kind: str
    title: str
    detail: str
    rows: list[int]
    reads: dict[int, int]


@dataclass(slots=True)
class Method:
    """One method.

    Attributes:
        blocks: Its graph, in the order in which it runs.
        delegated, total: Nodes of the program in delegates, and all of them; None where the program
            is not known.
        buffers: What became of each mutated buffer.
        exact: Whether the edges of the graph are those of the program, or only its order is known.
    """

    name: str
    blocks: list[Block]
    delegated: int | None
    total: int | None
    buffers: list[str]
    exact: bool


@dataclass(slots=True)
class Feature:
    """An input, output or state of a function: kind, name, dtype and the shapes it can have."""

    kind: str
    name: str
    dtype: str
    shape: str


@dataclass(slots=True)
class Weight:
    """One weight of a model: its value in the model, as what it is stored, what reads it.

    ``full`` are the bytes it would take as fp16.
    """

    name: str
    encoding: str
    shape: list[int]
    bytes: int
    full: int
    users: list[str]


@dataclass(slots=True)
class Model:
    """One Core ML model.

    Attributes:
        title: Which delegate or file it is.
        minimum_os, reason: The oldest iOS that loads it, and why no older one does.
        functions: Name -> opset and border.
        ops: MIL op -> how often.
        weights: Each weight, the largest first; those that functions share once.
        dtypes: MIL dtype -> bytes of constants.
    """

    title: str
    minimum_os: str
    reason: str
    functions: dict[str, tuple[str, list[Feature]]]
    ops: Mapping[str, int]
    weights: list[Weight]
    dtypes: Mapping[str, int]


@dataclass(slots=True)
class Finding:
    """A decision and the places it was made for."""

    reason: str
    places: list[str]


@dataclass(slots=True)
class Facts:
    """Everything a report says.

    Attributes:
        title: The model, as it was named.
        source: Whether it was made from the source of the model, and not from an artefact alone.
        program: Whether it is a program for ExecuTorch, with delegates; else a Core ML model.
        size: Bytes of the ``.pte`` or of the artefact.
        versions: What made it -> version.
        options: The compile specs, as text.
        minimum_os, reasons, better: The oldest iOS, why, and what a newer one lowers better.
        unknown: What an artefact does not tell, each with what would.
    """

    title: str
    source: bool
    program: bool
    size: int
    versions: dict[str, str]
    options: dict[str, str]
    minimum_os: str
    reasons: list[str]
    better: list[str]
    methods: list[Method]
    rows: list[Row]
    models: list[Model]
    precision: list[Finding]
    outside: list[Finding]
    unknown: list[str]
