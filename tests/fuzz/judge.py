"""Whether what a program gave is what PyTorch gives, within what rounding can explain.

The bound is that of :mod:`case` plus what the conditioning of the program adds: its results for
inputs and values between its steps that differ by one rounding, computed in float64. Bools and
integers must agree where they do not depend on larger ones either.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from functools import partial
from typing import Any

import torch

from fuzz.program import Program, Step

BEYOND = 65504.0 * (1 - 2.0**-9)  # fp16 may round this to infinity on the way
ROUNDINGS = 4  # how many roundings of an input a result may be apart
DOUBLE = torch.float64


def complaint(program: Program, outputs: Sequence[Any], half: bool) -> tuple[int, str] | None:
    """The number of an output and what is wrong with it, or None."""
    inputs = list(program.inputs.values())
    expected = program.run(x.clone() for x in inputs)
    if len(outputs) != len(expected):
        return 0, f"{len(outputs)} outputs, expected {len(expected)}"
    fp16, half = half, half or any(_is_half(x) for x in _all(program).values())
    precise, apart = _reference(program, 2.0**-11 if half else 2.0**-23)
    for number, (got, want) in enumerate(zip(outputs, expected, strict=True)):
        if got.shape != want.shape or got.dtype != want.dtype:
            return number, f"output {number} is {_kind(got)}, expected {_kind(want)}"
        if fp16 and _leaves_fp16(program.towards(program.outputs()[number])):
            continue
        chain = len(program.steps) > 1
        wrong = _differs(got, precise[number], apart[number], half, chain)
        # float32 overflows where float64 does not, and may take another limit of infinity.
        wrong &= _differs(got, want, apart[number], half, chain)
        if wrong.any():
            return number, f"output {number}: {_where(wrong, got, want, apart[number])}"
    return None


def _kind(x: torch.Tensor) -> str:
    return f"{x.dtype} {tuple(x.shape)}"


def _is_half(x: torch.Tensor) -> bool:
    return x.dtype is torch.float16


def _leaves_fp16(program: Program) -> bool:
    """Whether a float on the way to the results is beyond fp16: what follows is for inf then."""
    ends = set(program.outputs())
    values = [x for slot, x in _all(program).items() if slot not in ends]
    floats = [x for x in values if x.dtype.is_floating_point]
    return any(bool((x.isfinite() & (x.abs() > BEYOND)).any()) for x in floats)


def _all(program: Program) -> dict[int, torch.Tensor]:
    values = dict(program.inputs)
    for step in program.steps:
        values.update(zip(step.results, step.call(values), strict=True))
    return values


def _reference(program: Program, unit: float) -> tuple[list[Any], list[Any]]:
    """Results in float64, and by how much each moves when all that steps read moves by ``unit``."""
    double = copy(program)
    double.steps = [_doubled(step) for step in program.steps]
    inputs = [x.to(DOUBLE) if x.dtype.is_floating_point else x for x in program.inputs.values()]
    torch.set_default_dtype(DOUBLE)
    try:
        precise = double.run(inputs)
        make = torch.Generator().manual_seed(0)
        apart = [torch.zeros(x.shape, dtype=DOUBLE) for x in precise]
        for trial in range(6):
            move = partial(_moved, unit=unit, make=make, way=(1, -1, None)[min(trial, 2)])
            moved = [move(x) for x in inputs]
            results = double.run(moved, move)
            if any(not x.dtype.is_floating_point for x in results) and len(double.steps) > 1:
                shaken = double.run(moved, partial(_shaken, unit=unit, make=make, zero=not trial))
                results = [
                    x if x.dtype.is_floating_point else y
                    for x, y in zip(results, shaken, strict=True)
                ]
            for number, (x, y) in enumerate(zip(results, precise, strict=True)):
                change = (x.to(DOUBLE) - y.to(DOUBLE)).abs()
                same = (x == y) | (x.isnan() & y.isnan())
                change = torch.where(same, 0.0, change.nan_to_num(torch.inf))
                apart[number] = torch.maximum(apart[number], change)
    finally:
        torch.set_default_dtype(torch.float32)
    return precise, apart


def _moved(x: torch.Tensor, unit: float, make: torch.Generator, way: int | None) -> torch.Tensor:
    """One rounding away from zero (``way`` 1), towards it (-1), or each element its own way."""
    if not x.dtype.is_floating_point:
        return x
    ways = torch.randint(-1, 2, x.shape, generator=make) if way is None else way
    return x * (1 + unit * ways)


def _shaken(x: torch.Tensor, unit: float, make: torch.Generator, zero: bool) -> torch.Tensor:
    """Moved by a rounding of the largest value, or to zero from as near: whether a sum that cancels
    is zero is chance."""
    if not x.dtype.is_floating_point:
        return x
    largest = x[x.isfinite()].abs().max() if x.isfinite().any() else 0.0
    if zero:
        return torch.where(x.abs() <= unit * largest, 0.0, x)
    return x + unit * largest * torch.randint(-1, 2, x.shape, generator=make)


def _doubled(step: Step) -> Step:
    """The step with float64 for the float dtypes among its arguments."""

    def change(value: Any) -> Any:
        return DOUBLE if value in (torch.float32, torch.float16) else value

    def each(value: Any) -> Any:
        return change(value) if isinstance(value, torch.dtype) else value

    twin = copy(step)
    twin.args = tuple(map(each, step.args))
    twin.kwargs = {name: each(value) for name, value in step.kwargs.items()}
    return twin


def _differs(
    got: torch.Tensor, want: torch.Tensor, apart: torch.Tensor, half: bool, chain: bool
) -> torch.Tensor:
    """Which elements are further apart than rounding explains."""
    steady = apart.isfinite()
    if not got.dtype.is_floating_point:
        return (got != want) & ((apart == 0) | (not chain))
    got, want = got.to(DOUBLE), want.to(DOUBLE)
    finite = want[want.isfinite() & (want.abs() < (BEYOND if half else torch.inf))].abs()
    largest = finite.max().item() if finite.numel() else 0.0
    bound = (1e-3 + 4e-3 * largest) if half else (1e-6 + 1e-5 * largest)
    close = (got - want).abs() <= bound + ROUNDINGS * apart
    close |= (got == want) | (got.isnan() & want.isnan())
    if half:
        over = (want.abs() > BEYOND) & (got.abs() > 6e4) & (got.sign() == want.sign())
        close |= over
    return ~close & steady


def _where(wrong: torch.Tensor, got: torch.Tensor, want: torch.Tensor, apart: torch.Tensor) -> str:
    place = tuple(wrong.nonzero()[0].tolist())
    one, other, condition = (x[place].item() for x in (got, want, apart))
    return (
        f"{int(wrong.sum())} of {wrong.numel()} wrong, first at {list(place)}: got {one}, "
        f"expected {other} (conditioning {condition:.3g})"
    )
