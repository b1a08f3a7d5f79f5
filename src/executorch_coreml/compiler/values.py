"""Which value of the MIL program each node of a delegate computes, left where a debugger finds it.

ExecuTorch keeps the program that a delegate was compiled from beside its payload; the names are
left in the metadata of its graph module, as the compiler's notes are in those of its nodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch.export import ExportedProgram

_KEY = "coreml_values"


@dataclass(frozen=True, slots=True)
class Values:
    """Names only, so that copies of the program may share it.

    Attributes:
        of: Node -> the MIL value that it is. Not there: nodes that no rule was asked for, and those
            of several results, which their ``getitem`` nodes have.
        owner: First output of a MIL op -> the node that the op was emitted for.
    """

    of: Mapping[str, str]
    owner: Mapping[str, str]


def leave(program: ExportedProgram, values: Values) -> None:
    """Leaves the names with the program that was compiled."""
    program.graph_module.meta[_KEY] = values


def found(program: ExportedProgram) -> Values | None:
    """What the compiler left, None if another one compiled the program."""
    values = program.graph_module.meta.get(_KEY)
    return values if isinstance(values, Values) else None
