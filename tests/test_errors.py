"""Every type of error, raised through a public door: where, why, what to do; and in the docs."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from executorch.exir.backend.compile_spec_schema import CompileSpec

from case import FP32, export, lower, randn
from console import call
from executorch_coreml import CoreMLBackend, CoreMLPartitioner, Model, compare, errors
from executorch_coreml.compiler import lower as lowering
from executorch_coreml.errors import (
    CompileError,
    CoreMLError,
    InputError,
    LoweringError,
    MissingKernel,
    OptionsError,
    PackageError,
    PayloadError,
    ProgramError,
    RunError,
    TypeMismatch,
    UnsupportedOp,
)
from executorch_coreml.mil.schema import Model as ModelProto
from executorch_coreml.ops import TABLE
from executorch_coreml.quantizer import CoreMLQuantizer
from kernel_case import convert, ct, mb, types
from package_files import MODEL, files, write

DOCS = Path(__file__).parents[1] / "docs" / "troubleshooting.md"
HERE = r"test_errors\.py:(\d+)"
X = randn(2, 3)


class Net(torch.nn.Module):
    """A model for each of the things that can be wrong with one."""

    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.kind == "branch":
            return x if x.sum() > 0 else -x  # line of branch
        if self.kind == "complex":
            return torch.view_as_real(torch.fft.rfft(x))  # line of complex
        return torch.relu(x)  # line of relu


def full_graph(kind: str) -> None:
    from executorch.exir import to_edge_transform_and_lower

    partitioner = CoreMLPartitioner(lower_full_graph=True)
    to_edge_transform_and_lower(export(Net(kind), (X,)), partitioner=[partitioner])


def planted(rule: Callable[..., Any]) -> Callable[[Path], object]:
    """Lowers a relu with another rule than ours: there is no other way to a bug of ours."""

    def door(path: Path) -> object:
        relu = torch.ops.aten.relu.default
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(lowering, "TABLE", {**TABLE, relu: replace(TABLE[relu], lower=rule)})
            return lower(export(Net("relu"), (X,)), FP32)

    return door


def relu_pte() -> bytes:
    return bytes(lower(export(Net("relu"), (X,)), FP32)[0].buffer)


def cut_short(path: Path) -> None:
    Model(relu_pte()[:-1000])


def undefined_value(path: Path) -> None:
    model = ModelProto.FromString(files()[MODEL])
    for op in model.mlProgram.functions["main"].block_specializations["CoreML8"].operations:
        if [output.name for output in op.outputs] == ["sum"]:
            op.inputs["y"].arguments[0].name = "gone"
    Model(write(files() | {MODEL: model.SerializeToString()}, path / "m.mlpackage"))


def unknown_op(path: Path) -> None:
    Model(relu_pte().replace(b"\n\x04relu", b"\n\x04rely"))


def index_out_of_range(path: Path) -> None:
    specs = [mb.TensorSpec((2, 3)), mb.TensorSpec((1,), types.int32)]

    @mb.program(input_specs=specs, opset_version=ct.target.iOS17)
    def program(x: Any, indices: Any) -> Any:
        return mb.gather(x=x, indices=indices, axis=1, validate_indices=True, name="y")

    model = Model(convert(program, path / "m.mlpackage", "iOS17"))
    model.predict({"x": X.numpy(), "indices": np.int32([7])})


def wrong_shape(path: Path) -> None:
    model = Model(relu_pte())
    model.predict({model.inputs[0].name: np.zeros((5, 5), np.float32)})


def wrong_type_in_executorch(path: Path) -> None:
    """ExecuTorch's error has ours as its cause."""
    from executorch.runtime import Runtime

    program, _ = lower(export(lambda n: n + 1, (torch.tensor([1, 2]),)), FP32)
    method = Runtime.get().load_program(bytes(program.buffer)).load_method("forward")
    with pytest.raises(RuntimeError) as caught:
        method.execute([torch.tensor([1, 2**40])])
    assert isinstance(caught.value.__cause__, CoreMLError)
    raise caught.value.__cause__


@dataclass(frozen=True)
class Row:
    """One error.

    Attributes:
        kind: Its very type.
        door: A public call that raises it; may write to the directory it is given.
        location, hint: Patterns.
        line: The user's line in this file that the location must name, by its comment.
    """

    kind: type[CoreMLError]
    door: Callable[[Path], object]
    location: str
    hint: str
    line: str = ""


ROWS = [
    Row(
        OptionsError,
        lambda path: CoreMLBackend.generate_compile_specs(compute_unit="NPU"),
        "^compute_unit$",
        "compile_options",
    ),
    Row(
        OptionsError,
        lambda path: CoreMLPartitioner(compile_specs=[CompileSpec("compute_units", b"npu")]),
        "^compute_unit$",
        "compile_options",
    ),
    Row(
        OptionsError,
        lambda path: CoreMLQuantizer({"module_name_configs": {"head": {"weight_dtype": "int3"}}}),
        r"module_name_configs\['head'\]",
        r"quantization\.md",
    ),
    Row(
        CompileError,
        lambda path: compare(Net("branch"), (X,)),
        HERE,
        "without branches",
        "branch",
    ),
    Row(
        UnsupportedOp,
        lambda path: full_graph("complex"),
        rf"^aten\._fft_r2c\.default \(node \w+\) at .*{HERE}",
        "rewrite those lines, or set lower_full_graph=False",
        "complex",
    ),
    Row(
        LoweringError,
        planted(lambda emit, call: emit.no_such_op(x=call["self"])),
        rf"aten\.relu\.default \(node \w+\) at .*{HERE}",
        "bug in executorch-coreml",
        "relu",
    ),
    Row(
        TypeMismatch,
        planted(lambda emit, call: emit.expand_dims(x=emit.var(call["self"]), axes=[0])),
        rf"aten\.relu\.default \(node \w+\) at .*{HERE}",
        "bug in executorch-coreml",
        "relu",
    ),
    Row(
        PackageError,
        lambda path: lower(export(Net("relu"), (X,)), FP32, model_type="compiled_model"),
        "model_type COMPILED_MODEL",
        "use model_type MODEL",
    ),
    Row(PayloadError, cut_short, r"^at byte \d+$", "make or copy it again"),
    Row(
        ProgramError,
        undefined_value,
        "function 'main', op add 'sum', value 'y'",
        "make the model again",
    ),
    Row(RunError, index_out_of_range, "op gather y", "validate_indices"),
    Row(MissingKernel, unknown_op, "function 'main'", "run the program on an Apple device"),
    Row(InputError, wrong_shape, "^input ", "etcoreml inspect"),
    Row(InputError, wrong_type_in_executorch, "^input ", "etcoreml inspect"),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.kind.__name__)
@pytest.mark.filterwarnings("ignore")  # torch's, where it cannot export
def test_says_what_where_why_and_what_to_do(row: Row, tmp_path: Path) -> None:
    with pytest.raises(CoreMLError) as caught:
        row.door(tmp_path)
    error = caught.value
    assert type(error) is row.kind
    assert error.location is not None
    assert error.hint is not None
    assert (where := re.search(row.location, error.location)), error.location
    assert re.search(row.hint, error.hint), error.hint
    shown = str(error)
    assert shown.startswith(f"{error.location}: {error.message.rstrip('.')}")
    assert shown.endswith(f"Hint: {error.hint}")
    if row.line:
        source = Path(__file__).read_text().splitlines()
        assert source[int(where[1]) - 1].endswith(f"# line of {row.line}")


def kinds() -> list[type[CoreMLError]]:
    """Every type but their base, which nothing raises."""
    found = [value for value in vars(errors).values() if inspect.isclass(value)]
    return [kind for kind in found if issubclass(kind, CoreMLError) and kind is not CoreMLError]


def test_every_type_has_a_row() -> None:
    assert {row.kind for row in ROWS} == set(kinds())


def test_every_type_is_in_the_troubleshooting_page() -> None:
    table = [line for line in DOCS.read_text().splitlines() if line.startswith("| `")]
    named = {name for line in table for name in re.findall(r"`(\w+)`", line.split("|")[1])}
    assert {kind.__name__ for kind in kinds()} <= named


def test_several_places_are_listed_with_their_lines() -> None:
    with pytest.raises(UnsupportedOp) as caught:
        full_graph("complex")
    assert len(re.findall(HERE, str(caught.value))) == str(caught.value).count("(node ") == 2


NET = """import torch
class Net(torch.nn.Module):
    def forward(self, x):
        return {0}
def model():
    return Net(), (torch.ones(2, 3),)
"""


@pytest.mark.parametrize("command", ["export", "compare", "report"])
@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("x if x.sum() > 0 else -x", "torch.export cannot export the model"),
        ("x @ x", "torch.export cannot export the model"),
        ("torch.polygamma(3, x)", "aten.polygamma.default (node polygamma) at "),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_model_that_cannot_be_exported_is_no_traceback(
    command: str, body: str, words: str, tmp_path: Path
) -> None:
    net = tmp_path / "net.py"
    net.write_text(NET.format(body))
    output = [] if command == "compare" else ["-o", tmp_path / "out"]
    result = call(command, net, *output)
    assert result.exit_code == 1
    assert result.stdout == ""
    last = result.stderr.splitlines()[-1]
    assert words in last
    assert f"{net}:4" in last
    assert "Hint: " in last
    assert "Traceback" not in result.stderr
