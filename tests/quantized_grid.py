"""Every scheme times every kind of layer, in a few programs, for tests/test_quantization_grid.py.

What torchao 0.18 itself refuses, so that no such layer can reach a lowering:

============================  ======================================================================
config                        layers of its own weight
============================  ======================================================================
``IntxWeightOnlyConfig``      Linear, Embedding, Conv2d. Conv1d, Conv3d: "only works for 2-d and 4-d
                              Tensors". ConvTranspose2d: no operator for a transposed convolution,
                              and groups run along its outputs
``Int8WeightOnlyConfig``      Linear, Embedding. Convolutions: no operator
``CodebookWeightOnlyConfig``  Linear, Embedding. Convolutions: "only rank 2 tensors are supported"
============================  ======================================================================

PT2E takes all six. :data:`REFUSED` is that table, and a test proves it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import nn
from torchao.prototype.quantization.codebook_coreml import CodebookWeightOnlyConfig
from torchao.quantization import (
    Int8WeightOnlyConfig,
    IntxWeightOnlyConfig,
    MappingType,
    PerAxis,
    PerGroup,
    PerTensor,
    quantize_,
)

from executorch_coreml import Target
from quantized_models import pt2e

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(128, 96),
    "conv1d": lambda: nn.Conv1d(64, 48, 3),
    "conv2d": lambda: nn.Conv2d(32, 40, 3),
    "conv3d": lambda: nn.Conv3d(16, 24, 3),
    "transposed": lambda: nn.ConvTranspose2d(32, 24, 4, stride=2),
    "embedding": lambda: nn.Embedding(64, 128),
}
INPUTS = {
    "linear": (2, 128),
    "conv1d": (1, 64, 6),
    "conv2d": (1, 32, 4, 4),
    "conv3d": (1, 16, 4, 4, 4),
    "transposed": (1, 32, 3, 3),
}
_CHANNEL = {"transposed": 1}  # the axis of output channels; 0 in all others
ALL = tuple(LAYERS)
_RANK_2 = ("linear", "embedding")
_INTX = (*_RANK_2, "conv2d")


def grid_inputs(seed: int) -> tuple[torch.Tensor, ...]:
    """fp16 values, so that fp16 quantizes the same ones; in the order of :data:`LAYERS`."""
    torch.manual_seed(seed)
    floats = [torch.randn(shape).half().float() for shape in INPUTS.values()]
    return (*floats, torch.tensor([3, 0, 63, 17]))


@dataclass(frozen=True)
class GridScheme:
    """A way to quantize, and what the weight takes in a file by its definition.

    Attributes:
        config: torchao's config, or the fields of a ``ModuleLinearQuantizerConfig`` for PT2E.
        kinds: Keys of :data:`LAYERS` that it is for.
        needs: The oldest target that can hold the weights and activations.
        bits: Of one stored integer or index.
        block: Kind, shape of a weight -> the block that has a scale or table of its own.
        zero: Bits of a zero point; None where all are 0.
        table: Values of a table; None where the integers have scales.
    """

    id: str
    config: Any
    kinds: tuple[str, ...]
    needs: Target
    bits: int
    block: Callable[[str, Sequence[int]], Sequence[int]]
    zero: int | None = None
    table: int | None = None

    @property
    def static(self) -> bool:
        return isinstance(self.config, dict) and "activation_dtype" not in self.config

    def oldest(self, kind: str) -> Target:
        """A lookup has no activations to quantize."""
        return Target.iOS16 if self.static and kind == "embedding" else self.needs

    def bytes(self, kind: str, shape: Sequence[int], float_bytes: int) -> float:
        """Of integers, scales, zero points and tables of a weight."""
        blocks = prod(
            extent // size for extent, size in zip(shape, self.block(kind, shape), strict=True)
        )
        integers = prod(shape) * self.bits / 8
        return integers + blocks * ((self.table or 1) * float_bytes + (self.zero or 0) / 8)


def _whole(kind: str, shape: Sequence[int]) -> Sequence[int]:
    return shape


def _per_channel(kind: str, shape: Sequence[int]) -> Sequence[int]:
    channel = _CHANNEL.get(kind, 0)
    return [1 if axis == channel else extent for axis, extent in enumerate(shape)]


def _per_row(kind: str, shape: Sequence[int]) -> Sequence[int]:
    """What torchao calls per axis: of a convolution, each place of the kernel has its own scale."""
    return [1, shape[1], *[1] * (len(shape) - 2)]


def _grouped(size: int) -> Callable[[str, Sequence[int]], Sequence[int]]:
    return lambda kind, shape: [1, size, *[1] * (len(shape) - 2)]


def _blocks(*sizes: int) -> Callable[[str, Sequence[int]], Sequence[int]]:
    return lambda kind, shape: [
        extent if size < 0 else size for extent, size in zip(shape, sizes, strict=True)
    ]


def _pt2e(name: str, needs: Target, bits: int = 8, **config: Any) -> list[GridScheme]:
    """The scheme per channel and per tensor."""
    affine = config.get("quantization_scheme") == "affine"
    zero = bits if affine or needs < Target.iOS18 else None  # 8 bits always have zero points
    return [
        GridScheme(f"{name}_channels", config, ALL, needs, bits, _per_channel, zero),
        GridScheme(
            f"{name}_tensor",
            {**config, "weight_per_channel": False},
            ALL,
            needs,
            bits,
            _whole,
            zero,
        ),
    ]


SYMMETRIC, ASYMMETRIC = MappingType.SYMMETRIC, MappingType.ASYMMETRIC


def _intx(
    bits: int,
    group: int | None,
    mapping: Any = SYMMETRIC,
    kinds: tuple[str, ...] = (*_RANK_2, "conv2d"),
) -> GridScheme:
    """``group`` None is per axis. One scale per channel in 8 bits always comes with zero points."""
    old = group is None and bits == 8 and "conv2d" not in kinds
    granularity = PerAxis(0) if group is None else PerGroup(group)
    name = f"int{bits}_{'axis' if group is None else f'group{group}'}"
    return GridScheme(
        name + "_asymmetric" * (mapping is ASYMMETRIC),
        IntxWeightOnlyConfig(getattr(torch, f"int{bits}"), granularity, mapping),
        kinds,
        Target.iOS16 if old else Target.iOS18,
        bits,
        _per_row if group is None else _grouped(group),
        bits if mapping is ASYMMETRIC or old else None,
    )


def _palette(bits: int, *sizes: int) -> GridScheme:
    stored = {5: 6, 7: 8}.get(bits, bits)
    one = sizes == (-1, -1)
    return GridScheme(
        f"palette{bits}" + "".join(f"_{'all' if size < 0 else size}" for size in sizes) * (not one),
        CodebookWeightOnlyConfig(getattr(torch, f"uint{bits}"), list(sizes)),
        _RANK_2,
        Target.iOS16 if one and bits != 3 else Target.iOS18,
        stored,
        _blocks(*sizes),
        table=2**stored,
    )


WEIGHTS_ONLY = {"activation_dtype": "float32"}
AFFINE = {"quantization_scheme": "affine"}
GROUPS: dict[str, list[GridScheme]] = {
    "static": [
        *_pt2e("static_symmetric", Target.iOS17),
        *_pt2e("static_affine", Target.iOS17, **AFFINE),
    ],
    "weights8": [
        *_pt2e("weights_symmetric", Target.iOS16, **WEIGHTS_ONLY),
        *_pt2e("weights_affine", Target.iOS16, **WEIGHTS_ONLY, **AFFINE),
    ],
    "weights4": [
        *_pt2e("weights4_symmetric", Target.iOS18, 4, **WEIGHTS_ONLY, weight_dtype="qint4"),
        *_pt2e("weights4_affine", Target.iOS18, 4, **WEIGHTS_ONLY, **AFFINE, weight_dtype="quint4"),
    ],
    "torchao_old": [
        _intx(8, None, kinds=_RANK_2),
        _intx(8, None, ASYMMETRIC, _RANK_2),
        GridScheme("int8_rows", Int8WeightOnlyConfig(), _RANK_2, Target.iOS16, 8, _per_channel),
        GridScheme(
            "int8_whole",
            Int8WeightOnlyConfig(granularity=PerTensor()),
            _RANK_2,
            Target.iOS16,
            8,
            _whole,
        ),
        *[_palette(bits, -1, -1) for bits in (1, 2, 4, 5, 6, 7, 8)],
    ],
    "torchao_new": [
        _intx(8, None, kinds=("conv2d",)),
        _intx(8, None, ASYMMETRIC, ("conv2d",)),
        _intx(8, 32),
        _intx(8, 32, ASYMMETRIC),
        _intx(4, None),
        _intx(4, 32),
        _intx(4, 16, ASYMMETRIC),
        _palette(3, -1, -1),
        _palette(1, -1, 16),
        _palette(2, 8, -1),
        _palette(3, 32, -1),
        _palette(4, -1, 32),
        _palette(5, -1, 64),
        _palette(6, 32, -1),
        _palette(7, 32, -1),
        _palette(8, -1, 64),
    ],
}
REFUSED = [
    (IntxWeightOnlyConfig(torch.int8, PerAxis(0)), "conv1d", ValueError, "2-d and 4-d"),
    (IntxWeightOnlyConfig(torch.int4, PerAxis(0)), "conv3d", ValueError, "2-d and 4-d"),
    (IntxWeightOnlyConfig(torch.int8, PerAxis(0)), "transposed", NotImplementedError, "convolu"),
    *[
        (Int8WeightOnlyConfig(), kind, NotImplementedError, "aten.convolution")
        for kind in ("conv1d", "conv2d", "conv3d", "transposed")
    ],
    *[
        (CodebookWeightOnlyConfig(torch.uint4, [-1, -1]), kind, AssertionError, "rank 2")
        for kind in ("conv1d", "conv2d", "conv3d", "transposed")
    ],
]


class Grid(nn.Module):
    """A layer ``<kind>_<scheme>`` of every kind for every scheme of a group."""

    def __init__(self, schemes: Sequence[GridScheme]):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleDict(
            {f"{kind}_{s.id}": LAYERS[kind]() for s in schemes for kind in s.kinds}
        )

    def forward(self, *inputs: torch.Tensor) -> list[torch.Tensor]:
        given = dict(zip(LAYERS, inputs, strict=True))
        return [layer(given[name.partition("_")[0]]) for name, layer in self.layers.items()]


def quantized(schemes: Sequence[GridScheme], inputs: tuple[torch.Tensor, ...]) -> nn.Module:
    """The grid after PT2E, or after torchao's ``quantize_``."""
    grid = Grid(schemes).eval()
    configs = {f"{kind}_{scheme.id}": scheme.config for scheme in schemes for kind in scheme.kinds}
    if all(isinstance(config, dict) for config in configs.values()):
        named = {f"layers.{name}": config for name, config in configs.items()}
        return pt2e(grid, inputs, {"module_name_configs": named})
    for name, config in configs.items():
        quantize_(grid.layers[name], config, filter_fn=lambda module, _: hasattr(module, "weight"))
    return grid


def layers_of(schemes: Sequence[GridScheme]) -> list[tuple[str, GridScheme, tuple[int, ...]]]:
    """(kind, scheme, shape of the weight) in the order of the grid's results."""
    shapes = {kind: tuple(make().weight.shape) for kind, make in LAYERS.items()}
    return [(kind, scheme, shapes[kind]) for scheme in schemes for kind in scheme.kinds]
