"""Lists: of fixed and of growing length, of every dtype, in and out of loops."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernel_case import KernelCase, ints, randn

A, B = randn(2), randn(2) + 1


def _name(t: Any) -> str:
    return "fp16" if t is np.float16 else "fp32"


def _of_coremltools(mb: Any, t: Any, a: Any, b: Any) -> Any:
    ls = mb.make_list(init_length=2, elem_shape=(2,), dtype=_name(t))
    first = mb.list_read(ls=ls, index=0)
    ls = mb.list_write(ls=ls, index=0, value=a)
    ls = mb.list_write(ls=ls, index=4, value=b)
    ls = mb.list_scatter(ls=ls, indices=[2, 1], value=t([[-1, -2], [-4, -5]]))
    return first, mb.list_read(ls=ls, index=0), mb.list_gather(ls=ls, indices=[4, 2, 3])


def _of_fixed_length(mb: Any, t: Any, index: Any, a: Any) -> Any:
    ls = mb.make_list(init_length=3, elem_shape=(2,), dtype=_name(t), dynamic_length=False)
    ls = mb.list_scatter(ls=ls, indices=[0, 1, 2], value=t([[1, 2], [3, 4], [5, 6]]))
    ls = mb.list_write(ls=ls, index=mb.squeeze(x=index), value=a)
    return mb.list_gather(ls=ls, indices=[0, 1, 2]), mb.list_length(ls=ls)


def _written(index: np.ndarray, a: np.ndarray) -> Any:
    rows = np.float32([[1, 2], [3, 4], [5, 6]])
    rows[index[0]] = a
    return rows, np.int32(3)


def _in_a_loop(mb: Any, t: Any, count: Any, a: Any) -> Any:
    """coremltools' own example: the list grows by one element in each iteration."""
    last = mb.squeeze(x=count)
    ls = mb.make_list(init_length=1, elem_shape=(2,), dtype=_name(t))

    def body(i: Any, items: Any) -> Any:
        item = mb.mul(x=a, y=mb.cast(x=i, dtype=_name(t)))
        return mb.add(x=i, y=np.int32(1)), mb.list_write(ls=items, index=i, value=item)

    _, ls = mb.while_loop(
        _cond=lambda i, items: mb.less(x=i, y=last), _body=body, loop_vars=(np.int32(0), ls)
    )
    length = mb.list_length(ls=ls)
    indices = mb.range_1d(start=np.int32(0), end=length, step=np.int32(1))
    return mb.list_gather(ls=ls, indices=indices), length


def _scattered(mb: Any, t: Any, places: Any, x: Any) -> Any:
    ls = mb.make_list(init_length=1, elem_shape=(2,), dtype=_name(t))
    ls = mb.list_scatter(ls=ls, indices=places, value=x)
    length = mb.list_length(ls=ls)
    return length, mb.list_read(ls=ls, index=mb.sub(x=length, y=np.int32(1)))


def _from_a_branch(mb: Any, t: Any, flag: Any, a: Any) -> Any:
    ls = mb.make_list(init_length=1, elem_shape=(2,), dtype=_name(t))
    ls = mb.cond(
        pred=mb.squeeze(x=mb.cast(x=flag, dtype="bool")),
        _true_fn=lambda: mb.list_write(ls=ls, index=2, value=a),
        _false_fn=lambda: ls,
    )
    return mb.list_length(ls=ls), mb.list_read(ls=ls, index=0)


def _unnamed(mb: Any, t: Any, a: Any) -> Any:
    """An extent that only the first write tells."""
    ls = mb.make_list(init_length=2, elem_shape=("extent",), dtype=_name(t))
    ls = mb.list_write(ls=ls, index=1, value=a)
    return mb.list_read(ls=ls, index=0), mb.list_read(ls=ls, index=1)


def _of(dtype: str) -> Any:
    def build(mb: Any, t: Any, x: Any) -> Any:
        ls = mb.make_list(init_length=2, elem_shape=(3,), dtype=dtype)
        ls = mb.list_write(ls=ls, index=3, value=mb.cast(x=x, dtype=dtype))
        ls = mb.list_scatter(ls=ls, indices=[1], value=mb.cast(x=[[1, 0, 1]], dtype=dtype))
        return mb.cast(x=mb.list_gather(ls=ls, indices=[0, 1, 3]), dtype="int32")

    return build


ROWS = [
    KernelCase(
        "make", "make_list", _of_coremltools, (A, B),
        expect=lambda a, b: (np.zeros(2), a, np.stack([b, [-1, -2], [0, 0]])),
    ),
    KernelCase("fixed", "list_write", _of_fixed_length, (ints(1), A), expect=_written),
    KernelCase(
        "grown_in_a_loop", "list_gather", _in_a_loop, (ints(4), A),
        expect=lambda n, a: (np.arange(n[0])[:, None] * a, n[0]),
    ),
    KernelCase(
        "scattered", "list_scatter", _scattered, (ints(5, 0), randn(2, 2)),
        expect=lambda places, x: (6, x[0]),
    ),
    *[
        KernelCase(
            f"from_branch_{flag}", "list_length", _from_a_branch, (ints(flag), A),
            expect=lambda flag, a: (3 if flag[0] else 1, np.zeros(2)),
        )
        for flag in (0, 1)
    ],
    KernelCase(
        "extent_unknown", "list_read", _unnamed, (A,), expect=lambda a: (np.zeros(2), a)
    ),
    *[
        KernelCase(
            f"of_{dtype}", "make_list", _of(dtype), (ints(1, 0, 5),),
            expect=lambda x, limit=limit: np.minimum([[0] * 3, [1, 0, 1], list(x)], limit),
        )
        for dtype, limit in (("int32", 9), ("bool", 1))
    ],
]  # fmt: skip
