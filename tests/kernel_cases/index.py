"""Slices, gathers, scatters and sorting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kernel_case import KernelCase, ints, randn

X = randn(4, 5, 6)
NO_FLOATS = {"half": False, "why": "integers only"}


def _slice(case: str, **arguments: Any) -> KernelCase:
    return KernelCase(
        f"slice_by_index-{case}",
        "slice_by_index",
        lambda mb, t, x: mb.slice_by_index(x=x, **arguments),
        (X,),
    )


def _computed_slice(case: str, begin: list[int], end: list[int], **arguments: Any) -> KernelCase:
    """The same with bounds that are inputs, against the constant ones."""
    constant = KernelCase(
        case,
        "slice_by_index",
        lambda mb, t, x: mb.slice_by_index(x=x, begin=begin, end=end, **arguments),
        (X,),
    )
    return KernelCase(
        f"slice_by_index-computed-{case}",
        "slice_by_index",
        lambda mb, t, x, b, e: mb.slice_by_index(x=x, begin=b, end=e, **arguments),
        (X, ints(*begin), ints(*end)),
        lambda x, b, e: _sliced(x, b, e, **arguments),
        constant.target,
    )


def _where(
    rank: int,
    begin: Any,
    end: Any,
    stride: Any = None,
    begin_mask: Any = None,
    end_mask: Any = None,
    squeeze_mask: Any = None,
) -> tuple[Any, ...]:
    """The numpy index that the docstring of slice_by_index describes."""
    off = [False] * rank
    rows = zip(
        begin,
        end,
        stride or [1] * rank,
        begin_mask or off,
        end_mask or off,
        squeeze_mask or off,
        strict=True,
    )
    return tuple(
        int(b) if squeezed else slice(None if bm else b, None if em else e, s)
        for b, e, s, bm, em, squeezed in rows
    )


def _sliced(x: np.ndarray, begin: Any, end: Any, **arguments: Any) -> np.ndarray:
    return x[_where(x.ndim, begin, end, **arguments)]


def _update(
    case: str, update: np.ndarray, begin: list[int], end: list[int], **arguments: Any
) -> list[KernelCase]:
    def expect(x: np.ndarray, new: np.ndarray, *_: Any) -> np.ndarray:
        result = x.copy()
        result[_where(x.ndim, begin, end, **arguments)] = new
        return result

    return [
        KernelCase(
            f"slice_update-{case}",
            "slice_update",
            lambda mb, t, x, u: mb.slice_update(x=x, update=u, begin=begin, end=end, **arguments),
            (X, update),
            expect,
        ),
        KernelCase(
            f"slice_update-computed-{case}",
            "slice_update",
            lambda mb, t, x, u, b, e: mb.slice_update(x=x, update=u, begin=b, end=e, **arguments),
            (X, update, ints(*begin), ints(*end)),
            expect,
        ),
    ]


def _gather(op: str, case: str, indices: np.ndarray, target: str, **arguments: Any) -> KernelCase:
    return KernelCase(
        f"{op}-{case}",
        op,
        lambda mb, t, x, i: getattr(mb, op)(x=x, indices=i, **arguments),
        (X, indices),
        None,
        target,
    )


def _gather_nd(x: np.ndarray, indices: np.ndarray) -> np.ndarray:
    return x[tuple(np.moveaxis(indices, -1, 0))]


_COMBINE: dict[str, Callable[[Any, Any], Any]] = {
    "update": lambda old, new: new,
    "add": lambda old, new: old + new,
    "sub": lambda old, new: old - new,
    "mul": lambda old, new: old * new,
    "div": lambda old, new: old / new,
    "max": max,
    "min": min,
}
# Every mode meets a repeated index but "update", where the result would depend on the order.
DATA, REPEATED, DISTINCT = randn(4, 5), [2, 0, 2, -1], [2, 0, -3, -1]


def _scatter(mode: str, axis: int) -> KernelCase:
    indices = ints(*(DISTINCT if mode == "update" else REPEATED))
    shape = (4, 5) if axis == 0 else (4, 4)

    def expect(data: np.ndarray, indices: np.ndarray, updates: np.ndarray) -> np.ndarray:
        result = np.moveaxis(data.copy(), axis, 0)
        for index, update in zip(indices, np.moveaxis(updates, axis, 0), strict=True):
            for place, value in enumerate(update):
                result[index, place] = _COMBINE[mode](result[index, place], value)
        return np.moveaxis(result, 0, axis)

    return KernelCase(
        f"scatter-{mode}-{axis}",
        "scatter",
        lambda mb, t, d, i, u: mb.scatter(data=d, indices=i, updates=u, axis=axis, mode=mode),
        (DATA, indices, randn(*shape)),
        expect,
        "iOS15" if mode == "update" else "iOS18",
    )


def _scatter_along_axis(mode: str) -> KernelCase:
    rows = [DISTINCT if mode == "update" else REPEATED] * 4
    indices = ints(*[row[i:] + row[:i] for i, row in enumerate(rows)])

    def expect(data: np.ndarray, indices: np.ndarray, updates: np.ndarray) -> np.ndarray:
        result = data.copy()
        for (row, column), update in np.ndenumerate(updates):
            at = row, indices[row, column]
            result[at] = _COMBINE[mode](result[at], update)
        return result

    return KernelCase(
        f"scatter_along_axis-{mode}",
        "scatter_along_axis",
        lambda mb, t, d, i, u: mb.scatter_along_axis(
            data=d, indices=i, updates=u, axis=-1, mode=mode
        ),
        (DATA, indices, randn(4, 4)),
        expect,
    )


def _scatter_nd(mode: str) -> KernelCase:
    rows = [[2, 0], [0, 1], [1, 4]] if mode == "update" else [[2, 0], [0, 1], [2, 0]]

    def expect(data: np.ndarray, indices: np.ndarray, updates: np.ndarray) -> np.ndarray:
        result = data.copy()
        for index, update in zip(indices, updates, strict=True):
            result[tuple(index)] = [
                _COMBINE[mode](a, b) for a, b in zip(result[tuple(index)], update, strict=True)
            ]
        return result

    return KernelCase(
        f"scatter_nd-{mode}",
        "scatter_nd",
        lambda mb, t, d, i, u: mb.scatter_nd(data=d, indices=i, updates=u, mode=mode),
        (X, ints(*rows), randn(3, 6)),
        expect,
    )


TIES = np.float32([[1, 3, 3, 2, -1], [0, 0, -1, -1, 5]])


def _topk(case: str, **arguments: Any) -> KernelCase:
    ascending, k = arguments.get("ascending", False), arguments.get("k", 1)

    def expect(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        order = np.argsort(x if ascending else -x, -1, kind="stable")
        order = order if k == -1 else order[:, :k]
        return np.take_along_axis(x, order, -1), order

    return KernelCase(
        f"topk-{case}", "topk", lambda mb, t, x: mb.topk(x=x, **arguments), (TIES,), expect
    )


ROWS = [
    _slice("plain", begin=[1, 0, 2], end=[3, 5, 6]),
    _slice("negative", begin=[-3, 0, -4], end=[-1, -2, 6]),
    _slice("stride", begin=[0, 1, 0], end=[4, 5, 6], stride=[2, 3, 1]),
    _slice("backward", begin=[3, 4, 5], end=[0, 1, 0], stride=[-1, -2, -3]),
    _slice(
        "masks",
        begin=[1, 1, 9],
        end=[1, 4, 9],
        begin_mask=[True, False, True],
        end_mask=[True, False, True],
    ),
    _slice(
        "backward-masks",
        begin=[0, 0, 0],
        end=[0, 0, 0],
        stride=[-1, 1, -2],
        begin_mask=[True] * 3,
        end_mask=[True] * 3,
    ),
    _slice(
        "squeeze",
        begin=[-1, 0, 2],
        end=[0, 3, 0],
        squeeze_mask=[True, False, True],
    ),
    _slice("beyond", begin=[0, 0, 3], end=[4, 100, 100]),
    _computed_slice("plain", [1, 0, 2], [3, 5, 6]),
    _computed_slice("negative", [-3, 0, -4], [-1, -2, 6]),
    _computed_slice("squeeze", [-1, 1, 2], [0, 3, 0], squeeze_mask=[True, False, True]),
    _computed_slice(
        "masks",
        [1, 2, 0],
        [3, 0, 4],
        begin_mask=[False, False, True],
        end_mask=[False, True, False],
    ),
    KernelCase(
        "slice_by_size",
        "slice_by_size",
        lambda mb, t, x: mb.slice_by_size(x=x, begin=[1, -3, 0], size=[2, 3, -1]),
        (X,),
    ),
    KernelCase(
        "slice_by_size-computed",
        "slice_by_size",
        lambda mb, t, x, b: mb.slice_by_size(x=x, begin=b, size=[2, 2, 6]),
        (X, ints(1, -2, 0)),
        lambda x, b: x[1:3, 3:5],
    ),
    *_update(
        "one-axis",
        randn(4, 2, 6),
        [0, 2, 0],
        [4, 4, 6],
        begin_mask=[True, False, True],
        end_mask=[True, False, True],
    ),
    *_update("two-axes", randn(2, 5, 3), [1, 0, 3], [3, 5, 6]),
    *_update("negative", randn(2, 5, 2), [-2, 0, -3], [4, 5, -1]),
    *_update("stride", randn(2, 5, 3), [0, 0, 1], [4, 5, 6], stride=[2, 1, 2]),
    *_update("squeeze", randn(5, 6), [2, 0, 0], [0, 5, 6], squeeze_mask=[True, False, False]),
    *_update("everything", X + 1, [0, 0, 0], [4, 5, 6]),
    _gather("gather", "scalar-axis", ints(2, 0), "iOS15", axis=1),
    _gather("gather", "negative", ints([-1, 0], [1, -2]), "iOS15", axis=0),
    _gather("gather", "batch", ints([0, 1], [5, 2], [3, 3], [1, 0]), "iOS16", axis=2, batch_dims=1),
    _gather("gather", "validated", ints(4, 0), "iOS17", axis=-2, validate_indices=True),
    _gather(
        "gather_along_axis", "negative", np.tile(ints([[-1], [0]]), (4, 1, 6)), "iOS15", axis=1
    ),
    _gather("gather_along_axis", "first", np.tile(ints([[3]]), (1, 5, 6)), "iOS17", axis=0),
    KernelCase(
        "gather-batch-of-one",
        "gather",
        lambda mb, t, x, i: mb.gather(x=x, indices=i, axis=1, batch_dims=1),
        (randn(1, 6, 4), ints([4, 0, 1])),
        lambda x, i: x[:, i[0]],
        "iOS16",
    ),
    KernelCase(
        "gather_nd-batch-of-one",
        "gather_nd",
        lambda mb, t, x, i: mb.gather_nd(x=x, indices=i, batch_dims=1),
        (randn(1, 6, 4), ints([[4], [0], [1]])),
        lambda x, i: x[:, i[0, :, 0]],
        "iOS16",
    ),
    KernelCase(
        "gather_nd",
        "gather_nd",
        lambda mb, t, x, i: mb.gather_nd(x=x, indices=i),
        (X, ints([[3, 4], [0, 1]], [[-1, -2], [2, 2]])),
        _gather_nd,
        "iOS15",
    ),
    KernelCase(
        "gather_nd-batch",
        "gather_nd",
        lambda mb, t, x, i: mb.gather_nd(x=x, indices=i, batch_dims=1),
        (X, ints([1], [0], [4], [2])),
        lambda x, i: x[np.arange(4), i[:, 0]],
        "iOS16",
    ),
    *(_scatter(mode, axis) for mode in _COMBINE for axis in (0, 1)),
    *(_scatter_along_axis(mode) for mode in _COMBINE),
    *(_scatter_nd(mode) for mode in _COMBINE),
    KernelCase(
        "scatter_nd-int",
        "scatter_nd",
        lambda mb, t, d, i, u: mb.scatter_nd(data=d, indices=i, updates=u, mode="add"),
        (ints(1, 2, 3), ints([0], [0]), ints(10, 100)),
        lambda d, i, u: ints(111, 2, 3),
        **NO_FLOATS,
    ),
    _topk("default"),
    _topk("k", k=3),
    _topk("ascending", k=4, ascending=True),
    KernelCase(
        "topk-values-only",
        "topk",
        lambda mb, t, x: mb.topk(x=x, k=2, axis=0, return_indices=False),
        (X,),
        lambda x: np.sort(x, 0)[::-1][:2],
    ),
    *(
        KernelCase(
            f"argsort-{ascending}",
            "argsort",
            lambda mb, t, x, ascending=ascending: mb.argsort(x=x, axis=1, ascending=ascending),
            (X,),
            lambda x, ascending=ascending: np.argsort(x if ascending else -x, 1, kind="stable"),
        )
        for ascending in (False, True)
    ),
    *(
        KernelCase(f"non_zero-{name}", "non_zero", lambda mb, t, x: mb.non_zero(x=x), (x,))
        for name, x in (
            ("float", np.float32([[1, 0], [0, -2]])),
            ("nan", np.float32([np.nan, -0.0, 0, np.inf])),
            ("int", np.int32([[[0, 3, 0], [-1, 0, 2**31 - 1]]])),
            ("bool", np.array([[True, False], [True, True]])),
            ("none", np.zeros((2, 3), np.float32)),
            ("all", np.ones((2, 2, 2), np.int32)),
        )
    ),
    KernelCase(
        "non_zero-converted",  # OpenVINO drops the conversion from in front of its own NonZero
        "non_zero",
        lambda mb, t, x: mb.non_zero(x=mb.cast(x=x, dtype="int32")),
        (np.float32([0.5, 1.5, -0.25, -2]),),
        lambda x: np.argwhere(x.astype(np.int32)),
    ),
    *(
        KernelCase(
            f"{op}-of-no-integers",
            op,
            lambda mb, t, x, op=op: getattr(mb, op)(x=mb.non_zero(x=x), axes=[0], keep_dims=False),
            (np.zeros((2, 3), np.float32),),
            lambda x: np.zeros(2, np.int32),
        )
        for op in ("reduce_sum",)
    ),
    KernelCase(
        "fill-with-nothing",
        "fill",
        lambda mb, t, x: mb.add(x=mb.fill(shape=mb.shape(x=mb.non_zero(x=x)), value=t(2)), y=t(1)),
        (np.zeros((2, 3), np.float32),),
        lambda x: np.zeros((0, 2), np.float32),
    ),
]
