"""Pytest plugin: coremltools' tests predict with our engine, and what comes of it is written down.

It has to be loaded before anything of coremltools: the tests ask for the platform as they are
imported. Each outcome is a line of JSON at once, so a run that is stopped loses nothing, and the
next one goes on with what is left. With ``--conformance-workers`` the tests run in forks of the
process that has imported and collected them (:mod:`conformance.spread`).
"""

from __future__ import annotations

import asyncio
import inspect
import os
import random
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conformance.halves import draws_for_fp16, gives_fp16, out_of_reach
from conformance.outcome import NO_PROGRAM, Outcome, read, write
from conformance.sample import PARTS, count_of
from conformance.spread import run_in_forks
from executorch_coreml import coremltools_bridge
from executorch_coreml.coremltools_bridge import proxies
from executorch_coreml.errors import CoreMLError

_status = coremltools_bridge.enable(threads=1)
assert _status.active, _status.reason

import coremltools  # noqa: E402
from coremltools import _deps  # noqa: E402

_deps._IS_MACOS = True

import torch  # noqa: E402

from uncollected import convert_without_collecting  # noqa: E402

convert_without_collecting()

# What whole files import for the sake of a few tests, which then fail before any prediction.
for _name, _attributes in {"torchvision": (), "peft": ("LoraConfig", "get_peft_model")}.items():
    if find_spec(_name) is None:
        _absent = sys.modules[_name] = module_from_spec(ModuleSpec(_name, None))
        vars(_absent).update(dict.fromkeys(_attributes))

ROOT = Path(coremltools.__file__).parent
_ID = pytest.StashKey[str]()


class _Seen:
    """What the test at hand has asked of the engine."""

    def __init__(self) -> None:
        self.predictions = 0
        self.unloaded = self.raised = ""
        self.halves = self.gives_halves = self.out_of_reach = False


_seen = _Seen()
_load, _predict = proxies._MLModelProxy.__init__, proxies._MLModelProxy.predict


def _recording_load(self: Any, *args: Any, **options: Any) -> None:
    try:
        _load(self, *args, **options)
    except (CoreMLError, RuntimeError) as error:
        _seen.unloaded = f"{type(error.__cause__ or error).__name__}: {error}"
        raise
    function = self._model.bundle.program.functions[self._model.function_name]
    made = (value for op in function.body.operations for value in op.outputs)
    types = [getattr(value.type, "dtype", "") for value in (*function.inputs, *made)]
    _seen.halves = _seen.halves or "fp16" in types
    _seen.gives_halves = gives_fp16(function)


def _recording_predict(self: Any, *args: Any, **options: Any) -> Any:
    _seen.predictions += 1
    try:
        return _predict(self, *args, **options)
    except (CoreMLError, RuntimeError) as error:
        _seen.raised = f"{type(error).__name__}: {error}"
        raise


def _recording_comparison(
    actual: Any, desired: Any, rtol: float = 1e-7, atol: float = 0, **options: Any
) -> None:
    try:
        _allclose(actual, desired, rtol, atol, **options)
    except AssertionError:
        _seen.out_of_reach = _seen.gives_halves and out_of_reach(desired, rtol, atol)
        raise


_allclose, np.testing.assert_allclose = np.testing.assert_allclose, _recording_comparison
proxies._MLModelProxy.__init__ = _recording_load
proxies._MLModelProxy.predict = _recording_predict


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--conformance-json", type=Path, help="write outcomes here, one a line")
    parser.addoption(
        "--conformance-sample", type=int, help="so many of each function and precision"
    )
    parser.addoption("--conformance-timeout", type=int, default=120, help="seconds for a test")
    parser.addoption("--conformance-workers", type=int, default=1, help="forks at a time")
    parser.addoption(
        "--conformance-replies",
        type=int,
        help="a descriptor: take numbers of parts from stdin, and write a dot there for each done",
    )


def pytest_collectstart() -> None:
    """Parameters that are drawn at import, and so the tests' ids, do not depend on other files."""
    _seed()


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """All tests that were collected, files that cannot be imported or not."""
    if session.config.option.collectonly:
        return None
    replies = session.config.getoption("conformance_replies")
    if replies is None:
        _run(session.items, session.config.getoption("conformance_workers"))
        return True
    with open(0, closefd=False) as requests:
        for part in requests:
            _run(session.items[int(part) :: PARTS], 1)
            os.write(replies, b".")
    return True


def _run(items: list[pytest.Item], workers: int) -> None:
    for item in run_in_forks(items, workers):
        _record(item, Outcome(_id(item), "died", _precision(_id(item)), 0.0))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what is done, and takes the sample."""
    _name(items)
    target, given = config.getoption("conformance_json"), config.getoption("conformance_sample")
    parts = config.getoption("conformance_replies") is not None
    count = count_of if parts else lambda _: given
    done = {one.test for one in read(target)} if target and target.exists() else set()
    items[:] = [item for item in _sample(items, count) if _id(item) not in done]
    if parts:  # as large, and as slow, as each other
        random.Random(0).shuffle(items)


def _sample(items: list[pytest.Item], count: Callable[[Path], int | None]) -> Iterator[pytest.Item]:
    """So many tests of each function in each precision, evenly spaced; all for None."""
    functions: dict[tuple[str, str], list[pytest.Item]] = {}
    for item in items:
        function, _, parameters = item.nodeid.partition("[")
        functions.setdefault((function, _named_precision(parameters)), []).append(item)
    for cases in functions.values():
        taken = min(count(cases[0].path) or len(cases), len(cases))
        yield from (cases[i * len(cases) // taken] for i in range(taken))


def _name(items: list[pytest.Item]) -> None:
    """Ids that are the same in each run: some of pytest's have the address of a parameter."""
    alike: Counter[str] = Counter()
    for item in items:
        name = f"{item.path.relative_to(ROOT)}::{item.nodeid.split('::', 1)[1]}"
        name = re.sub(r"0x[0-9a-f]{6,}", "0x", name)
        alike[name] += 1
        item.stash[_ID] = name if alike[name] == 1 else f"{name} {alike[name]}"


def _id(item: pytest.Item) -> str:
    return item.stash[_ID]


def _seed() -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)


def _record(item: pytest.Item, outcome: Outcome) -> None:
    if target := item.config.getoption("conformance_json"):
        write(target, outcome)


class _LateError(Exception):
    """A test has not ended in its time."""


def _late(*_: Any) -> None:
    raise _LateError("not done in time")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    global _seen
    _seen = _Seen()
    _seed()
    signal.signal(signal.SIGPROF, _late)
    signal.setitimer(signal.ITIMER_PROF, item.config.getoption("conformance_timeout"))
    start, error = time.process_time(), None
    try:
        return (yield)
    except BaseException as caught:
        error = caught
        raise
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        outcome = _judge(_id(item), error, time.process_time() - start)
        if outcome.kind == "wrong" and _seen.halves:
            outcome = replace(outcome, kind=_kind_with_fp16(item))
        _record(item, outcome)


def _kind_with_fp16(item: pytest.Item) -> str:
    """The kind of a test that has failed with fp16 in its model."""
    if _seen.out_of_reach:
        return "beyond"
    _seed()
    try:
        with draws_for_fp16():
            item.runtest()
    except Exception:
        return "wrong"
    return "rounded"


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Some tests are coroutines, for a plugin of pytest that nobody needs otherwise."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


def _judge(test: str, error: BaseException | None, seconds: float) -> Outcome:
    reached = bool(_seen.predictions or _seen.unloaded)
    reason = "" if error is None else f"{type(error).__name__}: {error}"
    if error is None:
        kind = "passed" if _seen.predictions else "unpredicted"
    elif isinstance(error, pytest.skip.Exception | pytest.xfail.Exception):
        kind = "skipped"
    elif NO_PROGRAM in _seen.unloaded:
        kind, reason = "network", _seen.unloaded
    elif isinstance(error, _LateError):
        kind = "late" if reached else "before"
    elif _seen.unloaded:
        kind, reason = "unloaded", _seen.unloaded
    elif _seen.raised:
        kind, reason = "raised", _seen.raised
    elif reached:
        kind = "wrong"
    else:
        kind = "before"
    return Outcome(test, kind, _precision(test), round(seconds, 3), reason[:600])


def _precision(test: str) -> str:
    return _named_precision(test) or ("fp16" if _seen.halves else "fp32")


def _named_precision(test: str) -> str:
    named = re.search(r"'(fp16|fp32)'", test)
    return named[1] if named else ""
