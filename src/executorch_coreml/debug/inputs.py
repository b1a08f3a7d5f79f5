"""Inputs of an exported program: its examples, given ones, or random ones like the examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.utils._pytree import tree_leaves

from executorch_coreml.errors import InputError


def input_names(program: ExportedProgram) -> list[str]:
    """What the program calls its inputs, in order."""
    specs = program.graph_signature.input_specs
    return [spec.arg.name for spec in specs if spec.kind is InputKind.USER_INPUT]


def example_inputs(program: ExportedProgram) -> list[Any]:
    """The inputs it was exported with, in the program's order.

    Raises:
        InputError: It holds none, as one saved without them.
    """
    if program.example_inputs is None:
        raise InputError(
            "the program holds no example inputs",
            hint=f"give them: {', '.join(input_names(program))}",
        )
    return tree_leaves(program.example_inputs)


def flat_inputs(program: ExportedProgram, inputs: Any) -> list[Any]:
    """``inputs``, nested as the model takes them or a dictionary by the program's names for them,
    in the program's order. A dictionary may leave out inputs that have examples.

    Raises:
        InputError: Another number of them than the program has, an unknown name, or a tensor of
            another dtype or shape.
    """
    names = input_names(program)
    if isinstance(inputs, Mapping):
        unknown = [name for name in inputs if name not in names]
        if unknown:
            raise InputError(f"no inputs {', '.join(unknown)}; the model takes {', '.join(names)}")
        missing = [name for name in names if name not in inputs]
        examples = dict(zip(names, example_inputs(program), strict=True)) if missing else {}
        leaves = [inputs[name] if name in inputs else examples[name] for name in names]
    else:
        leaves = tree_leaves(inputs)
    if len(leaves) != len(names):
        raise InputError(
            f"the model takes {len(names)} inputs ({', '.join(names)}), got {len(leaves)}"
        )
    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    for name, value in zip(names, leaves, strict=True):
        _require_like(name, value, nodes[name].meta.get("val"))
    return leaves


def random_inputs(examples: Sequence[Any], seed: int) -> list[Any]:
    """Tensors like the examples: floats from the normal distribution, integers between the least
    and the greatest example, truth values; what is no tensor stays as it is."""
    generator = torch.Generator().manual_seed(seed)
    return [_drawn(e, generator) if isinstance(e, torch.Tensor) else e for e in examples]


def _drawn(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    if like.dtype.is_floating_point:
        return torch.randn(like.shape, generator=generator).to(like.dtype)
    if like.dtype is torch.bool:
        return torch.rand(like.shape, generator=generator) < 0.5
    if not like.numel():
        return like
    low, high = int(like.min()), int(like.max())
    return torch.randint(low, high + 1, like.shape, generator=generator).to(like.dtype)


def _require_like(name: str, value: Any, expected: Any) -> None:
    if not isinstance(expected, torch.Tensor):
        return
    if not isinstance(value, torch.Tensor):
        raise InputError(f"input {name} is a {type(value).__name__}; it must be a tensor")
    known = [extent if isinstance(extent, int) else None for extent in expected.shape]
    fits = len(known) == value.dim() and all(
        want in (None, got) for want, got in zip(known, value.shape, strict=True)
    )
    if not fits or value.dtype is not expected.dtype:
        raise InputError(
            f"input {name} is {value.dtype} {list(value.shape)}; the model takes "
            f"{expected.dtype} {list(expected.shape)}"
        )
