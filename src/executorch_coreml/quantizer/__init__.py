"""Quantization of exported models for Core ML, with torchao's PT2E flow.

>>> from executorch_coreml.quantizer import CoreMLQuantizer
>>> quantizer = CoreMLQuantizer({"global_config": {"weight_dtype": "qint8"}})
"""

from executorch_coreml.quantizer.annotate import CoreMLQuantizer
from executorch_coreml.quantizer.config import (
    LinearQuantizerConfig,
    ModuleLinearQuantizerConfig,
    ObserverType,
    QuantizationScheme,
)

__all__ = [
    "CoreMLQuantizer",
    "LinearQuantizerConfig",
    "ModuleLinearQuantizerConfig",
    "ObserverType",
    "QuantizationScheme",
]
