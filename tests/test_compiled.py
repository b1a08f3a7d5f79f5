"""Compiled models: as a directory, in a payload, in the real runtime; and what is none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from executorch.exir import to_edge_transform_and_lower
from executorch.runtime import Runtime

from case import FP16, assert_close, execute, export, lower, randn
from compiled_files import compiled, write
from console import call
from executorch_coreml import CoreMLBackend, CoreMLPartitioner, Model
from executorch_coreml.compiler import payload
from executorch_coreml.compiler.finish import rewrite
from executorch_coreml.errors import CoreMLError, PayloadError, ProgramError
from executorch_coreml.mil.bundle import read, read_payload
from executorch_coreml.mil.extract import extract
from executorch_coreml.mil.types import Feature
from package_files import files, pack
from same_program import assert_same

TEXT = (Path(__file__).parent / "mil" / "stateful.mil").read_text()


def finished(pte: bytes, version: str = "1.3", metadata: bool = True) -> bytes:
    """Every package of a program replaced by the compiled model."""

    def change(data: bytes) -> bytes:
        unpacked = payload.unpack(data)
        kept = {path: bytes(c) for path, c in unpacked.items() if ".mlpackage/" not in path}
        root = next(path for path in kept if path.endswith("metadata.json")).rpartition("/")[0]
        made = compiled(read_payload(data), version)
        if not metadata:
            del made["metadata.json"]
        return payload.pack(kept | {f"{root}/model.mlmodelc/{path}": made[path] for path in made})

    return rewrite(pte, change)


@pytest.mark.parametrize("version", ["1.0", "1.3"])
def test_a_package_and_what_it_compiles_to_are_one_model(tmp_path: Path, version: str) -> None:
    package = read_payload(pack(files()))
    bundle = read(write(compiled(package, version), tmp_path / "m.mlmodelc"))
    main = bundle.program.functions["main"]
    assert {v.name for v in main.inputs} == {"x", "memory"}
    ordered = replace(main, inputs=package.program.functions["main"].inputs, attributes={})
    assert_same(package.program, replace(bundle.program, functions={"main": ordered}))
    assert bundle.descriptions == package.descriptions
    assert bundle.specification_version == package.specification_version == 9
    assert bundle.default_function == "main"
    assert (bundle.input_names, bundle.output_names) == ({"main": ("x",)}, {"main": ("y",)})


@pytest.mark.parametrize("metadata", [True, False], ids=["described", "bare"])
@pytest.mark.parametrize("version", ["1.0", "1.3"])
def test_in_the_runtime(version: str, metadata: bool) -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.GELU()
    ).eval()
    x = randn(1, 3, 10, 12)
    pte = bytes(lower(export(net, (x,)), FP16)[0].buffer)
    (got,) = execute(finished(pte, version, metadata), (x,))
    assert torch.equal(got, execute(pte, (x,))[0])
    assert_close(got, net(x).detach(), 4e-3, 4e-3, "compiled")


class Cached(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("held", torch.zeros(1, 32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.held.add_(x)
        return self.held * 2


def test_states_in_the_runtime() -> None:
    partitioner = CoreMLPartitioner(take_over_mutable_buffer=True)
    program = export(Cached(), (randn(1, 32),))
    edge = to_edge_transform_and_lower(program, partitioner=[partitioner])
    pte = finished(bytes(edge.to_executorch().buffer))
    (state,) = Model(pte).states
    assert state.kind == "state"
    method = Runtime.get().load_program(pte).load_method("forward")
    eager = Cached()
    for step in range(1, 4):
        x = torch.full((1, 32), step / 4)
        (got,) = method.execute((x,))
        assert torch.equal(got, eager(x))


def test_ranges_in_the_runtime() -> None:
    rows = torch.export.Dim("rows", min=3, max=6)
    linear = torch.nn.Linear(4, 3).eval()
    program = export(linear, (randn(4, 4),), ({0: rows},))
    pte = finished(bytes(lower(program, FP16)[0].buffer))
    (x,) = Model(pte).inputs
    assert x.ranges == ((3, 6), (4, 4))
    method = Runtime.get().load_program(pte).load_method("forward")
    for count in (3, 6):
        (got,) = method.execute((randn(count, 4),))
        assert_close(got, linear(randn(count, 4)).detach(), 4e-3, 4e-3, f"{count} rows")
    with pytest.raises(RuntimeError):
        method.execute((randn(1, 4),))


def test_enumerated_shapes_in_the_runtime() -> None:
    rows = torch.export.Dim("rows", max=8)
    program = export(lambda x: torch.softmax(x, 1), (randn(2, 4),), ({0: rows},))
    (name,) = program.graph_signature.user_inputs
    shapes = {name: [[2, 4], [8, 4]]}
    spec = CoreMLBackend.generate_enumerated_shapes_compile_spec(program, shapes)
    specs = [*CoreMLBackend.generate_compile_specs(compute_precision=FP16), spec]
    edge = to_edge_transform_and_lower(
        program, partitioner=[CoreMLPartitioner(compile_specs=specs, lower_full_graph=True)]
    )
    for metadata in (True, False):
        pte = finished(bytes(edge.to_executorch().buffer), metadata=metadata)
        assert Model(pte).inputs[0].enumerated == ((2, 4), (8, 4))
        method = Runtime.get().load_program(pte).load_method("forward")
        (got,) = method.execute((randn(8, 4),))
        assert_close(got, torch.softmax(randn(8, 4), 1), 4e-3, 4e-3, "enumerated")
        with pytest.raises(RuntimeError):
            method.execute((randn(3, 4),))


def test_a_compiled_model_taken_out_of_a_program_runs(tmp_path: Path) -> None:
    pte = finished(bytes(lower(export(torch.nn.Linear(8, 40), (randn(2, 8),)))[0].buffer))
    (tmp_path / "digits.pte").write_bytes(pte)
    (found,) = extract(tmp_path / "digits.pte", tmp_path)
    assert found.path == tmp_path / "digits.mlmodelc"
    x = randn(2, 8).numpy()
    np.testing.assert_array_equal(Model(found.path).run([x])[0], Model(pte).run([x])[0])


def test_commands(tmp_path: Path) -> None:
    path = write(compiled(read_payload(pack(files()))), tmp_path / "model.mlmodelc")
    shown = call("inspect", path)
    assert shown.exit_code == 0, shown.output
    for words in ("iOS18 or later", "function main (opset CoreML8, default)", "read_state"):
        assert words in shown.output
    write({"model.mil": TEXT.encode()}, tmp_path / "renamed")
    np.save(tmp_path / "x.npy", np.full((2, 3), 0.5, np.float32))
    arguments = ["--function", "doubled", "--input", f"x={tmp_path}/x.npy"]
    ran = call("run", tmp_path / "renamed", *arguments, "--output-dir", tmp_path)
    assert ran.exit_code == 0, ran.output
    np.testing.assert_array_equal(np.load(tmp_path / "z.npy"), np.ones((2, 3)))


def entry(name: str, **facts: str) -> dict[str, str]:
    plain = {"type": "MultiArray", "dataType": "Float32", "shape": "[2, 3]"}
    return {"name": name, **plain, "isOptional": "0", "shortDescription": "", **facts}


MAIN: dict[str, Any] = {
    "name": "main",
    "inputSchema": [entry("x", dataType="Float16", shape="[2, 3]", shapeRange="[[1, -1], [3, 3]]")],
    "outputSchema": [entry("y", dataType="Float16", shape="[]")],
    "stateSchema": [entry("memory", type="State", dataType="Float16", shape="[1, 3]")],
}
DOUBLED: dict[str, Any] = {
    "name": "doubled",
    "inputSchema": [entry("x", isOptional="1", shortDescription="a cat")],
    "outputSchema": [entry("z")],
    "stateSchema": [],
}
METADATA: dict[str, Any] = {
    "specificationVersion": 10,
    "functions": [MAIN, DOUBLED],
    "defaultFunctionName": "doubled",
    **{key: DOUBLED[key] for key in ("inputSchema", "outputSchema", "stateSchema")},
}


def described(metadata: object, text: str = TEXT) -> bytes:
    """A payload with a compiled model, its ``metadata.json`` as given."""
    content = {
        "root/model.mlmodelc/model.mil": text.encode(),
        "root/model.mlmodelc/metadata.json": json.dumps(metadata).encode(),
        "root/metadata.json": json.dumps({"inputNames": ["x"], "outputNames": ["z"]}).encode(),
    }
    return payload.pack(content)


def test_metadata() -> None:
    bundle = read_payload(described([METADATA]))
    assert (bundle.default_function, bundle.specification_version) == ("doubled", 10)
    main, doubled = bundle.descriptions["main"], bundle.descriptions["doubled"]
    assert main.inputs == (Feature("x", "fp16", (2, 3), ranges=((1, None), (3, 3))),)
    assert main.outputs == (Feature("y", "fp16", ()),)
    assert main.states == (Feature("memory", "fp16", (1, 3), kind="state"),)
    assert doubled.inputs == (Feature("x", "fp32", (2, 3), optional=True, description="a cat"),)


ONE = """program(1.3) {{ func main<ios17>({}) {{ fp32 y = f(); }} -> (y); }}"""


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (
            {"type": "Image", "colorspace": "RGB", "width": "20", "height": "10"},
            Feature("x", "uint8", (1, 3, 10, 20), kind="image", color_space="RGB"),
        ),
        (
            {
                **{"type": "Image", "colorspace": "Grayscale16Half", "width": "20"},
                **{"height": "10", "sizeRange": "[[0, 30], [5, -1]]"},
            },
            Feature(
                *("x", "fp16", (1, 1, 10, 20), "image"),
                ranges=((1, 1), (1, 1), (5, None), (0, 30)),
                color_space="Grayscale16Half",
            ),
        ),
        (
            {
                **{"type": "Image", "colorspace": "BGR", "width": "20", "height": "10"},
                "enumeratedSizes": "[[20, 10], [40, 30]]",
            },
            Feature(
                *("x", "uint8", (1, 3, 10, 20), "image"),
                enumerated=((1, 3, 10, 20), (1, 3, 30, 40)),
                color_space="BGR",
            ),
        ),
        (
            {
                "type": "MultiArray",
                "dataType": "Int32",
                "shape": "[2]",
                "enumeratedShapes": "[[2]]",
            },
            Feature("x", "int32", (2,), enumerated=((2,),)),
        ),
        ({"type": "Double"}, Feature("x", "fp64", (), kind="double")),
        ({"type": "String"}, Feature("x", "string", (), kind="string")),
        (
            {"type": "Dictionary", "keyType": "String"},
            Feature("x", "string", (), kind="dictionary"),
        ),
    ],
)
def test_kinds_of_features(entry: dict[str, str], expected: Feature) -> None:
    metadata = [{"inputSchema": [{"name": "x", **entry}]}]
    bundle = read_payload(
        payload.pack(
            {
                "root/model.mlmodelc/model.mil": ONE.format("tensor<fp32, [?]> x").encode(),
                "root/model.mlmodelc/metadata.json": json.dumps(metadata).encode(),
                "root/metadata.json": b'{"inputNames": ["x"], "outputNames": ["y"]}',
            }
        )
    )
    assert bundle.descriptions["main"].inputs == (expected,)
    assert bundle.specification_version == 8


def edited(edit: Callable[[Any], object]) -> list[Any]:
    models = json.loads(json.dumps([METADATA]))
    edit(models[0])
    return models


MALFORMED: dict[str, tuple[Any, str]] = {
    "no list": ({}, "a list of one JSON object is expected"),
    "two": ([{}, {}], "a list of one JSON object is expected"),
    "default": (
        edited(lambda m: m.update(defaultFunctionName="gone")),
        r"default function 'gone' is none of \['main', 'doubled'\]",
    ),
    "functions": (edited(lambda m: m.update(functions={"a": 1})), "functions is no list"),
    "function": (
        edited(lambda m: m["functions"][0].update(name="gone")),
        "the program has no function 'gone'",
    ),
    "schema": (
        edited(lambda m: m["functions"][0].update(inputSchema="x")),
        "function 'main': inputSchema is no list of objects",
    ),
    "name": (
        edited(lambda m: m["functions"][1]["outputSchema"][0].update(name="gone")),
        r"function 'doubled', outputSchema: 'gone' is not among the program's \['z'\]",
    ),
    "dtype": (
        edited(lambda m: m["functions"][0]["inputSchema"][0].update(dataType="Float8")),
        "the entry of 'x' is malformed: KeyError",
    ),
    "shape": (
        edited(lambda m: m["functions"][0]["inputSchema"][0].update(shape="[1, ")),
        "the entry of 'x' is malformed: JSONDecodeError",
    ),
    "deep shape": (
        edited(lambda m: m["functions"][0]["inputSchema"][0].update(shape="[" * 10**5)),
        "the entry of 'x' is malformed: RecursionError",
    ),
    "range": (
        edited(lambda m: m["functions"][0]["inputSchema"][0].update(shapeRange="[[1]]")),
        "the entry of 'x' is malformed: TypeError",
    ),
    "no type": (
        edited(lambda m: m["functions"][0]["inputSchema"][0].pop("type")),
        "the entry of 'x' is malformed: KeyError",
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_metadata(name: str) -> None:
    metadata, message = MALFORMED[name]
    with pytest.raises(PayloadError, match=rf"metadata\.json.*{message}"):
        read_payload(described(metadata))


def test_features_that_no_program_has() -> None:
    metadata = edited(lambda m: m["functions"][0]["inputSchema"][0].update(type="Sequence"))
    with pytest.raises(ProgramError, match="feature x: an ML Program has no features of type Seq"):
        read_payload(described(metadata))


@pytest.mark.parametrize(
    "attribute",
    [
        "[FlexibleShapeInformation = int32(1)]",
        '[FlexibleShapeInformation = tuple<string>(("DefaultShapes"))]',
        '[FlexibleShapeInformation = tuple<tuple<string, int8>>((("DefaultShapes", 1)))]',
        "[FlexibleShapeInformation = tuple<tuple<string, dict<string, int8>>>"
        '((("RangeDims", {{"x", 1}})))]',
    ],
)
def test_malformed_shapes(tmp_path: Path, attribute: str) -> None:
    text = f"program(1.3) {{ func main<ios17>(tensor<fp32, [?]> x) {attribute} {{ }} -> (x); }}"
    with pytest.raises(ProgramError, match="'main', attribute FlexibleShapeInformation: no dict"):
        read(write({"model.mil": text.encode()}, tmp_path / "m.mlmodelc"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"model.espresso.net": b"{}", "coremldata.bin": b""},
            r"a compiled neural network \(model.espresso.net\), not an ML Program.*Hint: convert",
        ),
        (
            {
                "coremldata.bin": b"",
                "metadata.json": b'[{"modelType": {"name": "MLModelType_svm"}}]',
            },
            "a compiled svm, not an ML Program",
        ),
        ({"coremldata.bin": b"", "model0/model.mil": b""}, "a compiled pipeline"),
        ({"coremldata.bin": b""}, "a compiled model without model.mil"),
    ],
)
def test_other_models(tmp_path: Path, content: dict[str, bytes], message: str) -> None:
    inside = {f"root/model.mlmodelc/{name}": data for name, data in content.items()}
    packed = payload.pack(inside | {"root/metadata.json": b"{}"})
    for source in (write(content, tmp_path / "model.mlmodelc"), packed):
        with pytest.raises(ProgramError, match=message):
            read(source)


def test_damaged_trees(tmp_path: Path) -> None:
    tree = compiled(read_payload(pack(files())))
    path = write(tree, tmp_path / "model.mlmodelc")
    (path / "model.mil").write_bytes(b"program(1.0)\xff")
    with pytest.raises(PayloadError, match=r"at byte 12: .*model.mlmodelc, model.mil: no UTF-8"):
        read(path)
    write(tree, path)
    shutil.rmtree(path / "weights")
    with pytest.raises(PayloadError, match=r"weights/weight.bin: No such file"):
        read(path)
    outside = tree["model.mil"].replace(b"@model_path/weights", b"@model_path/../secret")
    write({"model.mil": outside}, path)
    with pytest.raises(PayloadError, match="no path inside a model"):
        read(path)
    write({"model.mil": b"program(1.0) {}"}, path)
    with pytest.raises(ProgramError, match="the program has no functions"):
        read(path)
    write({"model.mil": ONE.format("list<fp32, 2> x").encode(), "metadata.json": b"[{}]"}, path)
    with pytest.raises(CoreMLError, match=r"value 'x': .*cannot cross the border"):
        read(path)
