"""Indices out of range, of every gather and scatter: an error where the program asks for one
(``validate_indices``), and nothing that harms where it does not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from executorch_coreml.engine.model import Model
from executorch_coreml.errors import ProgramError, RunError
from executorch_coreml.mil.bundle import read
from kernel_case import convert, ct, ints, mb, types

DATA = np.float32([[1, 2, 3], [4, 5, 6]])
ROWS = np.float32([[10, 20, 30], [40, 50, 60]])
PAIRS = ints([1, 0], [0, 2])

# Op -> how it is called, legal indices, its other inputs, and the extent of what the first index
# counts along. Each takes `data`, `indices` and, but for gathers, `updates`.
OPS: dict[str, tuple[dict[str, Any], np.ndarray, np.ndarray | None, int]] = {
    "gather": ({"axis": 1}, ints(2, 0), None, 3),
    "gather_along_axis": ({"axis": 0}, ints([1, 0, 1]), None, 2),
    "gather_nd": ({}, PAIRS, None, 2),
    "scatter": ({"axis": 0, "mode": "add"}, ints(1, 0), ROWS, 2),
    "scatter_along_axis": ({"axis": 1, "mode": "update"}, ints([2, 0], [0, 1]), ROWS[:, :2], 3),
    "scatter_nd": ({"mode": "max"}, PAIRS, np.float32([7, -8]), 2),
}
MODES = ("add", "update", "mul", "div", "sub", "min", "max")


def program(op: str, validate: bool, *, constant: np.ndarray | None = None, **other: Any) -> Any:
    """The op on inputs ``data``, ``indices`` (unless ``constant``) and ``updates``."""
    options, indices, updates, _ = OPS[op]
    options = options | other | {"validate_indices": validate, "name": "y"}
    specs = [mb.TensorSpec(DATA.shape)]
    if constant is None:
        specs.append(mb.TensorSpec(indices.shape, types.int32))
    if updates is not None:
        specs.append(mb.TensorSpec(updates.shape))
    takes = "x" if updates is None else "data"

    def call(data: Any, *rest: Any) -> Any:
        at, *new = rest if constant is None else (constant, *rest)
        given = {takes: data, "indices": at} | ({"updates": new[0]} if new else {})
        return getattr(mb, op)(**given, **options)

    bodies = {
        1: lambda data: call(data),
        2: lambda data, a: call(data, a),
        3: lambda data, indices, updates: call(data, indices, updates),
    }
    opset = ct.target.iOS17
    return mb.program(input_specs=specs, opset_version=opset)(bodies[len(specs)])


def load(made: Any, path: Path) -> Model:
    return Model(read(convert(made, path / "m.mlpackage", "iOS17")))


def inputs(op: str, indices: np.ndarray) -> list[np.ndarray]:
    updates = OPS[op][2]
    return [DATA, indices, *([] if updates is None else [updates])]


def bad(op: str, value: int) -> np.ndarray:
    """Legal indices, but for the last row's first element."""
    found = OPS[op][1].copy()
    found.reshape(len(found), -1)[-1, 0] = value
    return found


@pytest.mark.parametrize("op", OPS)
def test_validated(op: str, tmp_path: Path) -> None:
    """The error names op, index and extent; the next run is sound again."""
    model = load(program(op, True), tmp_path)
    extent = OPS[op][3]
    expected = load(program(op, False), tmp_path / "plain").run(inputs(op, OPS[op][1]))[0]
    for value in (extent, -1, 10**6, 2**31 - 1, -(2**31)):
        shown = value if abs(value) < 2**24 else r"-?\d+"
        message = rf"function main, op {op} y: index {shown} is out of range.* \[0, {extent}\)"
        with pytest.raises(RunError, match=message) as info:
            model.run(inputs(op, bad(op, value)))
        assert info.value.hint is not None
        assert np.array_equal(model.run(inputs(op, OPS[op][1]))[0], expected)


@pytest.mark.parametrize("op", OPS)
def test_not_validated(op: str, tmp_path: Path) -> None:
    """What is read or written lies inside, so that results are numbers of the inputs; indices just
    below 0 count from the end."""
    model = load(program(op, False), tmp_path)
    extent = OPS[op][3]
    last = model.run(inputs(op, bad(op, extent - 1)))[0]
    assert np.array_equal(model.run(inputs(op, bad(op, -1)))[0], last)
    first = model.run(inputs(op, bad(op, 0)))[0]
    for value in (extent, 10**9, 2**31 - 1, -(2**31), -extent - 1):
        got = model.run(inputs(op, bad(op, value)))[0]
        if op != "gather":
            assert np.array_equal(got, last if value > 0 else first)
        assert np.isin(got[got != 0], np.concatenate([last.ravel(), first.ravel()])).all()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("op", ["scatter", "scatter_along_axis", "scatter_nd"])
def test_every_mode(op: str, mode: str, tmp_path: Path) -> None:
    model = load(program(op, True, mode=mode), tmp_path)
    with pytest.raises(RunError, match=rf"op {op} y: index 7 is out of range"):
        model.run(inputs(op, bad(op, 7)))


@pytest.mark.parametrize("op", OPS)
def test_constants(op: str, tmp_path: Path) -> None:
    """coremltools refuses them when it builds the program, so this one is changed behind it."""
    wrong = bad(op, -2)
    made = program(op, True, constant=OPS[op][1])
    bundle = read(convert(made, tmp_path / "m.mlpackage", "iOS17"))
    (values,) = (
        each.attributes["val"]
        for each in bundle.program.functions["main"].body.operations
        if each.type == "const"
        and getattr(each.attributes["val"].data, "dtype", "") == np.int32
        and each.attributes["val"].data.shape == wrong.shape
    )
    object.__setattr__(values, "data", wrong)
    with pytest.raises(ProgramError, match=rf"op {op} y: index -2 is out of range"):
        Model(bundle)


TEXT = """program(1.3)
{
    func main<ios17>(tensor<fp32, [?, 2]> x) {
        bool strict = const()[val = bool(true)];
        int32 axis = const()[val = int32(0)];
        tensor<int32, [2]> i = const()[val = tensor<int32, [2]>([1, 2])];
        tensor<fp32, [2, 2]> y = gather(x = x, indices = i, axis = axis, validate_indices = strict);
    } -> (y);
}
"""


def test_a_constant_for_an_extent_that_only_a_run_knows(tmp_path: Path) -> None:
    """In text: coremltools' builder does not get as far."""
    (tmp_path / "m.mlmodelc").mkdir()
    (tmp_path / "m.mlmodelc" / "model.mil").write_text(TEXT)
    model = Model(tmp_path / "m.mlmodelc")
    assert model.run([np.float32([[1, 2], [3, 4], [5, 6]])])[0].tolist() == [[3, 4], [5, 6]]
    with pytest.raises(RunError, match=r"op gather y: index 2 is out of range.*\[0, 2\)"):
        model.run([np.ones((2, 2), np.float32)])


def test_as_many_indices_as_a_run_finds(tmp_path: Path) -> None:
    """None at all, too."""

    @mb.program(
        input_specs=[mb.TensorSpec((3,)), mb.TensorSpec((5,))], opset_version=ct.target.iOS17
    )
    def made(x: Any, chosen: Any) -> Any:
        places = mb.reshape(x=mb.non_zero(x=chosen), shape=[-1])
        return mb.gather(x=x, indices=places, validate_indices=True, name="y")

    model, x = load(made, tmp_path), np.float32([1, 2, 3])
    assert model.run([x, np.float32([1, 0, 1, 0, 0])])[0].tolist() == [1, 3]
    assert model.run([x, np.zeros(5, np.float32)])[0].shape == (0,)
    with pytest.raises(RunError, match="index 3 is out of range"):
        model.run([x, np.float32([0, 1, 0, 1, 1])])


def test_of_several_ops_the_first_is_named(tmp_path: Path) -> None:
    @mb.program(
        input_specs=[mb.TensorSpec((4,)), mb.TensorSpec((2,), types.int32)],
        opset_version=ct.target.iOS17,
    )
    def made(x: Any, i: Any) -> Any:
        one = mb.gather(x=x, indices=i, validate_indices=True, name="one")
        j = mb.add(x=i, y=1)
        return one, mb.gather(x=x, indices=j, validate_indices=True, name="two")

    model = load(made, tmp_path)
    x = np.arange(4, dtype=np.float32)
    assert [out.tolist() for out in model.run([x, ints(0, 2)])] == [[0, 2], [1, 3]]
    with pytest.raises(RunError, match=r"op gather two: index 4 is"):
        model.run([x, ints(0, 3)])
    with pytest.raises(RunError, match=r"op gather one: index 5 is"):
        model.run([x, ints(5, 5)])


def test_inside_loops_and_branches(tmp_path: Path) -> None:
    """What an iteration or the branch that is taken finds comes out."""

    @mb.program(
        input_specs=[mb.TensorSpec((4,)), mb.TensorSpec((1,), types.int32)],
        opset_version=ct.target.iOS17,
    )
    def made(x: Any, n: Any) -> Any:
        def branch(i: Any) -> Any:
            return mb.cond(
                pred=mb.squeeze(x=mb.less(x=i, y=6)),
                _true_fn=lambda: mb.gather(x=x, indices=i, validate_indices=True, name="g"),
                _false_fn=lambda: mb.fill(shape=[1], value=-1.0),
            )

        return mb.while_loop(
            _cond=lambda i, total: mb.squeeze(x=mb.less(x=i, y=n)),
            _body=lambda i, total: (mb.add(x=i, y=1), mb.add(x=total, y=branch(i))),
            loop_vars=(np.int32([0]), np.float32([0])),
            name="y",
        )[1]

    model = load(made, tmp_path)
    x = np.float32([1, 2, 3, 4])
    assert model.run([x, ints(4)])[0].tolist() == [10]
    with pytest.raises(RunError, match=r"op gather \S+: index 4 is out of range.*\[0, 4\)"):
        model.run([x, ints(5)])
    assert model.run([x, ints(2)])[0].tolist() == [3]


def test_a_failed_run_leaves_states_alone(tmp_path: Path) -> None:
    @mb.program(
        input_specs=[
            mb.TensorSpec((2,), types.fp16),
            mb.TensorSpec((1,), types.int32),
            mb.StateTensorSpec((2,), types.fp16),
        ],
        opset_version=ct.target.iOS18,
    )
    def made(x: Any, i: Any, memory: Any) -> Any:
        now = mb.add(x=mb.read_state(input=memory), y=x)
        now = mb.coreml_update_state(state=memory, value=now)
        return mb.gather(x=now, indices=i, validate_indices=True, name="y")

    model = Model(read(convert(made, tmp_path / "m.mlpackage")))
    state, x = model.make_state(), np.float16([1, 2])
    assert model.run([x, ints(1)], state)[0].tolist() == [2]
    with pytest.raises(RunError, match="index 2 is out of range"):
        model.run([x, ints(2)], state)
    assert model.run([x, ints(0)], state)[0].tolist() == [2]


def test_an_update_longer_than_its_slice_stays_inside(tmp_path: Path) -> None:
    @mb.program(
        input_specs=[
            mb.TensorSpec((4,)),
            mb.TensorSpec((3,)),
            mb.TensorSpec((1,), types.int32),
        ],
        opset_version=ct.target.iOS18,
    )
    def made(x: Any, new: Any, begin: Any) -> Any:
        end = mb.add(x=begin, y=3)
        return mb.slice_update(x=x, update=new, begin=begin, end=end, name="y")

    model = Model(read(convert(made, tmp_path / "m.mlpackage")))
    x, new = np.zeros(4, np.float32), np.float32([1, 2, 3])
    assert model.run([x, new, ints(1)])[0].tolist() == [0, 1, 2, 3]
    assert model.run([x, new, ints(3)])[0][:3].tolist() == [0, 0, 0]


# Calls with a number n -> what they give for each legal n, numbers that are not legal, and what is
# said of these.
LIST = np.float32([[0, 1], [2, 3], [4, 5]])


def _list(grows: bool = False) -> Any:
    empty = mb.make_list(init_length=3, elem_shape=(2,), dynamic_length=grows)
    return mb.list_scatter(ls=empty, indices=np.int32([0, 1, 2]), value=LIST)


def _all(ls: Any) -> Any:
    last = mb.list_length(ls=ls)
    return mb.list_gather(ls=ls, indices=mb.range_1d(start=0, end=last, step=1))


def _put(place: int) -> np.ndarray:
    made = np.concatenate([LIST, np.zeros((max(place - 2, 0), 2), np.float32)])
    made[place] = 7
    return made


NEW = np.float32([7, 7])
OF_LISTS: dict[str, tuple[Any, dict[int, Any], dict[int, str]]] = {
    "read": (
        lambda n: mb.list_read(ls=_list(), index=mb.squeeze(x=n)),
        {0: LIST[0], 2: LIST[2]},
        {3: "index 3 is outside the list: it must be in [0, 3)", -1: "index -1 is outside"},
    ),
    "read_of_computed_length": (
        lambda n: mb.list_read(
            ls=mb.make_list(init_length=mb.squeeze(x=n), elem_shape=(2,)), index=0
        ),
        {1: [0, 0]},
        {0: "index 0 is outside the list: it must be in [0, 0)"},
    ),
    "gather": (
        lambda n: mb.list_gather(ls=_list(True), indices=n),
        {1: LIST[1:2]},
        {5: "index 5 is outside the list: it must be in [0, 3)"},
    ),
    "write": (
        lambda n: _all(mb.list_write(ls=_list(), index=mb.squeeze(x=n), value=NEW)),
        {2: _put(2)},
        {3: "index 3 is outside the list: it must be in [0, 3)"},
    ),
    "write_that_grows": (
        lambda n: _all(mb.list_write(ls=_list(True), index=mb.squeeze(x=n), value=NEW)),
        {1: _put(1), 4: _put(4)},
        {-2: "index -2 is outside the list: it must be in [0, 3)"},
    ),
    "scatter": (
        lambda n: _all(mb.list_scatter(ls=_list(), indices=n, value=NEW[None])),
        {0: _put(0)},
        {3: "index 3 is outside the list: it must be in [0, 3)"},
    ),
    "reverse_sequence": (
        lambda n: mb.reverse_sequence(x=LIST[None], lengths=n, seq_axis=1, batch_axis=0),
        {0: LIST[None], 3: LIST[None, ::-1]},
        {4: "a length of 4 is out of range: it must be in [0, 4)", -1: "a length of -1"},
    ),
}


@pytest.mark.parametrize("call", OF_LISTS)
def test_places_in_lists_and_lengths(call: str, tmp_path: Path) -> None:
    build, legal, wrong = OF_LISTS[call]
    spec = mb.TensorSpec((1,), types.int32)
    model = load(mb.program(input_specs=[spec], opset_version=ct.target.iOS17)(build), tmp_path)
    for number, words in wrong.items():
        with pytest.raises(RunError, match=re.escape(words)) as caught:
            model.run([ints(number)])
        assert str(caught.value.location).startswith("function main, op ")
    for number, expected in legal.items():
        np.testing.assert_array_equal(model.run([ints(number)])[0], expected)
