"""The plugin, inside the real ExecuTorch runtime, with programs of ExecuTorch's own backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from executorch.runtime import Runtime

import executorch_coreml.runtime as plugin
from executorch_coreml.errors import InputError, MissingKernel, OptionsError, PayloadError

INT32_MAX = 2**31 - 1


@pytest.fixture
def restore_defaults() -> Iterator[None]:
    before = plugin.defaults()
    yield
    plugin.configure(precision=before.precision, threads=before.threads)


def load(program: Path | bytes, method: str = "forward") -> Any:
    return Runtime.get().load_program(program).load_method(method)


def linear_relu(x: torch.Tensor) -> torch.Tensor:
    weight = torch.linspace(-1, 1, 32).reshape(4, 8)
    bias = torch.tensor([0.5, -0.25, 0.125, 1.0])
    return torch.relu(torch.nn.functional.linear(x, weight, bias))


def patched(program: Path, old: bytes, new: bytes) -> bytes:
    """The program with the last occurrence of ``old`` replaced by ``new``, of the same length."""
    data = program.read_bytes()
    assert len(old) == len(new)
    head, found, tail = data.rpartition(old)
    assert found
    return head + new + tail


# ---- numerics and types ---------------------------------------------------------------------


def test_active_and_listed() -> None:
    assert plugin.is_active()
    assert plugin.registered_backends().count("CoreMLBackend") == 1
    assert Runtime.get().backend_registry.is_available("CoreMLBackend")


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("add_fp32", torch.float32),
        ("add_fp16", torch.float16),
        ("add_int32", torch.int32),
    ],
)
def test_add_equals_torch(stock: Path, name: str, dtype: torch.dtype) -> None:
    x = (torch.arange(12).reshape(3, 4) * 37.25).to(dtype)
    y = (torch.arange(12).reshape(3, 4) * -11.5 + 1).to(dtype)
    (result,) = load(stock / f"{name}.pte").execute((x, y))
    assert result.dtype == dtype
    assert torch.equal(result, x + y)


def test_int64_crosses_as_int32(stock: Path) -> None:
    x = torch.tensor([0, -1, INT32_MAX - 1, -(2**31), 7])
    y = torch.tensor([0, -1, 1, 0, -7])
    (result,) = load(stock / "add_int64.pte").execute((x, y))
    assert result.dtype == torch.int64
    assert torch.equal(result, x + y)


def test_rank_0(stock: Path) -> None:
    (result,) = load(stock / "add_rank0.pte").execute((torch.tensor(1.5), torch.tensor(-0.25)))
    assert result.shape == ()
    assert result.item() == 1.25


def test_bool_inputs_and_outputs(stock: Path) -> None:
    x, y = torch.randn(3, 4), torch.zeros(3, 4)
    (above,) = load(stock / "compare.pte").execute((x, y))
    assert above.dtype == torch.bool
    assert torch.equal(above, x > y)
    (inverted,) = load(stock / "invert.pte").execute((above,))
    assert torch.equal(inverted, ~above)


def test_fp16_overflows_to_infinity(stock: Path) -> None:
    x = torch.full((3, 4), 60000.0, dtype=torch.float16)
    (result,) = load(stock / "add_fp16.pte").execute((x, x))
    assert torch.isinf(result).all()


def test_linear_float32(stock: Path) -> None:
    x = torch.randn(2, 8)
    (result,) = load(stock / "linear_relu.pte").execute((x,))
    torch.testing.assert_close(result, linear_relu(x), rtol=1e-6, atol=1e-6)


def test_precision_is_chosen_at_load(stock: Path, restore_defaults: None) -> None:
    x, y = torch.full((3, 4), 0.25), torch.full((3, 4), 2048.0)  # where fp16 has a spacing of 2
    faithful = load(stock / "add_subtract.pte")
    plugin.configure(precision="float32", threads=1)
    wide = load(stock / "add_subtract.pte")
    assert torch.equal(faithful.execute((x, y))[0], torch.zeros(3, 4))
    assert torch.equal(wide.execute((x, y))[0], x)


@pytest.mark.parametrize(
    "options",
    [
        {"precision": "bf16"},
        {"threads": 0},
        {"threads": True},
        {"device": "TPU"},
        {"device": 1},
        {"cache_dir": ""},
        {"cache_dir": 1},
        {"colour": 1},
    ],
    ids=lambda options: next(iter(options)),
)
def test_wrong_options_change_nothing(options: dict[str, Any]) -> None:
    before = plugin.defaults()
    with pytest.raises(OptionsError, match=next(iter(options))):
        plugin.configure(**options)
    assert plugin.defaults() == before


def test_dynamic_rows(stock: Path) -> None:
    method = load(stock / "dynamic.pte")
    for rows in (5, 2, 16, 3):
        x = torch.randn(rows, 8)
        (result,) = method.execute((x,))
        torch.testing.assert_close(result, linear_relu(x), rtol=1e-6, atol=1e-6)


def test_rows_outside_the_declared_range(stock: Path) -> None:
    """torch.export gives 1..16, but the stock backend declares 2..16 to Core ML."""
    method = load(stock / "dynamic.pte")
    error = cause_of(lambda: method.execute((torch.randn(1, 8),)), InputError)
    assert "(1, 8)" in str(error)


def test_two_delegates_around_a_kernel(stock: Path) -> None:
    x = torch.randn(3, 4)
    (result,) = load(stock / "two_delegates.pte").execute((x,))
    expected = torch.relu(torch.cumsum(torch.sigmoid(x), 0))
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-6)


def test_state_lives_in_the_method(stock: Path) -> None:
    x = torch.tensor([1.0, 2.0, 3.0, 4.0])
    first, second = load(stock / "counter.pte"), load(stock / "counter.pte")
    for runs in (1, 2, 3):
        assert torch.equal(first.execute((x,))[0], runs * x)
    assert torch.equal(second.execute((x,))[0], x)


def test_methods_share_one_model(stock: Path) -> None:
    program = Runtime.get().load_program(stock / "methods.pte")
    for name, rows in (("prefill", 6), ("decode", 1)):
        x = torch.randn(rows, 8)
        (result,) = program.load_method(name).execute((x,))
        torch.testing.assert_close(result, linear_relu(x), rtol=1e-6, atol=1e-6)


def test_program_from_bytes(stock: Path) -> None:
    x = torch.randn(2, 8)
    program = Runtime.get().load_program((stock / "linear_relu.pte").read_bytes())
    (result,) = program.load_method("forward").execute((x,))
    torch.testing.assert_close(result, linear_relu(x), rtol=1e-6, atol=1e-6)


# ---- errors ---------------------------------------------------------------------------------


def cause_of(call: Callable[[], Any], kind: type[Exception]) -> Any:
    """The error chained below the RuntimeError that ExecuTorch raises."""
    with pytest.raises(RuntimeError, match=r"0x:?[0-9a-f]+") as caught:
        call()
    assert isinstance(caught.value.__cause__, kind), repr(caught.value.__cause__)
    return caught.value.__cause__


def test_int64_out_of_range_is_an_input_error(stock: Path) -> None:
    method = load(stock / "add_int64.pte")
    x = torch.tensor([0, 0, INT32_MAX + 1, 0, 0])
    error = cause_of(lambda: method.execute((x, x)), InputError)
    assert str(INT32_MAX + 1) in str(error)
    assert "takes int32" in str(error)
    ones = torch.ones(5, dtype=torch.int64)
    assert torch.equal(method.execute((ones, ones))[0], ones + ones)


def test_failing_delegate_that_is_not_the_first_instruction(stock: Path) -> None:
    method = load(stock / "cumsum_add.pte")
    huge = torch.full((5,), 2**40)
    ones = torch.ones(5, dtype=torch.int64)
    for _ in range(3):
        cause_of(lambda: method.execute((huge,)), InputError)
        assert torch.equal(method.execute((ones,))[0], torch.cumsum(ones, 0) + ones)


def test_errors_hold_no_tensors_of_the_runtime(stock: Path) -> None:
    method = load(stock / "add_int64.pte")
    x = torch.full((5,), 2**40)
    traceback = cause_of(lambda: method.execute((x, x)), InputError).__traceback__
    assert traceback is not None
    while traceback:
        assert traceback.tb_frame.f_locals == {}
        traceback = traceback.tb_next


def test_corrupt_payload(stock: Path) -> None:
    data = patched(stock / "add_fp32.pte", b"sedon", b"seXon")  # "nodes": the JSON is reversed
    cause_of(lambda: load(data), PayloadError)


def test_corrupt_payload_after_a_good_one(stock: Path) -> None:
    data = patched(stock / "two_delegates.pte", b"sedon", b"seXon")
    cause_of(lambda: load(data), PayloadError)


def test_unknown_op(stock: Path) -> None:
    data = patched(stock / "linear_relu.pte", b"\n\x04relu", b"\n\x04rely")
    error = cause_of(lambda: load(data), MissingKernel)
    assert "rely" in str(error)
