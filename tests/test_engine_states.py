"""States of a model in the engine: each keeps its values, and runs that share one take turns."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from executorch_coreml.engine.model import Model
from executorch_coreml.errors import InputError
from kernel_case import convert, ct, mb, types


@pytest.fixture(scope="module")
def accumulator(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """``total += x`` in an fp16 state; gives twice the new total."""

    @mb.program(
        input_specs=[
            mb.TensorSpec((2,), dtype=types.fp16),
            mb.StateTensorSpec((2,), dtype=types.fp16),
        ],
        opset_version=ct.target.iOS18,
    )
    def program(x: Any, total: Any) -> Any:
        grown = mb.add(x=mb.read_state(input=total), y=x)
        return mb.mul(x=mb.coreml_update_state(state=total, value=grown), y=np.float16(2), name="y")

    return Model(convert(program, tmp_path_factory.mktemp("state") / "m.mlpackage"))


def test_states_keep_their_values_apart(accumulator: Model) -> None:
    one, two = accumulator.make_state(), accumulator.make_state()
    x = np.float16([1, 0.5])
    assert accumulator.run([x], one)[0].tolist() == [2, 1]
    assert accumulator.run([x], one)[0].tolist() == [4, 2]
    assert accumulator.run([x], two)[0].tolist() == [2, 1]
    assert [f.name for f in accumulator.states] == list(one.names()) == ["total"]
    assert one["total"].dtype == np.float16
    assert one["total"].tolist() == [2, 1]


def test_a_state_rounds_as_the_program_says(accumulator: Model) -> None:
    state = accumulator.make_state()
    state["total"] = np.float32([2048, 3])
    accumulator.run([np.float16([1, 0.25])], state)
    assert state["total"].tolist() == [2048, 3.25]  # 2049 is no fp16 number


def test_wrong_states_are_refused(accumulator: Model) -> None:
    with pytest.raises(InputError, match="make_state"):
        accumulator.run([np.zeros(2, np.float16)])
    state = accumulator.make_state()
    with pytest.raises(InputError, match="no state 'nope'"):
        state["nope"]
    with pytest.raises(InputError, match=r"shape \(2,\)"):
        state["total"] = np.zeros(3)


def test_runs_that_share_a_state_take_turns(accumulator: Model) -> None:
    state, one = accumulator.make_state(), np.float16([1, 1])
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: accumulator.run([one], state), range(400)))
    assert state["total"].tolist() == [400, 400]
