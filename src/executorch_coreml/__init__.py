"""Core ML backend for ExecuTorch: lower PyTorch models for Apple devices, and run them anywhere.

Importing this package is cheap: every public name is loaded on first use, so a program that only
runs models never imports torch or coremltools.

    >>> import torch
    >>> from executorch.exir import to_edge_transform_and_lower
    >>> from executorch_coreml import CoreMLPartitioner
    >>> program = torch.export.export(torch.nn.ReLU(), (torch.randn(2, 3),))
    >>> edge = to_edge_transform_and_lower(program, partitioner=[CoreMLPartitioner()])
    >>> pte = edge.to_executorch().buffer
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from executorch_coreml.compiler.backend import CoreMLBackend
    from executorch_coreml.debug import compare
    from executorch_coreml.engine.model import Model
    from executorch_coreml.errors import CoreMLError
    from executorch_coreml.options import CompileOptions, ComputePrecision, ComputeUnit, Target
    from executorch_coreml.partition import CoreMLPartitioner, edge_compile_config

__version__ = "0.1.0"

_HOME = {
    "CompileOptions": "options",
    "ComputePrecision": "options",
    "ComputeUnit": "options",
    "CoreMLBackend": "compiler.backend",
    "CoreMLError": "errors",
    "CoreMLPartitioner": "partition",
    "Model": "engine.model",
    "Target": "options",
    "compare": "debug",
    "edge_compile_config": "partition",
}

__all__ = [
    "CompileOptions",
    "ComputePrecision",
    "ComputeUnit",
    "CoreMLBackend",
    "CoreMLError",
    "CoreMLPartitioner",
    "Model",
    "Target",
    "__version__",
    "compare",
    "edge_compile_config",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
