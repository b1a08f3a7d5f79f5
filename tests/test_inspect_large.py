"""``etcoreml inspect`` of a ``.pte`` of 1 GiB, most of it a hole in the file."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest

import report_models
from case import FP16, export, lower
from executorch_coreml.compiler import payload
from executorch_coreml.mil.pte import read_pte
from executorch_coreml.mil.schema import Model

GIB = 1 << 30
ROWS = 1 << 15
INT4 = 25, 8  # MIL.proto's DataType, and the type of a blob in a weight file

# The measures are the process's own: a busy machine does not change them. On Linux, ru_maxrss
# begins with the memory of the process that started this one, VmHWM does not.
CODE = """
import pathlib, re, resource, sys, time
from executorch_coreml.cli import main
main(sys.argv[1:], standalone_mode=False)
status = pathlib.Path("/proc/self/status")
if status.exists():
    peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", status.read_text())[1]) * 1024
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(time.process_time(), peak, file=sys.stderr)
"""


def _enlarged(model: bytes) -> tuple[bytes, int]:
    """The model with a weight of GIB bytes of int4, and the offset of its blob."""
    message = Model.FromString(model)
    (function,) = message.mlProgram.functions.values()
    (block,) = function.block_specializations.values()
    for op in block.operations:
        value = op.attributes["val"] if op.type == "const" else None
        if value is None or len(value.type.tensorType.dimensions) != 2:
            continue
        for kind in (value.type.tensorType, op.outputs[0].type.tensorType):
            kind.dataType = INT4[0]
            kind.dimensions[0].constant.size = ROWS
            kind.dimensions[1].constant.size = 2 * GIB // ROWS
        return message.SerializeToString(), value.blobFileValue.offset
    raise AssertionError("the model has no weight")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real program, whose weight is made a hole at the end of its payload."""
    program, _ = lower(export(*report_models.small()), FP16)
    data = program.buffer
    (delegate,) = read_pte(memoryview(data)).delegates
    files = dict(payload.unpack(delegate.processed))
    (name,) = (name for name in files if name.endswith("model.mlmodel"))
    (weights,) = (bytearray(files[name]) for name in files if name.endswith("weight.bin"))
    files[name], blob = _enlarged(bytes(files[name]))
    weights += bytes(-len(weights) % 64)
    struct.pack_into("<IQQQ", weights, blob + 4, INT4[1], GIB, len(weights), 0)
    packed = payload.pack(files)
    metadata, length = json.JSONDecoder().raw_decode(packed[::-1].decode("latin-1"))
    contents = packed[:-length]
    region = {"offset": len(contents), "size": len(weights) + GIB}
    (node,) = (node for node in metadata["nodes"] if node["name"] == "weight.bin")
    node["dataRegion"] = region
    tail = json.dumps(metadata).encode()[::-1]
    start = data.index(bytes(delegate.processed))
    size = region["offset"] + region["size"] + len(tail)
    old, new = (struct.pack("<Q", each) for each in (len(delegate.processed), size))
    assert data[:start].count(old) == 2  # in the extended header, and DataSegment.size
    head = data[:start].replace(old, new)
    path = tmp_path_factory.mktemp("large") / "model.pte"
    with path.open("wb") as file:
        file.write(head + contents + weights)
        file.seek(start + size - len(tail))
        file.write(tail)
    return path


def test_a_gibibyte_takes_less_than_3_s_and_300_mb(large: Path) -> None:
    assert large.stat().st_size > GIB
    command = [sys.executable, "-c", CODE, "inspect", str(large), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, peak = map(float, done.stderr.split())
    found = json.loads(done.stdout)
    (model,) = found["models"]
    assert model["weights"]["int4"] == GIB
    assert found["bytes"] == large.stat().st_size
    assert seconds < 3
    assert peak < 300e6
