"""The weight file of an ML Program, read in place and written without a copy.

The format is ``MILBlob`` (apple/coremltools, ``mlmodel/src/MILBlob/Blob/StorageFormat.hpp``),
little-endian throughout::

    0    header of 64 bytes: blob count u32, version u32 = 2, the rest reserved
    64k  metadata of 64 bytes: sentinel u32 = 0xDEADBEEF, dtype u32, size in bytes u64,
         data offset u64, padding bits u64, the rest reserved
    64m  data

A program refers to a blob by the offset of its metadata. Elements of less than a byte are packed
as one stream of bits, low bits first; the padding bits are those the last byte leaves over (before
iOS 18 the field was left uninitialised, so it means something for such elements only).
"""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np

from executorch_coreml.errors import PayloadError
from executorch_coreml.mil.types import NUMPY_DTYPES

_ALIGNMENT = 64
_SENTINEL = 0xDEADBEEF
_VERSION = 2
_LFS_POINTER = b"version https://git-lfs"  # what a clone without LFS has for a large file
_HEADER = struct.Struct("<II")
_METADATA = struct.Struct("<IIQQQ")

# BlobDataType.hpp. 5, 16 and 17 are bfloat16 and two kinds of float8, which no MIL op takes.
_BLOB_DTYPES = {
    1: "fp16",
    2: "fp32",
    3: "uint8",
    4: "int8",
    6: "int16",
    7: "uint16",
    8: "int4",
    9: "uint1",
    10: "uint2",
    11: "uint4",
    12: "uint3",
    13: "uint6",
    14: "int32",
    15: "uint32",
}

SUB_BYTE_BITS = {"uint1": 1, "uint2": 2, "uint3": 3, "uint4": 4, "int4": 4, "uint6": 6}
"""Bits per element of the dtypes that are stored packed."""

_CODES = {dtype: code for code, dtype in _BLOB_DTYPES.items()}

BLOB_DTYPES = frozenset(_CODES)
"""The MIL dtypes that a weight file can hold."""


class WeightFile:
    """The blobs of one weight file. Arrays read from it view the buffer and keep it alive.

    Args:
        data: The whole file, best as a memory map: only what is read is touched.
        name: For messages.
        unpack: Give elements of less than a byte their values. Without, their arrays have the shape
            and lie at the place of the blob, but repeat its first byte: enough to measure a model
            whose elements would not fit in memory.

    Raises:
        PayloadError: The header is cut short or of another version.
    """

    def __init__(self, data: memoryview, name: str, *, unpack: bool = True):
        self._data = data.toreadonly()
        self._name = name
        self._unpack = unpack
        if len(data) < _ALIGNMENT:
            raise PayloadError(f"{name}: no header in {len(data)} bytes", offset=0)
        if data[: len(_LFS_POINTER)] == _LFS_POINTER:
            raise PayloadError(
                f"{name}: a Git LFS pointer instead of the weights", offset=0, hint="git lfs pull"
            )
        self.count, version = _HEADER.unpack_from(data)
        if version != _VERSION:
            raise PayloadError(f"{name}: version {version}, expected {_VERSION}", offset=4)

    def read(self, offset: int, dtype: str, count: int) -> np.ndarray[Any, Any]:
        """The blob whose metadata lies at ``offset``.

        Args:
            offset: In bytes, a multiple of 64.
            dtype: The MIL dtype that the program declares.
            count: The number of elements that the program declares.

        Returns:
            A read-only array of shape ``(count,)``: a view of the file for whole-byte dtypes, one
            byte per element for the others.

        Raises:
            PayloadError: The metadata is malformed, lies outside the file or contradicts the
                program.
        """
        if offset % _ALIGNMENT or not _ALIGNMENT <= offset <= len(self._data) - _ALIGNMENT:
            raise self._error(offset, f"not where blob metadata can be in {len(self._data)} bytes")
        sentinel, code, size, start, padding = _METADATA.unpack_from(self._data, offset)
        if sentinel != _SENTINEL:
            raise self._error(
                offset, f"metadata starts with {sentinel:#x} instead of {_SENTINEL:#x}"
            )
        if _BLOB_DTYPES.get(code) != dtype:
            stored = _BLOB_DTYPES.get(code, f"dtype code {code}")
            raise self._error(offset, f"blob holds {stored}, the program declares {dtype}")
        if start % _ALIGNMENT or start < _ALIGNMENT or start + size > len(self._data):
            end = len(self._data)
            raise self._error(offset, f"blob lies at [{start}, {start + size}) of {end} bytes")
        bits = SUB_BYTE_BITS.get(dtype)
        unused = 0 if bits is None else padding
        if size * 8 - unused != count * (bits or NUMPY_DTYPES[dtype].itemsize * 8) or unused > 7:
            raise self._error(offset, f"blob of {size} bytes is not {count} of {dtype}")
        if bits is not None and size and not self._unpack:
            first = np.frombuffer(self._data[start : start + 1], np.uint8)
            return np.broadcast_to(first.view(NUMPY_DTYPES[dtype]), (count,))
        return from_bytes(self._data[start : start + size], dtype, count)

    def _error(self, offset: int, message: str) -> PayloadError:
        return PayloadError(f"{self._name}: {message}", offset=offset)


class WeightWriter:
    """Collects blobs; keeps whole-byte arrays as they are until :attr:`parts` are read.

    The same arrays in the same order give the same bytes, those that coremltools' own writer makes.
    """

    def __init__(self) -> None:
        self._blobs: list[memoryview | bytes] = []
        self._end = _ALIGNMENT
        self._count = 0

    @property
    def parts(self) -> tuple[memoryview | bytes, ...]:
        """The file in pieces, to be joined; none if there are no blobs."""
        header = _HEADER.pack(self._count, _VERSION).ljust(_ALIGNMENT, b"\0")
        return (header, *self._blobs) if self._blobs else ()

    def add(self, array: np.ndarray[Any, Any], dtype: str) -> int:
        """Appends the elements of ``array``, of MIL type ``dtype``, in row-major order.

        Returns:
            The offset of the blob's metadata, by which a program refers to it.
        """
        bits = SUB_BYTE_BITS.get(dtype)
        if bits is None:
            stored = NUMPY_DTYPES[dtype].newbyteorder("<")
            data = np.ascontiguousarray(array, stored)
            blob = data.reshape(-1).view(np.uint8).data
        else:
            blob = _pack(array.reshape(-1).astype(np.uint8), bits).data
        unused = 0 if bits is None else -array.size * bits % 8
        offset = self._end + -self._end % _ALIGNMENT
        start = offset + _ALIGNMENT
        metadata = _METADATA.pack(_SENTINEL, _CODES[dtype], blob.nbytes, start, unused)
        self._blobs += (bytes(offset - self._end), metadata.ljust(_ALIGNMENT, b"\0"), blob)
        self._end = start + blob.nbytes
        self._count += 1
        return offset


def from_bytes(data: memoryview, dtype: str, count: int) -> np.ndarray[Any, Any]:
    """``count`` elements of ``dtype`` stored in exactly ``data``: a read-only view of it, or a
    fresh array where elements are packed. The caller has checked that the sizes agree."""
    bits = SUB_BYTE_BITS.get(dtype)
    if bits is None:
        stored = NUMPY_DTYPES[dtype].newbyteorder("<")
        return np.frombuffer(data, stored, count)
    unpacked = _unpack(np.frombuffer(data, np.uint8), bits)[:count]
    if dtype == "int4":
        unpacked = ((unpacked ^ 8).view(np.int8)) - np.int8(8)  # extend the sign of 4 bits
    unpacked.setflags(write=False)
    return unpacked


def _pack(elements: np.ndarray[Any, Any], bits: int) -> np.ndarray[Any, Any]:
    """The reverse of :func:`_unpack`: the low ``bits`` of each element as one stream."""
    columns = np.unpackbits(elements[:, None], axis=1, count=bits, bitorder="little")
    return np.packbits(columns, bitorder="little")


def _unpack(packed: np.ndarray[Any, Any], bits: int) -> np.ndarray[Any, Any]:
    """Elements of ``bits`` bits, low bits first. The pattern of bits repeats every lcm(bits, 8)."""
    period = math.lcm(bits, 8)
    groups = np.pad(packed, (0, -len(packed) % (period // 8))).reshape(-1, period // 8)
    unpacked = np.empty((len(groups), period // bits), np.uint8)
    for i in range(period // bits):
        byte, shift = divmod(i * bits, 8)
        column = groups[:, byte] >> shift
        if shift + bits > 8:
            column |= groups[:, byte + 1] << (8 - shift)
        unpacked[:, i] = column & ((1 << bits) - 1)
    return unpacked.reshape(-1)
