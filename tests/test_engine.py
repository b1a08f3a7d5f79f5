"""The engine around the kernels: loading, the border of a model, threads."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from executorch_coreml.engine import device
from executorch_coreml.engine.kernels.operand import node, shared_nodes
from executorch_coreml.engine.model import Model
from executorch_coreml.engine.precision import core
from executorch_coreml.errors import InputError, MissingKernel, ProgramError
from executorch_coreml.mil.types import (
    Block,
    Bundle,
    Constant,
    Description,
    Feature,
    Function,
    Op,
    Program,
    Ref,
    StateType,
    TensorType,
    Value,
)
from kernel_case import convert, ct, mb, types

# --- programs made by hand ----------------------------------------------------------------------

FLOATS = TensorType("fp32", (2, 3))


def _bundle(
    *operations: Op, kind: TensorType = FLOATS, opset: str = "CoreML8", output: str = "y"
) -> Bundle:
    """One function ``main(x) -> output`` of the given ops."""
    body = Block((), operations, (output,))
    function = Function("main", opset, (Value("x", kind),), body)
    shape = tuple(extent or 1 for extent in kind.shape)
    made = {v.name: v.type for op in operations for v in op.outputs} | {"x": kind}
    final = made.get(output, kind)
    assert isinstance(final, TensorType)
    border = Description((Feature("x", kind.dtype, shape),), (Feature(output, final.dtype, ()),))
    names = {"main": ("x",)}, {"main": (output,)}
    return Bundle(Program({"main": function}), {"main": border}, 9, "main", *names, "by hand")


def _op(kind: str, output: str = "y", type: TensorType = FLOATS, **inputs: Any) -> Op:
    arguments = {
        name: (value if isinstance(value, (Ref, Constant)) else _constant(value),)
        for name, value in inputs.items()
    }
    return Op(kind, arguments, (Value(output, type),))


def _constant(value: Any) -> Constant:
    array = np.asarray(value)
    names = {"float32": "fp32", "float16": "fp16", "int64": "int32", "int32": "int32"}
    return Constant(TensorType(names[array.dtype.name], array.shape), array)


X = Ref("x")


def test_missing_kernels_are_reported_together() -> None:
    program = _bundle(_op("bogus", "a", x=X), _op("relu", "b", x=Ref("a")), _op("fake", x=Ref("b")))
    with pytest.raises(MissingKernel) as caught:
        Model(program)
    assert caught.value.ops == ("main: bogus a", "main: fake y")


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (_bundle(_op("relu", x=X, alpha=np.float32(1))), "unknown inputs ['alpha']"),
        (_bundle(_op("add", x=X)), "lacks ['y']"),
        (_bundle(_op("relu", x=Ref("z"))), "unknown value z"),
        (_bundle(_op("relu", type=TensorType("fp32", (2, 4)), x=X)), "declares y as fp32[2, 4]"),
        (_bundle(_op("relu", type=TensorType("fp32", (2, 3, 1)), x=X)), "declares y"),
        (_bundle(_op("relu", type=TensorType("int32", (2, 3)), x=X)), "declares y as int32"),
        (_bundle(_op("softmax", x=X, axis=np.int32(2))), "axis 2 is out of range"),
        (_bundle(_op("add", x=X, y=np.zeros((4, 5), np.float32))), "cannot be built"),
        (_bundle(_op("relu", x=X), output="z"), "output z is computed by no op"),
        (
            _bundle(_op("fill_like", ref_tensor=X, value=np.float32(0.5)), opset="CoreML5"),
            "not in opset",
        ),
    ],
)
def test_malformed_programs_are_refused(program: Bundle, words: str) -> None:
    with pytest.raises(ProgramError) as caught:
        Model(program)
    assert words in str(caught.value)
    assert "function main" in str(caught.value)


def test_topk_of_all_elements() -> None:
    """coremltools documents k = -1 and cannot serialise it."""
    pair = Op(
        "topk",
        {"x": (X,), "k": (_constant(np.int32(-1)),)},
        (Value("y", FLOATS), Value("i", TensorType("int32", (2, 3)))),
    )
    x = np.float32([[1, 3, 2], [0, 0, 5]])
    assert Model(_bundle(pair)).run([x])[0].tolist() == [[3, 2, 1], [5, 0, 0]]


def test_an_input_may_be_the_output() -> None:
    x = np.float32([[1, -0.0, np.nan], [np.inf, 2, 3]])
    got = Model(_bundle(_op("identity", x=X))).run([x])[0]
    assert np.array_equal(got.view(np.uint32), x.view(np.uint32))


def test_an_input_need_not_be_contiguous() -> None:
    kind = TensorType("fp32", (300, 200))
    model = Model(_bundle(_op("relu", type=kind, x=X), kind=kind))
    x = np.arange(60_000, dtype=np.float32).reshape(200, 300).T
    assert all(np.array_equal(model.run([x])[0], x) for _ in range(20))


@pytest.mark.parametrize("threads", [1, 2])
def test_products_in_a_row(threads: int, tmp_path: Path) -> None:
    """A GRU of one step: OpenVINO cannot make a snippet of it, which it tries with one thread."""
    weights = np.float32([[0.5, -1], [1, 0.25], [0.75, 1]]), np.float32([[1], [-0.5], [0.25]])

    @mb.program(input_specs=[mb.TensorSpec((1, 1, 2)), mb.TensorSpec((1, 1))])
    def program(x: Any, h: Any) -> Any:
        return mb.gru(x=x, initial_h=h, weight_ih=weights[0], weight_hh=weights[1])

    model = Model(convert(program, tmp_path / "m.mlpackage", "iOS15"), threads=threads)
    x, h = np.float32([[[0.5, 2]]]), np.float32([[-1]])
    r, o, z = weights[0] @ x[0, 0]
    reset, update = 1 / (1 + np.exp(-(r - 1))), 1 / (1 + np.exp(-(z - 0.25)))
    fresh = np.tanh(o - 0.5 * reset * -1)
    expected = (1 - update) * fresh - update
    np.testing.assert_allclose(model.run([x, h])[0].ravel(), [expected], rtol=1e-5)


def test_a_weight_of_several_ops_is_one_node() -> None:
    weight = np.zeros((2, 2), np.float16)
    weight.flags.writeable = False
    with shared_nodes():
        assert node(weight).get_node().get_name() == node(weight).get_node().get_name()


# --- precision ----------------------------------------------------------------------------------


def _half_chain(path: Path) -> Path:
    @mb.program(input_specs=[mb.TensorSpec((64,), dtype=types.fp16)], opset_version=ct.target.iOS18)
    def program(x: Any) -> Any:
        third = mb.mul(x=x, y=np.float16(1 / 3))
        return mb.square(x=mb.relu(x=third), name="y")

    return convert(program, path)


def test_faithful_rounds_every_op_and_float32_only_the_border(tmp_path: Path) -> None:
    path = _half_chain(tmp_path / "m.mlpackage")
    x = np.random.default_rng(0).uniform(-900, 900, 64).astype(np.float16)
    third = np.float32(np.float16(1 / 3))
    with np.errstate(over="ignore"):
        step = np.maximum((x.astype(np.float32) * third).astype(np.float16).astype(np.float32), 0)
        faithful = (step * step).astype(np.float16)
        wide = np.maximum(x.astype(np.float32) * third, 0)
        unrounded = (wide * wide).astype(np.float16)
    assert not np.array_equal(faithful, unrounded)
    assert np.isinf(faithful).any()
    assert np.array_equal(Model(path).run([x])[0], faithful)
    assert np.array_equal(Model(path, precision="float32").run([x])[0], unrounded)


# --- the border ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sum_model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """``total = x + float(n)``, ``x`` fp32[2, 3], ``n`` int32[3]."""

    @mb.program(
        input_specs=[mb.TensorSpec((2, 3)), mb.TensorSpec((3,), dtype=types.int32)],
        opset_version=ct.target.iOS18,
    )
    def program(x: Any, n: Any) -> Any:
        return mb.add(x=x, y=mb.cast(x=n, dtype="fp32"), name="total")

    return Model(convert(program, tmp_path_factory.mktemp("sum") / "m.mlpackage"))


def test_describes_its_border(sum_model: Model) -> None:
    assert [(f.name, f.dtype, f.shape) for f in sum_model.inputs] == [
        ("x", "fp32", (2, 3)),
        ("n", "int32", (3,)),
    ]
    assert [f.name for f in sum_model.outputs] == ["total"]
    assert sum_model.states == ()


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "uint8", "bool"])
def test_safe_conversions(sum_model: Model, dtype: str) -> None:
    x, n = np.ones((2, 3), dtype), np.array([1, 2, 3], np.int64)
    assert sum_model.predict({"n": n, "x": x})["total"].tolist() == [[2, 3, 4]] * 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n": None}, "inputs ['n'] are missing"),
        ({"z": np.zeros(1)}, "['z'] unknown"),
        ({"x": np.zeros((3, 2))}, "cannot have shape (3, 2)"),
        ({"x": np.zeros((2, 3, 1))}, "cannot have shape (2, 3, 1)"),
        ({"n": np.zeros(3, np.float32)}, "input n: it takes int32, got float32"),
        ({"n": np.array([0, 2**31, 0])}, "values from 0 to 2147483648"),
        ({"x": np.array([["a"] * 3] * 2)}, "input x: it takes fp32"),
    ],
)
def test_wrong_inputs_are_refused(sum_model: Model, change: dict[str, Any], words: str) -> None:
    inputs = {"x": np.zeros((2, 3), np.float32), "n": np.zeros(3, np.int32)} | change
    given = {name: value for name, value in inputs.items() if value is not None}
    with pytest.raises(InputError) as caught:
        sum_model.predict(given)
    assert words in str(caught.value)


def test_wrong_settings_are_refused(sum_model: Model) -> None:
    for wrong in ({"precision": "fp8"}, {"function_name": "nope"}, {"compute_unit": "tpu"}):
        with pytest.raises(InputError):
            Model(sum_model.bundle, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"compute_unit": "cpu_and_ne"}, "compute unit cpu_and_ne: OpenVINO finds no NPU here"),
        ({"compute_unit": "CPU_AND_GPU"}, "compute unit cpu_and_gpu: OpenVINO finds no GPU here"),
        ({"device": "NPU"}, "device NPU: OpenVINO finds no NPU here"),
        ({"device": "GPU.7", "compute_unit": "cpu_only"}, "device GPU.7: OpenVINO finds no GPU.7"),
        ({"compute_unit": "all"}, None),
        ({"compute_unit": "cpu_only"}, None),
        ({"device": "CPU", "compute_unit": "cpu_and_ne"}, None),
        ({"device": "AUTO", "threads": 1}, None),
    ],
    ids=str,
)
def test_without_a_device_the_cpu_runs_and_one_line_says_so(
    sum_model: Model,
    asked: dict[str, Any],
    told: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    devices = core().available_devices
    if told is not None and any(
        each.split(".")[0] == told.split(" no ")[1][:3] for each in devices
    ):
        pytest.skip(f"there is such a device: {devices}")
    device._present.cache_clear()  # a process says it once
    x, n = np.zeros((2, 3), np.float32), np.arange(3, dtype=np.int32)
    for _ in range(2):
        model = Model(sum_model.bundle, **asked)
        assert model.run([x, n])[0].tolist() == [[0, 1, 2]] * 2
    lines = [record for record in caplog.records if record.name.startswith("executorch_coreml")]
    assert [record.name for record in lines] == ["executorch_coreml.engine.device"] * bool(told)
    for record in lines:
        assert record.levelno == logging.WARNING
        assert str(told) in record.getMessage()
        assert record.getMessage().endswith("the CPU runs the model")


def test_inputs_of_any_layout_and_outputs_of_their_own(sum_model: Model) -> None:
    x = np.arange(6, dtype=np.float32).reshape(3, 2).T
    frozen = np.zeros(3, np.int32)
    frozen.flags.writeable = False
    first = sum_model.run([x, frozen])[0]
    kept = first.copy()
    second = sum_model.run([x + 1, frozen])[0]
    assert np.array_equal(first, kept)
    assert np.array_equal(first, x)
    assert np.array_equal(second, x + 1)


def test_threads_do_not_disturb_each_other(sum_model: Model) -> None:
    n = np.zeros(3, np.int32)

    def many(value: int) -> bool:
        x = np.full((2, 3), value, np.float32)
        return all(np.array_equal(sum_model.run([x, n])[0], x) for _ in range(200))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(many, range(4)))


@pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2, reason="needs several cores"
)
@pytest.mark.parametrize("threads", [1, None])
def test_runs_are_not_pinned_to_cores(sum_model: Model, threads: int | None) -> None:
    """Other processes' runs would be pinned to the same cores."""
    model = Model(sum_model.bundle, threads=threads)
    inputs = [np.ones((2, 3), np.float32), np.zeros(3, np.int32)]
    allowed, tasks = os.sched_getaffinity(0), Path("/proc/self/task")
    before, found = set(tasks.iterdir()), set()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(lambda: [model.run(inputs) for _ in range(5000)])
        while not running.done():
            for task in set(tasks.iterdir()) - before:
                with suppress(ProcessLookupError):
                    found.add(frozenset(os.sched_getaffinity(int(task.name))))
    assert found == {frozenset(allowed)}


@pytest.mark.parametrize(
    ("limits", "allowed", "refused", "words"),
    [
        ({"ranges": ((1, 4), (3, 3))}, [1, 4], [0, 5], "(1..4, 3)"),
        ({"enumerated": ((2, 3), (7, 3))}, [2, 7], [3], "(2, 3) or (7, 3)"),
        ({}, [1, 9], [], ""),
    ],
)
def test_flexible_shapes(
    limits: dict[str, Any], allowed: list[int], refused: list[int], words: str
) -> None:
    rows = TensorType("fp32", (None, 3))
    total = _op("reduce_sum", type=TensorType("fp32", (None,)), x=X, axes=np.int32([1]))
    bundle = _bundle(total, kind=rows)
    given = (Feature("x", "fp32", (2, 3), **limits),)
    border = replace(bundle.descriptions["main"], inputs=given)
    model = Model(replace(bundle, descriptions={"main": border}))
    for count in allowed:
        assert model.run([np.ones((count, 3), np.float32)])[0].tolist() == [3.0] * count
    for count in refused:
        with pytest.raises(InputError) as caught:
            model.run([np.ones((count, 3), np.float32)])
        assert words in str(caught.value)


# --- states in a program made by hand -----------------------------------------------------------


def test_update_in_one_op() -> None:
    """``coreml_update_state`` is what coremltools' builder calls it; files hold two ops."""
    held = TensorType("fp32", (2, 3))
    update = _op("coreml_update_state", state=Ref("s"), value=X)
    function = Function(
        "main",
        "CoreML8",
        (Value("x", FLOATS), Value("s", StateType(held))),
        Block((), (update,), ("y",)),
    )
    bundle = replace(_bundle(update), program=Program({"main": function}))
    model, x = Model(bundle), np.arange(6, dtype=np.float32).reshape(2, 3)
    state = model.make_state()
    assert np.array_equal(model.run([x], state)[0], x)
    assert np.array_equal(state["s"], x)


# --- the process --------------------------------------------------------------------------------


def test_running_needs_neither_torch_nor_coremltools(sum_model: Model) -> None:
    source = sum_model.bundle.source
    script = (
        "import sys, numpy as np\n"
        "from executorch_coreml.engine.model import Model\n"
        f"model = Model({source!r})\n"
        "model.run([np.zeros((2, 3), np.float32), np.zeros(3, np.int32)])\n"
        "print([m for m in ('torch', 'coremltools', 'executorch') if m in sys.modules])\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
