"""Rows of the kernel tests, and the one way to run them.

A row builds one MIL op with coremltools' builder. The program is serialised by coremltools, read
by our reader, put through MIL text and back, and run by the engine in fp32 and in fp16. What it
must give comes from elsewhere: from coremltools' own ``value_inference`` of the same op on
constants, or from a reference in the row, on numpy or torch.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

with warnings.catch_warnings():
    # coremltools warns about versions and missing macOS libraries as it is imported.
    warnings.simplefilter("ignore")
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb
    from coremltools.converters.mil.mil import types

from executorch_coreml.engine.model import Model
from executorch_coreml.mil.bundle import read
from same_program import assert_same, through_text
from uncollected import convert_without_collecting

convert_without_collecting()

_TYPES = {"float32": types.fp32, "float16": types.fp16, "int32": types.int32, "bool": types.int32}

# Builds the op: the builder, the float type, the inputs -> one variable or several.
Build = Callable[..., Any]


@dataclass(frozen=True)
class KernelCase:
    """One op call.

    Attributes:
        id: Unique within its file.
        covers: The MIL op.
        build: ``build(mb, t, *variables)``; ``t`` makes a constant of the float type under test.
        inputs: float32, int32 or bool arrays; float ones become float16 in the fp16 run.
        expect: The reference on numpy arrays, float ones as float32; None takes coremltools' own
            ``value_inference``.
        target: The deployment target whose opset is used.
        rtol, atol: Tolerance in fp32; in fp16 it is one unit in the last place on top.
        half: False leaves the fp16 run out; ``why`` must then say why.
    """

    id: str
    covers: str
    build: Build
    inputs: tuple[np.ndarray, ...]
    expect: Callable[..., Any] | None = None
    target: str = "iOS18"
    rtol: float = 1e-5
    atol: float = 1e-6
    half: bool = True
    why: str = ""


def randn(*shape: int, scale: float = 1.0) -> np.ndarray:
    """Normal values, the same for the same shape in every process."""
    return (np.random.default_rng(shape).standard_normal(shape) * scale).astype(np.float32)


def uniform(*shape: int, low: float, high: float) -> np.ndarray:
    """Evenly spread values in [low, high)."""
    return np.random.default_rng(shape).uniform(low, high, shape).astype(np.float32)


def ints(*values: Any) -> np.ndarray:
    return np.array(values, np.int32)


def bools(*values: Any) -> np.ndarray:
    return np.array(values, np.bool_)


def convert(program: Any, path: Path, target: str = "iOS18") -> Path:
    """Serialise a builder program as it is, without any pass, to ``path``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = ct.convert(
            program,
            source="milinternal",
            convert_to="mlprogram",
            pass_pipeline=ct.PassPipeline.EMPTY,
            skip_model_load=True,
            minimum_deployment_target=getattr(ct.target, target),
        )
        model.save(str(path))
    return path


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _program(
    cases: Sequence[KernelCase], arrays: list[list[np.ndarray]], kind: type, target: str
) -> Any:
    """The cases as one program of their inputs. Core ML has no bool inputs: they come as int32."""
    given = [array for each in arrays for array in each]
    specs = [mb.TensorSpec(a.shape, dtype=_TYPES[a.dtype.name]) for a in given]
    names = ", ".join(f"x{i}" for i in range(len(given)))

    def body(*variables: Any) -> Any:
        left = iter(
            mb.cast(x=v, dtype="bool") if a.dtype == np.bool_ else v
            for v, a in zip(variables, given, strict=True)
        )
        return tuple(
            variable
            for case, each in zip(cases, arrays, strict=True)
            for variable in _as_tuple(case.build(mb, kind, *[next(left) for _ in each]))
        )

    scope: dict[str, Any] = {"body": body}
    exec(f"def function({names}): return body({names})", scope)  # the builder counts parameters
    opset = getattr(ct.target, target)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's, about overflow and the like
        return mb.program(input_specs=specs, opset_version=opset)(scope["function"])


def _inferred(
    case: KernelCase, arrays: list[np.ndarray], kind: Any, target: str
) -> tuple[Any, ...]:
    """What coremltools computes for the op when all its inputs are constants."""
    found: list[Any] = []

    @mb.program(input_specs=[mb.TensorSpec((1,))], opset_version=getattr(ct.target, target))
    def program(unused: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy's, about overflow and the like
            made = case.build(mb, kind, *[mb.const(val=array) for array in arrays])
        found.extend(variable.val for variable in _as_tuple(made))
        return unused

    assert all(value is not None for value in found), "coremltools infers no value for this op"
    return tuple(found)


def run_case(case: KernelCase, half: bool, directory: Path) -> None:
    """Run a row and compare.

    The fp16 expectation is computed in float32 from inputs and constants rounded to fp16, and
    rounded at the end: what the engine promises of one op.
    """
    run_together([case], half, directory, case.target)


def run_together(cases: Sequence[KernelCase], half: bool, directory: Path, target: str) -> None:
    """As :func:`run_case`, of several rows in one program of the opset of ``target``."""
    kind = np.float16 if half else np.float32
    arrays = [[a.astype(kind) if a.dtype.kind == "f" else a for a in case.inputs] for case in cases]
    program = _program(cases, arrays, kind, target)
    bundle = read(convert(program, directory / "m.mlpackage", target))
    for inline in (False, True):
        assert_same(bundle.program, through_text(bundle.program, inline=inline))
    fed = [a.astype(np.int32) if a.dtype == np.bool_ else a for each in arrays for a in each]
    got = Model(bundle).run(fed)
    for case, given in zip(cases, arrays, strict=True):
        want = _wanted(case, given, kind, target)
        for mine, theirs in zip(got, want, strict=len(cases) == 1):
            try:
                _compare(case, mine, np.asarray(theirs), half)
            except AssertionError as error:
                raise AssertionError(f"{case.id}: {error}") from error
        got = got[len(want) :]
    assert not got


def _wanted(case: KernelCase, arrays: list[np.ndarray], kind: Any, target: str) -> tuple[Any, ...]:
    wide = [a.astype(np.float32) if a.dtype.kind == "f" else a for a in arrays]
    if case.expect is None:
        rounded = lambda value: np.asarray(value, kind).astype(np.float32)  # noqa: E731
        return _inferred(case, wide, rounded, target)
    with np.errstate(all="ignore"):
        return _as_tuple(case.expect(*wide))


def _compare(case: KernelCase, got: np.ndarray, want: np.ndarray, half: bool) -> None:
    if got.size == want.size == 1:
        want = want.reshape(got.shape)  # Core ML gives scalars as tensors of one element
    assert got.shape == want.shape
    if want.dtype.kind != "f":
        assert np.array_equal(got.astype(np.int64), want.astype(np.int64)), (got, want)
        return
    if not half:
        np.testing.assert_allclose(got, want.astype(np.float32), case.rtol, case.atol)
        return
    with np.errstate(over="ignore"):
        rounded = want.astype(np.float16).astype(np.float32)
    np.testing.assert_allclose(
        got.astype(np.float32), rounded, rtol=2**-10 + case.rtol, atol=2**-24 + case.atol
    )
