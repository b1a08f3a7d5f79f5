"""The payload codec, with ExecuTorch's own flattener as the referee."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from executorch.backends.apple.coreml import executorchcoreml
from hypothesis import given, settings
from hypothesis import strategies as st

from executorch_coreml.compiler import payload
from executorch_coreml.errors import PayloadError

# Names that both this file system and the delegate's JSON scanner can hold.
NAMES = st.text(
    st.characters(exclude_characters='/\\"', exclude_categories=("Cc", "Cs")),
    min_size=1,
    max_size=12,
).filter(lambda name: name not in (".", "..") and len(name.encode()) < 200)
TREES = st.dictionaries(st.lists(NAMES, min_size=1, max_size=4).map(tuple), st.binary(), min_size=1)

FILES = {
    "lowered_module/metadata.json": b'{"inputNames": ["x"], "outputNames": ["y"]}',
    "lowered_module/model.mlpackage/Manifest.json": b"{}",
    "lowered_module/model.mlpackage/Data/com.apple.CoreML/model.mlmodel": bytes(range(100)),
    "lowered_module/model.mlpackage/Data/com.apple.CoreML/weights/weight.bin": b"\xff" * 300,
    "lowered_module/empty": b"",
}


def tree(files: dict[tuple[str, ...], bytes]) -> dict[str, bytes]:
    """Keep the paths that do not use another path as a directory, below one root."""
    return {
        "/".join(("root", *path)): content
        for path, content in files.items()
        if not any(path[:depth] in files for depth in range(1, len(path)))
    }


def contents(data: bytes) -> dict[str, bytes]:
    return {path: bytes(content) for path, content in payload.unpack(data).items()}


def unflatten(data: bytes, directory: Path) -> dict[str, bytes]:
    assert executorchcoreml.unflatten_directory_contents(data, str(directory))
    found = (path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in found}


def json_nodes(data: bytes) -> list[dict[str, Any]]:
    """The nodes, found independently: the longest tail that is JSON when reversed."""
    for start in range(len(data)):
        if data[start : start + 3] == b"}]}":
            try:
                nodes: list[dict[str, Any]] = json.loads(data[start:][::-1].decode())["nodes"]
                return nodes
            except ValueError:
                continue
    raise AssertionError("no metadata")


def flattened(nodes: object, body: bytes = b"abc", trail: bytes = b"") -> bytes:
    return body + json.dumps({"nodes": nodes}).encode()[::-1] + trail


def file(name: object, offset: object = 0, size: object = 3) -> dict[str, object]:
    region = {"offset": offset, "size": size}
    return {"name": name, "kind": 0, "dataRegion": region, "children": {}}


def directory(name: object, **children: object) -> dict[str, object]:
    region = {"offset": 0, "size": 0}
    return {"name": name, "kind": 1, "dataRegion": region, "children": children}


@given(TREES.map(tree), st.sampled_from([1, 64, 4096, 16384]))
@settings(deadline=None, max_examples=150)
def test_round_trip(files: dict[str, bytes], alignment: int) -> None:
    assert contents(payload.pack(files)) == files
    data = payload.pack(files, alignment=alignment)
    views = payload.unpack(data)
    assert {path: bytes(view) for path, view in views.items()} == files
    offsets = [node["dataRegion"]["offset"] for node in json_nodes(data) if node["kind"] == 0]
    assert all(offset % alignment == 0 for offset in offsets)


@given(TREES.map(tree))
@settings(deadline=None, max_examples=40)
def test_referee_reads_ours(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    assert unflatten(payload.pack(files), tmp_path_factory.mktemp("referee")) == files


@pytest.mark.parametrize("alignment", [1, 64, 16384])
def test_referee_reads_every_alignment(tmp_path: Path, alignment: int) -> None:
    assert unflatten(payload.pack(FILES, alignment=alignment), tmp_path) == FILES


@given(TREES.map(tree))
@settings(deadline=None, max_examples=40)
def test_reads_the_referees(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    # The referee maps every file it flattens, and crashes on an empty one (executorch 1.5.1).
    files = {path: content or b"\0" for path, content in files.items()}
    top = tmp_path_factory.mktemp("referee")
    for path, content in files.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_bytes(content)
    assert contents(executorchcoreml.flatten_directory_contents(str(top / "root"))) == files


def test_views_share_the_payload() -> None:
    data = bytearray(payload.pack(FILES))
    view = payload.unpack(data)["lowered_module/model.mlpackage/Manifest.json"]
    assert view.readonly
    data[data.index(b"{}")] = ord("[")
    assert bytes(view) == b"[}"


def test_large_payloads_are_page_aligned() -> None:
    assert payload.alignment_for(1 << 30) == 64
    assert payload.alignment_for((1 << 30) + 1) % 16384 == 0


def test_deterministic() -> None:
    paths = list(FILES)
    random.Random(0).shuffle(paths)
    data = payload.pack(FILES)
    assert payload.pack({path: FILES[path] for path in paths}) == data
    program = (
        "import hashlib, sys; from executorch_coreml.compiler import payload;"
        f"data = payload.pack({FILES!r}); print(hashlib.sha256(data).hexdigest());"
        "print(*{m.split('.')[0] for m in sys.modules} & {'torch', 'coremltools', 'executorch'})"
    )
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        run = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, env=environment, check=True
        )
        assert run.stdout.decode().split() == [hashlib.sha256(data).hexdigest()]


def test_every_truncation_is_an_error() -> None:
    data = payload.pack(FILES)
    for size in range(len(data)):
        with pytest.raises(PayloadError):
            payload.unpack(data[:size])
    for size in range(1, len(data) + 1):
        with pytest.raises(PayloadError):
            payload.unpack(data[size:])


def test_every_bit_flip_is_read_or_is_an_error() -> None:
    data = payload.pack(FILES)
    start = max(
        node["dataRegion"]["offset"] + node["dataRegion"]["size"] for node in json_nodes(data)
    )
    refused: list[PayloadError] = []
    for position in range(start, len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[position] ^= 1 << bit
            try:
                files = payload.unpack(flipped)
            except PayloadError as error:
                refused.append(error)
            else:
                assert all(len(content) <= start for content in files.values())
    assert all(e.offset is not None and 0 <= e.offset <= len(data) for e in refused)
    assert len(refused) > 0.8 * 8 * (len(data) - start)


def test_flips_in_contents_stay_there() -> None:
    data = bytearray(payload.pack(FILES))
    position = data.index(b"\xff" * 300)
    data[position] ^= 1
    weights = "lowered_module/model.mlpackage/Data/com.apple.CoreML/weights/weight.bin"
    assert contents(bytes(data)) == FILES | {weights: b"\xfe" + b"\xff" * 299}


@pytest.mark.parametrize("trail", [b"\0" * 5000, b" \n", b"\0 \0"], ids=["nul", "space", "both"])
def test_padding_after_the_metadata_is_skipped(tmp_path: Path, trail: bytes) -> None:
    data = flattened([file("x"), directory("r", x=0)], trail=trail)
    assert contents(data) == {"r/x": b"abc"} == unflatten(data, tmp_path)


MALFORMED = {
    "empty": b"",
    "only padding": b"\0" * 100,
    "text": b"hello",
    "unbalanced": b"{" * 100_000,
    "open string": b"x" * 100_000 + b'"{',
    "deep lists": b"}" + b"]" * 100_000 + b"[" * 100_000 + b':"sedon"{',
    "no utf-8": b'}\xff"":"sedon"{',
    "no nodes": b"}{",
    "nodes no list": flattened(3),
    "nodes empty": flattened([]),
    "node no object": flattened([1, directory("r")]),
    "kind unknown": flattened([file("x") | {"kind": 2}, directory("r", x=0)]),
    "kind true": flattened([file("x"), directory("r", x=0) | {"kind": True}]),
    "kind list": flattened([file("x") | {"kind": []}, directory("r", x=0)]),
    "root a file": flattened([file("x")]),
    "name missing": flattened([file(None), directory("r", x=0)]),
    "name dots": flattened([file(".."), directory("r", **{"..": 0})]),
    "name slash": flattened([file("a/b"), directory("r", **{"a/b": 0})]),
    "name nul": flattened([file("a\0"), directory("r", **{"a\0": 0})]),
    "name surrogate": flattened([file("\ud800"), directory("r", **{"\ud800": 0})]),
    "name differs": flattened([file("x"), directory("r", y=0)]),
    "children a list": flattened([file("x"), directory("r") | {"children": []}]),
    "child of itself": flattened([directory("r", r=0)]),
    "child after": flattened([directory("a", b=1), directory("b"), directory("r", a=0)]),
    "child negative": flattened([file("x"), directory("r", x=-1)]),
    "child out of range": flattened([file("x"), directory("r", x=7)]),
    "child a float": flattened([file("x"), directory("r", x=0.0)]),
    "child twice": flattened([file("x"), directory("a", x=0), directory("r", a=1, x=0)]),
    "orphan": flattened([file("x"), directory("r")]),
    "no region": flattened([{"name": "x", "kind": 0}, directory("r", x=0)]),
    "offset negative": flattened([file("x", -1), directory("r", x=0)]),
    "offset true": flattened([file("x", True), directory("r", x=0)]),
    "offset text": flattened([file("x", "0"), directory("r", x=0)]),
    "size negative": flattened([file("x", 0, -1), directory("r", x=0)]),
    "size beyond": flattened([file("x", 0, 4), directory("r", x=0)]),
    "size huge": flattened([file("x", 1, 2**64), directory("r", x=0)]),
    "paths without end": flattened(
        [directory("d" * 50), *(directory("d" * 50, **{"d" * 50: i}) for i in range(5000))]
    ),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_malformed(data: bytes) -> None:
    started = time.monotonic()
    with pytest.raises(PayloadError) as info:
        payload.unpack(data)
    assert info.value.offset is not None
    assert 0 <= info.value.offset <= len(data)
    assert time.monotonic() - started < 5


def test_hostile_sizes_cost_little() -> None:
    started = time.monotonic()
    for data in (bytes(50 << 20), b"{" * (50 << 20), b'"{' * (25 << 20)):
        with pytest.raises(PayloadError):
            payload.unpack(data)
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    "paths",
    [
        *([], ["x"], ["r/a", "s/b"], ["r/a", "r/a/b"], ["/r/a"], ["r//a"], ["r/../a"], ["r/a/"]),
        *(['r/"'], ["r/\\"], ["r/\n"], ["r/\0"], ["r/\ud800"], ["r/" + "x" * 5000]),
    ],
    ids=lambda paths: ascii(paths)[:40],
)
def test_paths_that_cannot_be_packed(paths: list[str]) -> None:
    with pytest.raises(PayloadError):
        payload.pack(dict.fromkeys(paths, b""))


def test_reference_round_trip() -> None:
    data = payload.pack_reference("coreml_1", "prefill")
    assert payload.is_reference(data)
    assert payload.parse_reference(data) == payload.Reference("coreml_1", "prefill")
    assert json.loads(data[4:]) == {"version": 1, "key": "coreml_1", "functionName": "prefill"}
    assert not payload.is_reference(payload.pack(FILES))
    assert not payload.is_reference(b"CMJ")


def test_reference_without_a_function() -> None:
    assert payload.parse_reference(b'CMJR{"key": "k"}') == payload.Reference("k", None)


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"CMJ", b"CMJR", b"XXXX{}", b"CMJR[]", b"CMJR{}", b'CMJR{"key": 1}', b"CMJR\xff"),
        *(b'CMJR{"key": "k", "version": 2}', b'CMJR{"key": "k", "functionName": 1}'),
        *(b'CMJR{"key": "k"} x', b"CMJR" + b"[" * 100_000),
    ],
    ids=lambda data: ascii(data)[:40],
)
def test_malformed_reference(data: bytes) -> None:
    with pytest.raises(PayloadError):
        payload.parse_reference(data)
