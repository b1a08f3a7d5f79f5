"""MIL program -> model protobuf and weight file, in memory.

This is what ``coremltools.convert(source="milinternal")`` ends in, without the way there. Measured
with coremltools 9.0 on ViT-S (770 MIL ops) under a profiler, ``convert`` takes four times as long
even with the empty pass pipeline: it validates the program eleven times, prints it into debug
messages six times, collects garbage, and writes weights to a directory that it then copies to
another. It also runs passes that no pipeline can take out, one of which is wrong
(``fuse_pow2_sqrt`` makes ``sqrt(x * x)`` into ``x``).

Imports coremltools, so it is imported where it is used.
"""

from __future__ import annotations

from typing import Any

from coremltools.converters.mil.backend.mil.helper import (
    create_file_value_tensor,
    types_to_proto_primitive,
)
from coremltools.converters.mil.backend.mil.load import CoreMLProtoExporter, MILProtoExporter
from coremltools.converters.mil.mil import types
from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY

from executorch_coreml.mil.weights import WeightWriter

# coremltools' passes that a program needs before it is serialised, in this order.
_PASSES = (
    "mil_backend::fuse_activation_silu",
    "mil_backend::sanitize_name_strings",  # renames what MIL reserves, such as "int32"
    "nn_backend::handle_unused_inputs",  # an input that nothing reads gets a reader
)
_WEIGHT_FILE = "@model_path/weights/weight.bin"


def export(program: Any, version: int) -> tuple[Any, WeightWriter]:
    """Serialises a finished program.

    Args:
        program: coremltools' ``Program``; renamed and completed in place.
        version: The specification version of the deployment target.

    Returns:
        The protobuf ``Model``, and the weights it refers to.
    """
    for name in _PASSES:
        PASS_REGISTRY[name](program)
    program._check_early_error_out_for_invalid_program()
    exporter = _Exporter(program, "", version)
    model = CoreMLProtoExporter(
        program,
        exporter.export(),
        predicted_feature_name=None,
        predicted_probabilities_name=None,
        classifier_config=None,
        convert_to="mlprogram",
        convert_from="milinternal",
        specification_version=version,
    ).export(version)
    return model, exporter.weights


class _Exporter(MILProtoExporter):  # type: ignore[misc]
    """Hands constants to a :class:`WeightWriter` instead of a file."""

    def __init__(self, program: Any, weights_dir: str, version: int):
        super().__init__(program, weights_dir, version)
        self.weights = WeightWriter()

    def create_file_value(self, var: Any) -> Any:
        key = var.op.weight_id or var  # only constants of shared models have a weight_id
        if key not in self.weight_id_to_file_value:
            self.weight_id_to_file_value[key] = create_file_value_tensor(
                file_name=_WEIGHT_FILE,
                offset=self.weights.add(var.val, types.builtin_to_string(var.dtype)),
                dim=var.val.shape,
                data_type=types_to_proto_primitive(var.dtype),
            )
        return self.weight_id_to_file_value[key]
