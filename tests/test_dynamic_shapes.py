"""Dynamic shapes: one program, run at its smallest and largest shapes and in between."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from executorch.exir import to_edge_transform_and_lower
from executorch.exir.backend.compile_spec_schema import CompileSpec
from executorch.runtime import Runtime
from torch import Tensor, nn
from torch.export import Dim

from case import FP16, FP32, EdgeProgram, assert_close, export, flat, lower, randn, snippets
from executorch_coreml import CoreMLBackend, CoreMLPartitioner, Target
from executorch_coreml.errors import CompileError, OptionsError, UnsupportedOp

aten = torch.ops.aten
BATCH, TIME = Dim("batch", min=1, max=6), Dim("time", min=4, max=10)
SIZES = {"batch": (1, 3, 6), "time": (4, 6, 10)}
BOTH = {0: BATCH, 1: TIME}
MAX_POOL = (aten.adaptive_max_pool2d.default,)
TWO = (aten.hypot, aten.logaddexp, aten.fmax)
SPECIAL = (
    aten.copysign.Tensor, *(op.default for op in (*TWO, aten.erfc, aten.angle, aten.signbit))
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A computation on inputs with dynamic axes.

    Attributes:
        make: Makes the inputs for a (batch, time).
        axes: Per input, axis -> ``Dim``.
        beyond_edge: Ops of it that ExecuTorch's edge dialect does not have.
    """

    id: str
    fn: Callable[..., Any]
    make: Callable[[int, int], tuple[Tensor, ...]]
    axes: tuple[dict[int, Any], ...] = (BOTH,)
    beyond_edge: tuple[Any, ...] = ()


def seeded(make: Callable[..., nn.Module], *args: Any, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    return make(*args, **options).eval()


def sequence(b: int, t: int) -> tuple[Tensor]:
    return (randn(b, t, 4),)


def pair(b: int, t: int) -> tuple[Tensor, Tensor]:
    return randn(b, t, 4), randn(b, t, 4) + 1


def image(b: int, t: int) -> tuple[Tensor]:
    return (randn(b, 3, 8, 8),)


def picture(b: int, t: int) -> tuple[Tensor]:
    return (randn(b, 3, 8, 2 * t),)


def tokens(b: int, t: int) -> tuple[Tensor]:
    return (torch.arange(b * t).reshape(b, t) % 7,)


def reader(b: int, t: int) -> tuple[Tensor, Tensor]:
    """x and one index per text, some counted from the end."""
    return randn(b, t, 4), torch.arange(b) * 3 % t - torch.arange(b) % 2


def places(b: int, t: int) -> tuple[Tensor, Tensor]:
    """x, and an index of the same shape into its time."""
    return randn(b, t, 4), (torch.arange(b * t * 4).reshape(b, t, 4) * 5) % t


def cache(b: int, t: int) -> tuple[Tensor, Tensor, Tensor]:
    """A cache of 12 steps, what to write there and where."""
    return randn(b, 12, 4), randn(b, t, 4), torch.arange(t) + 1


def cached(x: Tensor, new: Tensor, at: Tensor) -> Tensor:
    x = x.clone()
    x[:, at] = new
    return x * 2


def written(*at: Any) -> Callable[[Tensor, Tensor], Tensor]:
    def fn(x: Tensor, y: Tensor) -> Tensor:
        x = x.clone()
        x[at] = y[at] if any(isinstance(one, slice) for one in at) else y
        return x * 2

    return fn


def heads(x: Tensor) -> Tensor:
    b, t, _ = x.shape
    return x.view(b, t, 2, 2).transpose(1, 2)


def merged(x: Tensor) -> Tensor:
    b, h, t, w = x.shape
    return x.transpose(1, 2).reshape(b, t, h * w)


def attended(x: Tensor) -> Tensor:
    q = heads(x)
    return merged(F.scaled_dot_product_attention(q, q + 1, q - 1))


def causal(x: Tensor) -> Tensor:
    t = x.shape[1]
    mask = torch.ones(t, t, dtype=torch.bool).tril()
    scores = (x @ x.transpose(1, 2)).masked_fill(~mask, float("-inf"))
    return scores.softmax(-1) @ x


ROWS = [
    Row("elementwise", lambda x, y: torch.where(x > y, x * y, x + 1), pair, (BOTH, BOTH)),
    Row("broadcast", lambda x, y: x + y[:, :1], pair, (BOTH, BOTH)),
    Row("linear", seeded(nn.Linear, 4, 5), sequence),
    Row("mlp", seeded(nn.Sequential, nn.Linear(4, 8), nn.GELU(), nn.LayerNorm(8)), sequence),
    Row("view", lambda x: x.view(x.shape[0], -1) * 2, sequence),
    Row("flatten", lambda x: x.flatten(0, 1) * 2, sequence),
    Row("heads", lambda x: merged(heads(x).exp()), sequence),
    Row("softmax", lambda x: x.softmax(1) + x.log_softmax(0), sequence),
    Row("mean", lambda x: (x.mean(1), x.sum((0, 1)), x.amax(0), x.mean()), sequence),
    Row("var", lambda x: (x.var(1), x.std(0, unbiased=False)), sequence),
    Row("argmax", lambda x: (x.argmax(1), x.argmax()), sequence),
    Row("cumsum", lambda x: x.cumsum(1), sequence),
    Row("slice_front", lambda x: x[:, 1:] * 2, sequence),
    Row("slice_back", lambda x: x[:, :-1] * 2, sequence),
    Row("slice_last", lambda x: x[:, -2:] * 2, sequence),
    Row("slice_step", lambda x: x[:, ::2] * 2, sequence),
    Row("last", lambda x: x[:, -1] * 2, sequence),
    Row("first", lambda x: x[:, 0] * 2, sequence),
    Row("half", lambda x: x[:, : x.shape[1] // 2] * 2, lambda b, t: (randn(b, 2 * t, 4),),
        ({0: BATCH, 1: 2 * TIME},)),
    Row("cat", lambda x, y: torch.cat([x, y], 1) * 2, pair, (BOTH, BOTH)),
    Row("cat_shifted", lambda x: torch.cat([x[:, 1:], x[:, :1]], 1) * 2, sequence),
    Row("stack", lambda x, y: torch.stack([x, y], 1) * 2, pair, (BOTH, BOTH)),
    # ExecuTorch 1.5.1's to_edge fixes the first axis of what is split to the example's extent.
    Row("split", lambda x: x.split(2, -1)[1] * 2, lambda b, t: (randn(3, t, 4),), ({1: TIME},)),
    Row("expand", lambda x: x.mean(1, keepdim=True).expand(-1, x.shape[1], -1) * x, sequence),
    Row("repeat", lambda x: x.repeat(1, 2, 1) * 2, sequence),
    Row("flip", lambda x: x.flip(1) * 2, sequence),
    Row("arange", lambda x: x + torch.arange(x.shape[1])[:, None], sequence),
    Row("arange_float", lambda x: x * torch.arange(1, x.shape[1] + 1, dtype=torch.float32)[:, None],
        sequence),
    Row("zeros", lambda x: torch.cat([x, x.new_zeros(x.shape[0], 1, 4)], 1) * 2, sequence),
    Row("ones_like", lambda x: torch.ones_like(x) - x, sequence),
    Row("size_as_value", lambda x: x / x.shape[1], sequence),
    Row("matmul", lambda x: x @ x.transpose(1, 2), sequence),
    Row("attention", attended, sequence),
    Row("causal", causal, sequence),
    Row("embedding", seeded(nn.Sequential, nn.Embedding(7, 4), nn.Linear(4, 3)), tokens),
    Row("positions", lambda i, w: F.embedding(torch.arange(i.shape[1]), w) + i[..., None],
        lambda b, t: (*tokens(b, t), randn(10, 4)), (BOTH, {})),
    Row("conv1d", seeded(nn.Conv1d, 4, 6, 3, padding=1),
        lambda b, t: (randn(b, 4, t),), ({0: BATCH, 2: TIME},)),
    Row("cnn", seeded(nn.Sequential, nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4),
        nn.ReLU(), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)),
        image, ({0: BATCH},)),
    Row("cnn_width", seeded(nn.Sequential, nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2),
        nn.AvgPool2d(2, 1), nn.GroupNorm(2, 4)),
        picture, ({0: BATCH, 3: 2 * TIME},)),
    Row("clamp", lambda x, i: (i.clamp(0, x.shape[1] // 2), x.clamp(max=x.shape[0])),
        reader, (BOTH, {0: BATCH})),
    Row("roll", lambda x: (x.roll(1, 1), x.roll((-2, 5), (0, 1)), x.roll(7)), sequence),
    Row("index", lambda x, i: x[torch.arange(x.shape[0]), i] * 2, reader, (BOTH, {0: BATCH})),
    Row("index_apart", lambda x, i: x[i % x.shape[0], :, i % 4] * 2, reader, (BOTH, {0: BATCH})),
    Row("index_constant", lambda x: (x[:, torch.tensor([0, -1, 2])], x[:, torch.tensor(-2)] * 2),
        sequence),
    Row("index_mask", lambda x: x[torch.arange(x.shape[0])[:, None], torch.arange(x.shape[1])] * 2,
        sequence),
    Row("index_select", lambda x, i: x.index_select(1, i % x.shape[1]) * 2,
        reader, (BOTH, {0: BATCH})),
    Row("gather", lambda x, i: x.gather(1, i) * 2, places, (BOTH, BOTH)),
    Row("gather_corner", lambda x, i: x.gather(1, i[:1, :, :2]) * 2, places, (BOTH, BOTH)),
    Row("scatter", lambda x, i: torch.zeros_like(x).scatter_add(1, i, x), places, (BOTH, BOTH)),
    Row("scatter_value", lambda x, i: x.scatter(1, i, 2.0) * 2, places, (BOTH, BOTH)),
    Row("scatter_corner", lambda x, i: x.scatter(1, i[..., :2], x[..., 1:] * 0 + 1) * 2,
        places, (BOTH, BOTH)),
    Row("scatter_reduce", lambda x, i: (x.scatter_reduce(1, i, x * 3, "amax"),
        x.scatter_reduce(1, i, x, "mean", include_self=False)), places, (BOTH, BOTH)),
    Row("index_reduce", lambda x, i: x.index_reduce(0, i % x.shape[0], x, "amin"),
        reader, (BOTH, {0: BATCH}), (aten.index_reduce.default,)),
    Row("put", lambda x, i: x.put(i, i * 2.0, accumulate=True),
        reader, (BOTH, {0: BATCH}), (aten.put.default,)),
    Row("index_put", cached, cache, ({0: BATCH}, BOTH, {0: TIME})),
    Row("index_put_grid", lambda x, i: x.index_put((torch.arange(x.shape[0])[:, None], i[:, :, 0]),
        torch.ones(4), accumulate=True), places, (BOTH, BOTH)),
    Row("index_put_mask", lambda x: x.index_put((x[..., 0] > 0,), torch.tensor(3.0)) * 2, sequence),
    Row("masked_scatter", lambda x, y: x.masked_scatter(x > 0, y), pair, (BOTH, BOTH)),
    Row("write_inner", written(slice(None), slice(1, -1)), pair, (BOTH, BOTH)),
    Row("write_front", written(slice(None), slice(0, 3)), pair, (BOTH, BOTH)),
    Row("write_back", written(slice(None), slice(-3, None)), pair, (BOTH, BOTH)),
    Row("write_step", written(slice(None), slice(1, None, 2)), pair, (BOTH, BOTH)),
    Row("write_one", lambda x, y: torch.select_scatter(x, y[:, 0], 1, -2) * 2, pair, (BOTH, BOTH)),
    Row("write_first", lambda x, y: torch.select_scatter(x, y[:, 0], 1, 0) * 2, pair, (BOTH, BOTH)),
    Row("cnn_any_size", seeded(nn.Sequential, nn.Conv2d(3, 4, 3), nn.AdaptiveMaxPool2d(1),
        nn.Flatten(), nn.Linear(4, 2)), picture, ({0: BATCH, 3: 2 * TIME},), MAX_POOL),
    Row("max_pool_where", lambda x: F.adaptive_max_pool2d(x, 1, return_indices=True),
        picture, ({0: BATCH, 3: 2 * TIME},), MAX_POOL),
    Row("pool_fixed", lambda x: (F.adaptive_avg_pool2d(x, 3), F.adaptive_max_pool2d(x, (3, 8))),
        image, ({0: BATCH},), MAX_POOL),
    Row("upsample", lambda x: (F.interpolate(x, scale_factor=(2, 3)),
        F.interpolate(x, scale_factor=2, mode="nearest-exact")), picture,
        ({0: BATCH, 3: 2 * TIME},)),
    Row("upsample1d", lambda x: F.interpolate(x, scale_factor=3), sequence),
    Row("upsample_size", lambda x: F.interpolate(x, size=(16, 3 * x.shape[3]), mode="bilinear",
        align_corners=True), picture, ({0: BATCH, 3: 2 * TIME},)),
    Row("bilinear", lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
        picture, ({0: BATCH, 3: 2 * TIME},)),
    Row("bilinear_like", lambda x: F.interpolate(x[..., ::2, ::2], size=x[..., 1:-1].shape[2:],
        mode="bilinear"), picture, ({0: BATCH, 3: 2 * TIME},)),
    Row("shuffle", seeded(nn.Sequential, nn.Conv2d(3, 8, 3, padding=1), nn.PixelShuffle(2),
        nn.PixelUnshuffle(2), nn.ChannelShuffle(2)), picture, ({0: BATCH, 3: 2 * TIME},)),
    Row("special", lambda x, y: (torch.hypot(x, y), torch.logaddexp(x, y), torch.copysign(x, y),
        torch.erfc(x), torch.fmax(x, y[:, :1]), torch.angle(x), torch.signbit(x > 0)), pair,
        (BOTH, BOTH), SPECIAL),
    Row("linear", lambda x: F.interpolate(x, scale_factor=2, mode="linear"), sequence),
    Row("trilinear", lambda x: F.interpolate(x[:, :, None], scale_factor=2, mode="trilinear"),
        picture, ({0: BATCH, 3: 2 * TIME},)),
    Row("bicubic_fixed", lambda x: F.interpolate(x, size=(5, 12), mode="bicubic"),
        image, ({0: BATCH},)),
    Row("trilinear_fixed", lambda x: F.interpolate(x[:, :, None], size=(2, 5, 12),
        mode="trilinear"), image, ({0: BATCH},)),
    Row("pad_integers", lambda i: F.pad(i, (1, -2, 2, 1), value=-1) * 2, tokens),
    Row("pad_crop", lambda x: F.pad(x, (0, 0, -1, 3), value=2.0) * 2, sequence),
    Row("pad_reflect", lambda x: F.pad(x, (1, 2, 2, 3), mode="reflect") * 2, sequence),
    Row("pad_reflect_crop", lambda x: F.pad(x, (0, 0, -1, 2), mode="reflect") * 2, sequence),
    Row("pad_replicate", lambda x: F.pad(x, (1, 2, 9, 12), mode="replicate") * 2, sequence),
    Row("pad_circular", lambda x: F.pad(x, (1, 2, 3, 4), mode="circular") * 2, sequence),
    Row("pad_circular_crop", lambda x: (F.pad(x, (0, 0, -1, 2), mode="circular"),
        F.pad(x, (0, 0, 2, -1), mode="circular") * 2), sequence),
    Row("pad", lambda x: F.pad(x, (1, 1)) * 2, sequence),
]  # fmt: skip


TOGETHER = 8  # rows in one program


class Joined(nn.Module):
    """Several rows in one program, on the same batch and time."""

    def __init__(self, rows: list[Row]):
        super().__init__()
        self.rows = rows
        self.counts = [len(row.axes) for row in rows]
        modules = [row.fn for row in rows if isinstance(row.fn, nn.Module)]
        self.parts = nn.ModuleList(modules)

    def make(self, batch: int, time: int) -> tuple[Tensor, ...]:
        return tuple(x for row in self.rows for x in row.make(batch, time))

    def forward(self, *inputs: Tensor) -> tuple[Any, ...]:
        results, start = [], 0
        for row, count in zip(self.rows, self.counts, strict=True):
            results.append(tuple(flat(row.fn(*inputs[start : start + count]))))
            start += count
        return tuple(results)


@pytest.mark.parametrize(
    "rows",
    [ROWS[start : start + TOGETHER] for start in range(0, len(ROWS), TOGETHER)],
    ids=lambda rows: "-".join(row.id for row in rows),
)
def test_dynamic(rows: list[Row]) -> None:
    joined = Joined(rows)
    axes = tuple(each for row in rows for each in row.axes)
    beyond_edge = {op: None for row in rows for op in row.beyond_edge}
    program = EdgeProgram(export(joined, joined.make(3, 6), axes), beyond_edge)
    for precision, bounds in ((FP32, (1e-5, 1e-6)), (FP16, (4e-3, 1e-3))):
        lowered, partitioner = program.lower(precision)
        assert not partitioner.report.refused, str(partitioner.report)
        assert partitioner.report.delegates == 1
        with snippets(precision):
            method = Runtime.get().load_program(lowered.buffer).load_method("forward")
        for batch, time in itertools.product(*SIZES.values()):
            inputs = joined.make(batch, time)
            got = iter(method.execute(inputs))
            for row, results in zip(rows, joined(*inputs), strict=True):
                where = f"{row.id}, {precision.name}, batch {batch}, time {time}"
                for expected in results:
                    assert_close(next(got), expected, *bounds, where)
            assert not list(got)


class Two(nn.Module):
    """The documented example of enumerated shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(10, 5), nn.Linear(11, 5)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return self.linear1(x).sum(dim=1), self.linear2(y)


SHAPES = {"x": [[1, 5, 10], [4, 6, 10]], "y": [[3, 11], [5, 11]]}
# The first shape of x comes twice.
TWICE = {"x": [[1, 5, 10], [4, 6, 10], [1, 5, 10]], "y": [[3, 11], [5, 11], [4, 11]]}


def enumerated(shapes: dict[str, list[list[int]]] = SHAPES, **options: Any) -> Any:
    program = torch.export.export(
        seeded(Two),
        (randn(4, 6, 10), randn(5, 11)),
        dynamic_shapes=[
            {0: Dim.AUTO(min=1, max=4), 1: Dim.AUTO(min=5, max=6)},
            {0: Dim.AUTO(min=3, max=5)},
        ],
        strict=False,
    )
    specs = CoreMLBackend.generate_compile_specs(compute_precision=FP32, **options)
    specs.append(CoreMLBackend.generate_enumerated_shapes_compile_spec(program, shapes))
    partitioner = CoreMLPartitioner(compile_specs=specs, lower_full_graph=True)
    return to_edge_transform_and_lower(program, partitioner=[partitioner]).to_executorch()


@pytest.mark.parametrize("shapes", [SHAPES, TWICE], ids=["documented", "twice"])
def test_enumerated_shapes_run_and_no_others(shapes: dict[str, list[list[int]]]) -> None:
    lowered = enumerated(shapes)
    method = Runtime.get().load_program(lowered.buffer).load_method("forward")
    model = seeded(Two)
    for x, y in zip(*shapes.values(), strict=True):
        inputs = (randn(*x), randn(*y))
        for got, wanted in zip(method.execute(inputs), model(*inputs), strict=True):
            assert_close(got, wanted, 1e-5, 1e-6, f"{x}, {y}")
    for x, y in (([1, 5, 10], [5, 11]), ([4, 6, 10], [3, 11])):
        with pytest.raises(RuntimeError) as caught:
            method.execute((randn(*x), randn(*y)))
        message = str(caught.value.__cause__)
        assert "((1, 5, 10), (3, 11)) or ((4, 6, 10), (5, 11))" in message
    with pytest.raises(RuntimeError) as caught:
        method.execute((randn(2, 5, 10), randn(3, 11)))
    assert "(1, 5, 10) or (4, 6, 10)" in str(caught.value.__cause__)


def test_an_input_called_like_a_function_of_python_keeps_its_enumerated_shapes() -> None:
    """torch.fx calls it ``input_1`` in the delegate."""
    program = export(nn.Softmax(-1), (randn(3, 6),), ({0: BATCH},))
    spec = CoreMLBackend.generate_enumerated_shapes_compile_spec(
        program, {"input": [[2, 6], [5, 6]]}
    )
    partitioner = CoreMLPartitioner(compile_specs=[spec], lower_full_graph=True)
    lowered = to_edge_transform_and_lower(program, partitioner=[partitioner]).to_executorch()
    method = Runtime.get().load_program(lowered.buffer).load_method("forward")
    for rows in (2, 5):
        x = randn(rows, 6)
        assert_close(method.execute((x,))[0], x.softmax(-1), 4e-3, 1e-3, f"{rows} rows")
    with pytest.raises(RuntimeError) as caught:
        method.execute((randn(3, 6),))
    assert "(2, 6) or (5, 6)" in str(caught.value.__cause__)


def test_enumerated_shapes_of_another_program_are_an_error() -> None:
    program = export(torch.relu, (randn(3, 6),), ({0: BATCH},))
    spec = CompileSpec("enumerated_shapes", b'{"x": [[2, 6], [5, 6]]}')
    partitioner = CoreMLPartitioner(compile_specs=[spec], lower_full_graph=True)
    with pytest.raises(CompileError, match="has no enumerated shapes; there are some for x"):
        to_edge_transform_and_lower(program, partitioner=[partitioner])


def test_enumerated_shapes_of_several_inputs_need_ios18() -> None:
    with pytest.raises(OptionsError, match="needs iOS18"):
        enumerated(minimum_deployment_target=Target.iOS17)


def test_enumerated_shapes_need_the_full_graph() -> None:
    spec = CompileSpec("enumerated_shapes", b'{"x": [[1, 2], [3, 2]]}')
    with pytest.raises(OptionsError, match="lower_full_graph=True"):
        CoreMLPartitioner(compile_specs=[spec])


def test_shapes_outside_the_exported_range_are_refused() -> None:
    program = export(torch.relu, (randn(3, 6),), ({0: BATCH, 1: TIME},))
    lowered, _ = lower(program)
    method = Runtime.get().load_program(lowered.buffer).load_method("forward")
    with pytest.raises(RuntimeError) as caught:
        method.execute((randn(3, 3),))
    assert "allowed: (1..6, 4..10)" in str(caught.value.__cause__)


def test_an_axis_without_an_upper_bound_is_an_error_that_says_how_to_give_one() -> None:
    program = export(torch.relu, (randn(3, 6),), ({0: Dim("n", min=2)},))
    with pytest.raises(UnsupportedOp, match=r"no upper bound.*Dim\(name, min=1, max="):
        lower(program)
