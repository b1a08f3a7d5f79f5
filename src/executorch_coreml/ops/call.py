"""One call of an op: its arguments bound to the aten schema, with what PyTorch knows of each."""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from typing import Any

import torch
from torch.fx import Node

from executorch_coreml.location import Location, locate
from executorch_coreml.options import Target


def normalise(target: Any) -> Any:
    """The aten overload behind an edge op; other targets as they are.

    ExecuTorch wraps each overload in an ``EdgeOpOverload``; tables know overloads only.
    """
    op = getattr(target, "_op", target)  # an OpOverload has an _op too: a bare C++ function
    return op if isinstance(op, torch._ops.OpOverload) else target


@cache
def _parameters(op: Any) -> dict[str, Any]:
    """The names in an op's schema, those by position first, and their defaults."""
    return {argument.name: argument.default_value for argument in op._schema.arguments}


class Call:
    """The arguments of one ``call_function`` node, by schema name, defaults filled in.

    The same object serves the checks, which read metadata only, and the lowering. ``call["dim"]``
    is a Python value, an fx ``Node`` for tensors, or a list of those.

    Args:
        node: A call of an ``OpOverload``, in aten or edge form.
        target: The deployment target the user asked for; None leaves the choice to the model.
        fixed: Nodes whose values are known when the model is compiled: its weights.
    """

    __slots__ = ("args", "fixed", "node", "op", "target")

    def __init__(self, node: Node, target: Target | None = None, fixed: Collection[Node] = ()):
        self.node = node
        self.fixed = fixed
        self.op: Any = normalise(node.target)
        self.target = target
        self.args: Mapping[str, Any] = (
            {"input": node.args[0], "index": node.args[1]}
            if self.op is operator.getitem
            else self._bind()
        )

    def _bind(self) -> dict[str, Any]:
        parameters = _parameters(self.op)
        return parameters | dict(zip(parameters, self.node.args, strict=False)) | self.node.kwargs

    def __getitem__(self, name: str) -> Any:
        return self.args[name]

    def known(self, name: str) -> bool:
        """Whether the argument has a value when the model is compiled: a number, or a weight."""
        value = self.args[name]
        return not isinstance(value, Node) or value in self.fixed

    @property
    def location(self) -> Location:
        return locate(self.node)

    @property
    def out(self) -> Any:
        """What PyTorch computed for the result: a fake tensor, or a tuple of them."""
        return self.node.meta["val"]

    @property
    def outs(self) -> tuple[Any, ...]:
        """The results, always as a tuple."""
        return tuple(self.out) if isinstance(self.out, (tuple, list)) else (self.out,)

    def reads(self, index: int) -> bool:
        """Whether some node reads result ``index`` of several."""
        if not isinstance(self.out, (tuple, list)):
            return False
        return any(
            user.target is operator.getitem and user.args[1] == index for user in self.node.users
        )

    def read_outs(self) -> Iterator[torch.Tensor]:
        """The tensors among the results that some node reads."""
        if not isinstance(self.out, (tuple, list)):
            yield from (self.out,) if isinstance(self.out, torch.Tensor) else ()
            return
        for index, tensor in enumerate(self.out):
            if self.reads(index) and isinstance(tensor, torch.Tensor):
                yield tensor

    def meta(self, name: str) -> torch.Tensor:
        """Shape and dtype of the tensor argument ``name``."""
        value: torch.Tensor = self.args[name].meta["val"]
        return value

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.meta(name).shape)

    def dtype(self, name: str) -> torch.dtype:
        return self.meta(name).dtype

    def rank(self, name: str) -> int:
        return self.meta(name).dim()

    def dim(self, name: str = "dim", of: str = "self") -> int:
        """The axis argument ``name``, counted from the front of the tensor argument ``of``."""
        rank = max(self.rank(of), 1)
        return int(self.args[name]) % rank

    def dims(self, name: str = "dim", of: str = "self") -> list[int]:
        """The axes in argument ``name`` from the front, sorted; None or empty means all axes."""
        rank = self.rank(of)
        given = self.args[name]
        if given is None or given == []:
            return list(range(rank))
        given = [given] if isinstance(given, int) else given
        return sorted({d % max(rank, 1) for d in given})

    def tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """(argument name, fake tensor) for every tensor that goes in."""
        for name, value in self.args.items():
            items = value if isinstance(value, (list, tuple)) else (value,)
            for item in items:
                if isinstance(item, Node) and isinstance(item.meta.get("val"), torch.Tensor):
                    yield name, item.meta["val"]
