"""Where a lowered model goes wrong: PyTorch against the engine, value by value.

>>> import torch
>>> from executorch_coreml.debug import compare
>>> print(compare(torch.nn.ReLU(), (torch.ones(2, 3),)))  # doctest: +SKIP
output relu: good, inf dB; in float32 inf dB
"""

from executorch_coreml.debug.comparison import Comparison, Layer, Output, Row
from executorch_coreml.debug.measure import Error
from executorch_coreml.debug.run import MIN_SNR, compare

__all__ = ["MIN_SNR", "Comparison", "Error", "Layer", "Output", "Row", "compare"]
