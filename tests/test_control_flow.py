"""Control flow around everything else: states, lists, compressed weights, shapes that change.

Programs of coremltools' builder, in both of our forms (protobuf and MIL text), against numpy.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coremltools.converters.mil.mil import get_new_symbol

from executorch_coreml.engine.model import Model
from executorch_coreml.errors import MissingKernel, ProgramError
from executorch_coreml.mil.bundle import read
from executorch_coreml.mil.text import parse
from executorch_coreml.mil.types import Bundle, Description, Feature, Program
from kernel_case import convert, ct, mb, types
from same_program import assert_same, through_text

CODES = np.arange(24, dtype=np.uint8).reshape(6, 4) * 5 % 4
PALETTE = np.float16([-1.25, -0.5, 0.5, 1.5])
KEPT = (np.arange(16).reshape(4, 4) % 3 == 0).astype(np.uint8)
INT4 = (np.arange(24).reshape(4, 6) * 7 % 16 - 8).astype(np.int8)


def _scales() -> np.ndarray:
    return np.float16([[0.25, 0.125], [0.5, 0.0625], [0.125, 0.25], [0.75, 0.5]])


def _stored(dtype: str) -> Any:
    return types.nptype_from_builtin(types.string_to_builtin(dtype))


def _half(x: Any) -> np.ndarray:
    """Rounded to fp16, for arithmetic in float32."""
    return np.asarray(x).astype(np.float16).astype(np.float32)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A recurrent fp16 network whose number of steps is an input.

    In each step ``memory`` (a state) is mixed by sparse weights, a palette lifts it to 6 channels,
    and blockwise int4 weights bring it back; odd steps halve it, in a branch that writes the state.
    """

    @mb.program(
        input_specs=[
            mb.TensorSpec((1, 4), dtype=types.fp16),
            mb.TensorSpec((1,), dtype=types.int32),
            mb.StateTensorSpec((1, 4), dtype=types.fp16),
        ],
        opset_version=ct.target.iOS18,
    )
    def program(x: Any, count: Any, memory: Any) -> Any:
        steps = mb.squeeze(x=count)
        lifted = mb.constexpr_lut_to_dense(
            indices=CODES.astype(_stored("uint2")), lut=PALETTE.reshape(1, 1, 4, 1)
        )
        mix = mb.constexpr_sparse_to_dense(
            nonzero_data=np.float16([0.5, -0.75, 1.0, 0.25, -0.5, 0.125]),
            mask=KEPT.astype(_stored("uint1")),
        )
        back = mb.constexpr_blockwise_shift_scale(
            data=INT4.astype(_stored("int4")), scale=_scales()
        )
        doubled = mb.add(x=x, y=x)  # computed outside, used inside

        def halve() -> Any:
            half = mb.mul(x=mb.read_state(input=memory), y=np.float16(0.5))
            return mb.coreml_update_state(state=memory, value=half)

        def body(i: Any, total: Any) -> Any:
            held = mb.add(x=mb.read_state(input=memory), y=doubled)
            mixed = mb.tanh(x=mb.linear(x=held, weight=mix))
            high = mb.relu(x=mb.linear(x=mixed, weight=lifted))
            low = mb.linear(x=high, weight=back)
            mb.coreml_update_state(state=memory, value=low)
            odd = mb.equal(x=mb.mod(x=i, y=np.int32(2)), y=np.int32(1))
            now = mb.cond(pred=odd, _true_fn=halve, _false_fn=lambda: mb.read_state(input=memory))
            return mb.add(x=i, y=np.int32(1)), mb.add(x=total, y=now)

        _, total = mb.while_loop(
            _cond=lambda i, total: mb.less(x=i, y=steps),
            _body=body,
            loop_vars=(np.int32(0), mb.mul(x=x, y=np.float16(0))),
        )
        return total

    path = tmp_path_factory.mktemp("network") / "m.mlpackage"
    return read(convert(program, path))


def _network(x: np.ndarray, steps: int, memory: np.ndarray, faithful: bool) -> Any:
    r = _half if faithful else np.asarray
    lifted = PALETTE.astype(np.float32)[CODES]
    mix = np.zeros((4, 4), np.float32)
    mix[KEPT != 0] = [0.5, -0.75, 1.0, 0.25, -0.5, 0.125]
    back = INT4 * np.repeat(_scales().astype(np.float32), 3, 1)
    total, doubled = r(x * 0), r(x + x)
    for i in range(steps):
        mixed = r(np.tanh(r(r(memory + doubled) @ mix.T)))
        high = np.maximum(r(mixed @ lifted.T), 0)
        memory = r(high @ r(back).T)
        memory = r(memory * np.float32(0.5)) if i % 2 else memory
        total = r(total + memory)
    return total, memory


@pytest.mark.parametrize("text", [False, True], ids=["protobuf", "text"])
@pytest.mark.parametrize("precision", ["faithful", "float32"])
def test_a_network_of_every_kind_of_weight(network: Bundle, precision: Any, text: bool) -> None:
    bundle = network
    if text:
        program = through_text(network.program, inline=False)
        assert_same(network.program, program)
        bundle = replace(network, program=program)
    model = Model(bundle, precision=precision)
    x = np.float16([[0.5, -1, 0.25, 2]])
    state, memory = model.make_state(), np.zeros((1, 4), np.float32)
    for steps in (3, 0, 4):
        (total,) = model.run([x, np.int32([steps])], state)
        want, memory = _network(x.astype(np.float32), steps, memory, precision == "faithful")
        np.testing.assert_allclose(total.astype(np.float32), _half(want), rtol=2**-9, atol=2**-11)
        np.testing.assert_allclose(
            state["memory"].astype(np.float32), _half(memory), rtol=2**-9, atol=2**-11
        )


def test_rounding_accumulates_in_a_loop_as_the_program_says(tmp_path: Path) -> None:
    """2048 + 1 is 2048 in fp16, however often; float32 counts on, and so does an fp32 variable."""

    @mb.program(input_specs=[mb.TensorSpec((1,), dtype=types.fp16)], opset_version=ct.target.iOS18)
    def program(x: Any) -> Any:
        def body(i: Any, narrow: Any, wide: Any) -> Any:
            grown = mb.add(x=wide, y=np.float32([1.0]))
            return mb.add(x=i, y=np.int32(1)), mb.add(x=narrow, y=np.float16([1.0])), grown

        _, narrow, wide = mb.while_loop(
            _cond=lambda i, narrow, wide: mb.less(x=i, y=np.int32(5)),
            _body=body,
            loop_vars=(np.int32(0), x, mb.cast(x=x, dtype="fp32")),
        )
        return narrow, wide

    bundle = read(convert(program, tmp_path / "m.mlpackage"))
    x = np.float16([2048])
    assert [float(y[0]) for y in Model(bundle).run([x])] == [2048, 2053]
    # In float32 nothing is rounded but the fp16 output, once: 2053 lies between 2052 and 2054.
    assert [float(y[0]) for y in Model(bundle, precision="float32").run([x])] == [2052, 2053]


def test_shapes_that_depend_on_the_input_and_change_in_a_loop(tmp_path: Path) -> None:
    """The rows of x, as many times as there are columns: the variable grows in each iteration."""

    @mb.program(
        input_specs=[mb.TensorSpec((get_new_symbol(), 3)), mb.TensorSpec((1,), dtype=types.int32)],
        opset_version=ct.target.iOS18,
    )
    def program(x: Any, count: Any) -> Any:
        last = mb.squeeze(x=count)

        def body(i: Any, grown: Any) -> Any:
            scaled = mb.mul(x=x, y=mb.cast(x=i, dtype="fp32"))
            return mb.add(x=i, y=np.int32(1)), mb.concat(values=(grown, scaled), axis=0)

        _, grown = mb.while_loop(
            _cond=lambda i, grown: mb.less(x=i, y=last), _body=body, loop_vars=(np.int32(1), x)
        )
        return grown

    bundle = read(convert(program, tmp_path / "m.mlpackage"))
    border = bundle.descriptions["main"]
    flexible = replace(border.inputs[0], ranges=((1, 8), (3, 3)))
    border = replace(border, inputs=(flexible, *border.inputs[1:]))
    model = Model(replace(bundle, descriptions={"main": border}))
    for n, count in ((2, 4), (5, 1), (1, 3)):
        x = np.arange(n * 3, dtype=np.float32).reshape(n, 3)
        (y,) = model.run([x, np.int32([count])])
        np.testing.assert_array_equal(y, np.concatenate([x, *(x * i for i in range(1, count))]))


LOOP = """program(1.3)
{
    func main<ios18>(tensor<fp32, [2]> x, tensor<int32, [1]> n) {
            int32 last = squeeze(x = n, axes = tensor<int32, [1]>([0]));
            int32 end, tensor<fp32, [2]> y = while_loop(loop_vars = (int32(0), x))
                (int32 i, tensor<fp32, [2]> v) { bool more = less(x = i, y = last); } -> (more),
                (int32 i, tensor<fp32, [2]> v) {
                    int32 next = add(x = i, y = int32(1));
                    bool odd = equal(x = mod_, y = int32(1));
                    tensor<fp32, [2]> w = cond(pred = odd)
                        { tensor<fp32, [2]> a = add(x = v, y = v); } -> (a),
                        { tensor<fp32, [2]> b = square(x = v); } -> (b);
                } -> (next, w);
        } -> (y);
}""".replace("bool odd", "int32 mod_ = mod(x = i, y = int32(2));\n                    bool odd")


def test_blocks_of_mil_text_run() -> None:
    program = parse(LOOP, _no_weights)
    assert_same(program, through_text(program, inline=True))
    model = Model(_text_bundle(program))
    x, want = np.float32([1.5, -0.5]), np.float32([1.5, -0.5])
    for i in range(4):
        want = want + want if i % 2 else want * want
        np.testing.assert_allclose(model.run([x, np.int32([i + 1])])[0], want, rtol=1e-6)


def _no_weights(name: str) -> Any:
    raise AssertionError(f"{name} is opened")


def _text_bundle(program: Program) -> Bundle:
    border = Description(
        (Feature("x", "fp32", (2,)), Feature("n", "int32", (1,))), (Feature("y", "fp32", (2,)),)
    )
    names = {"main": ("x", "n")}, {"main": ("y",)}
    return Bundle(program, {"main": border}, 9, "main", *names, "by hand")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("square(x = v)", "square(x = v, y = v)"), "op square b"),
        (("-> (next, w)", "-> (next)"), "gives 1 values for 2 variables"),
        (("-> (a)", "-> (v, a)"), "a block gives 2 values for 1 outputs"),
        (("-> (more)", "-> (more, i)"), "must be one bool"),
        (("(int32(0), x))", "(int32(0)))"), "has 1 loop_vars"),
    ],
)
def test_malformed_blocks_are_refused(change: tuple[str, str], words: str) -> None:
    text = LOOP.replace(*change)
    assert text != LOOP
    program = parse(text, _no_weights)
    with pytest.raises(ProgramError, match=r"function main, op ") as caught:
        Model(_text_bundle(program))
    assert words in str(caught.value)


def test_missing_kernels_in_blocks_are_reported_with_their_reasons() -> None:
    text = LOOP.replace("square(x = v)", "complex_abs(x = v)").replace("add(x = v", "bogus(x = v")
    with pytest.raises(MissingKernel) as caught:
        Model(_text_bundle(parse(text, _no_weights)))
    assert caught.value.ops[0] == "main: bogus a"
    assert caught.value.ops[1].startswith("main: complex_abs b (coremltools writes it")
