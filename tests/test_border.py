"""What crosses into a delegate of ours: every dtype, rank 0, and values that do not fit."""

from __future__ import annotations

import pytest
import torch

from case import FP16, FP32, execute, export, lower, randbool, randint, randn
from executorch_coreml.errors import InputError


class Mixed(torch.nn.Module):
    """Every dtype goes in, every dtype comes out, each computed from another."""

    def forward(
        self,
        single: torch.Tensor,
        half: torch.Tensor,
        int32: torch.Tensor,
        int64: torch.Tensor,
        flags: torch.Tensor,
        uint8: torch.Tensor,
        int16: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        return (
            torch.where(flags, single, half.float()),
            half * 2,
            int32 * int32,
            int64 - int32,
            (int64 > 0) & flags,
            uint8 + uint8,
            int16 * int16 - uint8,
            uint8.to(torch.int8).sum(dtype=torch.int64),
        )


INPUTS = (
    randn(2, 3),
    randn(2, 3).half(),
    randint(2, 3, dtype=torch.int32),
    randint(2, 3, low=-(2**31) + 10, high=2**31 - 10),
    randbool(2, 3),
    torch.tensor([[200, 1, 127, 128, 0, 255]], dtype=torch.uint8).reshape(2, 3),
    torch.tensor([[300, -1, 32767, -32768, 0, -300]], dtype=torch.int16).reshape(2, 3),
)


@pytest.mark.parametrize("precision", [FP32, FP16], ids=["fp32", "fp16"])
@pytest.mark.parametrize("shape", [(2, 3), (1,), ()], ids=["matrix", "one", "rank0"])
def test_every_dtype_in_and_out(precision: object, shape: tuple[int, ...]) -> None:
    count = int(torch.tensor(shape).prod())
    inputs = tuple(x.flatten()[:count].reshape(shape).clone() for x in INPUTS)
    lowered, partitioner = lower(export(Mixed(), inputs), precision)  # type: ignore[arg-type]
    assert partitioner.report.delegates == 1
    assert not partitioner.report.refused
    got = execute(lowered.buffer, inputs)
    for one, other in zip(got, Mixed()(*inputs), strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        if one.dtype is torch.float32 and precision is FP16:
            assert torch.equal(one.half(), other.half())
        else:
            assert torch.equal(one, other)


def test_int64_beyond_int32_is_an_error_that_names_the_input() -> None:
    x = torch.tensor([1, 2**31])
    lowered, _ = lower(export(lambda x: x + 1, (x,)))
    with pytest.raises(RuntimeError) as caught:
        execute(lowered.buffer, (x,))
    assert isinstance(caught.value.__cause__, InputError)
    assert "2147483648" in str(caught.value.__cause__)


class Int8(torch.nn.Module):
    """int8 goes in and out at both ends, and crosses nowhere else."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.tanh(x.to(torch.float32) * 0.1) * 100
        return (torch.relu((y.to(torch.int8) + 100).to(torch.float32)) * 2).to(torch.int8)


def test_int8_at_the_border_moves_the_border() -> None:
    x = torch.tensor([[-128, -1, 0, 1, 5, 127]], dtype=torch.int8)
    lowered, partitioner = lower(export(Int8(), (x,)))
    first, last = partitioner.report.refused
    for decision in (first, last):
        assert "dtype int8, which the delegate does not take" in (decision.reason or "")
    assert partitioner.report.delegates == 1
    assert torch.equal(execute(lowered.buffer, (x,))[0], Int8()(x))


class Pieces(torch.nn.Module):
    """A constant's pieces are returned, which int8 ones cannot be from a delegate."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.tensor([-8, 5, -2], dtype=torch.int8))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        first, _ = self.weight.split((2, 1))
        return torch.relu(x), first


def test_an_op_stays_where_its_only_illegal_result_does() -> None:
    x = randn(2, 3)
    lowered, partitioner = lower(export(Pieces(), (x,)))
    reasons = {decision.location.op: decision.reason for decision in partitioner.report.refused}
    assert set(reasons) == {"aten.split_with_sizes_copy.default", "getitem"}
    assert all("leaves the delegate and has dtype int8" in str(each) for each in reasons.values())
    got = execute(lowered.buffer, (x,))
    for one, other in zip(got, Pieces()(x), strict=True):
        assert torch.equal(one, other)


def test_an_op_at_an_illegal_border_is_not_kept_whole() -> None:
    """PyTorch decomposes both ops into ones that ExecuTorch has kernels for."""

    def fn(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        zero = torch.ops.aten.scalar_tensor.default(0, dtype=torch.int8)
        return torch.where(torch.sin(y) > 0, x.__xor__(3), zero)

    x, y = torch.tensor([-128, -1, 5], dtype=torch.int8), randn(3)
    lowered, partitioner = lower(export(fn, (x, y)))
    assert partitioner.report.delegates == 1
    assert torch.equal(execute(lowered.buffer, (x, y))[0], fn(x, y))


def test_dtype_that_cannot_cross_stays_outside() -> None:
    x = torch.randn(3, dtype=torch.float64)
    lowered, partitioner = lower(export(lambda x: torch.relu(x), (x,)))
    (decision,) = partitioner.report.refused
    assert (decision.reason or "").startswith("argument 'self' has dtype float64; allowed: float16")
    assert torch.equal(execute(lowered.buffer, (x,))[0], torch.relu(x))


@pytest.mark.parametrize("precision", [FP32, FP16], ids=["fp32", "fp16"])
def test_results_that_are_an_input_once_the_graph_is_simplified(precision: object) -> None:
    program = export(
        lambda x, y: (torch.cat([x, y])[1:], torch.cat([y, x])[:1] * 1, x + y),
        inputs := (torch.tensor([-8]), torch.tensor([-2])),
    )
    lowered, partitioner = lower(program, precision)
    assert partitioner.report.delegates == 1
    assert execute(lowered.buffer, inputs) == [torch.tensor([n]) for n in (-2, -2, -10)]
