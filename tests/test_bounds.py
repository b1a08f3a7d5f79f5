"""Guards of NaN: taken out where the inputs that are checked cannot make one, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, isnan, nan
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
import torch
from openvino import opset15 as ops

from case import FP16, FP32, export, lower
from executorch_coreml import Model
from executorch_coreml.engine.bounds import _RULES, LIMIT, Bounds, is_ordinary
from executorch_coreml.engine.kernels.operand import keeping_nan
from executorch_coreml.engine.precision import core, round_to_fp16

SEED = np.random.default_rng(0)
WEIGHTS = SEED.normal(size=(4, 3, 3, 3)).astype(np.float32)
PRODUCT = SEED.normal(size=(8, 5)).astype(np.float32)
TWO = np.float32(2)
I0, I1, I3 = (np.asarray(value, np.int64) for value in (0, 1, 3))

Build = Callable[[ov.Output, ov.Output], Any]


def convolved(function: Any, weights: Any) -> Build:
    return lambda x, y: function(x, weights, [1, 1], [0, 0], [0, 0], [1, 1])


def axes(*values: int) -> Any:
    return np.asarray(values, np.int64)


# Of x and y, float32 of shape [2, 3, 8, 8].
GRAPHS: dict[str, Build] = {
    "Add": lambda x, y: ops.add(x, y),
    "AvgPool": lambda x, y: ops.avg_pool(x, [2, 2], [0, 0], [0, 0], [2, 2], False),
    "Broadcast": lambda x, y: ops.broadcast(ops.reduce_max(x, I3, True), axes(2, 3, 8, 8)),
    "Clamp": lambda x, y: ops.clamp(x, -9.0, 6.0),
    "Concat": lambda x, y: ops.concat([x, ops.multiply(y, TWO)], 1),
    "Constant": lambda x, y: ops.constant(-WEIGHTS),
    "Convert": lambda x, y: ops.convert(ops.convert(x, ov.Type.i32), ov.Type.f32),
    "Convolution": convolved(ops.convolution, WEIGHTS),
    "ConvolutionBackpropData": lambda x, y: ops.convolution_backprop_data(
        x, WEIGHTS.transpose(1, 0, 2, 3), [2, 2]
    ),
    "DepthToSpace": lambda x, y: ops.depth_to_space(
        ops.reshape(x, axes(2, 12, 4, 4), False), "blocks_first", 2
    ),
    "Divide": lambda x, y: ops.divide(x, np.float32([0.5, -3])[:, None, None, None]),
    "Gather": lambda x, y: ops.gather(x, axes(2, 0), I1),
    "GatherElements": lambda x, y: ops.gather_elements(x, np.zeros((2, 3, 8, 1), np.int64), 3),
    "Gelu": lambda x, y: ops.gelu(x, "tanh"),
    "GroupConvolution": convolved(ops.group_convolution, WEIGHTS[:3, None, :1]),
    "GroupConvolutionBackpropData": lambda x, y: ops.group_convolution_backprop_data(
        x, WEIGHTS[:3, None, :2], [2, 2]
    ),
    "HSigmoid": lambda x, y: ops.hsigmoid(x),
    "HSwish": lambda x, y: ops.hswish(x),
    "MatMul": lambda x, y: ops.matmul(x, y, False, True),
    "MaxPool": lambda x, y: ops.max_pool(x, [2, 2], [1, 1], [1, 1], [0, 0], [2, 2]).output(0),
    "Maximum": lambda x, y: ops.maximum(x, y),
    "Minimum": lambda x, y: ops.minimum(x, ops.multiply(y, TWO)),
    "Multiply": lambda x, y: ops.multiply(x, y),
    "Negative": lambda x, y: ops.negative(x),
    "PRelu": lambda x, y: ops.prelu(x, np.float32([-0.5, 3, 0])),
    "Pad": lambda x, y: ops.pad(x, axes(0, 0, 1, 0), axes(0, 0, 0, 1), "constant", np.float32(-7)),
    "ReduceMax": lambda x, y: ops.reduce_max(x, I3, True),
    "ReduceMean": lambda x, y: ops.reduce_mean(x, axes(2, 3), False),
    "ReduceMin": lambda x, y: ops.reduce_min(x, I3, True),
    "Relu": lambda x, y: ops.relu(x),
    "Reshape": lambda x, y: ops.reshape(x, axes(2, -1), False),
    "Select": lambda x, y: ops.select(ops.less(x, y), ops.multiply(y, TWO), x),
    "ShuffleChannels": lambda x, y: ops.shuffle_channels(x, 1, 3),
    "Sigmoid": lambda x, y: ops.sigmoid(x),
    "Slice": lambda x, y: ops.slice(x, axes(1), axes(3), axes(1), axes(2)),
    "SpaceToDepth": lambda x, y: ops.space_to_depth(x, "blocks_first", 2),
    "Split": lambda x, y: ops.split(x, I1, 3).output(1),
    "Squeeze": lambda x, y: ops.squeeze(ops.reduce_max(x, I3, True), I3),
    "StridedSlice": lambda x, y: ops.strided_slice(
        x, axes(0, 0), axes(1, 2), axes(1, 1), [0, 0], [0, 0]
    ),
    "Subtract": lambda x, y: ops.subtract(x, y),
    "Swish": lambda x, y: ops.swish(x),
    "Tanh": lambda x, y: ops.tanh(x),
    "Tile": lambda x, y: ops.tile(x, axes(1, 2, 1, 1)),
    "Transpose": lambda x, y: ops.transpose(x, axes(0, 3, 1, 2)),
    "Unsqueeze": lambda x, y: ops.unsqueeze(x, I0),
    "VariadicSplit": lambda x, y: ops.variadic_split(x, I1, axes(1, 2)).output(1),
}
OTHERS: dict[str, Build] = {
    "kept": lambda x, y: keeping_nan(x, ops.relu(x)),
    "rounded": lambda x, y: round_to_fp16(x),
    "scaled": lambda x, y: ops.multiply(WEIGHTS[0, 0, 0, 0], x),
    "scaled by zero too": lambda x, y: ops.multiply(x, np.float32([0, 1, 2])[:, None, None]),
    "weights of a product": lambda x, y: ops.matmul(x, PRODUCT, True, False),
    "fp16 weights": convolved(
        ops.convolution, ops.convert(ops.constant(WEIGHTS.astype(np.float16)), ov.Type.f32)
    ),
    "int8 weights": convolved(
        ops.convolution,
        ops.convert(ops.constant(np.full((4, 3, 3, 3), -128, np.int8)), ov.Type.f32),
    ),
    "divided by integers": lambda x, y: ops.divide(
        x, ops.convert(ops.constant(np.int8([[2], [-128]])[..., None, None]), ov.Type.f32)
    ),
    "computed weights": lambda x, y: ops.convolution(
        x, ops.slice(y, axes(0), axes(4), axes(1), axes(2)), [1, 1], [0, 0], [0, 0], [1, 1]
    ),
}


def graph(build: Build) -> tuple[ov.Model, Any]:
    x, y = (ops.parameter([2, 3, 8, 8], ov.Type.f32) for _ in range(2))
    made = build(x.output(0), y.output(0))
    made = made if isinstance(made, ov.Output) else made.output(0)
    return ov.Model([ops.result(made)], [x, y], "model"), made.get_node()


def bound_of(model: ov.Model, last: Any, x: float, y: float) -> float:
    """The bound of ``last``, for given bounds of the parameters."""
    names = [each.get_name() for each in model.get_parameters()]
    return Bounds(dict(zip(names, (x, y), strict=True))).of(last)


def test_every_rule_is_tested() -> None:
    assert set(GRAPHS) == set(_RULES)


@pytest.mark.parametrize("build", [*GRAPHS.values(), *OTHERS.values()], ids=[*GRAPHS, *OTHERS])
def test_nothing_exceeds_its_bound(build: Build) -> None:
    model, last = graph(build)
    run = core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    generator = np.random.default_rng(1)
    for magnitude in (1e-3, 5.0, 3e4, 1e9):
        found = bound_of(model, last, magnitude, magnitude)
        assert not isnan(found)
        for _ in range(4):
            shape = (2, 2, 3, 8, 8)
            signs = generator.choice([-1, 1], shape) * generator.choice([1, 1, 0.3, 0], shape)
            (result,) = run([*(signs * magnitude).astype(np.float32)]).values()
            assert np.max(np.abs(result)) <= found


@pytest.mark.parametrize("build", [*GRAPHS.values(), *OTHERS.values()], ids=[*GRAPHS, *OTHERS])
def test_of_infinities_what_may_be_nan_has_no_bound(build: Build) -> None:
    model, last = graph(build)
    found = bound_of(model, last, inf, 1.0)
    assert isnan(bound_of(model, last, nan, nan)) or last.get_type_name() == "Constant"
    if isnan(found):
        return
    run = core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    generator = np.random.default_rng(2)
    for _ in range(4):
        x = generator.choice(np.float32([inf, -inf, 0, 1]), (2, 3, 8, 8))
        y = generator.choice(np.float32([1, -1, 0]), (2, 3, 8, 8))
        (result,) = run([x, y]).values()
        assert np.all(np.abs(result) <= found)  # hence no NaN


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_ordinary_inputs(dtype: Any) -> None:
    x = np.linspace(-200, 200, 1000, dtype=dtype).reshape(10, 100)
    assert is_ordinary(x)
    assert is_ordinary(x[:0])
    assert is_ordinary(x[::2, ::3])
    for value in (nan, inf, -inf, *((7e4, -1e30) if dtype is not np.float16 else ())):
        wrong = x.copy()
        wrong[3, 7] = value
        assert not is_ordinary(wrong)
    assert is_ordinary(np.asarray([2**31 - 1], np.int32))
    assert is_ordinary(np.asarray([LIMIT, -LIMIT], dtype))


class Clamps(torch.nn.Module):
    """As in MobileNet: of anything ordinary, no clamp meets NaN."""

    def __init__(self, scale: float = 1.0):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 4, 1)
        self.scale, self.clamp = scale, True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x) * self.scale
        if self.clamp:
            x = torch.nn.functional.relu6(x)
        return torch.nn.functional.hardtanh(torch.relu(self.second(x)), -1, 3)


def guards(model: Model) -> int:
    """How many ops of the compiled model test something for NaN."""
    ran = model._compiled.model.get_runtime_model().get_ops()
    names = [each.get_rt_info()["originalLayersNames"].astype(str) for each in ran]
    return ",".join(names).count("NotEqual")


@pytest.mark.parametrize("precision", [FP32, FP16], ids=["fp32", "fp16"])
def test_ordinary_inputs_need_no_guard_and_others_get_theirs(precision: Any) -> None:
    net = Clamps()
    x = torch.rand(2, 3, 6, 6) * 4 - 2
    lowered, _ = lower(export(net, (x,)), precision)
    model = Model(lowered.buffer)
    assert guards(model) == 0
    bound = {FP32: 1e-5, FP16: 4e-3}[precision]
    for value in (0.5, nan, inf, -inf, 1e30 if precision is FP32 else 6e4, 0.25):
        given = x.clone()
        given[1, 2, 3, 3] = value
        (got,) = model.run([given.numpy()])
        expected = net(given.half().float() if precision is FP16 else given).detach().numpy()
        np.testing.assert_allclose(got, expected, bound, bound)
    assert model._runners._careful is not None


def test_guards_stay_where_a_value_may_overflow() -> None:
    """No input is unusual; the second convolution adds infinities of both signs."""
    net = Clamps(1e25)
    net.first.weight.data *= 1e15
    net.first.bias.data.fill_(1e15)
    net.clamp = False
    x = torch.rand(1, 3, 6, 6)
    lowered, _ = lower(export(net, (x,)), FP32)
    model = Model(lowered.buffer)
    assert guards(model) == 2
    expected = net(x).detach().numpy()
    assert np.isnan(expected).all()
    np.testing.assert_array_equal(model.run([x.numpy()])[0], expected)


def test_a_model_from_the_cache_knows_what_it_takes(tmp_path: Path) -> None:
    x = torch.rand(1, 3, 6, 6)
    lowered, _ = lower(export(Clamps(), (x,)), FP32)
    for _ in range(2):  # compiled, and then read
        model = Model(lowered.buffer, cache_dir=tmp_path)
        assert model._compiled.ordinary == (0,)
        assert np.isnan(model.run([torch.full_like(x, nan).numpy()])[0]).all()
    assert len(list(tmp_path.iterdir())) == 2  # one for all inputs, too
