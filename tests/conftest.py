"""Fixtures that several test files share."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Workers take a processor each; threads of torch that wait for another's turn would spin. Before
# torch is imported, and for the processes that tests start.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# torch.export makes millions of objects, few of them in cycles: of the time of an op's row, a tenth
# was searching for those, and is a twentieth.
gc.set_threshold(5_000, 20, 50)


@pytest.fixture(scope="module", autouse=True)
def settled() -> None:
    """What earlier files left alive is not searched again.

    coremltools collects garbage in every conversion: with all that torch and the files before have
    made alive, that takes ten times as long as the conversion itself. Nor is it searched between
    two files, hence it stays frozen.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def composite_ops_collected_once() -> Iterator[None]:
    from composite_ops import collect_once

    with pytest.MonkeyPatch.context() as patch:
        collect_once(patch.setattr)
        yield


# Tests of whole models, which lower as users do.
_VERIFIED = {"test_architectures", "test_models", "test_dynamic_models", "test_stock_architectures"}


@pytest.fixture(scope="module", autouse=True)
def argument_types(request: pytest.FixtureRequest) -> Iterator[None]:
    """ExecuTorch (1.5) interprets the whole program after each of its passes to check the types of
    all arguments, an eighth of the time that lowering takes. Thousands of small programs do without
    it.
    """
    from executorch.exir.verification import verifier

    with pytest.MonkeyPatch.context() as patch:
        if request.module.__name__ not in _VERIFIED:
            check = "_check_tensor_args_matching_op_allowed_dtype"
            patch.setattr(verifier, check, lambda graph_module: None)
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
