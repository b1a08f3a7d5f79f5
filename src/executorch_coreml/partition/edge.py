"""Ops beyond ExecuTorch's edge dialect: the setting that they need, and what no setting helps."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from executorch.exir import EdgeCompileConfig
from torch._export.verifier import SpecViolationError
from torch.export import ExportedProgram

from executorch_coreml.errors import UnsupportedOp
from executorch_coreml.location import locate, op_name
from executorch_coreml.ops import TABLE
from executorch_coreml.ops.refused import why_not

_BEYOND = re.compile(r"Operator torch\._ops\.(\S+) is not in Core ATen opset")


def edge_compile_config(**options: Any) -> EdgeCompileConfig:
    """An ``EdgeCompileConfig`` that admits every op with a rule in a program to be lowered.

    ExecuTorch (1.5.1) stops at ops that are neither Core ATen nor decomposed by PyTorch, such as
    ``median``, ``searchsorted`` or ``erfinv``, before it asks whether a delegate takes them::

        to_edge_transform_and_lower(
            program, partitioner=[CoreMLPartitioner()], compile_config=edge_compile_config()
        )

    Args:
        options: Further fields of ``EdgeCompileConfig``; ops in
            ``_core_aten_ops_exception_list`` are admitted as well.
    """
    given = options.pop("_core_aten_ops_exception_list", [])
    admitted = [op for op in TABLE if hasattr(op, "_schema")]
    return EdgeCompileConfig(_core_aten_ops_exception_list=[*given, *admitted], **options)


@contextmanager
def refusals_of_executorch(programs: Iterable[ExportedProgram]) -> Iterator[None]:
    """Around a lowering with :func:`edge_compile_config`: what ExecuTorch's edge dialect does not
    know, and no rule takes either, is refused with its place.

    Raises:
        UnsupportedOp: In the place of the verifier's ``SpecViolationError``.
    """
    try:
        yield
    except SpecViolationError as cause:
        named = _BEYOND.search(str(cause))
        if named is None:
            raise
        nodes = (node for program in programs for node in program.graph.nodes)
        node = next((node for node in nodes if _plain(op_name(node)) == _plain(named[1])), None)
        raise UnsupportedOp(
            "ExecuTorch's edge dialect does not know it" if node is None else why_not(node.target),
            location=named[1] if node is None else str(locate(node)),
            hint="rewrite that line: ExecuTorch has no form of the op to run outside the delegate",
        ) from cause


def _plain(name: str) -> str:
    """PyTorch has ``special_i0`` and ``i0``, and decomposes one into the other."""
    return name.replace("special_", "")
