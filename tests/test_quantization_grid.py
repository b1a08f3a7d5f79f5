"""Scheme x layer x deployment target: equal to the quantized model, as small as it should be.

One edge program per group of schemes, lowered for each target (the table: :mod:`quantized_grid`).
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torchao.quantization import quantize_

from case import FP16, FP32, EdgeProgram, execute, export, snippets
from executorch_coreml import Target
from executorch_coreml.errors import UnsupportedOp
from executorch_coreml.mil.bundle import read
from executorch_coreml.mil.summary import summarise
from executorch_coreml.mil.types import Constant, TensorType
from executorch_coreml.mil.weights import SUB_BYTE_BITS
from quantized_grid import (
    GROUPS,
    INPUTS,
    LAYERS,
    REFUSED,
    GridScheme,
    grid_inputs,
    layers_of,
    quantized,
)
from quantized_models import assert_as_quantized

pytestmark = pytest.mark.filterwarnings("ignore")  # torchao and torch.export have many

TARGETS = (None, Target.iOS16, Target.iOS17, Target.iOS18)
NEEDS = {group: max(scheme.needs for scheme in schemes) for group, schemes in GROUPS.items()}
LEGAL = [(g, t) for g in GROUPS for t in TARGETS if t is None or t >= NEEDS[g]]
NEXT_OLDER = {Target.iOS17: Target.iOS16, Target.iOS18: Target.iOS17}
ILLEGAL = [(g, NEXT_OLDER[needs]) for g, needs in NEEDS.items() if needs in NEXT_OLDER]
_BIASES = {kind: getattr(make(), "bias", torch.empty(0)).numel() for kind, make in LAYERS.items()}


def _id(value: Any) -> Any:
    return getattr(value, "name", value)


def _together(cases: list[tuple[str, Target | None]]) -> list[Any]:
    """What starts with one exported program runs in one process."""
    return [pytest.param(*case, marks=pytest.mark.xdist_group(f"grid_{case[0]}")) for case in cases]


@cache
def _exported(group: str) -> tuple[EdgeProgram, tuple[Any, ...], list[torch.Tensor]]:
    """(program, inputs, what the quantized model computes for them)."""
    model = quantized(GROUPS[group], grid_inputs(seed=1))
    # Not what it was calibrated with: the extremes of that lie half way between two integers.
    inputs = grid_inputs(seed=2)
    with torch.no_grad():
        return EdgeProgram(export(model, inputs)), inputs, model(*inputs)


def _stored(pte: bytes) -> list[tuple[tuple[int, ...], float]]:
    """(sorted shape, bytes of all constants) of each weight that is stored compressed."""
    (function,) = read(pte).program.functions.values()
    constants = {
        op.name: op.attributes["val"] for op in function.body.operations if op.type == "const"
    }
    found = []
    for op in function.body.operations:
        if not op.type.startswith("constexpr_"):
            continue
        given = [value for values in op.inputs.values() for value in values]
        given = [constants.get(getattr(value, "name", ""), value) for value in given]
        kept = [v for v in (*given, *op.attributes.values()) if isinstance(v, Constant)]
        shape = op.outputs[0].type.shape
        found.append((tuple(sorted(shape)), sum(map(_bytes, kept))))
    return sorted(found)


def _bytes(constant: Constant) -> float:
    if not isinstance(constant.type, TensorType) or not isinstance(constant.data, np.ndarray):
        return 0.0
    bits = SUB_BYTE_BITS.get(constant.type.dtype, constant.data.itemsize * 8)
    return constant.data.size * bits / 8


@pytest.mark.parametrize(("group", "target"), _together(LEGAL), ids=_id)
def test_grid(group: str, target: Target | None) -> None:
    """In fp16, the default, for the target that is chosen; in fp32 for those that are named."""
    precision = FP16 if target is None else FP32
    program, inputs, expected = _exported(group)
    options = {} if target is None else {"minimum_deployment_target": target}
    lowered, partitioner = program.lower(precision, **options)
    assert not partitioner.report.refused, str(partitioner.report)
    assert partitioner.report.delegates == 1
    pte = lowered.buffer
    assert read(pte).specification_version == (target or NEEDS[group])
    layers = layers_of(GROUPS[group])
    _check_sizes(pte, layers, 4 if precision is FP32 else 2)
    with snippets(precision):
        outputs = execute(pte, inputs)
    for got, one, (kind, scheme, _) in zip(outputs, expected, layers, strict=True):
        assert_as_quantized(got, one, precision, scheme.static, f"{kind} {scheme.id}")


def _check_sizes(
    pte: bytes, layers: list[tuple[str, GridScheme, tuple[int, ...]]], float_bytes: int
) -> None:
    theory = sorted(
        (tuple(sorted(shape)), scheme.bytes(kind, shape, float_bytes))
        for kind, scheme, shape in layers
    )
    stored = _stored(pte)
    assert len(stored) == len(theory)
    for (shape, size), (theirs, bound) in zip(stored, theory, strict=True):
        assert shape == theirs
        assert abs(size - bound) <= 0.03 * bound, f"{shape}: {size} bytes, not {bound}"
    biases = sum(_BIASES[kind] for kind, _, _ in layers) * float_bytes
    bound = sum(size for _, size in theory) + biases
    assert abs(sum(summarise(read(pte)).weights.values()) - bound) <= 0.03 * bound


@pytest.mark.parametrize(("group", "target"), _together(ILLEGAL), ids=_id)
def test_every_layer_without_a_form_is_named_with_the_target_to_set(
    group: str, target: Target
) -> None:
    program, _, _ = _exported(group)
    with pytest.raises(UnsupportedOp) as caught:
        program.lower(FP32, minimum_deployment_target=target)
    message = str(caught.value)
    for kind, scheme, _ in layers_of(GROUPS[group]):
        place, need = f"in layers.{kind}_{scheme.id}:", f"needs {scheme.oldest(kind).name} or later"
        named = re.search(f"{re.escape(place)} (it cannot run .*: )?{need}", message)
        assert bool(named) == (scheme.oldest(kind) > target), place
    assert "set the minimum_deployment_target that is named" in message


@pytest.mark.parametrize(("config", "kind", "error", "message"), REFUSED)
def test_what_torchao_itself_refuses(
    config: Any, kind: str, error: type[Exception], message: str
) -> None:
    def run() -> None:
        layer = LAYERS[kind]().eval()
        quantize_(layer, config, filter_fn=lambda module, _: hasattr(module, "weight"))
        layer(torch.randn(INPUTS[kind]))

    with pytest.raises(error, match=message):
        run()
