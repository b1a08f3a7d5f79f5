"""Programs lowered by ExecuTorch's own Core ML backend: inputs for our runtime made by others.

A script, because that backend and ours must not meet in one process: ExecuTorch finds backends by
name, and both are called "CoreMLBackend".

    python tests/stock_models.py DIRECTORY     writes DIRECTORY/<name>.pte for every model below

``DIRECTORY/architectures`` gets whole models, ``DIRECTORY/helpers.json`` the arguments of each
compile-spec helper of that backend.
"""

from __future__ import annotations

import gc
import inspect
import json
import sys
from pathlib import Path
from typing import Any

import coremltools as ct
import torch
from executorch.backends.apple.coreml.compiler import CoreMLBackend
from executorch.backends.apple.coreml.partition import CoreMLPartitioner
from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower
from torch import Tensor, nn

from composite_ops import collect_once


class Add(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class Compare(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x > y


class Invert(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.logical_not(x)


class LinearRelu(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 4)
        with torch.no_grad():
            self.linear.weight.copy_(torch.linspace(-1, 1, 32).reshape(4, 8))
            self.linear.bias.copy_(torch.tensor([0.5, -0.25, 0.125, 1.0]))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.linear(x))


class AddThenSubtract(nn.Module):
    """Loses in fp16 what float32 keeps."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return (x + y) - y


class CumsumThenAdd(nn.Module):
    """A portable kernel first, then the delegate: the delegate is not instruction 0."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cumsum(x, 0) + x


class TwoDelegates(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(torch.cumsum(torch.sigmoid(x), 0))


class Counter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        self.total.add_(x)
        return self.total * 1.0


def lower(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    *,
    dynamic_shapes: Any = None,
    precision: ct.precision = ct.precision.FLOAT32,
    skip: tuple[str, ...] = (),
) -> bytes:
    """The bytes of a ``.pte``, as a user of the stock backend makes them."""
    specs = CoreMLBackend.generate_compile_specs(
        compute_precision=precision, minimum_deployment_target=ct.target.iOS18
    )
    partitioner = CoreMLPartitioner(
        compile_specs=specs,
        skip_ops_for_coreml_delegation=list(skip),
        take_over_mutable_buffer=True,
    )
    program = torch.export.export(module.eval(), inputs, dynamic_shapes=dynamic_shapes)
    config = EdgeCompileConfig(_skip_dim_order=True)
    edge = to_edge_transform_and_lower(program, partitioner=[partitioner], compile_config=config)
    return bytes(edge.to_executorch().buffer)


def lower_methods(module: nn.Module, methods: dict[str, tuple[Tensor, ...]]) -> bytes:
    """One program of several methods that share the weights of one multifunction model."""
    specs = CoreMLBackend.generate_compile_specs(
        compute_precision=ct.precision.FLOAT32, minimum_deployment_target=ct.target.iOS18
    )
    edge = to_edge_transform_and_lower(
        {name: torch.export.export(module.eval(), inputs) for name, inputs in methods.items()},
        partitioner={name: [CoreMLPartitioner(compile_specs=specs)] for name in methods},
        compile_config=EdgeCompileConfig(_skip_dim_order=True),
    )
    return bytes(edge.to_executorch().buffer)


def lower_whole(module: nn.Module, inputs: tuple[Tensor, ...]) -> bytes:
    """With that backend's defaults: fp16."""
    program = torch.export.export(module, inputs, strict=False)
    edge = to_edge_transform_and_lower(program, partitioner=[CoreMLPartitioner()])
    return bytes(edge.to_executorch().buffer)


CUMSUM = ("aten.cumsum.default",)


def models() -> dict[str, bytes]:
    floats, more = torch.randn(3, 4), torch.randn(3, 4)  # torch.export unifies equal inputs
    longs, ones = torch.arange(5), torch.ones(5, dtype=torch.int64)
    rows = {0: torch.export.Dim("rows", min=1, max=16)}
    return {
        "add_fp32": lower(Add(), (floats, more)),
        "add_fp16": lower(Add(), (floats.half(), more.half()), precision=ct.precision.FLOAT16),
        "add_int32": lower(Add(), (floats.int(), more.int())),
        "add_int64": lower(Add(), (longs, ones)),
        "add_rank0": lower(Add(), (torch.tensor(1.5), torch.tensor(2.25))),
        "compare": lower(Compare(), (floats, more)),
        "invert": lower(Invert(), (floats > 0,)),
        "linear_relu": lower(LinearRelu(), (torch.randn(2, 8),)),
        "add_subtract": lower(AddThenSubtract(), (floats, more), precision=ct.precision.FLOAT16),
        "dynamic": lower(LinearRelu(), (torch.randn(5, 8),), dynamic_shapes=(rows,)),
        "cumsum_add": lower(CumsumThenAdd(), (longs,), skip=CUMSUM),
        "two_delegates": lower(TwoDelegates(), (floats,), skip=CUMSUM),
        "counter": lower(Counter(), (torch.ones(4),)),
        "methods": lower_methods(
            LinearRelu(), {"prefill": (torch.randn(6, 8),), "decode": (torch.randn(1, 8),)}
        ),
    }


def architectures() -> dict[str, bytes]:
    sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
    from stock_architectures import MODELS, build

    return {name: lower_whole(*build(name)) for name in MODELS}


def helpers() -> dict[str, list[str]]:
    """Name of each compile-spec helper -> its arguments."""
    return {
        name: list(inspect.signature(function).parameters)
        for name, function in inspect.getmembers(CoreMLBackend, inspect.isfunction)
        if name.startswith("generate_") or name.endswith("_from_compile_specs")
    }


if __name__ == "__main__":
    collect_once(setattr)
    gc.freeze()  # coremltools collects garbage in every conversion
    directory = Path(sys.argv[1])
    (directory / "helpers.json").write_text(json.dumps(helpers()))
    (directory / "architectures").mkdir()
    for path, programs in ((directory, models()), (directory / "architectures", architectures())):
        for name, data in programs.items():
            (path / f"{name}.pte").write_bytes(data)
