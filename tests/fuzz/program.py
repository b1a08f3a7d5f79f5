"""A drawn program: input tensors and a few calls of ops, as data that prints as Python."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

LITERAL = 96  # elements up to which a tensor is printed in full


@dataclass(frozen=True)
class Slot:
    """The value number ``index`` of a program: inputs first, then the results of the steps."""

    index: int

    def __repr__(self) -> str:
        return f"v{self.index}"


@dataclass
class Step:
    """One call.

    Attributes:
        keep: Which of several results are compared; None means all of them.
    """

    op: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    keep: tuple[int, ...] | None = None
    results: list[int] = field(default_factory=list)  # slots of the results

    def call(self, values: Mapping[int, Any]) -> list[Any]:
        args, kwargs = _resolve((self.args, self.kwargs), values)
        result = self.op(*args, **kwargs)
        several = list(result) if isinstance(result, (tuple, list)) else [result]
        return several if self.keep is None else [several[number] for number in self.keep]

    def __str__(self) -> str:
        words = [_text(arg) for arg in self.args]
        words += [f"{name}={_text(value)}" for name, value in self.kwargs.items()]
        return f"{self.op}({', '.join(words)})"


@dataclass
class Program:
    """Attributes:
    inputs: The tensors that are given, by slot.
    constant: The slots of those that are weights of the program.
    """

    inputs: dict[int, torch.Tensor] = field(default_factory=dict)
    constant: set[int] = field(default_factory=set)
    steps: list[Step] = field(default_factory=list)

    def run(self, inputs: Iterable[Any], shake: Callable[[Any], Any] | None = None) -> list[Any]:
        """The results that no later step reads, and those of the last one.

        Args:
            shake: What later steps read of the others, if not themselves.
        """
        values, ends = dict(zip(self.inputs, inputs, strict=True)), set(self.outputs())
        for step in self.steps:
            for number, result in zip(step.results, step.call(values), strict=True):
                values[number] = result if shake is None or number in ends else shake(result)
        return [values[number] for number in self.outputs()]

    def read(self) -> set[int]:
        """The slots that some step reads."""
        return {slot.index for step in self.steps for slot in _slots((step.args, step.kwargs))}

    def outputs(self) -> list[int]:
        read = self.read()
        last = set(self.steps[-1].results)
        made = [number for step in self.steps for number in step.results]
        return [number for number in made if number not in read or number in last]

    def towards(self, slot: int) -> Program:
        """The part of the program that computes one slot."""
        needed, steps = {slot}, []
        for step in reversed(self.steps):
            if needed & set(step.results):
                steps.insert(0, step)
                needed |= {slot.index for slot in _slots((step.args, step.kwargs))}
        inputs = {slot: x for slot, x in self.inputs.items() if slot in needed}
        return Program(inputs, self.constant & set(inputs), steps)

    def given(self) -> tuple[torch.Tensor, ...]:
        return tuple(x for slot, x in self.inputs.items() if slot not in self.constant)

    def __str__(self) -> str:
        """Python that makes and calls it, ready to paste into a test."""
        lines = [
            f"v{slot} = {_tensor(x)}{'  # a weight' if slot in self.constant else ''}"
            for slot, x in self.inputs.items()
        ]
        for step in self.steps:
            names = ", ".join(f"v{number}" for number in step.results)
            if step.keep is None:
                lines.append(f"{names} = {step}")
            else:
                lines.append(f"kept = {step}")
                lines.append(f"{names} = " + ", ".join(f"kept[{n}]" for n in step.keep))
        return "\n".join(lines)


class Module(torch.nn.Module):
    """The program as torch.export sees it, its constants as buffers."""

    def __init__(self, program: Program):
        super().__init__()
        self.program = program
        for slot in program.constant:
            self.register_buffer(f"weight{slot}", program.inputs[slot].clone())

    def forward(self, *given: Any) -> tuple[Any, ...]:
        rest, fixed = iter(given), self.program.constant
        return tuple(
            self.program.run(
                getattr(self, f"weight{slot}") if slot in fixed else next(rest)
                for slot in self.program.inputs
            )
        )


def _resolve(value: Any, values: Any) -> Any:
    if isinstance(value, Slot):
        return values[value.index]
    if isinstance(value, (list, tuple)):
        return type(value)(_resolve(item, values) for item in value)
    if isinstance(value, dict):
        return {name: _resolve(item, values) for name, item in value.items()}
    return value


def _slots(value: Any) -> list[Slot]:
    if isinstance(value, Slot):
        return [value]
    items = value.values() if isinstance(value, dict) else value
    if isinstance(value, (list, tuple, dict)):
        return [slot for item in items for slot in _slots(item)]
    return []


def _tensor(x: torch.Tensor) -> str:
    if x.numel() > LITERAL:
        return f"torch.randn({tuple(x.shape)}).to({x.dtype})  # {x.flatten()[:6].tolist()} ..."
    return f"torch.tensor({_text(x.tolist())}, dtype={x.dtype})"


def _text(value: Any) -> str:
    if isinstance(value, float) and (value != value or value in (float("inf"), -float("inf"))):
        return f'float("{value}")'
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    return repr(value)
