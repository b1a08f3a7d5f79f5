"""Mutations of JSON: of its tree, or of its text."""

from __future__ import annotations

import json
import random
from typing import Any

from mutations.raw import bytes_mutated
from mutations.values import TEXTS, json_value


def json_mutated(generator: random.Random, data: bytes) -> bytes:
    if generator.random() < 0.2:
        return bytes_mutated(generator, data, b'{"a": [1, null]}')
    if generator.random() < 0.03:
        opening = generator.choice(("[", '{"a":'))
        return (opening * 100_000).encode()
    value = json.loads(data)
    for _ in range(generator.choice((1, 1, 2))):
        value = _changed(generator, value)
    return json.dumps(value).encode()


def _changed(generator: random.Random, value: Any) -> Any:
    """``value`` with something in it, or all of it, replaced."""
    if isinstance(value, str) and value.startswith(("[", "{")) and generator.random() < 0.8:
        try:
            return json.dumps(_changed(generator, json.loads(value)))  # JSON within JSON
        except ValueError:
            return json_value(generator)
    if not isinstance(value, (dict, list)) or not value or generator.random() < 0.1:
        return json_value(generator)
    places = list(value) if isinstance(value, dict) else range(len(value))
    place = generator.choice(places)
    match generator.randrange(10):
        case 0:
            value = value.copy()
            del value[place]
            return value
        case 1 if isinstance(value, dict):
            rest = {key: item for key, item in value.items() if key != place}
            return rest | {generator.choice((*TEXTS, *places)): value[place]}
        case 1 | 2 if isinstance(value, list):
            return value + [value[place]] * generator.choice((1, 1, 100))
        case _:
            value = value.copy()
            value[place] = _changed(generator, value[place])
            return value
