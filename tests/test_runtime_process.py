"""What depends on the whole process: import order, exit, other versions, engines that misbehave."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from warm import warm

RELU = """
import torch
method = Runtime.get().load_program({program!r}).load_method("forward")
x = torch.tensor([[-1.0, 2.0, 3.0, 4.0]] * 3)
assert torch.equal(method.execute((x, x))[0], x + x)
"""

# An engine that breaks the rules, in place of ours. `behaviour` decides how.
MISBEHAVING = """
import gc
import numpy as np
import torch
from executorch.runtime import Runtime
from executorch_coreml.runtime import _native

kept = []
behaviour = "good"

class Model:
    num_inputs = 2

def init(processed, specs, method_name, named_data, runtime_specs):
    assert processed.readonly
    kept.extend([np.frombuffer(processed, np.uint8), named_data])
    return Model()

def execute(model, args, context):
    x, y, out = map(np.asarray, args)
    assert not x.flags.writeable and not y.flags.writeable and out.flags.writeable
    if behaviour == "keeps a view":
        kept.append(x)
    if behaviour == "keeps the context":
        kept.append(context)
    np.add(x, y, out=out)

_native.attach(init, execute, lambda model: None, lambda options: None)
program = Runtime.get().load_program({program!r})
method = program.load_method("forward")
x = torch.ones(3, 4)
"""


@pytest.fixture(scope="module")
def add(stock: Path) -> str:
    return str(stock / "add_fp32.pte")


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def _native_path() -> str:
    spec = find_spec("executorch_coreml.runtime._native")
    assert spec is not None
    assert spec.origin is not None
    return spec.origin


def succeed(run: subprocess.CompletedProcess[str]) -> str:
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_import_is_light() -> None:
    heavy = ("torch", "coremltools", "openvino", "executorch.runtime")
    code = (
        "import sys, executorch_coreml.runtime as r\n"
        f"assert r.is_active() and not set({heavy!r}) & set(sys.modules)"
    )
    succeed(python(code))


@pytest.mark.parametrize("order", ["plugin first", "runtime first"])
def test_import_order(add: str, order: str) -> None:
    imports = ["import executorch_coreml.runtime", "from executorch.runtime import Runtime"]
    if order == "runtime first":
        imports.reverse()
    head = "import sys\nassert not {'executorch.runtime', 'executorch_coreml'} & set(sys.modules)\n"
    failing = f"""
from executorch_coreml.errors import PayloadError
data = open({add!r}, "rb").read().replace(b"sedon", b"seXon")
try:
    Runtime.get().load_program(data).load_method("forward")
except RuntimeError as error:
    assert isinstance(error.__cause__, PayloadError)
else:
    raise AssertionError("a corrupt payload was loaded")
maps = open("/proc/self/maps").read().splitlines()
assert len({{line.split()[-1] for line in maps if "libexecutorch.so" in line}}) == 1
"""
    succeed(warm().run(head + "\n".join(imports) + RELU.format(program=add) + failing))


def test_a_script_that_never_imports_the_plugin(add: str) -> None:
    """The library alone registers, and imports the package when a program needs it."""
    library = Path(_native_path()).with_name("libexecutorch_coreml_backend.so")
    head = "from executorch.runtime import Runtime\nimport sys\n"
    code = head + RELU.format(program=add) + "assert 'executorch_coreml.runtime' in sys.modules"
    run = python(code, LD_PRELOAD=str(library))
    assert (run.returncode, run.stdout) == (0, ""), run.stderr


def test_exit_with_a_live_method(add: str) -> None:
    head = "import executorch_coreml.runtime\nfrom executorch.runtime import Runtime"
    run = warm().run(head + RELU.format(program=add))
    assert (run.returncode, run.stdout) == (0, "")


def test_threads_run_and_fail_together(stock: Path) -> None:
    """Until the process has ended: ExecuTorch's bindings swap the buffers of std::cerr."""
    code = f"""
import threading
import torch
import executorch_coreml.runtime
from executorch_coreml.errors import InputError
from executorch.runtime import Runtime

wrong = []

def work(seed):
    method = Runtime.get().load_program({str(stock / "add_int64.pte")!r}).load_method("forward")
    x = torch.arange(5) * seed
    for _ in range(100):
        if not torch.equal(method.execute((x, x))[0], x + x):
            wrong.append(seed)
        try:
            method.execute((x, x + 2**40))
        except RuntimeError as error:
            if isinstance(error.__cause__, InputError):
                continue
        wrong.append(seed)

threads = [threading.Thread(target=work, args=(seed,)) for seed in range(1, 5)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not wrong, wrong
"""
    succeed(warm().run(code))


def test_load_after_detach_says_what_to_do(add: str) -> None:
    code = f"""
from executorch_coreml.runtime import _native
from executorch.runtime import Runtime
_native.detach()
Runtime.get().load_program({add!r}).load_method("forward")
"""
    run = warm().run(code)
    assert run.returncode == 1
    assert "no engine is attached" in run.stderr
    assert "0x:20" in run.stderr  # NotFound


def test_kept_tensor_view_is_an_error(add: str) -> None:
    code = (
        MISBEHAVING.format(program=add)
        + """
behaviour = "keeps a view"
try:
    method.execute((x, x))
except RuntimeError as error:
    assert isinstance(error.__cause__, BufferError), repr(error.__cause__)
else:
    raise AssertionError("the view would dangle")
behaviour = "good"
assert torch.equal(method.execute((x, x))[0], x + x)
"""
    )
    succeed(warm().run(code))


def test_kept_payload_outlives_the_method(add: str) -> None:
    code = (
        MISBEHAVING.format(program=add)
        + """
before = kept[0].copy()
del method, program
gc.collect()
assert np.array_equal(kept[0], before)
"""
    )
    succeed(warm().run(code))


def test_contexts_end_with_their_call(add: str) -> None:
    code = (
        MISBEHAVING.format(program=add)
        + """
behaviour = "keeps the context"
method.execute((x, x))
for use in (lambda: kept[1]("key"), lambda: kept[2].tracing, lambda: kept[2].resize(0, [3, 4])):
    try:
        use()
    except RuntimeError as error:
        assert "only" in str(error)
    else:
        raise AssertionError("usable after its call")
"""
    )
    succeed(warm().run(code))


def test_another_executorch_release_is_refused(tmp_path: Path) -> None:
    """A site directory with another release, first on the path."""
    spec = find_spec("executorch")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    other = tmp_path / "executorch"
    other.mkdir()
    (other / "version.py").write_text('__version__ = "1.4.0"\n')
    (other / "lib").symlink_to(Path(spec.submodule_search_locations[0]) / "lib")
    run = python("import executorch_coreml.runtime", PYTHONPATH=str(tmp_path))
    assert run.returncode == 1
    assert "RunError: executorch 1.4.0 is installed" in run.stderr
    assert "pip install executorch==1.5.1" in run.stderr


def test_delegate_event_reaches_etdump(add: str, tmp_path: Path) -> None:
    code = f"""
import torch
import executorch_coreml.runtime
from executorch.devtools import Inspector
from executorch.runtime import Runtime

program = Runtime.get().load_program({add!r}, enable_etdump=True, debug_buffer_size=1_000_000)
x = torch.ones(3, 4)
program.load_method("forward").execute((x, x))
dump = {str(tmp_path / "dump.etdp")!r}
program.write_etdump_result_to_file(dump, {str(tmp_path / "debug.bin")!r})
events = [e for block in Inspector(etdump_path=dump).event_blocks for e in block.events]
(event,) = [e for e in events if e.name == "CoreMLBackend.execute"]
assert event.is_delegated_op
assert event.perf_data.raw[0] > 0
"""
    succeed(warm().run(code))
