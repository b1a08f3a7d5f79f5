"""The delegates and named data of an ExecuTorch program (``.pte``), without ExecuTorch.

A program is a flatbuffer with file identifier ``ET12``, laid out by executorch's
``schema/program.fbs``. Where data lives in segments behind it, an extended header follows the
identifier (``exir/_serialize/_program.py``)::

    0   root table offset u32, "ET12"
    8   "eh00", header length u32, program size u64, segment base offset u64,
        segment data size u64 (if the length is above 24)

Every offset is checked before it is followed; all data are views.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from executorch_coreml.errors import PayloadError

T = TypeVar("T")

_EXTENDED_HEADER = struct.Struct("<4sIQQ")
_HEADER_AT = 8
_MAGIC = b"ET12"
_EXTENDED_MAGIC = b"eh00"

_SEGMENT = 1  # program.fbs, DataLocation; 0 is INLINE
_KERNEL_CALL, _DELEGATE_CALL = 1, 2  # program.fbs, union InstructionArguments, counted from 1

# program.fbs: table.field -> the field's number, which is its position in the table.
_FIELDS = {
    "Program.execution_plan": 1,
    "Program.backend_delegate_data": 3,
    "Program.segments": 4,
    "Program.named_data": 7,
    "ExecutionPlan.name": 0,
    "ExecutionPlan.chains": 5,
    "ExecutionPlan.operators": 6,
    "ExecutionPlan.delegates": 7,
    "BackendDelegate.id": 0,
    "BackendDelegate.processed": 1,
    "BackendDelegate.compile_specs": 2,
    "BackendDelegateDataReference.location": 0,
    "BackendDelegateDataReference.index": 1,
    "BackendDelegateInlineData.data": 0,
    "CompileSpec.key": 0,
    "CompileSpec.value": 1,
    "DataSegment.offset": 0,
    "DataSegment.size": 1,
    "Operator.name": 0,
    "Operator.overload": 1,
    "Chain.instructions": 2,
    "Instruction.instr_args_type": 0,
    "Instruction.instr_args": 1,
    "KernelCall.op_index": 0,
    "DelegateCall.delegate_index": 0,
    "NamedData.key": 0,
    "NamedData.segment_index": 1,
}


@dataclass(frozen=True, slots=True)
class Delegate:
    """One delegated part of a method.

    Attributes:
        method: The method it belongs to.
        index: Its position among the delegates of that method.
        id: The backend's name, ``"CoreMLBackend"`` for ours.
        compile_specs: Key and value, in the order stored.
        processed: What the backend gets at initialisation.
    """

    method: str
    index: int
    id: str
    compile_specs: tuple[tuple[str, memoryview], ...]
    processed: memoryview


@dataclass(frozen=True, slots=True)
class Method:
    """What a method does, in the order in which it does it.

    Attributes:
        name: The method's name.
        steps: The index of a delegate of the method that is called, or the op that one of
            ExecuTorch's kernels computes, as ``"aten.add.out"``.
    """

    name: str
    steps: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Pte:
    """What a ``.pte`` holds for its backends, and what it calls beside them."""

    delegates: tuple[Delegate, ...]
    named_data: Mapping[str, memoryview]
    methods: tuple[Method, ...] = ()


def is_pte(data: memoryview) -> bool:
    """Whether the bytes claim to be an ExecuTorch program of any schema version."""
    return bytes(data[4:6]) == _MAGIC[:2]


def read_pte(data: memoryview) -> Pte:
    """List the delegates, the calls and the named data of a program, method by method.

    Args:
        data: The whole file, one byte per element.

    Raises:
        PayloadError: Another schema version, or an offset, size or index that leads outside.
    """
    if bytes(data[4:8]) != _MAGIC:
        raise PayloadError(
            f"no ExecuTorch program: identifier {bytes(data[4:8])!r}, expected {_MAGIC!r}", offset=4
        )
    program_size, segment_base = _extended_header(data)
    program = _Flatbuffer(data[:program_size]).root()
    segments = [
        _segment(data, segment_base, segment) for segment in program.tables("Program.segments")
    ]
    inline = [
        blob.bytes("BackendDelegateInlineData.data")
        for blob in program.tables("Program.backend_delegate_data")
    ]
    plans = list(program.tables("Program.execution_plan"))
    delegates = tuple(d for plan in plans for d in _delegates(plan, inline, segments))
    methods = tuple(Method(plan.text("ExecutionPlan.name"), _steps(plan)) for plan in plans)
    named_data = {
        entry.text("NamedData.key"): entry.choose("NamedData.segment_index", segments)
        for entry in program.tables("Program.named_data")
    }
    return Pte(delegates, named_data, methods)


def _extended_header(data: memoryview) -> tuple[int, int]:
    """The size of the program and the offset of the segments, 0 if there are none."""
    if bytes(data[_HEADER_AT : _HEADER_AT + 4]) != _EXTENDED_MAGIC:
        return len(data), 0
    if len(data) < _HEADER_AT + _EXTENDED_HEADER.size:
        raise PayloadError("the extended header is cut short", offset=_HEADER_AT)
    _, length, program_size, segment_base = _EXTENDED_HEADER.unpack_from(data, _HEADER_AT)
    if length < _EXTENDED_HEADER.size:
        raise PayloadError(f"an extended header of {length} bytes", offset=_HEADER_AT + 4)
    if not _HEADER_AT + length <= program_size <= len(data):
        raise PayloadError(
            f"a program of {program_size} bytes in a file of {len(data)}", offset=_HEADER_AT + 8
        )
    if segment_base and not program_size <= segment_base <= len(data):
        raise PayloadError(
            f"segments at {segment_base} in a file of {len(data)} bytes", offset=_HEADER_AT + 16
        )
    return program_size, segment_base


def _segment(data: memoryview, base: int, segment: _Table) -> memoryview:
    offset, size = segment.integer("DataSegment.offset", 8), segment.integer("DataSegment.size", 8)
    if base == 0 and size == 0:
        return data[:0]  # a program without constants still lists the segment of them
    if base == 0 or base + offset + size > len(data):
        raise PayloadError(
            f"a segment of {size} bytes at {base + offset} in a file of {len(data)}",
            offset=segment.position,
        )
    return data[base + offset : base + offset + size]


def _delegates(
    plan: _Table, inline: list[memoryview], segments: list[memoryview]
) -> Iterator[Delegate]:
    method = plan.text("ExecutionPlan.name")
    for index, delegate in enumerate(plan.tables("ExecutionPlan.delegates")):
        data = delegate.table("BackendDelegate.processed")
        in_segment = data.integer("BackendDelegateDataReference.location", 1) == _SEGMENT
        yield Delegate(
            method=method,
            index=index,
            id=delegate.text("BackendDelegate.id"),
            compile_specs=tuple(
                (spec.text("CompileSpec.key"), spec.bytes("CompileSpec.value"))
                for spec in delegate.tables("BackendDelegate.compile_specs")
            ),
            processed=data.choose(
                "BackendDelegateDataReference.index", segments if in_segment else inline
            ),
        )


def _steps(plan: _Table) -> tuple[int | str, ...]:
    ops = [_operator(operator) for operator in plan.tables("ExecutionPlan.operators")]
    calls = (
        call
        for chain in plan.tables("ExecutionPlan.chains")
        for instruction in chain.tables("Chain.instructions")
        for call in _call(instruction, ops)
    )
    return tuple(calls)


def _operator(operator: _Table) -> str:
    name, overload = operator.text("Operator.name"), operator.text("Operator.overload")
    return f"{name.replace('::', '.')}.{overload or 'default'}"


def _call(instruction: _Table, ops: list[str]) -> Iterator[int | str]:
    """What the instruction calls; nothing for moves, jumps and frees."""
    kind = instruction.integer("Instruction.instr_args_type", 1)
    if kind == _DELEGATE_CALL:
        arguments = instruction.table("Instruction.instr_args")
        yield arguments.integer("DelegateCall.delegate_index", 4)
    elif kind == _KERNEL_CALL:
        arguments = instruction.table("Instruction.instr_args")
        yield arguments.choose("KernelCall.op_index", ops)


class _Flatbuffer:
    """A flatbuffer that is never read outside its bounds.

    Tables may share their bytes, so a small file could describe an endless number of them. Honest
    ones do not, or for a few strings only: what is read is bounded by a multiple of the size.
    """

    _FORMATS: Mapping[int, str] = {1: "<B", 2: "<H", 4: "<I", 8: "<Q"}

    def __init__(self, data: memoryview):
        self.data = data
        self._left = 8 * len(data)

    def charge(self, size: int, position: int) -> None:
        self._left -= size
        if self._left < 0:
            raise PayloadError("the program's tables refer to the same bytes", offset=position)

    def integer(self, position: int, size: int) -> int:
        """The unsigned integer of ``size`` bytes at ``position``."""
        self.slice(position, size)
        value: int = struct.unpack_from(self._FORMATS[size], self.data, position)[0]
        return value

    def slice(self, position: int, size: int) -> memoryview:
        if position < 0 or position + size > len(self.data):
            raise PayloadError(
                f"{size} bytes are expected here, outside the program of {len(self.data)} bytes",
                offset=max(position, 0),
            )
        return self.data[position : position + size]

    def follow(self, position: int) -> int:
        """Where the forward reference at ``position`` leads."""
        return position + self.integer(position, 4)

    def root(self) -> _Table:
        return self.table(self.follow(0))

    def table(self, position: int) -> _Table:
        self.charge(4, position)
        return _Table(self, position)


class _Table:
    """A table of a flatbuffer: fields are found by their number through its vtable."""

    def __init__(self, buffer: _Flatbuffer, position: int):
        self.buffer = buffer
        self.position = position
        distance = buffer.integer(position, 4)
        signed = distance - (1 << 32) if distance >= 1 << 31 else distance
        self._vtable = position - signed
        self._vtable_size = buffer.integer(self._vtable, 2)

    def _field(self, field: str) -> int:
        """The position of a field, 0 where it is left out."""
        entry = 4 + 2 * _FIELDS[field]
        if entry + 2 > self._vtable_size:
            return 0
        relative = self.buffer.integer(self._vtable + entry, 2)
        return self.position + relative if relative else 0

    def integer(self, field: str, size: int) -> int:
        """An unsigned integer of ``size`` bytes; 0, the default of all ours, if left out."""
        position = self._field(field)
        return self.buffer.integer(position, size) if position else 0

    def _required(self, field: str) -> int:
        position = self._field(field)
        if not position:
            raise PayloadError(f"a table lacks its field {field}", offset=self.position)
        return self.buffer.follow(position)

    def table(self, field: str) -> _Table:
        return self.buffer.table(self._required(field))

    def tables(self, field: str) -> Iterator[_Table]:
        """The tables of a vector; none if the field is left out."""
        if not self._field(field):
            return
        start = self._required(field)
        count = self.buffer.integer(start, 4)
        self.buffer.slice(start + 4, count * 4)
        for index in range(count):
            yield self.buffer.table(self.buffer.follow(start + 4 + 4 * index))

    def bytes(self, field: str) -> memoryview:
        """The contents of a vector of bytes or of a string; empty if left out."""
        if not self._field(field):
            return memoryview(b"")
        start = self._required(field)
        return self.buffer.slice(start + 4, self.buffer.integer(start, 4))

    def text(self, field: str) -> str:
        content = self.bytes(field)
        self.buffer.charge(len(content), self.position)
        try:
            return str(content, "utf-8")
        except UnicodeDecodeError as error:
            raise PayloadError(f"{field} is no UTF-8 text", offset=self.position) from error

    def choose(self, field: str, items: list[T]) -> T:
        """The one of ``items`` whose index the field holds."""
        index = self.integer(field, 4)
        if index >= len(items):
            raise PayloadError(
                f"{field} is {index}, but there are {len(items)}", offset=self.position
            )
        return items[index]
