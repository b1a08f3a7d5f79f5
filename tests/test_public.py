"""The public face: names, import cost, types, documentation."""

from __future__ import annotations

import inspect
import pydoc
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import BuiltinFunctionType, FunctionType
from typing import Any

import pytest

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


API = Path(__file__).parents[1] / "docs" / "api.md"


def documented_modules() -> dict[str, list[str]]:
    """Module -> names, as the page has them."""
    rows = re.findall(r"^\| `([\w.]+)` \| (.*?) \|", API.read_text(), re.MULTILINE)
    return {module: re.findall(r"`(\w+)`", names) for module, names in rows}


MODULES = documented_modules()


def functions(name: str, thing: Any) -> Iterator[tuple[str, Any]]:
    """A function itself; of a class its public methods, properties and constructor."""
    if not inspect.isclass(thing):
        yield name, thing
        return
    for key, value in vars(thing).items():
        if isinstance(value, property):
            value = value.fget
        value = getattr(value, "__func__", value)  # class and static methods
        if isinstance(value, FunctionType) and (key == "__init__" or not key.startswith("_")):
            yield f"{name}.{key}", value


def is_undocumented(name: str, thing: Any) -> bool:
    made_up = inspect.isclass(thing) and (thing.__doc__ or "").startswith(f"{thing.__name__}(")
    return not name.endswith(".__init__") and (not thing.__doc__ or made_up)


def unannotated(function: Any) -> list[str]:
    found = inspect.signature(function)
    missing = [
        each.name
        for each in found.parameters.values()
        if each.annotation is each.empty and each.name not in ("self", "cls")
    ]
    returns = found.return_annotation is not found.empty or function.__name__ == "__init__"
    return missing + ([] if returns else ["return"])


@pytest.mark.parametrize("module", MODULES)
def test_public_modules_are_typed_and_documented(module: str) -> None:
    made = import_module(module)
    assert made.__doc__
    assert sorted(made.__all__) == sorted(MODULES[module])
    for name in made.__all__:
        thing = getattr(made, name)
        if inspect.isclass(thing):
            assert not is_undocumented(name, thing), name
        if not callable(thing):
            continue  # a constant
        for where, function in functions(name, thing):
            assert not is_undocumented(where, function), where
            if not _is_native(function):
                assert not unannotated(function), where


def _is_native(function: Any) -> bool:
    """In C++: its types are in the stub, whose names mypy checks the callers against."""
    native = not isinstance(function, FunctionType)
    if native:
        stub = Path(str(executorch_coreml.__file__)).parent / "runtime" / "_native.pyi"
        assert isinstance(function, BuiltinFunctionType) or function.__module__.endswith("_native")
        assert f"def {function.__name__}(" in stub.read_text()
    return native


@pytest.mark.parametrize("module", MODULES)
def test_pydoc_shows_all_names(module: str) -> None:
    shown = pydoc.plain(pydoc.render_doc(import_module(module)))
    named = [name for name in MODULES[module] if name != "__version__"]  # has a section of its own
    assert all(re.search(rf"\b{name}\b", shown) for name in named)


def test_pages_show_public_names_only() -> None:
    pattern = re.compile(
        r"^(?:from (executorch_coreml[\w.]*) import ([\w, ]+)|import (executorch_coreml[\w.]*))"
    )
    for page in [API.parents[1] / "README.md", *API.parent.glob("*.md")]:
        for line in page.read_text().splitlines():
            found = pattern.match(line)
            if found is None:
                continue
            module, names, alone = found.groups()
            assert (module or alone) in MODULES, f"{page.name}: {line}"
            for name in (names or "").split(", "):
                public = name in MODULES[module or alone] or f"{module}.{name}" in MODULES
                assert not name or public, f"{page.name}: {line}"


def test_all_lists_exactly_the_public_names() -> None:
    assert sorted(executorch_coreml.__all__) == sorted(PUBLIC)
    assert dir(executorch_coreml) == sorted(PUBLIC)
    for name in PUBLIC:
        assert getattr(executorch_coreml, name) is not None


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
