"""``Model.predict`` as that of coremltools' ``MLModel``: images, labels, defaults, batches."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from console import call
from executorch_coreml import Model
from executorch_coreml.errors import InputError, ProgramError
from executorch_coreml.mil.bundle import read
from executorch_coreml.mil.compiled_print import write_compiled
from predict_models import BIAS, LABELS, PIXELS, SCALE, classifier, counter, image_model

IMAGES = {
    "RGB": ("RGB", PIXELS),
    "BGR": ("RGB", PIXELS),
    "GRAYSCALE": ("L", PIXELS[..., 0]),
    "GRAYSCALE_FLOAT16": ("F", PIXELS[..., 0].astype(np.float32) + np.float32(0.25)),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Packages by name."""
    directory = tmp_path_factory.mktemp("predict")
    models = {layout: image_model(layout) for layout in IMAGES}
    models |= {"words": classifier(LABELS), "numbers": classifier([7, 5, 3])}
    models["counter"] = counter()
    for name, model in models.items():
        model.save(str(directory / f"{name}.mlpackage"))
    return {name: directory / f"{name}.mlpackage" for name in models}


def planes(layout: str) -> Any:
    """The pixels as the program takes them: [1, C, H, W]."""
    pixels = IMAGES[layout][1]
    if pixels.ndim == 2:
        return pixels[None, None]
    return pixels.transpose(2, 0, 1)[None, :: -1 if layout == "BGR" else 1]


@pytest.mark.parametrize("layout", IMAGES)
def test_image_goes_in_and_comes_out(layout: str, saved: dict[str, Path]) -> None:
    mode, pixels = IMAGES[layout]
    image, model = Image.fromarray(pixels), Model(saved[layout])
    assert image.mode == mode
    got = model.predict({"x": image})
    bias = np.reshape(BIAS if mode == "RGB" else BIAS[:1], (-1, 1, 1))
    expected = planes(layout).astype(np.float32) * np.float32(SCALE) + bias
    np.testing.assert_allclose(got["seen"], expected, atol=4e-3)
    assert got["same"].mode == ("RGBA" if mode == "RGB" else mode)
    back = np.asarray(got["same"])
    if mode == "RGB":
        assert (back[..., 3] == 255).all()
        back = back[..., :3]
    np.testing.assert_allclose(back.astype(float), pixels.astype(float), atol=0.51)
    by_array = model.predict({"x": planes(layout)})
    assert np.array_equal(by_array["seen"], got["seen"])


@pytest.mark.parametrize("compiled", [False, True])
def test_wrong_images_are_refused(saved: dict[str, Path], compiled: bool, tmp_path: Path) -> None:
    path = saved["BGR"]
    if compiled:
        path = write_compiled(read(path), tmp_path / "m.mlmodelc")
    model = Model(path)
    with pytest.raises(InputError, match=r"mode RGB, got mode L.*convert\('RGB'\)"):
        model.predict({"x": Image.fromarray(PIXELS[..., 0])})
    with pytest.raises(InputError, match=r"cannot have shape \(1, 3, 5, 4\)"):
        model.predict({"x": Image.fromarray(PIXELS.transpose(1, 0, 2).copy())})
    with pytest.raises(InputError, match="takes no image"):
        Model(saved["words"]).predict({"x": Image.fromarray(PIXELS)})


def test_a_compiled_model_declares_what_the_package_does(
    saved: dict[str, Path], tmp_path: Path
) -> None:
    bundles = {name: read(path) for name, path in saved.items()}
    (x,) = bundles["BGR"].descriptions["main"].inputs
    for name, facts in (
        ("sizes", {"enumerated": (x.shape, (1, 3, 8, 10))}),
        ("ranges", {"ranges": ((1, 1), (3, 3), (4, 64), (5, None))}),
    ):
        border = replace(bundles["BGR"].descriptions["main"], inputs=(replace(x, **facts),))
        bundles[name] = replace(bundles["BGR"], descriptions={"main": border})
    for name, bundle in bundles.items():
        again = read(write_compiled(bundle, tmp_path / f"{name}.mlmodelc"))
        assert again.descriptions == bundle.descriptions
        assert again.specification_version == bundle.specification_version


@pytest.mark.parametrize(("name", "labels"), [("words", LABELS), ("numbers", [7, 5, 3])])
@pytest.mark.parametrize("compiled", [False, True])
def test_classifier_gives_a_label_and_probabilities(
    name: str, labels: list[Any], compiled: bool, saved: dict[str, Path], tmp_path: Path
) -> None:
    path = saved[name]
    if compiled:
        path = write_compiled(read(path), tmp_path / "m.mlmodelc")
    x = np.float32([[0.5, 3, -1]])
    got = Model(path, precision="float32").predict({"x": x})
    expected = torch.softmax(torch.from_numpy(x), -1)[0].tolist()
    assert list(got) == ["classLabel", "classLabel_probs"]
    assert got["classLabel"] == labels[1]
    assert type(got["classLabel"]) is type(labels[0])
    assert list(got["classLabel_probs"]) == labels
    np.testing.assert_allclose(list(got["classLabel_probs"].values()), expected, rtol=1e-5)


def test_classifier_of_too_few_labels_is_refused(saved: dict[str, Path]) -> None:
    model = Model(saved["words"])
    assert model._classifier is not None
    model._classifier = replace(model._classifier, classes=("cat", "dog"))
    with pytest.raises(ProgramError, match="3 values for 2 classes"):
        model.predict({"x": np.zeros((1, 3))})


def test_batches_tensors_and_descriptions(saved: dict[str, Path]) -> None:
    model = Model(saved["words"])
    one = torch.tensor([[0.0, 0, 9]], requires_grad=True)
    got = model.predict([{"x": one}, {"x": [[9, 0, 0]]}])
    assert [each["classLabel"] for each in got] == ["heron", "cat"]
    assert list(model.input_description) == ["x"]
    assert list(model.output_description) == ["classLabel", "classLabel_probs"]
    with pytest.raises(InputError, match="single runs"):
        model.predict([{"x": one}], Model(saved["counter"]).make_state())  # type: ignore[call-overload]


def test_state_by_the_names_of_coremltools(saved: dict[str, Path]) -> None:
    model = Model(saved["counter"])
    state = model.make_state()
    state.write_state("count", np.float16([40]))
    assert model.predict({"x": np.float16([2])}, state)["y"].tolist() == [42]
    assert state.read_state("count").tolist() == [42]


def test_optional_inputs_have_their_default(saved: dict[str, Path]) -> None:
    bundle = read(saved["words"])
    border = bundle.descriptions["main"]
    (x,) = border.inputs
    for default, label in ((1.5, "cat"), (None, None)):
        given = replace(border, inputs=(replace(x, optional=True, default=default),))
        model = Model(replace(bundle, descriptions={"main": given}))
        if label is None:
            with pytest.raises(InputError, match=r"\['x'\] are missing"):
                model.predict({})
        else:
            assert model.predict({})["classLabel"] == label


def test_run_of_a_classifier_and_an_image_from_the_command_line(
    saved: dict[str, Path], tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", np.float32([[0, 8, 0]]))
    Image.fromarray(PIXELS).save(tmp_path / "x.png")

    def run(name: str, file: str, *more: str) -> Any:
        return call("run", saved[name], "--input", f"x={tmp_path / file}", *more)

    found = json.loads(run("words", "x.npy", "--json", "--output-dir", str(tmp_path)).stdout)
    label, probabilities = found
    assert label == {"name": "classLabel", "dtype": "string", "value": "dog"}
    assert probabilities["dtype"] == "dictionary"
    assert list(probabilities["value"]) == LABELS
    assert json.loads((tmp_path / "classLabel.json").read_text()) == "dog"
    assert "classLabel_probs: dog 0.99" in run("words", "x.npy").stdout
    result = run("RGB", "x.png", "--output-dir", str(tmp_path))
    assert "image RGBA" in result.stdout
    same = np.asarray(Image.open(tmp_path / "same.png"))[..., :3]
    np.testing.assert_allclose(same.astype(int), PIXELS.astype(int), atol=1)
    wrong = run("RGB", "x.npy")
    assert wrong.exit_code == 1
    (tmp_path / "broken.png").write_bytes(b"no image")
    assert "input x cannot be read" in run("RGB", "broken.png").output


def test_without_pillow_arrays_go_in_and_images_are_a_clear_error(saved: dict[str, Path]) -> None:
    script = (
        "import sys; sys.modules['PIL'] = None\n"
        "import numpy as np\n"
        "from executorch_coreml import Model\n"
        "from executorch_coreml.errors import RunError\n"
        f"model = Model({str(saved['RGB'])!r})\n"
        "x = np.zeros((1, 3, 4, 5), np.uint8)\n"
        "print(len(model.run([x])))\n"
        "try: model.predict({'x': x})\n"
        "except RunError as error: print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == [
        "2",
        "output same is an image, and Pillow is not installed. "
        "Hint: pip install pillow, or use arrays",
    ]
