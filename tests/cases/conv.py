"""Rows for ops/conv.py."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from case import Case, Reject, randn

aten = torch.ops.aten

CONV = {1: aten.conv1d, 2: aten.conv2d, 3: aten.conv3d}
TRANSPOSED = {
    1: aten.conv_transpose1d.default,
    2: aten.conv_transpose2d.input,
    3: aten.conv_transpose3d.input,
}
LAYERS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED_LAYERS = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
SIZES = {1: (9,), 2: (7, 9), 3: (5, 6, 7)}


def _layer(kind, *args, **options):
    torch.manual_seed(0)
    return kind(*args, **options)


OPTIONS = [
    {},
    {"bias": False},
    {"stride": 2, "padding": 1},
    {"dilation": 2, "padding": 2},
    {"groups": 2},
    {"groups": 4, "stride": 3, "padding": 2, "bias": False},
]
TRANSPOSED_OPTIONS = [
    {},
    {"stride": 2, "padding": 1, "output_padding": 1},
    {"stride": 3, "output_padding": 2},  # reaches beyond what the kernel covers
    {"stride": 3, "output_padding": 2, "bias": False},
    {"stride": 2, "groups": 2, "dilation": 2, "padding": 2},
    {"groups": 4, "bias": False},
]


class Core(nn.Module):
    """A convolution in its core form, which other decompositions arrive at."""

    def __init__(self, transposed):
        super().__init__()
        self.weight = nn.Parameter(randn(4, 2, 3, 3))
        self.transposed = transposed

    def forward(self, x):
        extra = [1, 0] if self.transposed else [0, 0]
        return torch.convolution(
            x, self.weight, None, [2, 2], [1, 1], [1, 1], self.transposed, extra, 2
        )


ROWS: list[Case | Reject] = [
    *(
        Case(
            f"conv{n}d {options}",
            _layer(LAYERS[n], 4, 8, 3, **options),
            (randn(2, 4, *SIZES[n]),),
            CONV[n].default,
        )
        for n in (1, 2, 3)
        for options in OPTIONS
    ),
    *(
        Case(
            f"conv{n}d {padding} kernel {kernel}",
            _layer(LAYERS[n], 4, 8, kernel, padding=padding, dilation=dilation),
            (randn(2, 4, *SIZES[n]),),
            CONV[n].padding,
        )
        for n in (1, 2, 3)
        for padding, kernel, dilation in [("same", 3, 1), ("same", 4, 1), ("valid", 2, 2)]
    ),
    *(
        Case(
            f"conv{n}d without batch",
            _layer(LAYERS[n], 4, 8, 3),
            (randn(4, *SIZES[n]),),
            CONV[n].default,
        )
        for n in (1, 2, 3)
    ),
    Case(
        "conv1d of one place, strides and padding, in half",
        lambda x, w: F.conv1d(x.half(), w.half(), stride=3, padding=2),
        (randn(1, 2, 4), randn(3, 2, 1)),
        aten.conv1d.default,
    ),
    Case(
        "conv2d of one place, strides and padding, after others",
        lambda x, w: F.conv2d(torch.relu(x * 2), w, stride=(2, 3), padding=(1, 2), groups=2),
        (randn(1, 2, 4, 5), randn(4, 1, 1, 1)),
        aten.conv2d.default,
    ),
    Case(
        "conv2d uneven",
        _layer(nn.Conv2d, 4, 6, (3, 1), stride=(1, 2), padding=(0, 1), dilation=(2, 1)),
        (randn(1, 4, 7, 9),),
        aten.conv2d.default,
    ),
    Case(
        "conv2d depthwise with multiplier",
        _layer(nn.Conv2d, 4, 8, 3, groups=4, padding=1),
        (randn(1, 4, 6, 6),),
        aten.conv2d.default,
    ),
    Case(
        "conv1d stride, dilation and groups",
        _layer(nn.Conv1d, 16, 4, 6, stride=8, dilation=2, groups=2),
        (randn(2, 16, 11),),
        aten.conv1d.default,
    ),
    Case(
        "conv2d float16",
        _layer(nn.Conv2d, 4, 8, 3).half(),
        (randn(1, 4, 6, 6, dtype=torch.float16),),
        aten.conv2d.default,
        rtol=1e-3,  # fp16 is the dtype of the model
    ),
    *(
        Case(
            f"conv{n}d weight at run time, dilation {dilation}",
            lambda x, w, b, n=n, d=dilation: CONV[n].default(x, w, b, [2] * n, [1] * n, [d] * n, 2),
            (randn(2, 4, *SIZES[n]), randn(6, 2, *[3] * n), randn(6)),
            CONV[n].default,
        )
        for n in (1, 2, 3)
        for dilation in (1, 2)
    ),
    *(
        Case(
            f"conv_transpose{n}d {options}",
            _layer(TRANSPOSED_LAYERS[n], 4, 8, 3, **options),
            (randn(2, 4, *SIZES[n]),),
            TRANSPOSED[n],
        )
        for n in (1, 2, 3)
        for options in TRANSPOSED_OPTIONS
    ),
    *(
        Case(
            f"conv_transpose{n}d weight at run time, groups {groups}",
            lambda x, w, b, n=n, g=groups: TRANSPOSED[n](
                x, w, b, [3] * n, [1] * n, [2] * n, g, [2] * n
            ),
            (randn(1, 4, *SIZES[n]), randn(4, 2, *[3] * n), randn(2 * groups)),
            TRANSPOSED[n],
        )
        for n in (1, 2, 3)
        for groups in (1, 2)
    ),
    Case(
        "conv_transpose2d uneven, without batch",
        _layer(
            nn.ConvTranspose2d, 4, 6, (3, 2), stride=(1, 2), padding=(1, 0), output_padding=(0, 1)
        ),
        (randn(4, 5, 6),),
        aten.conv_transpose2d.input,
    ),
    Case("convolution", Core(False), (randn(1, 4, 5, 6),), aten.convolution.default),
    Case("convolution transposed", Core(True), (randn(1, 4, 5, 6),), aten.convolution.default),
    Reject(
        "conv2d float64",
        F.conv2d,
        (randn(1, 4, 5, 5, dtype=torch.float64), randn(2, 4, 3, 3, dtype=torch.float64)),
        aten.convolution.default,
        "float64",
    ),
]
