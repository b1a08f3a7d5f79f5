"""The byte layout of a delegate payload: the only file that knows it.

A payload is a directory tree flattened into one byte string, which ExecuTorch's Core ML delegate
calls an in-memory file system (``backends/apple/coreml/runtime/inmemoryfs``)::

    contents of file 0 | padding | contents of file 1 | ... | metadata, byte-reversed

The metadata is a UTF-8 JSON object ``{"nodes": [...]}``, one node per file and directory, children
before their directory and the root last. It is written backwards so that a reader can start at the
last byte and stop where the braces balance; no length is stored. A node is ``{"name": str, "kind":
0 | 1, "dataRegion": {"offset": int, "size": int}, "children": {name: index}}``; kind 0 is a file,
1 a directory.

The delegate looks files up below the root and never asks for the root's own name; unflattening to
disk creates the root as a directory. Here the root's name is the first component of every path.

Methods that share one model hold a reference instead of a payload: ``CMJR`` and a JSON object
``{"version": 1, "key": K, "functionName": F}``, where K names the payload in the program's named
data (``runtime/delegate/coreml_backend_delegate.mm``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from executorch_coreml.errors import PayloadError

__all__ = [
    "Reference",
    "alignment_for",
    "is_reference",
    "pack",
    "pack_reference",
    "parse_reference",
    "unpack",
]

Buffer: TypeAlias = "bytes | bytearray | memoryview"
Content: TypeAlias = "Buffer | tuple[Buffer, ...]"  # whole, or in pieces to be joined

REFERENCE_MAGIC = b"CMJR"
PRECISION_NOTES = "precisionNotes"
"""Key in ``debug_info.json``: reason -> nodes that were not computed in fp16 as told."""

OUTSIDE = "outside"
"""Key in ``debug_info.json`` of a method's first delegate: reason -> nodes that stayed outside."""

DEBUG_HANDLES = "debugSymbolToHandles"
"""Key in ``debug_info.json``, of the delegate itself: :func:`symbol` -> debug handles."""

# A key of "versionInfo" in debug_info.json, which maps text to text and which the delegate keeps
# but does not read: why the model needs as new an OS as its specification version says.
MINIMUM_OS_REASON = "minimum_os_reason"
COMPILER_VERSION = "executorch_coreml"  # another one: the version that compiled the model

_FILE, _DIRECTORY = 0, 1

# Above this total the delegate's own writer starts every file on a page, so that a device can map
# the weights instead of reading them. 16 KiB is the page of Apple silicon, a multiple of 4 KiB.
_LARGE = 1 << 30
_PAGE = 16384
# A reader takes any offset. 64 keeps the alignment that blobs have inside weight.bin, so arrays
# viewed in place stay aligned when the payload itself is.
_ALIGNMENT = 64

# Bounds on what a malformed payload can make a reader do. Real trees have about ten files.
_MAX_METADATA = 1 << 22
_MAX_PATH = 4096

# The delegate's scanner takes a quote behind a backslash for part of the string even where the
# backslash is itself escaped, so names that JSON must escape cannot be stored.
_UNSAFE = re.compile(r'["\\\x00-\x1f]')

# What decides where the metadata ends: braces outside strings. An unterminated string runs to the
# end of the window.
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?|[{}]', re.DOTALL)


def symbol(output: str, op: str) -> str:
    """The debug symbol of a MIL op, under which delegates log its events.

    Args:
        output: Name of its first output.
        op: Its type.
    """
    return f"{output}:{op}"


def alignment_for(size: int) -> int:
    """The alignment of files, in bytes, for a payload of ``size`` bytes of content."""
    return _PAGE if size > _LARGE else _ALIGNMENT


def pack(files: Mapping[str, Content], *, alignment: int | None = None) -> bytes:
    """Flatten a tree of files. The same mapping gives the same bytes, whatever its order.

    Args:
        files: Path, with ``/`` between components and the same first component everywhere (the
            root: ``"lowered_module/metadata.json"``), to content. Contents are copied once.
        alignment: Offset granularity in bytes; :func:`alignment_for` the total if not given.

    Raises:
        PayloadError: A path that is empty, absolute, has a ``.`` or ``..`` component or a
            character the delegate cannot read, a file used as a directory, or no common root.
    """
    contents = {_components(path): _pieces(content) for path, content in files.items()}
    sizes = {path: sum(piece.nbytes for piece in pieces) for path, pieces in contents.items()}
    if alignment is None:
        alignment = alignment_for(sum(sizes.values()))
    parts: list[Buffer] = []
    nodes: list[dict[str, Any]] = []
    end = 0
    for path, children in _tree(contents).items():
        kind, region = _DIRECTORY, {"offset": 0, "size": 0}
        if path in contents:
            start = _aligned(end, alignment)
            kind, region = _FILE, {"offset": start, "size": sizes[path]}
            parts.extend((bytes(start - end), *contents[path]))
            end = start + sizes[path]
        nodes.append({"children": children, "dataRegion": region, "kind": kind, "name": path[-1]})
    text = json.dumps({"nodes": nodes}, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    metadata = text.encode()
    if len(metadata) > _MAX_METADATA:
        raise PayloadError(f"{len(nodes)} files and directories are too many for a payload")
    return b"".join((*parts, metadata[::-1]))


def unpack(data: Buffer) -> Mapping[str, memoryview]:
    """List the files of a payload: path (root first) to its content, in no copy.

    Empty directories are not listed. The views are read-only and keep ``data`` alive.

    Raises:
        PayloadError: The bytes are no payload, or its metadata is malformed. ``offset`` is where
            the metadata starts in ``data``.
    """
    view = memoryview(data).toreadonly().cast("B")
    metadata, start = _metadata(view)
    nodes = _nodes(metadata, start)
    paths = _paths(nodes, start)
    files: dict[str, memoryview] = {}
    for path, node in zip(paths, nodes, strict=True):
        if node["kind"] == _FILE:
            files[path] = _content(view, path, node.get("dataRegion"), start)
    return files


@dataclass(frozen=True, slots=True)
class Reference:
    """Where a method's model is: ``key`` in the named data, ``function_name`` in that model.

    ``function_name`` is None when the reference leaves it out: the method's name is meant.
    """

    key: str
    function_name: str | None


def is_reference(data: Buffer) -> bool:
    """Whether ``data`` claims to be a reference to a shared model rather than a payload."""
    return bytes(memoryview(data)[: len(REFERENCE_MAGIC)]) == REFERENCE_MAGIC


def pack_reference(key: str, function_name: str) -> bytes:
    """The processed bytes of a method whose model is stored under ``key`` in the named data."""
    reference = {"version": 1, "key": key, "functionName": function_name}
    return REFERENCE_MAGIC + json.dumps(reference).encode()


def parse_reference(data: Buffer) -> Reference:
    """Read what :func:`pack_reference` wrote.

    Raises:
        PayloadError: No magic, no valid JSON object, another version, or no usable key.
    """
    if not is_reference(data):
        raise PayloadError("a model reference must start with CMJR", offset=0)
    start = len(REFERENCE_MAGIC)
    reference = _json(bytes(memoryview(data)[start:]), start, "model reference")
    if not isinstance(reference, dict):
        raise PayloadError("a model reference must be a JSON object", offset=start)
    if reference.get("version", 1) != 1:
        raise PayloadError(
            f"a model reference of version {reference['version']!r}; only 1 is known", offset=start
        )
    key, function = reference.get("key"), reference.get("functionName")
    if not isinstance(key, str) or not isinstance(function, str | None):
        raise PayloadError("'key' and 'functionName' of a reference must be text", offset=start)
    return Reference(key, function or None)


def _pieces(content: Content) -> list[memoryview]:
    return [memoryview(piece) for piece in (content if isinstance(content, tuple) else (content,))]


def _aligned(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment


def _components(path: str) -> tuple[str, ...]:
    components = tuple(path.split("/"))
    problem = next(filter(None, map(_name_problem, components)), None)
    if len(components) < 2:
        problem = "a file must lie in the root directory, as in 'lowered_module/metadata.json'"
    elif _UNSAFE.search(path):
        problem = "quotes, backslashes and control characters cannot be stored"
    elif len(path) > _MAX_PATH:
        problem = f"longer than {_MAX_PATH} characters"
    if problem:
        raise PayloadError(f"path {path!r}: {problem}")
    return components


def _tree(files: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], dict[str, int]]:
    """Path of every node -> index of each child by name, in the order of nodes.

    A directory sorts before what is in it, so descending order puts children first, the root last.
    """
    files = set(files)
    directories = {path[:depth] for path in files for depth in range(1, len(path))}
    if clash := files & directories:
        raise PayloadError(f"{'/'.join(min(clash))!r} is both a file and a directory")
    roots = sorted({path[0] for path in files})
    if len(roots) != 1:
        raise PayloadError(f"all files must lie in one root directory; got {roots}")
    tree: dict[tuple[str, ...], dict[str, int]] = {
        path: {} for path in sorted(files | directories, reverse=True)
    }
    for index, path in enumerate(tree):
        if len(path) > 1:
            tree[path[:-1]][path[-1]] = index
    return tree


def _name_problem(name: Any) -> str | None:
    if not isinstance(name, str):
        return f"name {name!r} is not text"
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        return f"{name!r} is no file name"
    if any("\ud800" <= c <= "\udfff" for c in name):
        return f"name {name!r} is no valid text"
    return None


def _metadata(view: memoryview) -> tuple[bytes, int]:
    """The JSON text at the end of ``view``, right way round, and the offset it starts at."""
    window = 4096
    while True:
        window = min(window * 16, _MAX_METADATA, len(view))
        tail = bytes(view[len(view) - window :])[::-1]
        text = tail.lstrip(b"\0 \t\n\v\f\r")  # padding, skipped as the delegate does
        if text and not text.startswith(b"{"):
            break
        depth = 0
        for token in _TOKEN.finditer(text):
            depth += {b"{": 1, b"}": -1}.get(token[0], 0)
            if depth == 0:
                return text[: token.end()], len(view) - (window - len(text)) - token.end()
        if window in (_MAX_METADATA, len(view)):
            break
    raise PayloadError(
        "no delegate payload: it does not end with file metadata",
        offset=max(len(view) - 1, 0),
        hint="pass the processed bytes of a CoreMLBackend delegate, or the whole .pte",
    )


def _json(text: bytes, start: int, what: str) -> Any:
    try:
        return json.loads(text.decode())
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise PayloadError(f"the {what} is no valid JSON: {error}", offset=start) from error


def _nodes(metadata: bytes, start: int) -> list[dict[str, Any]]:
    nodes = _json(metadata, start, "payload's file metadata").get("nodes")
    if not isinstance(nodes, list) or not nodes:
        raise PayloadError("the payload's file metadata lists no nodes", offset=start)
    for index, node in enumerate(nodes):
        problem: str | None
        if not isinstance(node, dict):
            problem = "not an object"
        elif node.get("kind") not in (_FILE, _DIRECTORY) or isinstance(node["kind"], bool):
            problem = f"unknown kind {node.get('kind')!r}"
        elif not isinstance(node.get("children", {}), dict):
            problem = "children are not an object"
        else:
            problem = _name_problem(node.get("name"))
        if problem:
            raise PayloadError(f"payload node {index}: {problem}", offset=start)
    if nodes[-1]["kind"] != _DIRECTORY:
        raise PayloadError("the payload's root is not a directory", offset=start)
    return nodes


def _paths(nodes: list[dict[str, Any]], start: int) -> list[str]:
    """The path of every node. Children precede their directory, so going backwards sees each
    directory before what is in it; a node that is no child of one directory is malformed."""
    paths: list[str | None] = [None] * len(nodes)
    paths[-1] = nodes[-1]["name"]
    for index in reversed(range(len(nodes))):
        path = paths[index]
        if path is None:
            raise PayloadError(f"payload node {index} is in no directory", offset=start)
        for name, child in _children(nodes[index]):
            if type(child) is not int or not 0 <= child < index or paths[child] is not None:
                raise PayloadError(f"{path!r}: {name!r} is no free node: {child!r}", offset=start)
            if nodes[child]["name"] != name:
                raise PayloadError(f"{path!r}: node {child} is not named {name!r}", offset=start)
            if len(path) + len(name) >= _MAX_PATH:
                raise PayloadError(f"a path of more than {_MAX_PATH} characters", offset=start)
            paths[child] = f"{path}/{name}"
    return [path for path in paths if path is not None]


def _children(node: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    return iter(node.get("children", {}).items() if node["kind"] == _DIRECTORY else ())


def _content(view: memoryview, path: str, region: Any, end: int) -> memoryview:
    offset, size = (region.get(k) if isinstance(region, dict) else None for k in ("offset", "size"))
    if type(offset) is not int or type(size) is not int or offset < 0 or size < 0:
        raise PayloadError(f"{path!r} has no valid data region: {region!r}", offset=end)
    if offset + size > end:
        raise PayloadError(
            f"{path!r} has {size} bytes at {offset}, but the contents end at {end}", offset=end
        )
    return view[offset : offset + size]
