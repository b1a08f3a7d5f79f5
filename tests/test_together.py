"""ExecuTorch's own Core ML backend in the same process: each partitioner gets its own compiler."""

from __future__ import annotations

from itertools import permutations

import pytest

from warm import warm

pytestmark = pytest.mark.xdist_group("stock")  # whose process with torch forks here too

PREAMBLE = """
import logging, warnings; warnings.simplefilter("ignore"); logging.disable(logging.WARNING)
import torch
from executorch.exir import to_edge_transform_and_lower
from executorch.exir.backend.backend_details import BackendDetails
assert not any(each.__name__ == "CoreMLBackend" for each in BackendDetails.__subclasses__())
"""
IMPORTS = {
    "ours": "from executorch_coreml.partition import CoreMLPartitioner as Ours",
    "stock": "from executorch.backends.apple.coreml.partition import CoreMLPartitioner as Stock",
}
LOWER = """
def compiler_of(partitioner):
    program = torch.export.export(torch.nn.ReLU(), (torch.randn(2, 3),))
    edge = to_edge_transform_and_lower(program, partitioner=[partitioner])
    module = next(m for _, m in edge.exported_program().graph_module.named_children())
    assert module.backend_id == "CoreMLBackend"
    # the stock compiler draws a random identifier (a UUID, with dashes); ours is a hash
    text = bytes(module.processed_bytes)
    start = text.index(b"executorch_")
    return "stock" if b"-" in text[start:start + 30] else "ours"
"""


@pytest.mark.parametrize("imports", list(permutations(IMPORTS)), ids="-".join)
def test_each_partitioner_gets_its_own_compiler(imports: tuple[str, ...]) -> None:
    names = ["stock", "ours", "stock", "ours", "ours", "stock"]
    calls = ", ".join(f"compiler_of({name.title()}())" for name in names)
    code = "\n".join([PREAMBLE, *(IMPORTS[name] for name in imports), LOWER, f"print(*[{calls}])"])
    done = warm().run(code)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split()[-6:] == names
