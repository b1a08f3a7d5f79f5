"""Tensors whose shape depends on values: one program, run where some, all, one and none of the
elements are selected, and what crosses the border of a delegate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from executorch.exir import to_edge_transform_and_lower
from executorch.runtime import Runtime
from torch import Tensor, nn
from torch.export import Dim

from case import (
    FP16,
    FP32,
    EdgeProgram,
    assert_close,
    execute,
    export,
    flat,
    lower,
    randn,
    snippets,
)
from executorch_coreml import ComputePrecision, CoreMLBackend, CoreMLPartitioner
from executorch_coreml.errors import UnsupportedOp

WEIGHT, BIAS = randn(4, 3), randn(3)
SOME = torch.tensor([[1.0, -2, 3, -4], [-1, 2, -3, 4], [2, 2, 1, -1], [-1, -1, -1, -1]])
ONE = torch.full((4, 4), -1.0).index_put((torch.tensor(2), torch.tensor(0)), torch.tensor(2.0))
INPUTS = {"some": SOME, "all": SOME.abs(), "none": -SOME.abs(), "zero": SOME * 0, "one": ONE}


def values(x: Tensor) -> Tensor:
    return x[x > 0]


def rows(x: Tensor) -> Tensor:
    return x[x[:, 0] > 0]


def written(x: Tensor) -> Tensor:
    y = x.clone()
    y[x > 0] = values(x) * 2
    return y


def experts(x: Tensor) -> Tensor:
    """Two experts, each of which sees the tokens that are routed to it only."""
    out = torch.zeros_like(x)
    for number, weight in enumerate((WEIGHT @ WEIGHT.t(), WEIGHT @ WEIGHT.t() + 1)):
        (at,) = torch.where((x[:, 0] > 0) == bool(number))
        out = out.index_add(0, at, F.gelu(F.layer_norm(x[at], (4,)) @ weight))
    return out


@dataclass(frozen=True)
class Row:
    id: str
    fn: Callable[[Tensor], Any]


ROWS = [
    Row("nonzero", lambda x: torch.nonzero(x.relu())),
    Row("where", lambda x: torch.where(x > 0)),
    Row("values", lambda x: values(x) + 1),
    Row("rows", lambda x: rows(x).exp()),
    Row("sum", lambda x: (values(x).sum(), rows(x).sum(0), (x > 0).nonzero().sum(0))),
    Row("mean", lambda x: (values(x).mean(), rows(x).mean(0), rows(x).mean(1))),
    Row("any", lambda x: ((values(x) > 1).any(), (rows(x) > 1).all(0), (rows(x) > 1).any(0))),
    Row("spread", lambda x: (values(x).std(), rows(x).var(0), rows(x).norm())),
    Row("cumsum", lambda x: rows(x).cumsum(0) * 2),
    Row("softmax", lambda x: (rows(x).softmax(0), values(x).softmax(0).sum())),
    Row("linear", lambda x: torch.addmm(BIAS, rows(x), WEIGHT)),
    Row("inner", lambda x: rows(x).t() @ rows(x)),
    Row("number", lambda x: values(x).shape[0] // 2 * x),
    Row("filled", lambda x: torch.full((values(x).shape[0], 2), 3.0) + 1),
    Row("counted", lambda x: torch.arange(1, values(x).shape[0] + 1) * 2),
    Row("joined", lambda x: torch.cat([rows(x), x, rows(-x)]) * 2),
    Row("rest", lambda x: x.view(-1)[values(x).shape[0] :] * 2),
    Row("front", lambda x: x.view(-1)[: values(x).shape[0]] * 2),
    Row("flat", lambda x: rows(x).flatten() * 2),
    Row("expanded", lambda x: x[:1].expand(values(x).shape[0], 4) * 2),
    Row("again", lambda x: rows(rows(x)) + 1),
    Row("written", written),
    Row("written_rows", lambda x: torch.ones(4, 4).index_put((x[:, 0] > 0,), rows(x), True)),
    Row("scattered", lambda x: torch.zeros(4).scatter_add(0, torch.where(x > 0)[1], values(x))),
    Row("masked_scatter", lambda x: torch.zeros(4, 4).masked_scatter(x > 0, values(x) * 2)),
    Row("experts", experts),
]
# Where fp16 is more than another type: in sums, quotients and what keeps float32 on the way.
ROUNDED = {"values", "sum", "mean", "spread", "cumsum", "softmax", "linear", "written", "experts"}


TOGETHER = 9  # rows in one program


class Joined(nn.Module):
    """Several rows in one program, on the same input."""

    def __init__(self, rows: Sequence[Row]):
        super().__init__()
        self.rows = rows

    def forward(self, x: Tensor) -> list[Any]:
        return [row.fn(x) for row in self.rows]


@pytest.mark.filterwarnings("ignore:.*degrees of freedom is <= 0")  # of the spread of one or none
@pytest.mark.parametrize(
    ("rows", "precisions"),
    [
        (group[start : start + TOGETHER], precisions)
        for group, precisions in (
            ([row for row in ROWS if row.id in ROUNDED], (FP32, FP16)),
            ([row for row in ROWS if row.id not in ROUNDED], (FP32,)),
        )
        for start in range(0, len(group), TOGETHER)
    ],
    ids=lambda value: "-".join(getattr(each, "id", "") for each in value).strip("-") or None,
)
def test_any_number_of_elements(rows: list[Row], precisions: Sequence[ComputePrecision]) -> None:
    program = EdgeProgram(export(Joined(rows), (SOME,)))
    for precision in precisions:
        lowered, partitioner = program.lower(precision)
        assert not partitioner.report.refused, str(partitioner.report)
        assert partitioner.report.delegates == 1
        with snippets(precision):
            method = Runtime.get().load_program(lowered.buffer).load_method("forward")
        bounds = (1e-5, 1e-6) if precision is FP32 else (4e-3, 1e-3)
        for name, x in INPUTS.items():
            got = iter(method.execute((x,)))
            for row in rows:
                where = f"{row.id}, {precision.name}, {name}"
                for value in flat(row.fn(x)):
                    assert_close(next(got), torch.as_tensor(value), *bounds, where)
            assert not list(got)


def test_beside_dynamic_inputs() -> None:
    """A number of selected elements and extents of inputs in one program."""

    def fn(x: Tensor) -> tuple[Tensor, Tensor]:
        return x[x[..., 0] > 0].sum(0) * x.shape[0], x[x > 0] + x.shape[1]

    shapes = ({0: Dim("batch", min=1, max=6), 1: Dim("time", min=2, max=9)},)
    lowered, partitioner = lower(export(fn, (randn(3, 5, 4),), shapes))
    assert not partitioner.report.refused, str(partitioner.report)
    for batch, time in ((1, 2), (3, 5), (6, 9)):
        for x in (randn(batch, time, 4), -randn(batch, time, 4).abs()):
            for got, wanted in zip(execute(lowered.buffer, (x,)), fn(x), strict=True):
                assert_close(got, wanted, 1e-5, 1e-6, f"{batch} x {time}")


# -- the border -----------------------------------------------------------------------------------


def skipping(fn: Any, *ops: str, **arguments: Any) -> tuple[Any, CoreMLPartitioner]:
    specs = CoreMLBackend.generate_compile_specs(compute_precision=FP32)
    partitioner = CoreMLPartitioner(
        compile_specs=specs, skip_ops_for_coreml_delegation=list(ops), **arguments
    )
    edge = to_edge_transform_and_lower(export(fn, (SOME,)), partitioner=[partitioner])
    return edge, partitioner


def refused(partitioner: CoreMLPartitioner) -> dict[str, str]:
    return {each.location.op: each.reason or "" for each in partitioner.report.refused}


def same_for_all(edge: Any, fn: Callable[[Tensor], Any]) -> None:
    buffer = edge.to_executorch().buffer
    for name, x in INPUTS.items():
        for got, wanted in zip(execute(buffer, (x,)), flat(fn(x)), strict=True):
            assert_close(got, wanted, 1e-5, 1e-6, name)


def test_what_may_be_empty_leaves_a_delegate_but_enters_none() -> None:
    def fn(x: Tensor) -> Tensor:
        return (rows(x * 2).tan() * 2).sum(0) + x[0]

    edge, partitioner = skipping(fn, "tan.default")
    reasons = refused(partitioner)
    assert "takes no empty tensors" in reasons["aten.mul.Tensor"]
    assert "takes no empty tensors" in reasons["aten.sum.dim_IntList"]
    assert "aten.index.Tensor" not in reasons
    assert partitioner.report.delegates == 2
    same_for_all(edge, fn)


def test_what_has_an_element_enters() -> None:
    """torch.export asserts that there is something to take the largest of."""

    def fn(x: Tensor) -> Tensor:
        return (rows(x * 2).tan() * 2).amax(0)

    edge, partitioner = skipping(fn, "tan.default")
    assert set(refused(partitioner)) == {"aten.tan.default"}
    assert partitioner.report.delegates == 2
    buffer = edge.to_executorch().buffer
    for x in (SOME, SOME.abs(), ONE):
        assert_close(execute(buffer, (x,))[0], fn(x), 1e-5, 1e-6, "amax")


def test_a_number_of_elements_does_not_leave() -> None:
    def fn(x: Tensor) -> Tensor:
        return torch.full((values(x).shape[0],), 2.0).sum() + x

    edge, partitioner = skipping(fn, "full.default")
    reasons = refused(partitioner)
    assert "is a size; only tensors cross" in reasons["aten.sym_size.int"]
    assert "aten.index.Tensor" not in reasons
    same_for_all(edge, fn)


def test_the_whole_graph_is_one_delegate_with_its_assertions() -> None:
    def fn(x: Tensor) -> Tensor:
        selected = values(x)
        torch._check(selected.shape[0] > 0)
        return selected.max() * 2

    program = export(fn, (SOME,))
    partitioner = CoreMLPartitioner(lower_full_graph=True)
    edge = to_edge_transform_and_lower(program, partitioner=[partitioner])
    assert any(each.location.op == "aten._assert_scalar.default" for each in partitioner.report)
    for x in (SOME, SOME.abs(), ONE):
        assert torch.equal(execute(edge.to_executorch().buffer, (x,))[0], fn(x))


def test_the_whole_graph_is_refused_with_what_to_do() -> None:
    with pytest.raises(UnsupportedOp, match=r"torch\._check\(x\.shape\[0\] > 0\)"):
        to_edge_transform_and_lower(
            export(lambda x: values(x).max() * 2, (SOME,)),
            partitioner=[CoreMLPartitioner(lower_full_graph=True)],
        )


def test_a_number_read_out_of_a_tensor_is_no_size_of_the_delegate() -> None:
    def fn(x: Tensor) -> Tensor:
        at = x[0, 0].abs().long().item()
        torch._check(at >= 0)
        torch._check(at < 3)
        return torch.select(x * 2, 0, at + 1) * 3

    edge, partitioner = skipping(fn)
    reasons = refused(partitioner)
    assert "takes a number out of a tensor" in reasons["aten._local_scalar_dense.default"]
    assert "is a size; only tensors cross" in reasons["aten.select_copy.int"]
    x = SOME * 1
    assert_close(execute(edge.to_executorch().buffer, (x,))[0], fn(x), 1e-5, 1e-6, "select")
