"""Reading ExecuTorch programs: which delegates they hold, and their models."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import flatbuffers  # type: ignore[import-untyped, unused-ignore]
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executorch_coreml.compiler import payload
from executorch_coreml.errors import CoreMLError, PayloadError
from executorch_coreml.mil.bundle import BACKEND_ID, read, read_payload
from executorch_coreml.mil.pte import read_pte
from executorch_coreml.mil.types import TensorType
from package_files import CONSTANTS, constant, files, main_ops, pack


def test_pte_of_the_stock_backend(stock: Path) -> None:
    source = stock / "linear_relu.pte"
    for form in (read(source), read(source.read_bytes())):
        weights = [
            op.attributes["val"].data
            for op in main_ops(form).values()
            if op.type == "const" and op.outputs[0].type == TensorType("fp32", (4, 8))
        ]
        expected = np.linspace(-1, 1, 32, dtype=np.float32).reshape(4, 8)
        np.testing.assert_allclose(weights, [expected], rtol=1e-6)
        assert "linear_relu.pte" in form.source or "bytes in memory" in form.source
        assert form.input_names["main"] == tuple(f.name for f in form.descriptions["main"].inputs)


def test_pte_state(stock: Path) -> None:
    counter = read(stock / "counter.pte")
    (state,) = counter.descriptions["main"].states
    assert (state.kind, state.shape) == ("state", (4,))
    names = counter.input_names["main"]
    assert state.name not in names
    assert len(names) == 1


def test_pte_methods_share_a_model(stock: Path) -> None:
    data = (stock / "methods.pte").read_bytes()
    pte = read_pte(memoryview(data))
    assert [d.method for d in pte.delegates] == ["decode", "prefill"]
    assert {d.id for d in pte.delegates} == {BACKEND_ID}
    assert all(payload.is_reference(d.processed) for d in pte.delegates)
    assert len(pte.named_data) == 1
    for index, (method, rows) in enumerate((("decode", 1), ("prefill", 6))):
        model = read(data, delegate=index)
        assert model.default_function == method
        assert set(model.program.functions) == {"decode", "prefill"}
        assert [f.shape for f in model.descriptions[method].inputs] == [(rows, 8)]
        assert model.input_names[method] == tuple(f.name for f in model.descriptions[method].inputs)
        assert f"method {method!r}" in model.source


def test_pte_reference_needs_its_data(stock: Path) -> None:
    pte = read_pte(memoryview((stock / "methods.pte").read_bytes()))
    reference = pte.delegates[0].processed
    with pytest.raises(PayloadError, match="named data"):
        read_payload(reference)
    with pytest.raises(PayloadError, match="no named data"):
        read_payload(reference, dict[str, bytes]().__getitem__)
    model = read_payload(reference, pte.named_data.__getitem__, "decode")
    assert model.default_function == "decode"
    with pytest.raises(PayloadError, match="method 'other'"):
        read_payload(reference, pte.named_data.__getitem__, "other")


def test_pte_delegates(stock: Path) -> None:
    source = stock / "two_delegates.pte"
    pte = read_pte(memoryview(source.read_bytes()))
    assert [(d.method, d.index, d.id) for d in pte.delegates] == [
        ("forward", 0, BACKEND_ID),
        ("forward", 1, BACKEND_ID),
    ]
    specs = {key: bytes(value) for key, value in pte.delegates[0].compile_specs}
    assert specs["min_deployment_target"] == b"9"
    found = [{op.type for op in main_ops(read(source, delegate=i)).values()} for i in (0, 1)]
    assert "sigmoid" in found[0]
    assert "relu" in found[1]
    for wrong in (2, -1):
        with pytest.raises(PayloadError, match=r"0 of method 'forward' for CoreMLBackend"):
            read(source, delegate=wrong)


def test_pte_truncated(stock: Path) -> None:
    data = (stock / "methods.pte").read_bytes()
    for size in [*range(200), *range(200, len(data), 97), len(data) - 1]:
        with pytest.raises(PayloadError):
            read(data[:size], delegate=1)


@given(st.data())
@settings(deadline=None, max_examples=300)
def test_pte_damaged(stock: Path, data: st.DataObject) -> None:
    source = bytearray((stock / "methods.pte").read_bytes())
    program_size = int.from_bytes(source[16:24], "little")
    for position, byte in data.draw(
        st.lists(st.tuples(st.integers(0, program_size - 1), st.integers(0, 255)), max_size=4)
    ):
        source[position] = byte
    with suppress(CoreMLError):  # any other error fails
        read(source)


def fb_table(builder: flatbuffers.Builder, fields: int, **offsets: int) -> int:
    """A table of ``fields`` fields, of which those named ``f<number>`` refer to an offset."""
    builder.StartObject(fields)
    for name, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(int(name[1:]), offset, 0)
    return int(builder.EndObject())


def fb_vector(builder: flatbuffers.Builder, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def fb_program(builder: flatbuffers.Builder, plans: list[int], blobs: list[int]) -> bytes:
    plan_vector, blob_vector = fb_vector(builder, plans), fb_vector(builder, blobs)
    root = fb_table(builder, 8, f1=plan_vector, f3=blob_vector)
    builder.Finish(root, file_identifier=b"ET12")
    return bytes(builder.Output())


def test_pte_with_inline_data() -> None:
    builder = flatbuffers.Builder()
    blob = fb_table(builder, 1, f0=builder.CreateByteVector(pack(files())))
    location = fb_table(builder, 2)  # INLINE, index 0
    delegates = [
        fb_table(builder, 3, f0=builder.CreateString(name), f1=location)
        for name in ("XnnpackBackend", BACKEND_ID)
    ]
    vector, method = fb_vector(builder, delegates), builder.CreateString("forward")
    data = fb_program(builder, [fb_table(builder, 8, f0=method, f7=vector)], [blob])
    np.testing.assert_array_equal(constant(read(data), "f32"), CONSTANTS["f32"])
    with pytest.raises(PayloadError, match="0 of method 'forward' for XnnpackBackend; 1 of"):
        read(data, delegate=1)


def test_pte_without_delegates() -> None:
    with pytest.raises(PayloadError, match="no delegates at all"):
        read(fb_program(flatbuffers.Builder(), [], []))


def test_pte_whose_tables_share_bytes() -> None:
    """100 kB that describe 10^12 compile specs."""
    builder, many = flatbuffers.Builder(), 10_000
    specs = fb_vector(builder, [fb_table(builder, 2)] * many)
    blob, location = fb_table(builder, 1), fb_table(builder, 2)
    delegates = fb_vector(builder, [fb_table(builder, 3, f1=location, f2=specs)] * many)
    plans = [fb_table(builder, 8, f7=delegates)] * many
    with pytest.raises(PayloadError, match="same bytes"):
        read(fb_program(builder, plans, [blob]))


@pytest.mark.parametrize(
    ("position", "value"),
    [(4, b"ET99"), (12, b"\1\0\0\0"), (16, b"\xff" * 8), (24, b"\xff" * 8), (0, b"\xff" * 4)],
    ids=["version", "header length", "program size", "segment base", "root"],
)
def test_pte_malformed_header(stock: Path, position: int, value: bytes) -> None:
    data = bytearray((stock / "methods.pte").read_bytes())
    data[position : position + len(value)] = value
    with pytest.raises(PayloadError) as info:
        read(data)
    assert info.value.offset is not None
