"""Which parts of a model become Core ML delegates, and why the rest does not."""

from __future__ import annotations

from executorch_coreml.partition.edge import edge_compile_config
from executorch_coreml.partition.partitioner import CoreMLPartitioner
from executorch_coreml.partition.report import Decision, Report

__all__ = ["CoreMLPartitioner", "Decision", "Report", "edge_compile_config"]
