"""Damaged models: each is refused with a typed error that says what is wrong where."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executorch_coreml.compiler import payload
from executorch_coreml.errors import CoreMLError, PayloadError, ProgramError
from executorch_coreml.mil.bundle import read, read_payload
from executorch_coreml.mil.schema import Model
from executorch_coreml.mil.weights import WeightFile
from package_files import MODEL, PACKED, WEIGHTS, files, pack, write


def edited(edit: Callable[[Any], object]) -> dict[str, bytes]:
    model = Model.FromString(files()[MODEL])
    edit(model)
    return files() | {MODEL: model.SerializeToString()}


def main_block(model: Any) -> Any:
    return model.mlProgram.functions["main"].block_specializations["CoreML8"]


def message_of(model: Any, name: str) -> Any:
    return next(
        op for op in main_block(model).operations if [o.name for o in op.outputs][:1] == [name]
    )


def tensor_of(model: Any, name: str) -> Any:
    return message_of(model, name).attributes["val"].immediateValue.tensor


def type_of(model: Any, name: str) -> Any:
    return message_of(model, name).attributes["val"].type.tensorType


def no_block(model: Any) -> None:
    model.mlProgram.functions["main"].opset = "CoreML9"


def inner_block_refers_out(model: Any) -> None:
    message_of(model, "chosen").blocks[0].operations[0].inputs["x"].arguments[0].name = "y"


def other_default(model: Any) -> None:
    model.description.functions.add(name="main")
    model.description.defaultFunctionName = "other"


PROGRAM_EDITS: dict[str, tuple[Callable[[Any], object], str]] = {
    "no block": (no_block, r"function 'main': no block for opset 'CoreML9'.*CoreML8"),
    "undefined": (
        lambda m: setattr(message_of(m, "sum").inputs["y"].arguments[0], "name", "gone"),
        r"function 'main', op add 'sum', value 'y': refers to 'gone'",
    ),
    "defined later": (inner_block_refers_out, r"op relu '.*', value 'x': refers to 'y'"),
    "empty argument": (
        lambda m: message_of(m, "sum").inputs["y"].arguments[0].Clear(),
        r"op add 'sum', value 'y': an argument is neither",
    ),
    "duplicate": (
        lambda m: setattr(message_of(m, "sum").outputs[0], "name", "x"),
        r"value 'x': the name is defined twice",
    ),
    "no name": (lambda m: setattr(message_of(m, "sum").outputs[0], "name", ""), r"no name"),
    "no op type": (lambda m: setattr(message_of(m, "sum"), "type", ""), r"'sum': the op has no"),
    "no value type": (
        lambda m: message_of(m, "sum").outputs[0].type.Clear(),
        r"value 'sum': the value has no known type",
    ),
    "block output": (
        lambda m: main_block(m).outputs.append("gone"),
        r"function 'main', value 'gone': the block returns",
    ),
    "too few values": (
        lambda m: tensor_of(m, "f32_few").floats.values.pop(),
        r"op const 'f32_few', value 'val': a constant of type fp32\[3\] has 2 values",
    ),
    "too many values": (
        lambda m: tensor_of(m, "i32_few").ints.values.append(1),
        r"int32\[2\] has 3 values",
    ),
    "too few bytes": (
        lambda m: setattr(tensor_of(m, "f16_few").bytes, "values", b"1234567"),
        r"4 elements of fp16 are stored in 7 bytes",
    ),
    "no value": (lambda m: tensor_of(m, "text").Clear(), r"string\[\] has 0 values"),
    "wrong member": (
        lambda m: setattr(tensor_of(m, "f32_few").bytes, "values", bytes(12)),
        r"elements of fp32 are stored as 'bytes'",
    ),
    "out of dtype": (
        lambda m: tensor_of(m, "u16_few").ints.values.__setitem__(0, 2**16),
        r"65536 is no value of uint16",
    ),
    "unknown dtype": (lambda m: setattr(type_of(m, "f32"), "dataType", 13), r"element type 13"),
    "unknown rank": (
        lambda m: setattr(type_of(m, "f32"), "rank", -1),
        r"value 'val': a constant cannot be of type fp32\[\.\.\.\]",
    ),
    "wrong rank": (lambda m: setattr(type_of(m, "f32"), "rank", 2), r"rank 2, but 3 dimensions"),
    "unknown extent": (
        lambda m: setattr(type_of(m, "f32").dimensions[0].unknown, "variadic", False),
        r"a constant cannot be of type fp32\[\?, 3, 5\]",
    ),
    "variadic": (
        lambda m: setattr(type_of(m, "f32").dimensions[0].unknown, "variadic", True),
        r"a constant cannot be of type fp32\[\.\.\.\]",
    ),
    "no extent": (lambda m: type_of(m, "f32").dimensions[0].Clear(), r"neither known nor"),
    "endless": (
        lambda m: setattr(type_of(m, "f32_empty").dimensions[1].constant, "size", 2**62),
        r"a constant cannot be of type",
    ),
    "beyond int64": (
        lambda m: setattr(type_of(m, "f32_empty").dimensions[1].constant, "size", 2**63),
        r"a tensor has no extent of 9223372036854775808",
    ),
    "state of no tensor": (
        lambda m: (
            m.mlProgram.functions["main"]
            .inputs[1]
            .type.stateType.wrappedType.listType.type.tensorType.__setattr__("dataType", 11)
        ),
        r"value 'memory'",
    ),
    "described input": (
        lambda m: setattr(m.description.input[0], "name", "z"),
        r"declares inputs that the program lacks: \['z'\]",
    ),
    "described output": (
        lambda m: setattr(m.description.output[0], "name", "z"),
        r"declares outputs that the program lacks: \['z'\]",
    ),
    "feature type": (
        lambda m: m.description.input[0].type.sequenceType.SetInParent(),
        r"feature x: an ML Program has no features of type sequenceType",
    ),
    "feature dtype": (
        lambda m: setattr(m.description.input[0].type.multiArrayType, "dataType", 7),
        r"feature x: element type 7",
    ),
    "colour": (
        lambda m: setattr(m.description.input[0].type.imageType, "colorSpace", 7),
        r"feature x: colour space 7",
    ),
    "missing function": (
        lambda m: m.description.functions.add(name="other"),
        r"no function 'other', which it describes",
    ),
    "described twice": (
        lambda m: [m.description.functions.add(name="main") for _ in range(2)],
        r"function 'main': described twice",
    ),
    "default function": (
        other_default,
        r"default function 'other' is none of \['main'\]",
    ),
    "another model": (
        lambda m: m.neuralNetwork.SetInParent(),
        r"the model is a neuralNetwork, not an ML Program.*Hint: convert",
    ),
}


@pytest.mark.parametrize("name", PROGRAM_EDITS)
def test_malformed_program(name: str) -> None:
    edit, message = PROGRAM_EDITS[name]
    with pytest.raises(ProgramError, match=message):
        read_payload(pack(edited(edit)))


BLOB = 64  # the first blob's metadata: behind the header


def patched(data: bytes, position: int, value: int, size: int = 8) -> bytes:
    return data[:position] + value.to_bytes(size, "little") + data[position + size :]


WEIGHT_EDITS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda w: b"", "no header in 0 bytes"),
    "header cut": (lambda w: w[:63], "no header in 63 bytes"),
    "version": (lambda w: patched(w, 4, 1, 4), "version 1, expected 2"),
    "metadata cut": (lambda w: w[: BLOB + 63], "not where blob metadata can be"),
    "data cut": (lambda w: w[: BLOB + 64 + 3], "blob lies at"),
    "sentinel": (lambda w: patched(w, BLOB, 0xDEADBEEE, 4), "0xdeadbeee instead of 0xdeadbeef"),
    "dtype": (lambda w: patched(w, BLOB + 4, 2, 4), "blob holds fp32, the program declares fp16"),
    "dtype unknown": (lambda w: patched(w, BLOB + 4, 99, 4), "blob holds dtype code 99"),
    "git lfs": (lambda w: b"version https://git-lfs.github.com/spec/v1\n" + w, "a Git LFS pointer"),
    "size short": (lambda w: patched(w, BLOB + 8, 30), "blob of 30 bytes is not 16 of fp16"),
    "size huge": (lambda w: patched(w, BLOB + 8, 2**64 - 1), "blob lies at"),
    "offset out": (lambda w: patched(w, BLOB + 16, 64 * 10**6), "blob lies at"),
    "offset odd": (lambda w: patched(w, BLOB + 16, 129), "blob lies at"),
    "offset header": (lambda w: patched(w, BLOB + 16, 0), "blob lies at"),
}


@pytest.mark.parametrize("name", WEIGHT_EDITS)
def test_malformed_weights(name: str) -> None:
    edit, message = WEIGHT_EDITS[name]
    with pytest.raises(PayloadError, match=message) as info:
        read_payload(pack(files() | {WEIGHTS: edit(files()[WEIGHTS])}))
    assert "weights/weight.bin" in str(info.value)
    assert info.value.offset is not None


@pytest.mark.parametrize("offset", [0, 63, 65, 10**6 * 64, 2**64 - 64])
def test_blob_offset_out_of_range(offset: int) -> None:
    def edit(model: Any) -> None:
        message_of(model, "f16").attributes["val"].blobFileValue.offset = offset

    with pytest.raises(PayloadError, match="not where blob metadata can be") as info:
        read_payload(pack(edited(edit)))
    assert info.value.offset == offset


def test_padding_bits_are_checked() -> None:
    weights = WeightFile(memoryview(files()[WEIGHTS]), "weight.bin")
    offset = next(
        position
        for position in range(64, len(files()[WEIGHTS]), 64)
        if files()[WEIGHTS][position : position + 8] == b"\xef\xbe\xad\xde\x0c\0\0\0"  # uint3
    )
    assert weights.read(offset, "uint3", 30).tolist() == PACKED["uint3"].ravel().tolist()
    for count in (29, 31, 32):
        with pytest.raises(PayloadError, match=f"is not {count} of uint3"):
            weights.read(offset, "uint3", count)


def test_weight_names_stay_inside() -> None:
    for name in ("@model_path/../../../secret", "/etc/hostname", "", "@model_path/"):

        def edit(model: Any, name: str = name) -> None:
            message_of(model, "f16").attributes["val"].blobFileValue.fileName = name

        with pytest.raises(PayloadError, match="no path inside a model"):
            read_payload(pack(edited(edit)))


def test_missing_weights(tmp_path: Path) -> None:
    with pytest.raises(PayloadError, match=r"there is no '.*/weights/weight.bin' among"):
        read_payload(pack({name: files()[name] for name in (MODEL, "Manifest.json")}))
    copy = write(files(), tmp_path / "model.mlpackage")
    (copy / WEIGHTS).unlink()
    with pytest.raises(PayloadError, match=r"weight.bin: No such file"):
        read(copy)


def test_truncated_model() -> None:
    for size in range(0, len(files()[MODEL]), 41):
        with pytest.raises((PayloadError, ProgramError)):
            read_payload(pack(files() | {MODEL: files()[MODEL][:size]}))


@given(st.data())
@settings(deadline=None, max_examples=200)
def test_damaged_model(data: st.DataObject) -> None:
    model = bytearray(files()[MODEL])
    for position, byte in data.draw(
        st.lists(st.tuples(st.integers(0, len(model) - 1), st.integers(0, 255)), max_size=3)
    ):
        model[position] = byte
    with suppress(CoreMLError):  # any other error fails
        read_payload(pack(files() | {MODEL: bytes(model)}))


@pytest.mark.parametrize(
    "manifest",
    [
        *(b"", b"\xff", b"[]", b"{}"),
        b'{"itemInfoEntries": {}, "rootModelIdentifier": "a"}',
        b'{"itemInfoEntries": "abc", "rootModelIdentifier": 7}',
        b'{"itemInfoEntries": {"a": {"path": "../x"}}, "rootModelIdentifier": "a"}',
        b'{"itemInfoEntries": {"a": {"path": 1}}, "rootModelIdentifier": "a"}',
    ],
    ids=repr,
)
def test_malformed_manifest(manifest: bytes) -> None:
    with pytest.raises(PayloadError):
        read_payload(pack(files() | {"Manifest.json": manifest}))


@pytest.mark.parametrize(
    "metadata",
    [
        {"inputNames": ["z"], "outputNames": ["y"]},
        {"inputNames": ["x"], "outputNames": [1]},
        {"inputNames": ["x", "x"], "outputNames": ["y"]},
        {"inputNames": ["x"], "outputNames": ["y", "y"]},
        {"inputNames": ["x"]},
        {"methods": []},
        {"methods": {"forward": 1}},
        {"methods": {"other": {"inputNames": ["x"], "outputNames": ["y"]}}},
    ],
    ids=repr,
)
def test_malformed_metadata(metadata: object) -> None:
    with pytest.raises(PayloadError, match=r"metadata\.json"):
        read_payload(pack(files(), metadata), method_name="forward")


@pytest.mark.parametrize(
    "notes", [b"[]", b'{"precisionNotes": [1]}', b'{"precisionNotes": {"a": 1}}']
)
def test_malformed_precision_notes(notes: bytes) -> None:
    content = {f"root/model.mlpackage/{name}": data for name, data in files().items()}
    orders = json.dumps({"inputNames": [], "outputNames": []}).encode()
    content |= {"root/metadata.json": orders, "root/debug_info.json": notes}
    with pytest.raises(PayloadError, match=r"debug_info\.json"):
        read_payload(payload.pack(content))


def test_no_metadata() -> None:
    data = payload.pack({f"root/model.mlpackage/{name}": data for name, data in files().items()})
    with pytest.raises(PayloadError, match=r"there is no metadata.json"):
        read_payload(data)


def test_missing_paths(tmp_path: Path) -> None:
    for name in ("gone.mlpackage", "gone.mlmodel", "gone.pte"):
        with pytest.raises(PayloadError, match=rf"{name}: No such file"):
            read(tmp_path / name)
    with pytest.raises(PayloadError, match=r"gone.mlmodelc/model.mil: No such file"):
        read(tmp_path / "gone.mlmodelc")
    with pytest.raises(PayloadError, match=r"Manifest.json: No such file"):
        read(tmp_path)


def test_not_a_model(tmp_path: Path) -> None:
    for name, content in (("a.mlmodel", b"\xff"), ("b.mlmodel", b""), ("c.pte", b"text")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(PayloadError):
            read(tmp_path / name)
