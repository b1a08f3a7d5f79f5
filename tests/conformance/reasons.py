"""Tests of coremltools that fail for a reason that is known."""

from __future__ import annotations

REASONS = {
    "test_ios17_invalid_indices": (
        "Core ML refuses a run with indices out of range (`validate_indices`); the engine runs it"
    ),
    "TestFill::test_builder_to_backend_symbolic": (
        "the program declares a tensor of unknown rank, which the reader refuses"
    ),
}
"""Words of a test's id -> why it fails."""
