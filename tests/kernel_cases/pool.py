"""Pools, against PyTorch and numpy."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from kernel_case import KernelCase, randn


def _windows(
    extent: int, size: int, stride: int, kind: str, pad: tuple[int, int], ceil: bool
) -> tuple[list[range], int]:
    """The positions of each window along one dimension, and where the padding ends."""
    begin, end = pad if kind == "custom" else (0, 0)
    if kind.startswith("same"):
        total = max((-(-extent // stride) - 1) * stride + size - extent, 0)
        begin, end = total // 2, total - total // 2
        if kind == "same_lower":
            begin, end = end, begin
    steps = (extent + begin + end - size) / stride
    count = int(np.ceil(steps) if ceil else np.floor(steps)) + 1
    if ceil and begin + end > 0 and (count - 1) * stride >= extent + begin:
        count -= 1
    starts = (i * stride - begin for i in range(count))
    return [range(s, min(s + size, extent + end)) for s in starts], end


def _reference(
    op: str, x: np.ndarray, sizes: list[int], exclude: bool = False, **a: Any
) -> np.ndarray:
    """Window by window, from the op's documentation."""
    spatial = x.ndim - 2
    strides, pad = a.get("strides", [1] * spatial), a.get("pad", [0] * 2 * spatial)
    dimensions = [
        _windows(
            x.shape[2 + d],
            sizes[d],
            strides[d],
            a["pad_type"],
            (pad[2 * d], pad[2 * d + 1]),
            a.get("ceil_mode", False),
        )[0]
        for d in range(spatial)
    ]
    result = np.zeros((*x.shape[:2], *(len(windows) for windows in dimensions)), np.float64)
    whole = (slice(None), slice(None))
    for place in itertools.product(*(range(len(windows)) for windows in dimensions)):
        window = [dimensions[d][i] for d, i in enumerate(place)]
        inside = tuple(
            slice(max(w.start, 0), min(w.stop, n)) for w, n in zip(window, x.shape[2:], strict=True)
        )
        block = x[whole + inside].astype(np.float64)
        axes = tuple(range(2, x.ndim))
        if op == "max_pool":
            value = block.max(axes)
        elif op == "l2_pool":
            value = np.sqrt((block**2).sum(axes))
        else:
            count = np.prod(block.shape[2:]) if exclude else np.prod([len(w) for w in window])
            value = block.sum(axes) / count
        result[whole + place] = value
    return result.astype(np.float32)


def _pool(
    op: str, case: str, extents: tuple[int, ...], sizes: list[int], **attributes: Any
) -> KernelCase:
    attributes.setdefault("pad_type", "valid")
    target = attributes.pop("target", "iOS18")
    known = dict(attributes)
    exclude = known.pop("exclude_padding_from_average", False)
    return KernelCase(
        f"{op}-{case}",
        op,
        lambda mb, t, x: getattr(mb, op)(x=x, kernel_sizes=sizes, **attributes),
        (randn(*extents),),
        lambda x: _reference(op, x, sizes, exclude, **known),
        target,
    )


def _common(op: str) -> list[KernelCase]:
    rows = [
        _pool(op, "1d", (2, 3, 9), [3], strides=[2]),
        _pool(op, "2d", (2, 3, 7, 8), [2, 3]),
        _pool(op, "2d-strides", (2, 3, 7, 8), [2, 3], strides=[2, 3]),
        _pool(
            op, "custom", (1, 2, 6, 7), [3, 4], strides=[2, 1], pad_type="custom", pad=[1, 0, 2, 1]
        ),
        _pool(op, "ios15", (2, 3, 7, 8), [2, 2], strides=[2, 2], target="iOS15"),
    ]
    for kind, stride in itertools.product(("same", "same_lower"), (1, 2)):
        rows.append(
            _pool(op, f"{kind}-{stride}", (1, 2, 7, 8), [2, 3], strides=[stride] * 2, pad_type=kind)
        )
    # (extent, size, stride, padding): a last window that is partial, whole, and dropped.
    for extent, size, stride, pad in ((7, 2, 2, 0), (6, 3, 2, 1), (6, 2, 3, 1), (5, 3, 2, 1)):
        rows.append(
            _pool(
                op,
                f"ceil-{extent}-{size}-{stride}-{pad}",
                (1, 2, extent, extent + 1),
                [size, size],
                strides=[stride, stride],
                pad_type="custom",
                pad=[pad] * 4,
                ceil_mode=True,
            )
        )
    rows.append(_pool(op, "ceil-1d", (1, 2, 8), [3], strides=[2], ceil_mode=True))
    return rows


def _excluding(case: str, **attributes: Any) -> KernelCase:
    return _pool(
        "avg_pool",
        f"exclude-{case}",
        (1, 2, 6, 7),
        [3, 3],
        strides=[2, 2],
        exclude_padding_from_average=True,
        **attributes,
    )


ROWS = [
    *(row for op in ("max_pool", "avg_pool", "l2_pool") for row in _common(op)),
    *(
        row
        for op in ("max_pool", "avg_pool")
        for row in (
            _pool(op, "3d", (1, 2, 5, 6, 7), [2, 3, 2], strides=[1, 2, 2]),
            _pool(op, "3d-same", (1, 2, 5, 6, 7), [2, 3, 2], strides=[2, 2, 1], pad_type="same"),
        )
    ),
    _pool("avg_pool", "wide", (1, 1, 9, 9), [7, 7], strides=[4, 4], pad_type="custom", pad=[3] * 4),
    _excluding("custom", pad_type="custom", pad=[1, 1, 1, 0]),
    _excluding("same", pad_type="same"),
    _excluding("same-lower", pad_type="same_lower"),
    _excluding("ceil", pad_type="custom", pad=[1, 1, 1, 1], ceil_mode=True),
]
