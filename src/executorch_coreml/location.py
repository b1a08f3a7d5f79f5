"""Where in the user's source a graph node comes from."""

from __future__ import annotations

import re
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch.fx

_FRAME = re.compile(r'File "([^"]+)", line (\d+)')
# Frames below these folders are libraries the model calls, not the user's own lines.
_LIBRARY = re.compile(r"[/\\](torch|executorch|torchao)[/\\]")
_GENERATED = "<eval_with_key>"  # code of torch.fx, with a number that counts up in the process
_OURS = str(Path(__file__).parent)
_FOLDER = re.compile(r".*[/\\]")
# Ops that a quantizer puts between layers. They have no place of their own.
_INSERTED = ("quantized_decomposed.", "torchao.", "quant.")


@dataclass(frozen=True, slots=True)
class Location:
    """A place in the user's model, as messages show it.

    Attributes:
        op: The op's name (``aten.div.Tensor_mode``), or what kind of node it is.
        node: Name of the fx node.
        file, line: Innermost frame of the user's source, None when the graph carries no trace.
        module: Path of the innermost module (``encoder.ffn``), empty for the root.
    """

    op: str
    node: str
    file: str | None
    line: int | None
    module: str

    @property
    def portable(self) -> Location:
        """With the file's name alone: the rest of a path is the machine's, not the model's, and
        would make equal models differ."""
        return self if self.file is None else replace(self, file=_FOLDER.sub("", self.file))

    def __str__(self) -> str:
        text = f"{self.op} (node {self.node})"
        if self.file is not None:
            text += f" at {self.file}:{self.line}"
        return f"{text} in {self.module}" if self.module else text


def op_name(node: torch.fx.Node) -> str:
    """``aten.add.Tensor`` for both the aten and the edge form of an op."""
    if node.op != "call_function":
        return node.op
    inner = getattr(node.target, "_op", None)  # an aten overload has an _op too, a C++ function
    name = str(inner if hasattr(inner, "_schema") else node.target)
    return name if "." in name else getattr(node.target, "__name__", name)


def locate(node: torch.fx.Node) -> Location:
    """Reads the stack trace and the module stack that torch.export recorded on ``node``.

    The innermost frame outside torch wins: for a layer of a model library that is the library's
    own ``forward``, which is where the op is written. What a quantizer inserted is where the layer
    is that reads its result or, for the results of the model, makes its argument.
    """
    own, node = node, _layer(node)
    found = _FRAME.findall(node.meta.get("stack_trace") or "")
    frames = [frame for frame in found if not frame[0].startswith(_GENERATED)]
    user = [f for f in frames if not _LIBRARY.search(f[0])] or frames
    file, line = (user[-1][0], int(user[-1][1])) if user else (None, None)
    return Location(op_name(own), own.name, file, line, _module(node))


def raised_at(error: BaseException) -> str | None:
    """``"net.py:12"``, the innermost line of the user's that the exception went through; None if
    it went through none."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = frame.filename
        if not (_LIBRARY.search(file) or file.startswith(("<", _OURS))):
            return f"{file}:{frame.lineno}"
    return None


def said(error: BaseException) -> str:
    """Type and text of an exception, up to the first empty line: torch's go on with advice."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10) * 2)[0]}"


def _module(node: torch.fx.Node) -> str:
    """The dotted path of the innermost module that the node is in."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [path for path, _ in stack.values()]
    module = paths[-1] if paths else ""
    return str(module.removeprefix("L['self']").removeprefix("."))


def is_inserted(node: torch.fx.Node) -> bool:
    """Whether a quantizer put the node between layers."""
    return op_name(node).startswith(_INSERTED)


def _layer(node: torch.fx.Node) -> torch.fx.Node:
    """The node itself, or the nearest one in a module for an inserted one outside of all."""
    for neighbours in (lambda n: list(n.users), lambda n: n.all_input_nodes):
        near = node
        while not _module(near) and is_inserted(near):
            following = neighbours(near)
            if not following:
                break
            near = following[0]
        if _module(near):
            return near
    return node
