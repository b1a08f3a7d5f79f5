"""OpenVINO compiles a graph, without its snippets where these cannot be compiled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import openvino as ov

from executorch_coreml.engine.precision import core


def compile_model(model: ov.Model, device: str, properties: Mapping[str, Any]) -> ov.CompiledModel:
    """``model`` for ``device``.

    With one thread, OpenVINO 2026.4 makes a snippet of two matrix multiplications in a row (an MLP,
    a step of a GRU) and then cannot lay it out. Without snippets such a model compiles; the others
    keep them, for attention gains by them. Without snippets a zero that is multiplied by a
    constant loses its sign.

    Raises:
        RuntimeError: OpenVINO cannot compile it either way.
    """
    try:
        return core().compile_model(model, device, dict(properties))
    except RuntimeError as error:
        if "snippets" not in str(error):
            raise
    return core().compile_model(model, device, {**properties, "SNIPPETS_MODE": "DISABLE"})


__all__ = ["compile_model"]
