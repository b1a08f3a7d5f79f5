"""Malformed MIL text: each is refused with a typed error that says where, in bounded time."""

from __future__ import annotations

import random
import re
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from executorch_coreml.errors import CoreMLError, ProgramError
from executorch_coreml.mil.text import parse
from executorch_coreml.mil.text_print import to_text
from executorch_coreml.mil.types import Block, Function, Op, Program, Ref, TensorType, Value
from executorch_coreml.mil.weights import WeightFile, WeightWriter

TEXTS = [path.read_text() for path in sorted((Path(__file__).parent / "mil").glob("*.mil"))]
WRITER = WeightWriter()
WRITER.add(np.arange(6, dtype=np.uint8), "uint8")
BLOBS = memoryview(b"".join(WRITER.parts))


def read(text: str) -> Program:
    return parse(text, lambda name: WeightFile(BLOBS, name), "model.mil")


def in_main(line: str) -> str:
    return f"program(1.3)\n{{\n func main<ios18>(fp32 x) {{\n{line}\n }} -> (x);\n}}"


# A line in the body of main, and what is said of it with line 4 and the column.
LINES = {
    "no type": ("foo y = relu(x = x);", "column 1, .*no type is called 'foo'"),
    "no element type": (
        "tensor<bf16, [1]> y = relu(x = x);",
        "column 8, .*element type 'bf16' is not supported",
    ),
    "no extent": ("tensor<fp32, [-1]> y = relu(x = x);", "column 15, .*an extent, got '-1'"),
    "unknown rank": ("tensor<fp32, [*?]> y = relu(x = x);", r"column 15, .*no token: '\*'"),
    "no shape": ("tensor<fp32> y = relu(x = x);", "column 12, .*expected ',', got '>'"),
    "state of a list": ("state<list<fp32, 1>> y = f();", "column 7, .*a state must be a tensor"),
    "defined twice": (
        "fp32 x = relu(x = x);",
        "line 4, column 6, function 'main': value 'x': the name is defined twice",
    ),
    "twice in one op": ("fp32 a, fp32 a = f();", "column 14, .*'a': the name is defined twice"),
    "undefined": (
        "fp32 y = relu(x = gone);",
        "column 19, function 'main', op relu 'y': input 'x' refers to 'gone', which is not defined",
    ),
    "its own output": ("fp32 y = relu(x = y);", "refers to 'y', which is not defined before it"),
    "a block's value outside": (
        "fp32 y = c() { fp32 z = f(); } -> (z); fp32 w = g(x = z);",
        "refers to 'z', which is not defined before it",
    ),
    "a block's output": (
        "fp32 y = c() { } -> (gone);",
        "column 22, .*op c 'y': value 'gone': the block returns a value that is not defined",
    ),
    "no argument": ("fp32 y = relu(x = );", r"column 19, .*a value or a literal, got '\)'"),
    "argument twice": ("fp32 y = add(x = x, x = x);", "column 21, .*input 'x' is given twice"),
    "attribute twice": (
        "fp32 y = add()[a = fp32(1), a = fp32(2)];",
        "column 29, .*attribute 'a' is given twice",
    ),
    "no comma": ("fp32 y = add(x = x y = x);", "column 20, .*expected ',', got 'y'"),
    "no semicolon": ("fp32 y = add(x = x)", "line 5, column 2, .*op add 'y'.*expected '{'"),
    "no name": ("fp32 = relu(x = x);", "column 6, .*the name of a value, got '='"),
    "no op": ("fp32 y = ;", "column 10, .*expected an op, got ';'"),
    "a number for a string": ("fp32 y = f()[a = string(1)];", "column 25, .*a string, got '1'"),
    "a string for a number": ('fp32 y = f()[a = fp32("1")];', "column 23, .*a fp32, got '\"1\"'"),
    "no number": ("fp32 y = f()[a = fp32(one)];", "column 23, .*'one' is no value of fp32"),
    "a float for an int": ("fp32 y = f(a = int32(0x1p+0));", "'0x1p\\+0' is no value of int32"),
    "no bool": ("fp32 y = f(a = bool(1));", "column 21, .*'1' is no value of bool"),
    "beyond int8": ("fp32 y = f(a = int8(128));", "column 21, .*'128' is no value of int8"),
    "beyond uint3": ("fp32 y = f(a = uint3(-1));", "'-1' is no value of uint3"),
    "beyond floats": ("fp32 y = f(a = fp32(0x1p+99999999));", "is no value of fp32"),
    "endless digits": (f"fp32 y = f(a = int32({'9' * 9999}));", r"'9{40}\.\.\.' is no value"),
    "too few values": (
        "fp32 y = f(a = tensor<fp32, [2, 2]>([[1, 2], [3]]));",
        "column 48, .*1 values where the type says 2",
    ),
    "too many values": (
        "fp32 y = f(a = tensor<fp32, [1]>([1, 2]));",
        "column 39, .*2 values where the type says 1",
    ),
    "too flat": ("fp32 y = f(a = tensor<fp32, [1, 1]>([1]));", r"column 38, .*expected '\['"),
    "too deep": ("fp32 y = f(a = tensor<fp32, [1]>([[1]]));", r"column 35, .*a fp32, got '\['"),
    "ragged": (
        "fp32 y = f()[a = list<tensor<fp32, [?, ?]>>([[[1, 2], [3]]])];",
        "1 values where the type says 2",
    ),
    "unknown extent": (
        "fp32 y = f(a = tensor<fp32, [?]>([1]));",
        r"column 16, .*a constant cannot be of type fp32\[\?\]",
    ),
    "endless": (
        "fp32 y = f(a = tensor<fp32, [0, 8999999999999999999]>([]));",
        r"a constant cannot be of type fp32\[0, 8999999999999999999\]",
    ),
    "beyond int64": (
        "tensor<fp32, [1, 9999999999999999999]> y = relu(x = x);",
        "column 18, .*a tensor has no extent of 9999999999999999999",
    ),
    "too many axes": (
        f"fp32 y = f(a = tensor<fp32, [{', '.join(['1'] * 40)}]>([]));",
        "a constant cannot be of type",
    ),
    "list length": ("fp32 y = f(a = list<fp32, 2>([1]));", "list of 2 elements has 1 values"),
    "tuple of less": ("fp32 y = f(a = tuple<fp32, fp32>((1)));", "tuple of 2 elements has 1"),
    "tuple of more": ("fp32 y = f(a = tuple<fp32>((1, 2)));", "of 1 elements has more values"),
    "dictionary key": (
        "fp32 y = f(a = dict<list<fp32, 1>, fp32>({}));",
        "a dictionary's key must be a scalar",
    ),
    "key twice": ("fp32 y = f(a = dict<int8, int8>({{1, 1}, {1, 2}}));", "key is given twice"),
    "state literal": ("fp32 y = f(a = state<fp32>(1));", "a state has no literal"),
    "escape": (r'fp32 y = f(a = string("a\qb"));', r"column 25, .*no character is written '\\\\q'"),
    "surrogate": (r'fp32 y = f(a = string("\ud800"));', r"no character is written '\\\\ud800'"),
    "beyond unicode": (r'fp32 y = f(a = string("\U00110000"));', "no character is written"),
    "open string": ('fp32 y = f(a = string("oh));', "column 23, .*a string that does not end"),
    "open comment": ("/* fp32 y = f();", "column 1, .*a comment that does not end"),
    "stray": ("fp32 y = f(a = $);", r"column 16, .*no token: '\$'"),
    "blob of strings": (
        'fp32 y = f(a = string(BLOBFILE(path = string("w"), offset = uint64(64))));',
        "only numbers can be in a weight file",
    ),
    "blob offset": (
        'fp32 y = f(a = tensor<uint8, [6]>(BLOBFILE(path = string("w"), offset = int8(64))));',
        "the offset of a blob is a uint64",
    ),
    "blob without offset": (
        'fp32 y = f(a = tensor<uint8, [6]>(BLOBFILE(path = string("w"))));',
        r"expected ',', got '\)'",
    ),
}


@pytest.mark.parametrize("name", LINES)
def test_lines(name: str) -> None:
    line, message = LINES[name]
    with pytest.raises(ProgramError, match=message) as info:
        read(in_main(line))
    assert re.match(r"model\.mil, line [45], column \d+", str(info.value))
    assert info.value.hint is not None


PROGRAMS = {
    "empty": ("", "line 1, column 1: expected 'program', got the end of the text"),
    "another language": ("module {}", "line 1, column 1: expected 'program', got 'module'"),
    "version": ("program(2.0)\n{}", "line 1, column 9: programs are of version 1.x, this is '2.0'"),
    "cut": ("program(1.3)\n{\n", "line 3, column 1: expected 'func', got the end of the text"),
    "more": (
        "program(1.3)\n{}\n{}",
        r"line 3, column 1: the program has ended, but then comes '{'",
    ),
    "opset": (
        "program(1.0){\nfunc main<ios99>() {} -> (); }",
        "line 2, column 11, function 'main': opset 'ios99' is none of ios15, .*ios26",
    ),
    "function twice": (
        "program(1.0){func f<ios16>() {} -> ();\n func f<ios16>() {} -> (); }",
        "line 2, column 2, function 'f': the function is defined twice",
    ),
    "output": (
        "program(1.0){func f<ios16>() {} -> (y);}",
        "function 'f': value 'y': the block returns a value that is not defined",
    ),
    "input twice": (
        "program(1.0){func f<ios16>(fp32 x, fp32 x) {} -> ();}",
        "column 41, function 'f': value 'x': the name is defined twice",
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name: str) -> None:
    text, message = PROGRAMS[name]
    with pytest.raises(ProgramError, match=message):
        read(text)


def test_blobs_are_checked() -> None:
    blob = 'tensor<uint8, [{}]>(BLOBFILE(path = string("w.bin"), offset = uint64({})))'
    read(in_main(f"fp32 y = f(a = {blob.format(6, 64)});"))
    for count, offset in ((7, 64), (6, 65), (2**50, 64), (6, 2**64 - 64)):
        with pytest.raises(CoreMLError, match=r"w\.bin"):
            read(in_main(f"fp32 y = f(a = {blob.format(count, offset)});"))


DEEP = 200_000
NESTED = {
    "type": f"{'list<' * DEEP}fp32{'>' * DEEP} y = f();",
    "tuple type": f"{'tuple<' * DEEP}fp32{'>' * DEEP} y = f();",
    "value": f"fp32 y = f(a = {'list<' * 60}fp32{'>' * 60}({'[' * DEEP}{']' * DEEP}));",
    "tensor": f"fp32 y = f(a = tensor<fp32, [1]>({'[' * DEEP}{']' * DEEP}));",
    "block": f"{'fp32 y = f() { ' * DEEP}{'} -> (x);' * DEEP}",
    "brackets": "(" * DEEP,
    "shape": f"fp32 y = f(a = tensor<fp32, [{'1, ' * DEEP}1]>({'[' * DEEP}1{']' * DEEP}));",
}


@pytest.mark.parametrize("name", NESTED)
def test_deep_nesting(name: str) -> None:
    with pytest.raises(ProgramError, match="line 4, column"):
        read(in_main(NESTED[name]))


LONG = 20_000
LARGE = {
    "ops": "fp32 y{0} = relu(x = x);",
    "blocks": "fp32 y{0} = c(p = x) {{ fp32 z = f(x = x); }} -> (z);",
    "comments": "/* {0} */ // {0}\n",
    "strings": 'fp32 y{0} = f(a = string("\\n{0}\\""));',
    "spaces": " " * 10,
}


@pytest.mark.parametrize("name", LARGE)
def test_time_grows_with_the_text_only(name: str) -> None:
    def seconds(lines: int) -> float:
        text = in_main("\n".join(LARGE[name].format(i) for i in range(lines)))
        start = time.process_time()
        read(text)
        return time.process_time() - start

    seconds(100)
    assert seconds(LONG) < 40 * max(seconds(LONG // 10), 0.002)  # 100 if the growth were quadratic


def test_memory_is_that_of_the_text() -> None:
    """Extents are numbers; nothing of their size is made."""
    types = "\n".join(f"tensor<fp32, [{10**12}]> y{i} = relu(x = x);" for i in range(1000))
    constant = f"fp32 y = f(a = tensor<fp32, [{10**12}]>([1, 2]));"
    tracemalloc.start()
    try:
        read(in_main(types))
        with pytest.raises(ProgramError, match="2 values where the type says"):
            read(in_main(constant))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10 * 2**20


def test_texts_cut_anywhere() -> None:
    for text in TEXTS:
        for end in range(0, len(text) - 1, 7):
            with pytest.raises(ProgramError):
                read(text[:end])


PIECES = [
    *'()[]{}<>,;=?"\\/*-x0 \n\x00é',
    *("->", "tensor<", "list<", "string", "BLOBFILE(", "0x1p+", "nan", "true", "99999999999999"),
    *("func main<ios18>(", "program(1.0)", "state<", "fp16(", "} -> (", "values = (", "[[["),
]


@pytest.mark.parametrize("seed", range(4))
def test_mutated_texts(seed: int) -> None:
    """Read, or refused with a typed error; any other error fails."""
    generator = random.Random(seed)
    refused = 0
    for _ in range(1500):
        text = generator.choice(TEXTS)
        for _ in range(generator.randint(1, 3)):
            start = generator.randrange(len(text))
            end = start + generator.choice([0, 0, 1, 2, 10, 100])
            other = generator.choice(TEXTS)
            place = generator.randrange(len(other))
            new = generator.choice([generator.choice(PIECES), other[place : place + 20], ""])
            text = text[:start] + new + text[end:]
        try:
            read(text)
        except CoreMLError:
            refused += 1
    assert refused > 1000


def test_what_cannot_be_printed() -> None:
    kind = TensorType("fp32", ())
    body = Block((), (Op("relu", {"x": (Ref("x"),)}, (Value("a b", kind),)),), ("x",))
    function = Function("main", "CoreML8", (Value("x", kind),), body)
    with pytest.raises(ProgramError, match="'a b' cannot be a name in MIL text"):
        to_text(Program({"main": function}))
    with pytest.raises(ProgramError, match="opset 'CoreML4' has no name in MIL text"):
        to_text(Program({"main": Function("main", "CoreML4", (), Block((), (), ()))}))
