"""The samples: small models of every form, of our own making and of others'."""

from __future__ import annotations

import pickle
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

TREES = {"package": "m.mlpackage", "compiled": "m.mlmodelc"}
FILES = {"payload": "m.payload", "pte": "m.pte"}
ROOM = 4096  # bytes behind the payload of a .pte, so that it can grow without moving anything


@dataclass(frozen=True)
class Sample:
    """A sound model.

    Attributes:
        form: A key of :data:`TREES` or :data:`FILES`.
        files: Path inside the model -> content; one entry, ``""``, for a single file.
        payload: Where the payload of a ``.pte`` lies, from and to.
    """

    name: str
    form: str
    files: dict[str, bytes]
    payload: tuple[int, int] = (0, 0)


def save(path: Path, full: bool) -> None:
    """Makes the samples; a few of them unless ``full``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = list(_samples(full))
    path.write_bytes(pickle.dumps(found))


def load(path: Path) -> list[Sample]:
    samples: list[Sample] = pickle.loads(path.read_bytes())
    return samples


def _samples(full: bool) -> Iterator[Sample]:
    packages = dict(_packages(full))
    for name, files in packages.items():
        yield Sample(name, "package", files)
    every = list(packages)[::2]
    for name in every if full else ("constants", "network"):
        yield Sample(f"{name}-compiled", "compiled", _compiled(packages[name]))
    for name in ("constants", "network"):
        yield Sample(f"{name}-payload", "payload", {"": _payload(packages[name])})
    yield from _programs(full)


def _packages(full: bool) -> Iterator[tuple[str, dict[str, bytes]]]:
    from package_files import files
    from predict_models import LABELS, classifier, counter, image_model

    yield "constants", files()
    yield "network", _saved(_network())
    yield "classifier", _saved(classifier(LABELS))
    families = FAMILIES if full else ("control", "lists")
    for family in families:
        rows = import_module(f"kernel_cases.{family}").ROWS
        chosen = [row for row in rows if row.target == "iOS18"]
        chosen = chosen[:: max(1, len(chosen) // 8)]
        for number in range(0, min(len(chosen), 8 if full else 4), 4):
            yield f"{family}-{number}", _kernels(chosen[number : number + 4], number == 4)
    if full:
        yield "image", _saved(image_model("RGB"))
        yield "state", _saved(counter())
        yield "ranges", _saved(_flexible("ranges"))
        yield "enumerated", _saved(_flexible("enumerated"))
        yield "functions", _functions()


FAMILIES = (
    *("activation", "attention", "control", "conv", "elementwise", "index", "linear", "lists"),
    *("nms", "norm", "pool", "quant", "random", "recurrent", "reduce", "resize", "sample", "shape"),
)


def _tree(path: Path) -> dict[str, bytes]:
    return {
        file.relative_to(path).as_posix(): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def _saved(model: Any) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as directory:
        model.save(f"{directory}/m.mlpackage")
        return _tree(Path(directory, "m.mlpackage"))


def _compiled(files: dict[str, bytes]) -> dict[str, bytes]:
    from compiled_files import compiled
    from executorch_coreml.mil.bundle import read
    from package_files import write

    with tempfile.TemporaryDirectory() as directory:
        return compiled(read(write(files, Path(directory, "m.mlpackage"))))


def _payload(files: dict[str, bytes]) -> bytes:
    from executorch_coreml.mil.bundle import read
    from package_files import pack, write

    with tempfile.TemporaryDirectory() as directory:
        bundle = read(write(files, Path(directory, "m.mlpackage")))
    names = bundle.input_names["main"], bundle.output_names["main"]
    order = {"inputNames": names[0], "outputNames": names[1], "identifier": "test"}
    return pack(files, order)


def _kernels(rows: Any, half: bool) -> dict[str, bytes]:
    """Rows of the kernel tests as one program."""
    import numpy as np

    from kernel_case import _program, convert

    kind = np.float16 if half else np.float32
    arrays = [[a.astype(kind) if a.dtype.kind == "f" else a for a in r.inputs] for r in rows]
    with tempfile.TemporaryDirectory() as directory:
        program = _program(rows, arrays, kind, "iOS18")
        return _tree(convert(program, Path(directory, "m.mlpackage")))


def _network() -> Any:
    """Convolutions, a palette, products, a softmax: the usual, in fp16."""
    import numpy as np

    from kernel_case import ct, mb
    from predict_models import convert

    generator = np.random.default_rng(0)

    @mb.program(input_specs=[mb.TensorSpec((1, 3, 8, 8))], opset_version=ct.target.iOS18)
    def program(x: Any) -> Any:
        weight = generator.standard_normal((4, 3, 3, 3)).astype(np.float32)
        y = mb.relu(x=mb.conv(x=x, weight=weight, bias=np.ones(4, np.float32), pad_type="same"))
        y = mb.max_pool(x=y, kernel_sizes=[2, 2], strides=[2, 2], pad_type="valid")
        y = mb.reshape(x=y, shape=[1, 64])
        indices = np.arange(320).reshape(5, 64).astype(np.uint8) % 4
        lut = np.linspace(-1, 1, 4, dtype=np.float16).reshape(1, 1, 4, 1)
        packed = indices.astype(ct.converters.mil.mil.types.np_uint4_dtype)
        table = np.tile(lut, (1, 1, 4, 1))
        palette = mb.constexpr_lut_to_dense(indices=packed, lut=table)
        y = mb.linear(x=mb.cast(x=y, dtype="fp16"), weight=palette)
        scale = np.float16([[0.5]] * 5)
        whole = mb.constexpr_blockwise_shift_scale(data=np.ones((5, 5), np.int8), scale=scale)
        y = mb.matmul(x=y, y=whole, transpose_y=True)
        y = mb.concat(values=(y, y), axis=-1)
        return mb.cast(x=mb.softmax(x=y, axis=-1), dtype="fp32", name="y")

    return convert(program, minimum_deployment_target=ct.target.iOS18)


def _flexible(kind: str) -> Any:
    import torch

    from kernel_case import ct
    from predict_models import convert

    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.GELU()).eval()
    shape = (
        (ct.RangeDim(1, 6), 4)
        if kind == "ranges"
        else ct.EnumeratedShapes([[1, 4], [3, 4]], default=[1, 4])
    )
    traced = torch.jit.trace(module, torch.randn(1, 4))
    return convert(traced, inputs=[ct.TensorType("x", shape)])


def _functions() -> dict[str, bytes]:
    import numpy as np

    from kernel_case import ct, mb
    from predict_models import convert

    def scaled(factor: float) -> Any:
        @mb.program(input_specs=[mb.TensorSpec((2, 8))], opset_version=ct.target.iOS18)
        def program(x: Any) -> Any:
            weight = np.full((4, 8), factor, np.float32)
            return mb.relu(x=mb.linear(x=x, weight=weight), name="y")

        return program

    descriptor = ct.utils.MultiFunctionDescriptor()
    with tempfile.TemporaryDirectory() as directory:
        for name, factor in (("half", 0.5), ("twice", 2)):
            path = f"{directory}/{name}.mlpackage"
            convert(scaled(factor), minimum_deployment_target=ct.target.iOS18).save(path)
            descriptor.add_function(path, "main", name)
        descriptor.default_function_name = "half"
        ct.utils.save_multifunction(descriptor, f"{directory}/m.mlpackage")
        return _tree(Path(directory, "m.mlpackage"))


def _programs(full: bool) -> Iterator[Sample]:
    """Programs of ours: a package, a compiled model, two methods; and those of others."""
    import torch
    from executorch.exir import to_edge_transform_and_lower

    from case import FP16, export, lower
    from executorch_coreml import CoreMLBackend, CoreMLPartitioner

    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Conv1d(2, 3, 3), torch.nn.ReLU(), torch.nn.Linear(6, 4))
    one, two = (torch.randn(1, 2, 8),), (torch.randn(2, 2, 8),)
    buffer = bytes(lower(export(module, one), FP16)[0].buffer)
    yield _roomy("ours", buffer)
    if not full:
        return
    yield _roomy("ours-compiled", buffer, _finished)
    partitioner = CoreMLPartitioner(compile_specs=CoreMLBackend.generate_compile_specs())
    methods = {"small": export(module, one), "large": export(module, two)}
    chosen = {name: [partitioner] for name in methods}
    edge = to_edge_transform_and_lower(methods, partitioner=chosen)
    yield _roomy("ours-methods", bytes(edge.to_executorch().buffer))
    with tempfile.TemporaryDirectory() as directory:
        script = Path(__file__).parents[1] / "stock_models.py"
        command = [sys.executable, str(script), directory]
        subprocess.run(command, check=True, capture_output=True)
        for path in sorted(Path(directory).glob("*.pte")):
            yield _roomy(f"stock-{path.stem}", path.read_bytes())


def _finished(data: bytes) -> bytes:
    """A payload whose package is compiled."""
    from compiled_files import COMPILER
    from executorch_coreml.compiler.finish import _compiled as finished

    return finished(data, COMPILER.split())


def _roomy(name: str, pte: bytes, change: Callable[[bytes], bytes] = bytes) -> Sample:
    from executorch_coreml.compiler import payload
    from executorch_coreml.compiler.finish import rewrite
    from executorch_coreml.mil.pte import read_pte

    pte = rewrite(pte, lambda data: change(data) + bytes(ROOM))
    found = read_pte(memoryview(pte))
    stored = found.delegates[0].processed
    if payload.is_reference(stored):
        stored = found.named_data[payload.parse_reference(stored).key]
    start = pte.index(bytes(stored))
    return Sample(name, "pte", {"": pte}, (start, start + len(stored)))
