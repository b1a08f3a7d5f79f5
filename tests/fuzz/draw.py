"""What rows draw: shapes, dtypes, numbers and tensors, and the calls they add to a program."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from hypothesis import strategies as st

from executorch_coreml.ops import TABLE
from fuzz.program import Program, Slot, Step

F16, F32, I32, I64, BOOL = (
    torch.float16,
    torch.float32,
    torch.int32,
    torch.int64,
    torch.bool,
)
FLOATS = (F32, F16)
NARROW = (torch.int8, torch.uint8, torch.int16)
INTS = (I64, I32, *NARROW)
ALL = (F32, I64, F16, I32, BOOL, *NARROW)

# overload -> the function that draws one call of it
ROWS: dict[Any, Callable[[Draw, Any], None]] = {}

PLAIN = ("normal", "grid")
USUAL = (*PLAIN, "zeros", "hundreds", "tiny", "inf", "nan")
# float32 only. Subnormals are not drawn: OpenVINO flushes them to zero, as GPUs do.
SINGLE = ("large",)

LIMIT = 1500  # elements of a drawn tensor


class Invalid(Exception):
    """PyTorch itself refuses the drawn call."""


def row(*ops: Any) -> Callable[[Callable[[Draw, Any], None]], Callable[[Draw, Any], None]]:
    """The decorated function draws calls of these overloads."""

    def add(function: Callable[[Draw, Any], None]) -> Callable[[Draw, Any], None]:
        for op in ops:
            if op in ROWS:
                raise ValueError(f"two rows draw {op}")
            ROWS[op] = function
        return function

    return add


class Draw:
    """One program in the making.

    Args:
        draw: hypothesis' function.
        half: The program will run in fp16: values are ones that fp16 holds.
    """

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any], half: bool):
        self._draw = draw
        self.half = half
        self.program = Program()
        self.values: dict[int, torch.Tensor] = {}  # by slot
        self.usable: list[Slot] = []  # results that later steps may read

    # -- plain values ----------------------------------------------------------------------------

    def integer(self, low: int, high: int) -> int:
        return int(self._draw(st.integers(low, high)))

    def flag(self) -> bool:
        return bool(self._draw(st.booleans()))

    def choice(self, *values: Any) -> Any:
        return self._draw(st.sampled_from(values))

    def shape(self, low: int = 0, high: int = 5, limit: int = LIMIT, least: int = 1) -> list[int]:
        """Extents of 1 to 7, at most ``limit`` elements in all."""
        rank, shape = self.integer(low, high), []
        for _ in range(rank):
            shape.append(self.integer(least, max(least, min(7, limit // math.prod(shape)))))
        return shape

    def broadcasts(self, shape: Sequence[int]) -> list[int]:
        """A shape that broadcasts with ``shape`` without making it larger."""
        kept = list(shape[self.integer(0, len(shape)) :]) if self.flag() else list(shape)
        return [1 if extent > 1 and self.integer(0, 3) == 0 else extent for extent in kept]

    def dim(self, rank: int) -> int:
        return self.integer(-rank, rank - 1) if rank else self.choice(0, -1)

    def dims(self, rank: int, low: int = 0) -> list[int]:
        """Distinct axes, some counted from the end."""
        axes = self._draw(st.permutations(range(rank)))[: self.integer(min(low, rank), rank)]
        return [axis - rank if self.flag() else axis for axis in axes]

    def number(self, dtype: torch.dtype = F32) -> Any:
        """A Python number that suits a tensor of ``dtype``."""
        if dtype is BOOL:
            return self.flag()
        if dtype in INTS:
            return self.choice(0, 1, 2, -1, 3, -4, 7, 100)
        return self.choice(0.5, 1.0, 2.0, -1.0, 0.0, 0.25, -3.0, 1.5, 10.0, 0.75, -0.125)

    def types(self, op: Any) -> tuple[torch.dtype, ...]:
        return tuple(dtype for dtype in ALL if dtype in TABLE[op].types)

    # -- tensors ---------------------------------------------------------------------------------

    def tensor(
        self,
        shape: Sequence[int],
        dtype: torch.dtype = F32,
        kinds: Sequence[str] = USUAL,
        low: int = -9,
        high: int = 9,
        constant: bool | None = None,
    ) -> Slot:
        """A new input or weight. ``low`` and ``high`` bound integers, ``kinds`` says which floats.

        The element values come from a seed: drawing each would make hypothesis slow, and a
        failure seldom depends on them.
        """
        seed = self.integer(0, 2**16)
        if dtype.is_floating_point:
            chosen = kinds if self.half or kinds is not USUAL else (*kinds, *SINGLE)
            kind = chosen[0] if self.integer(0, 2) else self.choice(*chosen)
            data = floats(shape, kind, seed)
            exact = dtype is F16 or self.half
            data = data.clamp(-6e4, 6e4).where(data.isfinite(), data).half() if exact else data
        else:
            data = integers(shape, seed, low, high, dtype)
        fixed = self.integer(0, 4) == 4 if constant is None else constant
        return self.add(data.to(dtype), fixed)

    def add(self, data: torch.Tensor, constant: bool = False) -> Slot:
        slot = Slot(len(self.values))
        self.program.inputs[slot.index] = self.values[slot.index] = data
        if constant:
            self.program.constant.add(slot.index)
        return slot

    def operand(
        self,
        dtypes: Sequence[torch.dtype] = FLOATS,
        low: int = 0,
        high: int = 5,
        limit: int = LIMIT,
        kinds: Sequence[str] = USUAL,
        least: int = 1,
    ) -> Slot:
        """A tensor of any shape: a result of an earlier step where one suits, else a new one."""
        suits = [slot for slot in self.usable if self._suits(slot, dtypes, low, high, limit, least)]
        if suits and kinds is USUAL:
            return self.choice(*suits[-2:])
        dtype = dtypes[0] if self.integer(0, 2) == 0 else self.choice(*dtypes)
        return self.tensor(self.shape(low, high, limit, least), dtype, kinds)

    def _suits(
        self, slot: Slot, dtypes: Sequence[torch.dtype], low: int, high: int, limit: int, least: int
    ) -> bool:
        x = self.of(slot)
        fits = low <= x.dim() <= high and x.numel() <= limit
        return fits and x.dtype in dtypes and all(extent >= least for extent in x.shape)

    def of(self, slot: Slot) -> torch.Tensor:
        return self.values[slot.index]

    def call(self, op: Any, *args: Any, keep: tuple[int, ...] | None = None, **kwargs: Any) -> None:
        """Adds the call, whose results eager PyTorch computes at once.

        Raises:
            Invalid: it cannot.
        """
        step = Step(op, args, {k: v for k, v in kwargs.items() if v is not None}, keep)
        try:
            results = step.call(self.values)
        except (RuntimeError, ValueError, IndexError, TypeError, NotImplementedError) as error:
            raise Invalid(f"{step}: {error}") from error
        if not all(isinstance(x, torch.Tensor) and x.numel() for x in results):
            raise Invalid(f"{step}: an empty result")
        if any(_beyond_int32(x) for x in results) or self._no_integer(step):
            raise Invalid(f"{step}: beyond int32")
        step.results = list(range(len(self.values), len(self.values) + len(results)))
        self.values.update(zip(step.results, results, strict=True))
        self.usable.extend(map(Slot, step.results))
        self.program.steps.append(step)

    def _no_integer(self, step: Step) -> bool:
        """Whether a float that has no integer becomes one, which C++ leaves undefined."""
        into = self.of(step.args[0]).dtype if "aten.copy." in str(step.op) else None
        if step.kwargs.get("dtype", into) not in INTS:
            return False
        given = [self.of(arg) for arg in step.args if isinstance(arg, Slot)]
        return any(x.dtype in FLOATS and not (x.abs() < 2.0**31).all() for x in given)

    def finished(self) -> Program | None:
        """The program, without inputs that no step reads; None if it has no step."""
        if not self.program.steps:
            return None
        read = self.program.read()
        inputs = self.program.inputs
        self.program.inputs = {slot: x for slot, x in inputs.items() if slot in read}
        self.program.constant &= read
        if self.program.inputs and not self.program.given():
            self.program.constant.remove(min(self.program.constant))
        return self.program if self.program.inputs else None


def _beyond_int32(x: torch.Tensor) -> bool:
    return x.dtype is I64 and bool((x.abs() > 2**31 - 1).any())


def floats(shape: Sequence[int], kind: str, seed: int) -> torch.Tensor:
    """Floats of one kind."""
    make = torch.Generator().manual_seed(seed)
    x = torch.randn(tuple(shape), generator=make)
    if kind == "grid":
        return (x * 4).round() / 4
    if kind == "zeros":
        return torch.where(x > 0, x.round(), -x * 0.0)
    if kind == "hundreds":
        return x * 100
    if kind == "tiny":
        return x * 1e-3
    if kind == "positive":
        return x.abs() + 0.0625
    if kind == "unit":
        return (x * 0.4).clamp(-1, 1)
    if kind == "large":
        return x * 10.0 ** (seed % 30 + 3)
    if kind == "distinct":
        count = x.numel()
        return (torch.randperm(count, generator=make) - count // 3).reshape(x.shape) / 8.0
    if kind in ("inf", "nan"):
        where = torch.rand(tuple(shape), generator=make) < 0.25
        special = torch.tensor(math.inf if kind == "inf" else math.nan)
        return torch.where(where, torch.copysign(special, x), x)
    return x


def integers(
    shape: Sequence[int], seed: int, low: int, high: int, dtype: torch.dtype
) -> torch.Tensor:
    """Integers in [low, high]."""
    make = torch.Generator().manual_seed(seed)
    if dtype is BOOL:
        return torch.rand(tuple(shape), generator=make) < 0.5
    return torch.randint(low, high + 1, tuple(shape), generator=make).to(dtype)
