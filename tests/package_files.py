"""An ML Program package with constants of every dtype, made by coremltools, for several tests."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from executorch_coreml.compiler import payload
from executorch_coreml.mil.types import Block, Bundle, Op

MODEL = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"

# Arrays of 10 elements and more go to the weight file, the others into the program.
CONSTANTS: dict[str, Any] = {
    "f16": np.linspace(-65504, 65504, 16).astype(np.float16),
    "f16_few": np.array([[1.5, -2], [65504, 6e-8]], np.float16),
    "f16_scalar": np.float16(0.1),
    "f32": np.linspace(-1, 1, 30, dtype=np.float32).reshape(2, 3, 5),
    "f32_few": np.array([np.inf, -np.inf, np.pi], np.float32),
    "f32_scalar": np.float32(2.5),
    "f32_empty": np.zeros((0, 3), np.float32),
    "i8": np.linspace(-128, 127, 16).astype(np.int8),
    "i8_few": np.array([-128, 127], np.int8),
    "i8_scalar": np.int8(-3),
    "i16": np.linspace(-(2**15), 2**15 - 1, 16).astype(np.int16),
    "i16_few": np.array([-(2**15), 2**15 - 1], np.int16),
    "i32": np.linspace(-(2**31), 2**31 - 1, 16).astype(np.int32),
    "i32_few": np.array([-(2**31), 2**31 - 1], np.int32),
    "i32_scalar": np.int32(-7),
    "u8": np.linspace(0, 255, 16).astype(np.uint8),
    "u8_scalar": np.uint8(200),
    "u16": np.linspace(0, 2**16 - 1, 16).astype(np.uint16),
    "u16_few": np.array([0, 2**16 - 1], np.uint16),
    "u32": np.linspace(0, 2**32 - 1, 16).astype(np.uint32),
    "u32_few": np.array([0, 2**32 - 1], np.uint32),
    "bools": np.arange(16) % 3 == 0,
    "bool_scalar": np.bool_(True),
    "text": "fp16",
}
# 15 * 2 elements fill no whole number of bytes of 1, 3 or 6 bits.
PACKED = {f"uint{bits}": np.arange(30).reshape(2, 15) % 2**bits for bits in (1, 2, 3, 4, 6)}
PACKED["int4"] = np.arange(30).reshape(2, 15) % 16 - 8


@cache
def files() -> dict[str, bytes]:
    """The files of the package, by path."""
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as directory:
        warnings.simplefilter("ignore")
        path = Path(directory) / "constants.mlpackage"
        _convert(str(path))
        return {name: (path / name).read_bytes() for name in ("Manifest.json", MODEL, WEIGHTS)}


def write(package: dict[str, bytes], path: Path) -> Path:
    """The package as a directory."""
    for name, content in package.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def pack(package: dict[str, bytes], metadata: object = None) -> bytes:
    """The package as a delegate payload."""
    order = {"inputNames": ["x"], "outputNames": ["y"], "identifier": "test"}
    content = {f"lowered_module/model.mlpackage/{name}": data for name, data in package.items()}
    content["lowered_module/metadata.json"] = json.dumps(metadata or order).encode()
    return payload.pack(content)


def ops(block: Block) -> Iterator[Op]:
    for op in block.operations:
        yield op
        for inner in op.blocks:
            yield from ops(inner)


def main_ops(bundle: Bundle) -> dict[str, Op]:
    return {op.name: op for op in ops(bundle.program.functions["main"].body)}


def constant(bundle: Bundle, name: str) -> Any:
    return main_ops(bundle)[name].attributes["val"].data


@cache
def coremltools() -> Any:
    """The module; importing it warns about what macOS has and this machine has not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import coremltools
    return coremltools


def _convert(path: str) -> None:
    ct = coremltools()
    from coremltools.converters.mil import Builder as mb
    from coremltools.converters.mil.mil import types

    def packed(dtype: str) -> Any:
        storage = types.nptype_from_builtin(types.string_to_builtin(dtype))
        return PACKED[dtype].astype(storage)

    @mb.program(  # type: ignore[untyped-decorator, unused-ignore]
        input_specs=[mb.TensorSpec((2, 16)), mb.StateTensorSpec((2, 16), dtype=types.fp16)],
        opset_version=ct.target.iOS18,
    )
    def program(x: Any, memory: Any) -> Any:
        for name, value in CONSTANTS.items():
            mb.const(val=value, name=name)
        for dtype in PACKED:
            if dtype == "int4":
                scale = np.ones((1, 1), np.float16)
                mb.constexpr_blockwise_shift_scale(data=packed(dtype), scale=scale, name=dtype)
            else:
                lut = np.arange(2 ** int(dtype[4:]), dtype=np.float32).reshape(1, 1, -1, 1)
                mb.constexpr_lut_to_dense(indices=packed(dtype), lut=lut, name=dtype)
        stored = mb.read_state(input=memory)
        total = mb.add(x=mb.cast(x=x, dtype="fp16"), y=stored, name="sum")
        mb.coreml_update_state(state=memory, value=total)
        flag = mb.greater(x=mb.reduce_max(x=x, axes=[0, 1], keep_dims=False), y=0.0)
        chosen = mb.cond(
            pred=flag, _true_fn=lambda: mb.relu(x=total), _false_fn=lambda: total, name="chosen"
        )
        return mb.cast(x=chosen, dtype="fp32", name="y")

    model = ct.convert(
        program,
        source="milinternal",
        convert_to="mlprogram",
        minimum_deployment_target=ct.target.iOS18,
        pass_pipeline=ct.PassPipeline.EMPTY,
        skip_model_load=True,
    )
    model.save(path)
