"""Models with images, a classifier and a state, made by coremltools, for several tests."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from kernel_case import ct, mb, types

SCALE, BIAS = 1 / 127.5, (-1.0, -0.5, 0.25)
LABELS = ["cat", "dog", "heron"]
PIXELS = np.random.default_rng(0).integers(0, 256, (4, 5, 3)).astype(np.uint8)


def convert(program: Any, **options: Any) -> Any:
    """As a user converts: the default passes, in fp16."""
    options = {"minimum_deployment_target": ct.target.iOS16, "skip_model_load": True} | options
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ct.convert(program, convert_to="mlprogram", **options)


def image_model(layout: str, **options: Any) -> Any:
    """``(x * SCALE + BIAS)`` of an image x as array ``seen``, and the image itself as ``same``."""
    layout = getattr(ct.colorlayout, layout)
    grey = layout in (ct.colorlayout.GRAYSCALE, ct.colorlayout.GRAYSCALE_FLOAT16)
    shape = (1, 1 if grey else 3, 4, 5)

    @mb.program(input_specs=[mb.TensorSpec(shape)], opset_version=ct.target.iOS16)
    def program(x: Any) -> Any:
        y = mb.mul(x=x, y=np.float32(1), name="seen")
        back = mb.sub(x=y, y=np.float32(BIAS[0] if grey else np.reshape(BIAS, (3, 1, 1))))
        return y, mb.mul(x=back, y=np.float32(1 / SCALE), name="same")

    bias = BIAS[0] if grey else list(BIAS)
    image = ct.ImageType("x", shape, scale=SCALE, bias=bias, color_layout=layout)
    outputs = [ct.TensorType("seen"), ct.ImageType("same", color_layout=layout)]
    program.functions["main"].set_output_types(outputs)
    return convert(program, inputs=[image], **options)


def classifier(labels: list[Any], **options: Any) -> Any:
    """The softmax of its input, as the probabilities of ``labels``."""

    @mb.program(input_specs=[mb.TensorSpec((1, 3))], opset_version=ct.target.iOS16)
    def program(x: Any) -> Any:
        return mb.softmax(x=x, axis=-1, name="probabilities")

    return convert(program, classifier_config=ct.ClassifierConfig(labels), **options)


def counter(**options: Any) -> Any:
    """``count += x`` in a state; gives the new count."""

    @mb.program(
        input_specs=[mb.TensorSpec((1,), types.fp16), mb.StateTensorSpec((1,), types.fp16)],
        opset_version=ct.target.iOS18,
    )
    def program(x: Any, count: Any) -> Any:
        grown = mb.add(x=mb.read_state(input=count), y=x)
        return mb.identity(x=mb.coreml_update_state(state=count, value=grown), name="y")

    return convert(program, minimum_deployment_target=ct.target.iOS18, **options)
