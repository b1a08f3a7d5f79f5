"""The one setting of ExecuTorch that ops beyond its edge dialect need."""

from __future__ import annotations

from typing import Any

from executorch.exir import EdgeCompileConfig

from executorch_coreml.ops import TABLE


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
