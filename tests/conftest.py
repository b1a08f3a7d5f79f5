"""Fixtures that several test files share."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

# torch.export makes millions of objects, few of them in cycles: of the time of an op's row, a tenth
# was searching for those, and is a twentieth.
gc.set_threshold(5_000, 20, 50)


@pytest.fixture(scope="module", autouse=True)
def settled() -> Iterator[None]:
    """What earlier files left alive is not searched again.

    coremltools collects garbage in every conversion: with all that torch and the files before have
    made alive, that takes ten times as long as the conversion itself.
    """
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session", autouse=True)
def composite_ops_named_once() -> Iterator[None]:
    """torch.export (2.13) names all composite ops in ``torch.ops`` again for each namespace of ops
    and each decomposition, a third of the time that a small program takes to lower. Here it does
    where something was registered since the last time, and finds the same ops.
    """
    utils, dispatcher = torch._export.utils, torch._C._dispatch_get_registrations_for_dispatch_key
    name_all, named = utils._materialize_cpp_cia_ops, []

    def name_new() -> None:
        registered = dispatcher("CompositeImplicitAutograd")
        if registered != named:
            name_all()
            named[:] = registered

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "_materialize_cpp_cia_ops", name_new)
        yield


@pytest.hookimpl(tryfirst=True)  # before the groups are read
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Only one worker makes the programs of the stock backend."""
    for item in items:
        if "stock" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("stock"))


@pytest.fixture(scope="session")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of programs lowered by the stock backend, in a process of its own."""
    directory = tmp_path_factory.mktemp("stock")
    script = Path(__file__).with_name("stock_models.py")
    run = subprocess.run(
        [sys.executable, str(script), str(directory)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return directory
