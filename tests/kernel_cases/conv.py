"""conv and conv_transpose, against PyTorch.

The reference of a transposed convolution is its definition: the gradient of the convolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from kernel_case import KernelCase, randn

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def _weight(*extents: int) -> np.ndarray:
    """fp16 numbers, so that both runs have the same weight."""
    return randn(*extents, scale=0.5).astype(np.float16).astype(np.float32)


def _forward(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None, **a: Any
) -> torch.Tensor:
    """``conv`` on PyTorch, from the attributes of the MIL op."""
    spatial = x.dim() - 2
    stride = a.get("strides", [1] * spatial)
    dilation = a.get("dilations", [1] * spatial)
    kind = a.get("pad_type", "valid")
    if kind == "same_lower":  # the mirror image of same
        axes = list(range(2, x.dim()))
        mirrored = {**a, "pad_type": "same"}
        return _forward(x.flip(axes), weight.flip(axes), bias, **mirrored).flip(axes)
    pad = list(a["pad"]) if kind == "custom" else [0] * 2 * spatial
    if kind == "same":
        for d in range(spatial):
            extent, reach = x.shape[2 + d], (weight.shape[2 + d] - 1) * dilation[d] + 1
            total = max((-(-extent // stride[d]) - 1) * stride[d] + reach - extent, 0)
            pad[2 * d : 2 * d + 2] = [total // 2, total - total // 2]
    last_first = [p for d in reversed(range(spatial)) for p in pad[2 * d : 2 * d + 2]]
    padded = F.pad(x, last_first)
    return CONV[spatial](padded, weight, bias, stride, 0, dilation, a.get("groups", 1))


def _conv(
    case: str,
    x: Sequence[int],
    weight: Sequence[int],
    bias: bool = False,
    target: str = "iOS18",
    **attributes: Any,
) -> KernelCase:
    w = _weight(*weight)
    b = _weight(weight[0]) if bias else None

    def build(mb: Any, t: Any, x: Any) -> Any:
        optional = {"bias": t(b)} if bias else {}
        return mb.conv(x=x, weight=t(w), **optional, **attributes)

    def expect(x: np.ndarray) -> np.ndarray:
        offset = None if b is None else torch.tensor(b)
        return _forward(torch.tensor(x), torch.tensor(w), offset, **attributes).numpy()

    return KernelCase(f"conv-{case}", "conv", build, (randn(*x),), expect, target, atol=2e-5)


def _transposed(
    case: str, x: Sequence[int], weight: Sequence[int], bias: bool = False, **attributes: Any
) -> KernelCase:
    w = _weight(*weight)
    channels = weight[1] * attributes.get("groups", 1)
    b = _weight(channels) if bias else None

    def build(mb: Any, t: Any, x: Any) -> Any:
        optional = {"bias": t(b)} if bias else {}
        return mb.conv_transpose(x=x, weight=t(w), **optional, **attributes)

    def expect(x: np.ndarray) -> np.ndarray:
        result = _gradient(torch.tensor(x), torch.tensor(w), channels, **attributes)
        spread = [1, -1] + [1] * (x.ndim - 2)
        return result.numpy() + (0 if b is None else b.reshape(spread))

    return KernelCase(
        f"conv_transpose-{case}", "conv_transpose", build, (randn(*x),), expect, atol=2e-5
    )


def _gradient(x: torch.Tensor, weight: torch.Tensor, channels: int, **a: Any) -> torch.Tensor:
    spatial = x.dim() - 2
    stride, dilation = a.get("strides", [1] * spatial), a.get("dilations", [1] * spatial)
    kind, shape = a.get("pad_type", "valid"), a.get("output_shape")
    reach = [(weight.shape[2 + d] - 1) * dilation[d] + 1 for d in range(spatial)]
    full = [stride[d] * (x.shape[2 + d] - 1) + reach[d] for d in range(spatial)]
    pad = list(a.get("pad", [0] * 2 * spatial))
    if kind == "same":
        extents = [stride[d] * x.shape[2 + d] for d in range(spatial)]
    else:
        extents = [full[d] - pad[2 * d] - pad[2 * d + 1] for d in range(spatial)]
    extents = extents if shape is None else list(shape[2:])
    if kind != "same":  # the end padding that makes the forward result as long as x
        pad[1::2] = [full[d] - pad[2 * d] - extents[d] for d in range(spatial)]
    forward = {"strides": stride, "dilations": dilation, "groups": a.get("groups", 1)}
    forward |= {"pad_type": "same"} if kind == "same" else {"pad_type": "custom", "pad": pad}
    start = torch.zeros(x.shape[0], channels, *extents)
    _, gradient = torch.autograd.functional.vjp(lambda z: _forward(z, weight, **forward), start, x)
    return gradient


def _computed(op: str, case: str, x: Sequence[int], weight: Sequence[int], **a: Any) -> KernelCase:
    """The weight is an input too."""
    channels = weight[1] * a.get("groups", 1)

    def expect(x: np.ndarray, w: np.ndarray) -> np.ndarray:
        tensors = torch.tensor(x), torch.tensor(w)
        if op == "conv":
            return _forward(*tensors, **a).numpy()
        return _gradient(*tensors, channels, **a).numpy()

    return KernelCase(
        f"{op}-{case}",
        op,
        lambda mb, t, x, w: getattr(mb, op)(x=x, weight=w, **a),
        (randn(*x), randn(*weight, scale=0.5)),
        expect,
        atol=2e-5,
    )


def _quantized(case: str, per_channel: bool, nbits: int) -> KernelCase:
    rng = np.random.default_rng(nbits)
    codes = rng.integers(0, 2**nbits, (4, 3, 3, 2), np.uint8)
    scale = _weight(4) if per_channel else np.float32(0.25)
    shift = -8 * scale

    def build(mb: Any, t: Any, x: Any) -> Any:
        return mb.conv_quantized(
            x=x,
            weight=codes,
            quantization_type="linear",
            nbits=nbits,
            quant_scale=t(scale),
            quant_bias=t(shift),
            strides=[2, 1],
            pad_type="valid",
        )

    def expect(x: np.ndarray) -> Any:
        spread = (-1, 1, 1, 1)
        weight = codes * scale.reshape(spread) + shift.reshape(spread)
        return F.conv2d(torch.from_numpy(x), torch.from_numpy(weight), stride=(2, 1)).numpy()

    return KernelCase(case, "conv_quantized", build, (randn(2, 3, 7, 5),), expect=expect, rtol=1e-4)


def _behind_a_pad(groups: int) -> KernelCase:
    weight = _weight(4, 2, 2)

    def build(mb: Any, t: Any, x: Any) -> Any:
        padded = mb.pad(x=x, pad=[0, 0, 0, 0, 1, 2], mode="constant", constant_val=t(0))
        return mb.conv_transpose(x=padded, weight=t(weight), strides=[3], groups=groups)

    def expect(x: np.ndarray) -> np.ndarray:
        padded = F.pad(torch.tensor(x), (1, 2))
        made = F.conv_transpose1d(padded, torch.tensor(weight), stride=3, groups=groups)
        return made.numpy()

    return KernelCase(
        f"conv_transpose-behind-a-pad-{groups}",
        "conv_transpose",
        build,
        (randn(1, 4, 5),),
        expect,
        atol=1e-5,
    )


ROWS = [
    _behind_a_pad(1),
    _behind_a_pad(2),
    _quantized("quantized", False, 8),
    _quantized("quantized-per-channel", True, 4),
    _conv("1d", (2, 3, 9), (4, 3, 3), bias=True),
    _conv(
        "1d-groups-stride-dilation", (2, 16, 11), (4, 8, 2), strides=[8], dilations=[2], groups=2
    ),
    _conv("2d", (2, 3, 8, 9), (4, 3, 3, 2), bias=True),
    _conv("2d-strides", (1, 3, 8, 9), (4, 3, 3, 2), strides=[2, 3]),
    _conv("2d-dilations", (1, 3, 9, 9), (4, 3, 3, 2), dilations=[2, 3], bias=True),
    _conv("2d-groups", (2, 6, 5, 5), (4, 3, 3, 3), groups=2, bias=True),
    _conv("2d-depthwise", (2, 4, 6, 5), (8, 1, 3, 3), groups=4, bias=True),
    _conv("2d-pointwise", (2, 4, 6, 5), (8, 4, 1, 1), bias=True),
    _conv("2d-custom", (2, 3, 6, 5), (4, 3, 3, 3), pad_type="custom", pad=[1, 2, 0, 3]),
    _conv("3d", (1, 2, 5, 6, 7), (3, 2, 2, 3, 3), bias=True),
    _conv(
        "3d-groups-custom",
        (2, 4, 4, 5, 6),
        (4, 2, 2, 3, 1),
        strides=[1, 2, 1],
        groups=2,
        pad_type="custom",
        pad=[1, 0, 1, 1, 0, 2],
    ),
    *(
        _conv(
            f"{kind}-{d}d-stride-{stride}",
            (1, 2, *(7, 8, 6)[:d]),
            (3, 2, *(2, 4, 3)[:d]),
            pad_type=kind,
            strides=[stride] * d,
        )
        for kind in ("same", "same_lower")
        for d in (1, 2, 3)
        for stride in (1, 2)
    ),
    _conv("same-dilation", (1, 2, 9, 9), (3, 2, 2, 3), pad_type="same", dilations=[3, 2]),
    _conv("ios15", (1, 2, 5, 6), (3, 2, 3, 3), bias=True, target="iOS15"),
    _computed("conv", "computed-weight", (2, 3, 6, 6), (4, 3, 3, 3)),
    _computed("conv", "computed-weight-groups", (2, 4, 6), (6, 2, 3), groups=2),
    _transposed("1d", (2, 3, 6), (3, 4, 3), bias=True),
    _transposed("2d", (2, 3, 4, 5), (3, 4, 3, 2), bias=True, strides=[2, 3]),
    _transposed("2d-dilations", (1, 3, 4, 5), (3, 4, 3, 2), strides=[2, 1], dilations=[2, 3]),
    _transposed("2d-groups", (1, 4, 4, 5), (4, 3, 3, 2), bias=True, strides=[2, 2], groups=2),
    _transposed("2d-depthwise", (1, 4, 4, 5), (4, 1, 4, 4), strides=[2, 2], groups=4),
    _transposed(
        "2d-custom", (1, 3, 5, 5), (3, 4, 4, 3), strides=[2, 2], pad_type="custom", pad=[1, 2, 0, 1]
    ),
    _transposed("3d", (1, 2, 3, 4, 3), (2, 3, 2, 3, 2), bias=True, strides=[2, 1, 2]),
    _transposed(
        "3d-groups-custom",
        (2, 4, 3, 4, 3),
        (4, 1, 3, 3, 2),
        groups=2,
        strides=[2, 2, 1],
        pad_type="custom",
        pad=[1, 1, 0, 1, 0, 0],
    ),
    _transposed("same", (1, 2, 4, 5), (2, 3, 4, 3), strides=[2, 2], pad_type="same"),
    _transposed("same-short-kernel", (1, 2, 4), (2, 3, 2), strides=[3], pad_type="same"),
    _transposed(
        "same-output-shape",
        (1, 2, 4, 5),
        (2, 3, 3, 3),
        strides=[2, 3],
        pad_type="same",
        output_shape=[1, 3, 7, 13],
    ),
    _transposed(
        "valid-output-shape",
        (1, 2, 4, 5),
        (2, 3, 3, 2),
        bias=True,
        strides=[2, 2],
        output_shape=[1, 3, 10, 10],
    ),
    _transposed(
        "custom-output-shape",
        (1, 2, 10, 12),
        (2, 3, 3, 3),
        strides=[2, 1],
        pad_type="custom",
        pad=[1, 1, 2, 2],
        output_shape=[1, 3, 20, 10],
    ),
    _computed("conv_transpose", "computed-weight", (1, 3, 4, 5), (3, 4, 3, 3), strides=[2, 2]),
]
