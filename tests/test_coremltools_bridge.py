"""coremltools predicts with our engine: its classes and utilities, unchanged."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coremltools.converters.mil.mil import get_new_symbol
from PIL import Image

from executorch_coreml import coremltools_bridge
from executorch_coreml.coremltools_bridge import install, proxies
from executorch_coreml.errors import OptionsError
from kernel_case import ct, mb, types
from predict_models import LABELS, PIXELS, classifier, convert, counter, image_model

X = np.float32([[0.5, 3, -1]])


@pytest.fixture(scope="module", autouse=True)
def bridge() -> Iterator[None]:
    assert coremltools_bridge.enable().active
    yield
    assert not coremltools_bridge.disable().active


@pytest.fixture(scope="module")
def model(bridge: None) -> Any:
    return classifier(LABELS, skip_model_load=False)


def linear(weight: Any, **options: Any) -> Any:
    @mb.program(input_specs=[mb.TensorSpec((1, 3))], opset_version=ct.target.iOS16)
    def program(x: Any) -> Any:
        return mb.relu(x=mb.linear(x=x, weight=weight, name="product"), name="y")

    return convert(program, skip_model_load=False, **options)


def test_convert_then_predict(model: Any) -> None:
    got = model.predict({"x": X})
    assert got["classLabel"] == "dog"
    expected = torch.softmax(torch.from_numpy(X), -1)[0]
    np.testing.assert_allclose(list(got["classLabel_probs"].values()), expected, atol=1e-3)
    assert [each["classLabel"] for each in model.predict([{"x": X}, {"x": -X}])] == ["dog", "heron"]
    assert model.load_duration_in_nano_seconds > 0
    assert model.last_predict_duration_in_nano_seconds > 0


def test_a_scalar_comes_as_an_array_of_one_element() -> None:
    @mb.program(input_specs=[mb.TensorSpec((3,))], opset_version=ct.target.iOS16)
    def program(x: Any) -> Any:
        return mb.reduce_sum(x=x, keep_dims=False, name="y")

    got = convert(program, skip_model_load=False).predict({"x": X[0]})["y"]
    assert got.tolist() == [2.5]


def test_a_torch_model_in_three_lines() -> None:
    module, x = (
        torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.GELU()).eval(),
        torch.randn(2, 8),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's, about its own tracer
        traced = torch.jit.trace(module, x)
    for precision, tolerance in ((ct.precision.FLOAT32, 1e-5), (ct.precision.FLOAT16, 5e-3)):
        converted = convert(
            traced,
            inputs=[ct.TensorType("x", (2, 8))],
            compute_precision=precision,
            skip_model_load=False,
        )
        (got,) = converted.predict({"x": x}).values()
        np.testing.assert_allclose(got, module(x).detach(), atol=tolerance)


def test_images_pass_as_pillow_images() -> None:
    got = image_model("RGB", skip_model_load=False).predict({"x": Image.fromarray(PIXELS)})
    assert got["same"].mode == "RGBA"
    np.testing.assert_allclose(np.asarray(got["same"])[..., :3].astype(int), PIXELS, atol=1)
    assert got["seen"].dtype == np.float32


def test_states_live_in_what_make_state_gives() -> None:
    stateful = counter(skip_model_load=False)
    one, two = stateful.make_state(), stateful.make_state()
    one.write_state("count", np.array([10.0]))
    assert stateful.predict({"x": np.float32([2])}, one)["y"].tolist() == [12]
    assert stateful.predict({"x": np.float32([3])}, one)["y"].tolist() == [15]
    assert stateful.predict({"x": np.float32([3])}, two)["y"].tolist() == [3]
    assert one.read_state("count").tolist() == [15]
    assert one.read_state("count").dtype == np.float32
    with pytest.raises(RuntimeError, match="no state 'nope'"):
        one.read_state("nope")
    with pytest.raises(RuntimeError, match="make_state"):
        stateful.predict({"x": np.float32([2])})


@pytest.mark.filterwarnings("ignore:Implicitly cleaning up:ResourceWarning")  # by coremltools
def test_each_function_of_a_model(tmp_path: Path) -> None:
    paths = {name: tmp_path / f"{name}.mlpackage" for name in ("half", "twice")}
    for factor, path in zip((0.5, 2), paths.values(), strict=True):
        linear(np.float32(np.eye(3) * factor), minimum_deployment_target=ct.target.iOS18).save(
            str(path)
        )
    descriptor = ct.utils.MultiFunctionDescriptor()
    for name, path in paths.items():
        descriptor.add_function(str(path), "main", name)
    descriptor.default_function_name = "half"
    ct.utils.save_multifunction(descriptor, str(tmp_path / "both.mlpackage"))
    for name, expected in ((None, 0.5), ("half", 0.5), ("twice", 2)):
        both = ct.models.MLModel(str(tmp_path / "both.mlpackage"), function_name=name)
        assert both.predict({"x": np.ones((1, 3))})["y"].tolist() == [[expected] * 3]


def test_compiled_models_and_assets(tmp_path: Path) -> None:
    model = linear(np.arange(12, dtype=np.float32).reshape(4, 3))
    expected = model.predict({"x": X})["y"]
    made = ct.models.utils.compile_model(model.package_path, str(tmp_path / "m.mlmodelc"))
    assert made == str(tmp_path / "m.mlmodelc")
    spec = model.get_spec().SerializeToString()
    weights = (Path(model.weights_dir) / "weight.bin").read_bytes()
    asset = ct.models.model.MLModelAsset.from_memory(spec, {"weights/weight.bin": weights})
    with pytest.raises(RuntimeError, match=r"needs 'weights/weight.bin', and the mapping has \[\]"):
        ct.models.model.MLModelAsset.from_memory(spec)
    for compiled in (
        ct.models.CompiledMLModel(made),
        ct.models.CompiledMLModel(model.get_compiled_model_path()),
        ct.models.CompiledMLModel.from_asset(ct.models.model.MLModelAsset.from_path(made)),
        ct.models.CompiledMLModel.from_asset(asset),
    ):
        assert np.array_equal(compiled.predict({"x": X})["y"], expected)


def test_wrong_inputs_and_models_are_told(tmp_path: Path) -> None:
    doubled = linear(np.float32(np.eye(3) * 2))
    assert doubled.predict({"x": np.int32([[1, 2, 3]])})["y"].tolist() == [[2, 4, 6]]
    with pytest.raises(RuntimeError, match=r"cannot have shape \(3,\); allowed"):
        doubled.predict({"x": np.zeros(3)})
    network = ct.proto.Model_pb2.Model()
    network.specificationVersion = 4
    network.neuralNetwork.SetInParent()
    with pytest.warns(RuntimeWarning, match="neuralNetwork, not an ML Program"):
        other = ct.models.MLModel(network)
    with pytest.raises(RuntimeError, match="not an ML Program"):
        other.predict({})


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (
            ct.Shape((1, ct.RangeDim(2, 4))),
            "Size (9) of dimension (1) is not in allowed range (2..4)",
        ),
        (
            ct.EnumeratedShapes([(1, 2), (1, 4)]),
            "MultiArray Shape (1 x 9) was not in enumerated set of allowed shapes",
        ),
    ],
)
def test_a_shape_is_refused_in_the_words_of_core_ml(shape: Any, words: str) -> None:
    @mb.program(input_specs=[mb.TensorSpec((1, get_new_symbol()))], opset_version=ct.target.iOS16)
    def program(x: Any) -> Any:
        return mb.relu(x=x)

    model = convert(program, inputs=[ct.TensorType("x", shape)], skip_model_load=False)
    assert model.predict({"x": np.ones((1, 4), np.float32)})
    with pytest.raises(RuntimeError, match=re.escape(words)):
        model.predict({"x": np.ones((1, 9), np.float32)})


def test_a_run_that_fails_says_so_in_the_words_of_core_ml() -> None:
    @mb.program(
        input_specs=[mb.TensorSpec((3,)), mb.TensorSpec((1,), types.int32)],
        opset_version=ct.target.iOS17,
    )
    def program(x: Any, i: Any) -> Any:
        return mb.gather(x=x, indices=i, validate_indices=True, name="y")

    options = {"minimum_deployment_target": ct.target.iOS17, "skip_model_load": False}
    model = convert(program, **options)
    assert model.predict({"x": X[0], "i": np.int32([1])})["y"].tolist() == [3]
    words = r"Unable to compute the prediction using ML Program: .*, op gather y\S*: index 3 is"
    with pytest.raises(RuntimeError, match=words):
        model.predict({"x": X[0], "i": np.int32([3])})


def test_compute_plan_names_every_op() -> None:
    from coremltools.models.compute_device import MLComputeDevice, MLCPUComputeDevice
    from coremltools.models.compute_plan import MLComputePlan

    path = linear(np.float32(np.eye(3)), compute_precision=ct.precision.FLOAT32)
    plan = MLComputePlan.load_from_path(path.get_compiled_model_path())
    block = plan.model_structure.program.functions["main"].block
    costs = {}
    for operation in block.operations:
        usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
        cost = plan.get_estimated_cost_for_mlprogram_operation(operation)
        assert (usage is None) == (cost is None) == (operation.operator_name == "const")
        if usage is not None:
            assert isinstance(usage.preferred_compute_device, MLCPUComputeDevice)
            costs[operation.operator_name] = cost.weight
    assert costs == {"linear": 0.75, "relu": 0.25}
    assert block.output_names == ["y"]
    assert len(MLComputeDevice.get_all_compute_devices()) == 1
    assert len(ct.models.MLModel.get_available_compute_devices()) == 1


def test_debugging_utilities_of_coremltools_run() -> None:
    from coremltools.models.ml_program.experimental.debugging_utils import (
        MLModelComparator,
        MLModelInspector,
    )

    one = linear(np.float32(np.eye(3)), compute_precision=ct.precision.FLOAT32)
    two = linear(np.float32(np.eye(3) * 2), compute_precision=ct.precision.FLOAT32)
    x = {"x": X}

    async def inspected() -> dict[str, Any]:
        inspector = MLModelInspector(one)
        return {n: v async for n, v in inspector.inspect(x) if isinstance(v, np.ndarray)}

    found = asyncio.run(inspected())
    np.testing.assert_array_equal(found["product"], X)
    np.testing.assert_array_equal(found["y"], np.maximum(X, 0))

    def equal(operation: Any, reference: Any, target: Any) -> bool:
        return bool(np.allclose(reference, target))

    comparator = MLModelComparator(reference_model=one, target_model=two)
    failing = asyncio.run(comparator.find_failing_ops(x, equal))
    assert [op.type for op in failing] == ["linear"]


def test_switching_on_and_off() -> None:
    native = sys.modules["coremltools.libcoremlpython"]
    assert coremltools_bridge.enable(precision="float32", threads=1).active
    assert sys.modules["coremltools.libcoremlpython"] is native
    assert proxies.settings.precision == "float32"
    coremltools_bridge.enable()
    assert proxies.settings.precision == "faithful"
    with pytest.raises(OptionsError, match="unknown runtime option 'fast'"):
        coremltools_bridge.enable(fast=True)
    assert ct.utils._macos_version() == install.MACOS
    assert not coremltools_bridge.disable().active
    assert not coremltools_bridge.disable().active
    assert ct.models.model._MLModelProxy is None
    assert ct.utils._macos_version() == ct.models.model._macos_version() == ()
    assert not hasattr(ct, "libcoremlpython")
    assert coremltools_bridge.status().reason == "not enabled"
    assert coremltools_bridge.enable().active
    assert linear(np.float32(np.eye(3))).predict({"x": X})["y"].tolist() == [[0.5, 3, 0]]


@pytest.mark.parametrize("place", ["darwin", "native"])
def test_where_core_ml_is_nothing_changes(place: str, tmp_path: Path) -> None:
    """In a process of its own, which is told that it runs on macOS or has the native module."""
    setup = {
        "darwin": "sys.platform = 'darwin'",
        "native": "sys.modules['coremltools.libcoremlpython'] = types.ModuleType('native')",
    }
    script = (
        f"import sys, types\n{setup[place]}\n"
        "from executorch_coreml import coremltools_bridge\n"
        "print(coremltools_bridge.enable())\n"
        "print('coremltools' in sys.modules, coremltools_bridge.disable().active)\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    first, second = run.stdout.splitlines()
    assert first.startswith("Status(active=False, reason=")
    assert {"darwin": "this is macOS", "native": "its own coremltools.libcoremlpython"}[
        place
    ] in first
    assert second == "False False"
