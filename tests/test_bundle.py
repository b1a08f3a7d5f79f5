"""Reading models: every form of bundle, every dtype of constant."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from executorch_coreml.mil.bundle import read, read_payload
from executorch_coreml.mil.description import read_descriptions
from executorch_coreml.mil.proto import read_program
from executorch_coreml.mil.schema import Model
from executorch_coreml.mil.types import Bundle, Constant, Feature, Ref, StateType, TensorType, Value
from package_files import CONSTANTS, PACKED, constant, coremltools, files, main_ops, pack, write


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return read_payload(pack(files()))


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants(bundle: Bundle, name: str) -> None:
    op, expected = main_ops(bundle)[name], CONSTANTS[name]
    value = op.attributes["val"]
    assert op.type == "const"
    assert value.type == op.outputs[0].type
    if isinstance(expected, str):
        assert value.data == expected
        return
    assert isinstance(value.data, np.ndarray)
    assert not value.data.flags.writeable
    assert value.data.dtype == expected.dtype
    np.testing.assert_array_equal(value.data, expected, strict=True)


@pytest.mark.parametrize("dtype", PACKED)
def test_packed_constants(bundle: Bundle, dtype: str) -> None:
    inputs = main_ops(bundle)[dtype].inputs
    (value,) = inputs["data" if dtype == "int4" else "indices"]
    assert isinstance(value, Constant)
    assert value.type == TensorType(dtype, (2, 15))
    assert value.data.dtype == (np.int8 if dtype == "int4" else np.uint8)
    assert not value.data.flags.writeable
    np.testing.assert_array_equal(value.data, PACKED[dtype])


def test_structure(bundle: Bundle) -> None:
    main = bundle.program.functions["main"]
    assert (main.name, main.opset) == ("main", "CoreML8")
    assert main.inputs == (
        Value("x", TensorType("fp32", (2, 16))),
        Value("memory", StateType(TensorType("fp16", (2, 16)))),
    )
    assert main.body.outputs == ("y",)
    found = main_ops(bundle)
    (memory,) = [op for op in found.values() if op.type == "read_state"]
    assert memory.inputs == {"input": (Ref("memory"),)}
    assert found["sum"].inputs["y"] == (Ref(memory.name),)
    assert found["sum"].outputs == (Value("sum", TensorType("fp16", (2, 16))),)
    then, other = found["chosen"].blocks
    assert [op.type for op in then.operations] == ["relu"]
    assert then.operations[0].inputs["x"] == (Ref("sum"),)  # a value of the outer scope
    assert other.operations == ()
    assert other.outputs == ("sum",)


def test_description(bundle: Bundle) -> None:
    description = bundle.descriptions["main"]
    assert description.inputs == (Feature("x", "fp32", (2, 16)),)
    assert description.outputs == (Feature("y", "fp32", (2, 16)),)
    assert description.states == (Feature("memory", "fp16", (2, 16), kind="state"),)
    assert bundle.specification_version == 9
    assert bundle.default_function == "main"
    assert bundle.input_names == {"main": ("x",)}
    assert bundle.output_names == {"main": ("y",)}


@pytest.mark.parametrize("name", ["f16", "f32", "i8", "i32", "u16"])
def test_weights_of_a_payload_are_views(name: str) -> None:
    data = bytearray(pack(files()))
    array = constant(read_payload(data), name)
    assert np.shares_memory(array, np.frombuffer(data, np.uint8))


def test_all_forms_agree(tmp_path: Path) -> None:
    package = write(files(), tmp_path / "model.mlpackage")
    stored = tmp_path / "stored.bin"
    stored.write_bytes(pack(files()))
    beside = tmp_path / "model"
    shutil.copytree(package / "Data" / "com.apple.CoreML", beside)
    sources: list[Any] = [str(package), beside / "model.mlmodel", stored, pack(files())]
    sources += [bytearray(pack(files())), memoryview(pack(files()))]
    for source in sources:
        form = read(source)
        assert form.descriptions == read(package).descriptions
        for name, expected in CONSTANTS.items():
            np.testing.assert_array_equal(constant(form, name), expected)


def test_collections() -> None:
    """Lists, tuples and dictionaries, which the builder does not write for iOS 18."""
    ct = coremltools()
    helper, MIL_pb2 = ct.converters.mil.backend.mil.helper, ct.proto.MIL_pb2
    message = MIL_pb2.Program()
    function = message.functions["main"]
    function.opset = "CoreML8"
    op = function.block_specializations["CoreML8"].operations.add(type="custom")
    op.attributes["list"].CopyFrom(helper.create_list_scalarvalue(["a", "b"], str))
    entry = op.attributes["dictionary"]
    entry.type.dictionaryType.keyType.CopyFrom(helper.create_valuetype_scalar(MIL_pb2.STRING))
    entry.type.dictionaryType.valueType.CopyFrom(helper.create_valuetype_scalar(MIL_pb2.INT64))
    pair = entry.immediateValue.dictionary.values.add()
    pair.key.CopyFrom(helper.create_scalar_value("k"))
    pair.value.CopyFrom(helper.create_tensor_value(np.array(2**40)))
    entry = op.attributes["tuple"]
    for value in (helper.create_scalar_value("t"), helper.create_scalar_value(True)):
        entry.type.tupleType.types.add().CopyFrom(value.type)
        entry.immediateValue.tuple.values.add().CopyFrom(value)
    op.attributes["double"].CopyFrom(helper.create_tensor_value(np.array([0.1, 1e300])))
    op.attributes["words"].CopyFrom(helper.create_list_scalarvalue([], str))

    model = Model()
    model.mlProgram.ParseFromString(message.SerializeToString())
    program = read_program(model.mlProgram, lambda name: pytest.fail(name))
    (read_op,) = program.functions["main"].body.operations
    data = {name: value.data for name, value in read_op.attributes.items()}
    assert (data["list"], data["words"]) == (("a", "b"), ())
    assert data["dictionary"] == {"k": 2**40}
    assert data["tuple"] == ("t", True)
    np.testing.assert_array_equal(data["double"], np.array([0.1, 1e300]), strict=True)


def array_feature(name: str, dtype: str, shape: tuple[int, ...]) -> Any:
    feature = coremltools().proto.Model_pb2.FeatureDescription(name=name)
    array = feature.type.multiArrayType
    array.dataType = getattr(array, dtype)
    array.shape.extend(shape)
    return feature


def test_feature_kinds() -> None:
    ct = coremltools()
    enumerated = array_feature("enumerated", "FLOAT16", (1, 8))
    for shape in ((1, 8), (2, 8)):
        enumerated.type.multiArrayType.enumeratedShapes.shapes.add(shape=shape)
    ranged = array_feature("ranged", "INT32", (3, 8))
    sizes = ranged.type.multiArrayType.shapeRange.sizeRanges
    sizes.add(lowerBound=1, upperBound=10)
    sizes.add(lowerBound=8, upperBound=-1)
    image = ct.proto.Model_pb2.FeatureDescription(name="image", shortDescription="a cat")
    picture = image.type.imageType
    picture.width, picture.height, picture.colorSpace = 20, 10, picture.RGB
    grey = ct.proto.Model_pb2.FeatureDescription(name="grey")
    picture = grey.type.imageType
    picture.width, picture.height, picture.colorSpace = 20, 10, picture.GRAYSCALE_FLOAT16
    picture.imageSizeRange.widthRange.upperBound = 30
    picture.imageSizeRange.heightRange.lowerBound = 5
    picture.imageSizeRange.heightRange.upperBound = -1
    optional = array_feature("optional", "INT8", (1,))
    optional.type.isOptional = True
    optional.type.multiArrayType.intDefaultValue = 7
    label = ct.proto.Model_pb2.FeatureDescription(name="label")
    label.type.stringType.SetInParent()
    scores = ct.proto.Model_pb2.FeatureDescription(name="scores")
    scores.type.dictionaryType.stringKeyType.SetInParent()

    source = ct.proto.Model_pb2.Model()
    source.description.input.extend([enumerated, ranged, image, grey, optional])
    source.description.output.extend([label, scores, array_feature("d", "DOUBLE", ())])
    message = Model.FromString(source.SerializeToString()).description
    descriptions, default = read_descriptions(message)
    assert default == "main"
    assert descriptions["main"].inputs == (
        Feature("enumerated", "fp16", (1, 8), enumerated=((1, 8), (2, 8))),
        Feature("ranged", "int32", (3, 8), ranges=((1, 10), (8, None))),
        Feature(
            *("image", "uint8", (1, 3, 10, 20), "image"), description="a cat", color_space="RGB"
        ),
        Feature(
            *("grey", "fp16", (1, 1, 10, 20), "image"),
            ranges=((1, 1), (1, 1), (5, None), (0, 30)),
            color_space="Grayscale16Half",
        ),
        Feature("optional", "int8", (1,), optional=True, default=7),
    )
    assert descriptions["main"].outputs == (
        Feature("label", "string", (), kind="string"),
        Feature("scores", "string", (), kind="dictionary"),
        Feature("d", "fp64", ()),
    )


def test_the_run_path_is_light_and_writes_nothing(tmp_path: Path) -> None:
    program = """
import sys
from executorch_coreml.mil.bundle import read
data = open(sys.argv[1], "rb").read()
written = []
def audit(event, args):
    if event == "os.mkdir" or (event == "open" and "r" not in (args[1] or "r")):
        written.append((event, args))
sys.addaudithook(audit)
read(data), read(sys.argv[1]), read(sys.argv[2])
print(written, *{m.split(".")[0] for m in sys.modules} & {"torch", "coremltools", "executorch"})
"""
    package, stored = write(files(), tmp_path / "model.mlpackage"), tmp_path / "stored.bin"
    stored.write_bytes(pack(files()))
    run = subprocess.run(
        [sys.executable, "-c", program, str(stored), str(package)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.split() == ["[]"]
