"""MIL text, written by hand as Apple's compiler writes it: read, run against numpy, and printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compiled_files import write
from executorch_coreml import Model
from executorch_coreml.errors import InputError
from executorch_coreml.mil.bundle import read_payload
from executorch_coreml.mil.text import parse
from executorch_coreml.mil.text_print import to_text
from executorch_coreml.mil.types import (
    Constant,
    DictType,
    ListType,
    Op,
    Program,
    Ref,
    StateType,
    TensorType,
    TupleType,
    Value,
)
from executorch_coreml.mil.weights import WeightFile, WeightWriter
from package_files import files, pack
from same_program import assert_same, through_text

TEXTS = Path(__file__).parent / "mil"
PALETTE = (TEXTS / "palette.mil").read_text()  # of iOS16: operands of constexpr ops are attributes
STATEFUL = (TEXTS / "stateful.mil").read_text()  # with literals as arguments, and two functions
ENUMERATED = (TEXTS / "enumerated.mil").read_text()


def tree(text: str, metadata: object = None) -> dict[str, bytes]:
    found = {"model.mil": text.encode(), "coremldata.bin": b""}
    return found | ({"metadata.json": json.dumps([metadata]).encode()} if metadata else {})


def test_a_palette_of_version_1_0(tmp_path: Path) -> None:
    codes = np.arange(24, dtype=np.uint8) * 7 % 4
    weights = WeightWriter()
    assert weights.add(np.packbits(bits(codes), bitorder="little"), "uint8") == 64
    model = tree(PALETTE) | {"weights/weight.bin": b"".join(weights.parts)}
    model = Model(write(model, tmp_path / "palette.mlmodelc"))
    x = np.linspace(-2, 2, 8, dtype=np.float32).reshape(2, 4)
    weight = np.array([-1, 0.25, 1.5, 2.5], np.float32)[codes].reshape(6, 4)
    bias = np.array([0, 0.5, -0.5, 1, -1, 2.0**-24], np.float32)
    expected = (x.astype(np.float16).astype(np.float32) @ weight.T + bias).astype(np.float16)
    assert [feature.name for feature in model.outputs] == ["right", "left"]
    right, left = model.run([x])
    np.testing.assert_array_equal(left, expected[:, :3].astype(np.float32))
    np.testing.assert_array_equal(right, expected[:, 3:].astype(np.float32))
    assert model.bundle.specification_version == 7


def bits(codes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Two bits of each, the low one first."""
    return np.stack([codes & 1, codes >> 1], 1).ravel()


def test_a_state_and_a_range_of_version_1_3(tmp_path: Path) -> None:
    path = write(tree(STATEFUL), tmp_path / "stateful.mlmodelc")
    model = Model(path)
    assert model.bundle.specification_version == 9
    (x,), (memory,) = model.inputs, model.states
    assert (x.dtype, x.shape, x.ranges) == ("fp16", (1, 3), ((1, 4), (3, 3)))
    assert (memory.name, memory.kind, memory.shape) == ("memory", "state", (1, 3))
    state, held = model.make_state(), np.zeros((1, 3), np.float16)
    for rows in (1, 4, 2):
        fed = np.arange(rows * 3, dtype=np.float16).reshape(rows, 3) / 8
        held = held + fed.sum(0, keepdims=True)
        (y,) = model.run([fed], state)
        np.testing.assert_array_equal(y, np.concatenate([fed, held]))
    np.testing.assert_array_equal(state["memory"], held)
    with pytest.raises(InputError, match=r"allowed: \(1\.\.4, 3\)"):
        model.run([np.zeros((5, 3), np.float16)], state)
    fed = np.full((2, 3), 1.25, np.float32)
    np.testing.assert_array_equal(Model(path, function_name="doubled").run([fed])[0], fed * 2)


def test_enumerated_shapes_are_tied(tmp_path: Path) -> None:
    model = Model(write(tree(ENUMERATED), tmp_path / "enumerated.mlmodelc"))
    assert [feature.enumerated for feature in model.inputs] == [((1,), (4,))] * 2
    four, one = np.arange(4, dtype=np.float32), np.ones(1, np.float32)
    np.testing.assert_array_equal(model.run([four, four])[0], four * 2)
    np.testing.assert_array_equal(model.run([one, one])[0], one * 2)
    with pytest.raises(InputError, match="cannot have shapes"):
        model.run([four, one])
    with pytest.raises(InputError, match="allowed"):
        model.run([four[:2], four[:2]])


@pytest.mark.parametrize("text", [STATEFUL, ENUMERATED, PALETTE], ids=["1.3", "enumerated", "1.0"])
def test_the_printer_writes_what_it_read(text: str) -> None:
    """Character for character, blobs aside, which land where the writer puts them."""
    weights = WeightWriter()
    weights.add(np.zeros(6, np.uint8), "uint8")
    file = memoryview(b"".join(weights.parts))
    program = parse(text, lambda name: WeightFile(file, name))
    blob = text.partition("(BLOBFILE(")[2].partition(")))")[0]
    written = to_text(program, version="1.0" if "program(1.0)" in text else "1.3")
    assert written == text.replace(f"BLOBFILE({blob}))", "[0, 0, 0, 0, 0, 0]")


def test_programs_of_every_dtype_survive() -> None:
    program = read_payload(pack(files())).program
    for version in ("1.0", "1.3", None):
        for inline in (False, True):
            assert_same(program, through_text(program, version, inline=inline))


def test_arrays_in_common_are_stored_once() -> None:
    program = read_payload(pack(files())).program
    (main,) = program.functions.values()
    both = Program({"main": main, "again": main})
    once, twice = WeightWriter(), WeightWriter()
    to_text(program, once)
    to_text(both, twice)
    assert [bytes(part) for part in once.parts] == [bytes(part) for part in twice.parts]


def ops_of(body: str, inputs: str = "tensor<fp32, [2]> x", outputs: str = "x") -> tuple[Op, ...]:
    text = f"program(1.3) {{ func main<ios18>({inputs}) {{ {body} }} -> ({outputs}); }}"
    return parse(text, no_weights).functions["main"].body.operations


def no_weights(name: str) -> WeightFile:
    raise AssertionError(f"{name} is opened")


def value(literal: str) -> Constant:
    (op,) = ops_of(f"int32 c = const()[val = {literal}];")
    return op.attributes["val"]


@pytest.mark.parametrize(
    ("literal", "expected"),
    [
        ("fp32(0x1.921fb6p+1)", np.float32(np.pi)),
        ("fp32(-0x0p+0)", np.float32(-0.0)),
        ("fp32(0X1P-149)", np.float32(2.0**-149)),
        ("fp32(-10000.0)", np.float32(-10000)),
        ("fp32(1e-3)", np.float32(1e-3)),
        ("fp32(7)", np.float32(7)),
        ("fp32(.5)", np.float32(0.5)),
        ("fp64(0x1.999999999999ap-4)", np.float64(0.1)),
        ("fp16(-0x1.ffcp+15)", np.float16(-65504)),
        ("fp16(1e9)", np.float16(np.inf)),
        ("fp16(-inf)", np.float16(-np.inf)),
        ("fp32(nan)", np.float32(np.nan)),
        ("fp32(-nan)", np.float32(np.nan)),
        ("tensor<fp16, []>(0x1.5p-17)", np.float16(21 * 2.0**-21)),
        ("bool(true)", np.bool_(True)),
        ("tensor<bool, [2]>([true, false])", np.array([True, False])),
        ("int8(-128)", np.int8(-128)),
        ("uint8(0xff)", np.uint8(255)),
        ("int4(-8)", np.int8(-8)),
        ("uint1(1)", np.uint8(1)),
        ("uint64(18446744073709551615)", np.uint64(2**64 - 1)),
        ("int64(-9223372036854775808)", np.int64(-(2**63))),
        ("tensor<uint3, [3]>([0, 7, 5])", np.array([0, 7, 5], np.uint8)),
        ("tensor<int32, [2, 0]>([[], []])", np.zeros((2, 0), np.int32)),
        ("tensor<int32, [0, 2]>([])", np.zeros((0, 2), np.int32)),
        ("tensor<int32, [2, 1, 2]>([[[1, 2]], [[3, 4]]])", np.array([[[1, 2]], [[3, 4]]], "i4")),
    ],
)
def test_numbers(literal: str, expected: Any) -> None:
    found = value(literal)
    np.testing.assert_array_equal(found.data, np.asarray(expected), strict=True)
    if np.asarray(expected).dtype.kind == "f" and not np.isnan(expected):
        assert np.signbit(found.data) == np.signbit(expected)
    assert not found.data.flags.writeable


@pytest.mark.parametrize(
    ("literal", "expected"),
    [
        (r'"a\"b\\c\n\t\r\0\x41é\U0001F34E\/"', 'a"b\\c\n\t\r\0Aé\U0001f34e/'),
        ('"größe 大小 🍎 // no comment /* */ ; }"', "größe 大小 🍎 // no comment /* */ ; }"),
        ('""', ""),
        ('"two\nlines"', "two\nlines"),
    ],
)
def test_strings(literal: str, expected: str) -> None:
    found = value(f"string({literal})")
    assert found.data == expected
    constant = Constant(TensorType("string", ()), expected)
    op = Op("const", {}, (Value("c", TensorType("string", ())),), {"val": constant})
    main = parse("program(1.3){func main<ios18>(){}->();}", no_weights).functions["main"]
    body = type(main.body)((), (op,), ("c",))
    program = Program({"main": type(main)("main", "CoreML8", (), body)})
    assert_same(program, through_text(program, inline=True))


def test_compound_values() -> None:
    found = value(
        "tuple<string, list<bool, 2>, dict<int32, tensor<fp32, [?]>>, list<string>>"
        '(("a", [true, false], {{1, [0x1p+0]}, {-2, []}}, []))'
    )
    assert found.type == TupleType(
        (
            TensorType("string", ()),
            ListType(TensorType("bool", ()), 2),
            DictType(TensorType("int32", ()), TensorType("fp32", (None,))),
            ListType(TensorType("string", ()), None),
        )
    )
    name, flags, shapes, none = found.data
    assert (name, [bool(flag) for flag in flags], none) == ("a", [True, False], ())
    assert {key: array.tolist() for key, array in shapes.items()} == {1: [1.0], -2: []}


def test_arguments() -> None:
    copied, joined, written = ops_of(
        "/* names that are also types */ fp32 string = identity(x = x);"
        "tensor<fp32, [6]> y = concat(values = (x, string, fp32(0x1p+0), x), axis = int32(0),"
        " none = ()); // the end\n write_state(data = y, input = memory)[];",
        inputs="tensor<fp32, [2]> x, state<tensor<fp32, [6]>> memory",
    )
    assert copied.inputs == {"x": (Ref("x"),)}
    first, second, third, fourth = joined.inputs["values"]
    assert (first, second, fourth) == (Ref("x"), Ref("string"), Ref("x"))
    assert isinstance(third, Constant)
    assert joined.inputs["none"] == ()
    assert (written.type, written.name, written.outputs) == ("write_state", "write_state", ())


BRANCHES = {
    "named": "block0() {{ {0} }} -> (a), block1() {{ }} -> (x)",
    "bare": "{{ {0} }} -> (a) {{ }} -> (x)",
    "inputs only": "() {{ {0} }} -> (a), () {{ }} -> (x)",
}


@pytest.mark.parametrize("form", BRANCHES)
def test_branches(form: str) -> None:
    blocks = BRANCHES[form].format("tensor<fp32, [2]> a = relu(x = x);")
    (op,) = ops_of(f'tensor<fp32, [2]> y = cond(pred = bool(true))[name = string("y")] {blocks};')
    then, other = op.blocks
    assert [inner.type for inner in then.operations] == ["relu"]
    assert (then.outputs, other.operations, other.outputs) == (("a",), (), ("x",))


def test_loops() -> None:
    loop, nested = ops_of(
        "tensor<fp32, [2]> y, int32 n = while_loop(loop_vars = (x, int32(0)))"
        " test(tensor<fp32, [2]> v, int32 i) { bool go = less(x = i, y = int32(3)); } -> (go),"
        " body(tensor<fp32, [2]> v, int32 i) {"
        "   tensor<fp32, [2]> w = add(x = v, y = x);"
        "   int32 j = add(x = i, y = int32(1)); } -> (w, j);"
        "tensor<fp32, [2]> z = outer() { tensor<fp32, [2]> a = inner() { } -> (n); } -> (a);"
    )
    condition, body = loop.blocks
    assert [v.name for v in condition.inputs] == ["v", "i"] == [v.name for v in body.inputs]
    assert body.outputs == ("w", "j")
    assert nested.blocks[0].operations[0].blocks[0].outputs == ("n",)
    main = parse("program(1.3){func main<ios18>(){}->();}", no_weights).functions["main"]
    inputs = (Value("x", TensorType("fp32", (2,))),)
    function = type(main)("main", "CoreML8", inputs, type(main.body)((), (loop, nested), ("z",)))
    program = Program({"main": function})
    assert_same(program, through_text(program, inline=True))


@pytest.mark.parametrize(
    ("written", "opset"),
    [("ios15", "CoreML5"), ("ios16", "CoreML6"), ("ios17", "CoreML7"), ("ios26", "CoreML9")],
)
def test_opsets(written: str, opset: str) -> None:
    text = f"program(1.1)[]{{func f<{written}>(state<int8> s){{}}->();}}"
    program = parse(text, no_weights)
    function = program.functions["f"]
    assert function.opset == opset
    assert function.inputs == (Value("s", StateType(TensorType("int8", ()))),)
    assert f"func f<{written}>" in to_text(program)
