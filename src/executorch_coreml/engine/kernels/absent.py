"""Ops of coremltools that need no kernel, or can have none, and why."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_LOWERED = "coremltools writes it in terms of other ops before a program is saved"

ABSENT: Mapping[str, str] = MappingProxyType(
    {
        "const": "a value; the engine binds it without a node",
        "_const_symbolic": "a value of coremltools' own tests; no saved program holds it",
        "classify": (
            "its results are a label and a dictionary, no tensors; they are made of the "
            "probabilities behind the graph"
        ),
        **dict.fromkeys(
            (
                *("complex", "complex_real", "complex_imag", "complex_shape", "complex_abs"),
                *("complex_fft", "complex_fftn", "complex_rfft", "complex_rfftn"),
                *("complex_ifft", "complex_ifftn", "complex_irfft", "complex_irfftn"),
                "complex_stft",
                *("torch_upsample_nearest_neighbor", "torch_upsample_bilinear"),
                "torch_tensor_assign",
            ),
            _LOWERED,
        ),
    }
)
"""MIL op -> reason."""
