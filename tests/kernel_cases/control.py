"""``cond`` and ``while_loop``, nested in each other, with values from outside."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernel_case import KernelCase, bools, ints, randn

X = randn(3, 4)


def _choose(mb: Any, t: Any, pred: Any, x: Any) -> Any:
    doubled = mb.mul(x=x, y=t(2))
    return mb.cond(
        pred=mb.squeeze(x=pred),
        _true_fn=lambda: (mb.add(x=doubled, y=t(1)), mb.reduce_sum(x=x, axes=[0])),
        _false_fn=lambda: (x, mb.reduce_max(x=doubled, axes=[0])),
    )


def _chosen(pred: np.ndarray, x: np.ndarray) -> Any:
    return (2 * x + 1, x.sum(0)) if pred[0] else (x, (2 * x).max(0))


def _known(mb: Any, t: Any, x: Any) -> Any:
    return mb.cond(
        pred=np.bool_(False), _true_fn=lambda: mb.exp(x=x), _false_fn=lambda: mb.relu(x=x)
    )


def _power(mb: Any, t: Any, count: Any, x: Any) -> Any:
    """x * 2 ** count, where ``x`` is a loop variable and 2 is from outside."""
    last = mb.squeeze(x=count)
    factor = mb.add(x=mb.reduce_sum(x=mb.sub(x=x, y=x)), y=t(2))
    return mb.while_loop(
        _cond=lambda i, v: mb.less(x=i, y=last),
        _body=lambda i, v: (mb.add(x=i, y=np.int32(1)), mb.mul(x=v, y=factor)),
        loop_vars=(np.int32(0), x),
    )


def _swap(mb: Any, t: Any, count: Any, x: Any, y: Any) -> Any:
    """Variables that change places, and one that nothing changes."""
    last = mb.squeeze(x=count)
    _, one, two, still = mb.while_loop(
        _cond=lambda i, a, b, c: mb.less(x=i, y=last),
        _body=lambda i, a, b, c: (mb.add(x=i, y=np.int32(1)), b, a, c),
        loop_vars=(np.int32(0), x, y, mb.identity(x=x)),
    )
    return one, two, still


def _nested(mb: Any, t: Any, x: Any, y: Any) -> Any:
    """coremltools' own example of a loop within a loop, with a branch inside.

    while i < j: while 2 i < i + 2: i += 1; i += 2 if i < 5 else 3.
    """
    two = mb.const(val=t([2.0]))

    def inner(i: Any) -> Any:
        return mb.less(x=mb.squeeze(x=mb.mul(x=two, y=i)), y=mb.squeeze(x=mb.add(x=i, y=two)))

    def body(i: Any, j: Any) -> Any:
        moved = mb.while_loop(_cond=inner, _body=lambda i: mb.add(x=i, y=t([1.0])), loop_vars=(i,))
        moved = moved[0] if isinstance(moved, (list, tuple)) else moved
        step = mb.cond(
            pred=mb.squeeze(x=mb.less(x=moved, y=t([5.0]))),
            _true_fn=lambda: mb.add(x=moved, y=two),
            _false_fn=lambda: mb.add(x=moved, y=t([3.0])),
        )
        return step, j

    return mb.while_loop(
        _cond=lambda i, j: mb.squeeze(x=mb.less(x=i, y=j)), _body=body, loop_vars=(x, y)
    )


def _walked(i: np.ndarray, j: np.ndarray) -> Any:
    a = float(i[0])
    while a < j[0]:
        while 2 * a < a + 2:
            a += 1
        a += 2 if a < 5 else 3
    return np.float32([a]), j


def _rounded_steps(mb: Any, t: Any, x: Any) -> Any:
    """Each iteration divides: in fp16 every quotient is rounded."""
    third = mb.while_loop(
        _cond=lambda i, v: mb.less(x=i, y=np.int32(3)),
        _body=lambda i, v: (mb.add(x=i, y=np.int32(1)), mb.real_div(x=v, y=t(3))),
        loop_vars=(np.int32(0), x),
    )
    return third[1]


ROWS = [
    *[
        KernelCase(f"cond_{flag}", "cond", _choose, (bools(flag), X), expect=_chosen)
        for flag in (True, False)
    ],
    KernelCase("cond_known", "cond", _known, (X,), expect=lambda x: np.maximum(x, 0)),
    *[
        KernelCase(
            f"loop_{n}_times", "while_loop", _power, (ints(n), X),
            expect=lambda n, x: (n[0], x * 2.0 ** n[0]),
        )
        for n in (0, 1, 5)
    ],
    KernelCase(
        "loop_never",
        "while_loop",
        lambda mb, t, x: mb.while_loop(
            _cond=lambda i, v: mb.less(x=i, y=np.int32(0)),
            _body=lambda i, v: (mb.add(x=i, y=np.int32(1)), mb.exp(x=v)),
            loop_vars=(np.int32(4), x),
        )[1],
        (X,),
        expect=lambda x: x,
    ),
    KernelCase(
        "loop_swaps", "while_loop", _swap, (ints(3), X, X[::-1].copy()),
        expect=lambda n, x, y: (y, x, x),
    ),
    KernelCase(
        "loop_in_loop", "while_loop", _nested, (np.float32([0]), np.float32([17])),
        expect=_walked,
    ),
    KernelCase("loop_rounds", "while_loop", _rounded_steps, (X,), expect=lambda x: x / 3 / 3 / 3,
               rtol=1e-3),
]  # fmt: skip
