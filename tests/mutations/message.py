"""Mutations of a ``.mlmodel`` that stay a protobuf: fields, elements and entries change places."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from google.protobuf.message import DecodeError, Message

from executorch_coreml.mil.schema import Model
from mutations.raw import bytes_mutated
from mutations.values import FLOATS, TEXTS, integer


def model_mutated(generator: random.Random, data: bytes) -> bytes:
    if generator.random() < 0.2:
        return bytes_mutated(generator, data, data[::-1])
    model, pool = Model.FromString(data), _pool(data)
    for _ in range(generator.choice((1, 1, 1, 2, 3))):
        _change(generator, _somewhere(generator, model), pool)
    return bytes(model.SerializeToString())


class _Pool:
    """Parts of a sound model, by message type, and all its texts."""

    def __init__(self, model: Any):
        self.messages: dict[str, list[bytes]] = defaultdict(list)
        self.texts: list[str] = list(TEXTS)
        for message in _all(model):
            kept = self.messages[message.DESCRIPTOR.name]
            if len(kept) < 300:
                kept.append(message.SerializeToString())
            for field, value in message.ListFields():
                if field.cpp_type == field.CPPTYPE_STRING and field.type == field.TYPE_STRING:
                    self.texts.extend([value] if isinstance(value, str) else value)
                elif _is_map(field):
                    self.texts.extend(value)


@lru_cache(64)
def _pool(data: bytes) -> _Pool:
    return _Pool(Model.FromString(data))


def _all(message: Any) -> Iterator[Any]:
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for child in _children(field, value):
                yield from _all(child)


def _is_map(field: Any) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _children(field: Any, value: Any) -> list[Any]:
    if _is_map(field):
        found = [value[key] for key in sorted(value)]
        return [child for child in found if isinstance(child, Message)]
    return [value] if isinstance(value, Message) else list(value)


def _somewhere(generator: random.Random, message: Any) -> Any:
    """A message in the tree: each step down goes on with a fixed probability."""
    while generator.random() < 0.87:
        below = [
            (field, value)
            for field, value in message.ListFields()
            if field.message_type is not None
        ]
        if message.DESCRIPTOR.name == "Model":  # the program is where most of the reading is done
            below = [pair for pair in below if pair[0].name == "mlProgram"] * 5 + below
        if not below:
            return message
        children = _children(*generator.choice(below))
        if not children:
            return message
        message = generator.choice(children)
    return message


def _change(generator: random.Random, message: Any, pool: _Pool) -> None:
    """One field of ``message`` becomes another."""
    present = message.ListFields()
    if not message.DESCRIPTOR.fields:
        return
    if not present or generator.random() < 0.15:
        field = generator.choice(message.DESCRIPTOR.fields)
        value = getattr(message, field.name)
    else:
        field, value = generator.choice(present)
    if _is_map(field):
        _change_map(generator, value, pool)
    elif isinstance(value, Message):
        if generator.random() < 0.3:
            message.ClearField(field.name)
        else:
            _replace(generator, value, pool)
    elif isinstance(value, (bool, int, float, str, bytes)):
        _set(message, field, _scalar(generator, value, pool))
    else:
        _change_list(generator, field, value, pool)


def _set(message: Any, field: Any, value: Any) -> None:
    try:
        setattr(message, field.name, value)
    except ValueError:  # beyond the range of the field
        message.ClearField(field.name)


def _scalar(generator: random.Random, value: Any, pool: _Pool) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        near = generator.random() < 0.5
        return value + generator.choice((-2, -1, 1, 2)) if near else integer(generator)
    if isinstance(value, float):
        return generator.choice(FLOATS)
    if isinstance(value, str):
        return generator.choice(pool.texts)
    return bytes_mutated(generator, value, value[::-1])


def _replace(generator: random.Random, message: Any, pool: _Pool) -> None:
    """By another of its type, or by nothing."""
    kept = pool.messages.get(message.DESCRIPTOR.name)
    if not kept or generator.random() < 0.1:
        message.Clear()
        message.SetInParent()
        return
    try:
        message.CopyFrom(type(message).FromString(generator.choice(kept)))
    except DecodeError:
        message.Clear()


def _change_map(generator: random.Random, entries: Any, pool: _Pool) -> None:
    names = sorted(entries)
    if not names:
        return
    name = generator.choice(names)
    match generator.randrange(3):
        case 0:
            del entries[name]
        case 1:
            entries[generator.choice(pool.texts)].CopyFrom(entries[name])
            if generator.random() < 0.7:
                del entries[name]
        case _:
            _replace(generator, entries[name], pool)


def _change_list(generator: random.Random, field: Any, items: Any, pool: _Pool) -> None:
    if not len(items):
        if field.message_type is not None:
            items.add()
        return
    place = generator.randrange(len(items))
    match generator.randrange(5):
        case 0:
            del items[place]
        case 1:
            for _ in range(generator.choice((1, 1, 2, 300))):
                _append(items, items[place])
        case 2:
            first = list(map(_copied, items))
            generator.shuffle(first)
            del items[:]
            items.extend(first)
        case 3 if field.message_type is None:
            try:
                items[place] = _scalar(generator, items[place], pool)
            except ValueError:
                del items[place]
        case _:
            if field.message_type is None:
                del items[place:]
            else:
                _replace(generator, items[place], pool)


def _copied(item: Any) -> Any:
    if not isinstance(item, Message):
        return item
    return type(item).FromString(item.SerializeToString())


def _append(items: Any, item: Any) -> None:
    if isinstance(item, Message):
        items.add().CopyFrom(item)
    else:
        items.append(item)
