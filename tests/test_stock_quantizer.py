"""The tests of ExecuTorch's own ``CoreMLQuantizer`` pass with ours in its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import executorch.backends.apple.coreml as stock
import pytest

_FILE = Path(next(iter(stock.__path__))) / "test" / "test_coreml_quantizer.py"
_THEIRS = "executorch.backends.apple.coreml.quantizer"


def _tests() -> Any:
    source = _FILE.read_text()
    assert _THEIRS in source
    module: dict[str, Any] = {"__name__": "stock_quantizer_tests"}
    exec(
        compile(source.replace(_THEIRS, "executorch_coreml.quantizer"), str(_FILE), "exec"), module
    )
    return module["TestCoreMLQuantizer"]()


@pytest.mark.filterwarnings("ignore")  # coremltools, torchao and torch.export have many
@pytest.mark.parametrize("kind", ["PTQ", "QAT"])
@pytest.mark.parametrize(
    "name", ["test_fake_quantize_modules_inserted_after_prepare", "test_conv_relu", "test_linear"]
)
def test_passes_with_our_quantizer(name: str, kind: str) -> None:
    getattr(_tests(), name)(kind)
