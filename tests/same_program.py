"""Whether two programs are the same, down to the bits of their constants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from executorch_coreml.mil.text import parse
from executorch_coreml.mil.text_print import Version, to_text
from executorch_coreml.mil.types import Block, Constant, Op, Program
from executorch_coreml.mil.weights import WeightFile, WeightWriter


def through_text(program: Program, version: Version | None = None, *, inline: bool) -> Program:
    """The program printed and read again, its weights in the text or in a file."""
    weights = WeightWriter()
    text = to_text(program, None if inline else weights, version=version)
    file = memoryview(b"".join(weights.parts))
    return parse(text, lambda name: WeightFile(file, name))


def assert_same(one: Program, other: Program) -> None:
    assert list(one.functions) == list(other.functions)
    for name, function in one.functions.items():
        again = other.functions[name]
        assert (function.name, function.opset) == (again.name, again.opset)
        assert function.inputs == again.inputs
        _same_constants(function.attributes, again.attributes)
        _same_block(function.body, again.body)


def _same_block(one: Block, other: Block) -> None:
    assert (one.inputs, one.outputs) == (other.inputs, other.outputs)
    for op, again in zip(one.operations, other.operations, strict=True):
        _same_op(op, again)


def _same_op(one: Op, other: Op) -> None:
    assert (one.type, one.outputs) == (other.type, other.outputs)
    assert one.inputs.keys() == other.inputs.keys()
    for name in one.inputs:
        for argument, again in zip(one.inputs[name], other.inputs[name], strict=True):
            if isinstance(argument, Constant):
                assert isinstance(again, Constant)
                _same_constants({name: argument}, {name: again})
            else:
                assert argument == again
    _same_constants(one.attributes, other.attributes)
    for block, again_block in zip(one.blocks, other.blocks, strict=True):
        _same_block(block, again_block)


def _same_constants(one: Mapping[str, Constant], other: Mapping[str, Constant]) -> None:
    assert one.keys() == other.keys()
    for name, constant in one.items():
        assert constant.type == other[name].type
        _same_data(constant.data, other[name].data)


def _same_data(one: Any, other: Any) -> None:
    assert type(one) is type(other) or isinstance(one, np.ndarray)
    if isinstance(one, np.ndarray):
        np.testing.assert_array_equal(one, other, strict=True)  # NaNs are equal
        if one.dtype.kind == "f":
            numbers = ~np.isnan(one)  # text drops the sign of a NaN, and keeps that of zero
            np.testing.assert_array_equal(np.signbit(one)[numbers], np.signbit(other)[numbers])
    elif isinstance(one, tuple):
        for item, again in zip(one, other, strict=True):
            _same_data(item, again)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key, item in one.items():
            _same_data(item, other[key])
    else:
        assert one == other
