"""One program for many small cases: lowering and loading cost far more than running them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch

from case import Case, Reject


def joined(rows: Iterable[Case | Reject]) -> list[Case | Reject]:
    """The rows, with all cases of one op and one tolerance as one case of several outputs.

    The joined case is called after its op, and its outputs are in the order of the rows. Modules
    stay cases of their own: their parameters belong to the exported module.
    """
    groups: dict[Any, list[Case]] = {}
    result: list[Case | Reject] = []
    for row in rows:
        if isinstance(row, Reject) or isinstance(row.fn, torch.nn.Module):
            result.append(row)
            continue
        bare = replace(row, id="", fn=torch.relu, inputs=())
        groups.setdefault(bare, []).append(row)
    names: dict[str, int] = {}
    for bare, cases in groups.items():
        name = "-".join(str(op).removeprefix("aten.") for op in bare.ops)
        names[name] = names.get(name, 0) + 1
        number = f"-{names[name]}" if names[name] > 1 else ""
        inputs = tuple(value for case in cases for value in case.inputs)
        result.append(replace(bare, id=name + number, fn=_all(cases), inputs=inputs))
    return result


def _all(cases: list[Case]) -> Callable[..., Any]:
    functions = [(case.fn, len(case.inputs)) for case in cases]

    def run(*inputs: torch.Tensor) -> list[Any]:
        outputs, start = [], 0
        for fn, count in functions:
            outputs.append(fn(*inputs[start : start + count]))
            start += count
        return outputs

    return run
