"""The same model gives the same bytes: in two processes, under two hash seeds, twice in one."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import warnings

import pytest
import torch

from architectures_small import build
from case import FP16, export, lower, randn

MOBILENET = """
import hashlib, torch
from case import export, lower, randn
from vision_small import MobileNetV3
torch.manual_seed(0)
lowered, partitioner = lower(export(MobileNetV3().eval(), (randn(1, 3, 64, 64),)))
print(partitioner.report.delegates, hashlib.sha256(lowered.buffer).hexdigest())
"""
# Each kind of compressed weights, and quantized activations.
QUANTIZED = """
import hashlib, warnings
import torch
from case import export, lower
from quantized_models import PT2E, TORCHAO, Layers, layer_inputs
warnings.simplefilter("ignore")
schemes = {scheme.id: scheme for scheme in (*PT2E, *TORCHAO)}
digest, delegates = hashlib.sha256(), 0
for name in ("static", "int4_group", "palette2_rows"):
    model = schemes[name].quantize(Layers().eval(), layer_inputs())
    lowered, partitioner = lower(export(model, layer_inputs()))
    digest.update(lowered.buffer)
    delegates = max(delegates, partitioner.report.delegates)
print(delegates, digest.hexdigest())
"""


# In the other process; the fixtures do the same in this one.
QUICKLY = """
import gc
from composite_ops import collect_once
collect_once(setattr)
gc.freeze()
"""


def _in_another_process(seed: str) -> list[str]:
    """A line for each script: (delegates, digest)."""
    done = subprocess.run(
        [sys.executable, "-c", QUICKLY + MOBILENET + QUANTIZED],
        env={**os.environ, "PYTHONHASHSEED": seed},
        cwd=os.path.dirname(__file__),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()[-2:]


def test_two_processes_two_hash_seeds_same_pte(capsys: pytest.CaptureFixture[str]) -> None:
    """Against this process, whose hash seed is random and which has lowered other programs."""
    with warnings.catch_warnings():
        exec(MOBILENET + QUANTIZED, {})
    here = capsys.readouterr().out.splitlines()[-2:]
    assert here == _in_another_process("1")
    assert [line[:2] for line in here] == ["1 ", "1 "]


def _digest(bias: float) -> tuple[str, bytes]:
    model = torch.nn.Sequential(torch.nn.Linear(4, 64), torch.nn.ReLU())
    torch.nn.init.constant_(model[0].weight, 0.5)
    torch.nn.init.constant_(model[0].bias, bias)
    pte = lower(export(model, (randn(2, 4),)))[0].buffer
    return hashlib.sha256(pte).hexdigest(), pte


def test_twice_in_one_process_and_the_identifier_follows_the_weights() -> None:
    (first, _), (again, _), (other, _) = _digest(0.25), _digest(0.25), _digest(0.5)
    assert first == again
    assert first != other


def test_code_that_torch_generates_leaves_no_number_of_the_process() -> None:
    """The rotary embedding of this model comes through code that torch.fx numbers anew each time,
    and is among the reasons that are stored with an fp16 model."""
    model, inputs = build("Qwen2")
    first, again = (lower(export(model, inputs), FP16)[0].buffer for _ in range(2))
    assert first == again
