"""Tests of coremltools that fail for a reason that is known."""

from __future__ import annotations

REASONS = {
    "TestScatter::test_ios17_invalid_indices": (
        "what an index out of range does without `validate_indices` is undefined; the test wants "
        "another result than that of the nearest legal index"
    ),
}
"""Words of a test's id -> why it fails."""
