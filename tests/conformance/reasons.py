"""Tests of coremltools that fail for a reason that is known."""

from __future__ import annotations

from dataclasses import dataclass

FOR_FP16 = {
    "beyond": "what it expects is no fp16 number, and the tolerance is below fp16's last place",
    "rounded": "inputs, weights or what it expects are rounded to fp16 after the expectation was "
    "computed, or it is computed in fp16, and the tolerance is below fp16's last place",
}
INSIDE = "the model rounds to fp16 inside, as it declares, and the tolerance has no room for that"
CASTS = "it counts the casts or integer types of the program that coremltools makes in fp16"


@dataclass(frozen=True)
class Known:
    """Tests whose id has all of ``words``, and why they fail.

    Attributes:
        always: Each of them fails; otherwise it depends on the numbers drawn.
    """

    words: tuple[str, ...]
    why: str
    always: bool = True


KNOWN = (
    Known(
        ("TestScatter::test_ios17_invalid_indices",),
        "what an index out of range does without `validate_indices` is undefined; the test wants "
        "another result than that of the nearest legal index",
        always=False,
    ),
    Known(
        ("TestNormalizationLocalResponseNorm::test_builder_to_backend_smoke[", "'fp32'"),
        "its numbers, written for neural networks, take the first of three dimensions for the "
        "channels, and not the second, as the op's documentation says",
    ),
    Known(
        ("TestCropResize::test_builder_to_backend_ios1", "'fp32'"),
        "it expects 7.899 for 7.9, to 1e-4",
        always=False,
    ),
    Known(
        ("iOS15/test_image_resizing.py::TestCropResize::test_builder_to_backend_smoke[",),
        "it gives normalized coordinates of 1 to 2, which the op's documentation keeps to [0, 1], "
        "and wants them taken for pixels",
    ),
    Known(("iOS15/test_image_resizing.py::TestResample", "'fp32'"), CASTS),
    Known(("TestGather::test_gather_nd_int16_indices", "'fp32'", "dynamic=True"), CASTS),
    *(
        Known((where, "'fp32'", "float16"), INSIDE, always=False)
        for where in (
            "test_recurrent.py",
            "TestNormalizationL2Norm",
            "TestNormalizationInstanceNorm",
            "TestResample",
        )
    ),
    Known(("TestLinear::test_linear_fp16", "'fp32'"), INSIDE, always=False),
    Known(
        ("TestStack::test_stack_dynamic_range_dim", "default_dynamic_size=2"),
        "it wants a model refused whose inputs fit together with the shapes that they get, and not "
        "with their default shapes",
    ),
)


def known(test: str) -> Known | None:
    """What is known of the failure of a test, by its id."""
    return next((one for one in KNOWN if all(word in test for word in one.words)), None)
