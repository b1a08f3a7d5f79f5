"""The public face: names, import cost, documentation."""

from __future__ import annotations

import subprocess
import sys

import executorch_coreml
from executorch_coreml import errors

PUBLIC = [
    "CompileOptions",
    "ComputePrecision",
    "ComputeUnit",
    "CoreMLBackend",
    "CoreMLError",
    "CoreMLPartitioner",
    "Model",
    "Target",
    "__version__",
    "compare",
    "edge_compile_config",
]


def test_all_lists_exactly_the_public_names() -> None:
    assert sorted(executorch_coreml.__all__) == sorted(PUBLIC)
    assert dir(executorch_coreml) == sorted(PUBLIC)
    for name in PUBLIC:
        assert getattr(executorch_coreml, name) is not None


def test_every_public_name_is_documented() -> None:
    for name in PUBLIC:
        thing = getattr(executorch_coreml, name)
        if isinstance(thing, type):
            assert thing.__doc__, name


def test_import_is_cheap_and_loads_no_framework() -> None:
    code = (
        "import time; start = time.perf_counter(); import executorch_coreml, sys;"
        "took = time.perf_counter() - start;"
        "print(took, 'torch' in sys.modules, 'coremltools' in sys.modules)"
    )
    took, torch_in, coremltools_in = _run(code).split()
    assert float(took) < 0.5
    assert (torch_in, coremltools_in) == ("False", "False")


def test_running_a_model_needs_neither_torch_nor_coremltools() -> None:
    code = (
        "import executorch_coreml.runtime, sys; from executorch_coreml import Model;"
        "print('torch' in sys.modules, 'coremltools' in sys.modules)"
    )
    assert _run(code).split() == ["False", "False"]


def test_error_tree_is_the_one_its_docstring_draws() -> None:
    drawn = {w for w in (errors.__doc__ or "").replace("─", " ").split() if w.isidentifier()}
    classes = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    assert classes <= drawn


def test_error_message_shape() -> None:
    error = errors.UnsupportedOp(
        "got 'ceil'", location="aten.div.Tensor_mode (node div) at model.py:41", hint="use 'floor'"
    )
    assert str(error) == (
        "aten.div.Tensor_mode (node div) at model.py:41: got 'ceil'. Hint: use 'floor'"
    )


def _run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout
