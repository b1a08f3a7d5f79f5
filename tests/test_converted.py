"""Architectures that coremltools converts, by either front end: our engine equals eager PyTorch.

Nothing of our compiler is in it: coremltools' own converter and passes make the ML Programs.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import architectures_small
import converted_models
from architectures_small import Built, prepared
from executorch_coreml import Model
from kernel_case import ct
from test_architectures import assert_equal

MODELS = architectures_small.MODELS | converted_models.MODELS
FP32, FP16 = ct.precision.FLOAT32, ct.precision.FLOAT16
BOUNDS = {FP32: 1e-4, FP16: 2e-2}


def traced(built: Built) -> Any:
    with torch.no_grad():
        return torch.jit.trace(*built, check_trace=False)


def exported(built: Built) -> Any:
    return torch.export.export(*built).run_decompositions({})


# Name -> the front end, and the precision, which is fp16 for a user who does not choose.
CONVERTED = {
    "ViT": (traced, FP16),
    "DeiT": (traced, FP32),
    "ConvNeXt": (traced, FP16),
    "SegFormer": (traced, FP32),
    "Swin": (exported, FP32),
    "ResNet": (traced, FP16),
    "CLIP vision": (traced, FP32),
    "CLIP text": (traced, FP32),
    "BERT": (exported, FP32),
    "DistilBERT with a mask of 4 dimensions": (traced, FP16),
    "GPT-2 with a mask of 4 dimensions": (traced, FP32),
    "T5 encoder": (traced, FP32),
    "Wav2Vec2": (traced, FP16),
    "Whisper encoder": (traced, FP32),
}

# What coremltools 9.0 itself fails to convert, by either front end (with torch 2.13 and
# transformers 5.23): the op that it does not know.
FAILING = {
    "GPT-2": "new_ones",
    "DistilBERT": "new_ones",
    "CLIP": "new_ones",
    "T5": "new_ones",
    "Llama": "new_ones",
    "Whisper decoder": "diff",
}


def convert(built: Built, front: Any, precision: Any) -> Any:
    """As a user of coremltools does, with its default passes."""
    types = [
        ct.TensorType(f"x{i}", x.shape, np.float32 if x.is_floating_point() else np.int32)
        for i, x in enumerate(built[1])
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ct.convert(
            front(built),
            inputs=types if front is traced else None,
            compute_precision=precision,
            minimum_deployment_target=ct.target.iOS18,
            skip_model_load=True,
        )


@pytest.mark.parametrize("name", CONVERTED)
def test_equals_eager(name: str, tmp_path: Path) -> None:
    front, precision = CONVERTED[name]
    model, inputs = built = prepared(MODELS[name])
    with torch.no_grad():
        expected = model(*inputs)
    expected = expected if isinstance(expected, tuple) else (expected,)
    convert(built, front, precision).save(str(tmp_path / "m.mlpackage"))
    got = Model(tmp_path / "m.mlpackage").run([x.numpy() for x in inputs])
    for mine, wanted in zip(got, expected, strict=True):
        assert_equal(torch.from_numpy(mine).float(), wanted, BOUNDS[precision])


@pytest.mark.filterwarnings("ignore:Implicitly cleaning up:ResourceWarning")  # by coremltools
@pytest.mark.parametrize("name", FAILING)
def test_what_coremltools_does_not_convert(name: str) -> None:
    """When one of them converts, it belongs above."""
    with pytest.raises(NotImplementedError, match=FAILING[name]):
        convert(prepared(MODELS[name]), traced, FP32)
