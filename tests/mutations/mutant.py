"""A seed -> a damaged sample."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from executorch_coreml.compiler import payload
from executorch_coreml.errors import PayloadError
from mutations.corpus import Sample
from mutations.message import model_mutated
from mutations.raw import bytes_mutated, flatbuffer_mutated, flipped, weights_mutated
from mutations.text import text_mutated
from mutations.tree import json_mutated

FORMS = {"package": 40, "compiled": 25, "payload": 10, "pte": 25}
"""Form -> how many of a hundred mutants."""

_OTHER = b"\0\1\2\3" * 64


@dataclass(frozen=True)
class Mutant:
    """A damaged sample; ``how`` says what was done, and ``sound`` whether a ``.pte`` is one still,
    apart from what its delegates get."""

    sample: Sample
    files: dict[str, bytes]
    how: str
    sound: bool = False

    @property
    def size(self) -> int:
        return sum(map(len, self.files.values()))


def mutant(samples: Sequence[Sample], seed: int) -> Mutant:
    """The same for the same seed and samples."""
    generator = random.Random(seed)
    forms = {sample.form for sample in samples}
    weights = [FORMS[form] if form in forms else 0 for form in FORMS]
    form = generator.choices(list(FORMS), weights)[0]
    sample = generator.choice([each for each in samples if each.form == form])
    if form in ("package", "compiled"):
        files, how = _tree_mutated(generator, sample.files)
        return Mutant(sample, files, how)
    data = sample.files[""]
    if form == "payload":
        data, how = _payload_mutated(generator, data)
        return Mutant(sample, {"": data}, how)
    if generator.random() < 0.55:
        start, end = sample.payload
        changed, how = _payload_mutated(generator, data[start:end].rstrip(b"\0"))
        changed = changed[: end - start].ljust(end - start, b"\0")
        return Mutant(sample, {"": data[:start] + changed + data[end:]}, how, True)
    if generator.random() < 0.2:
        return Mutant(sample, {"": bytes_mutated(generator, data, _OTHER)}, "bytes")
    outside = sample.payload[0] if generator.random() < 0.9 else len(data)
    if outside < 1024:  # the payload lies inside the flatbuffer
        outside = len(data)
    return Mutant(sample, {"": flatbuffer_mutated(generator, data, outside)}, "flatbuffer")


def _tree_mutated(
    generator: random.Random, files: dict[str, bytes]
) -> tuple[dict[str, bytes], str]:
    """One file of a model is damaged, or gone, or called otherwise."""
    if generator.random() < 0.03:
        name = generator.choice(sorted(files))
        rest = {each: data for each, data in files.items() if each != name}
        if generator.random() < 0.3:
            rest[f"{name}.bak"] = files[name]
        return rest, f"without {name}"
    likely = {"mlmodel": 8, "mil": 8, "bin": 3, "json": 2}
    names = sorted(files)
    name = generator.choices(names, [likely[name.rpartition(".")[2]] for name in names])[0]
    return files | {name: _file_mutated(generator, name, files[name])}, name


def _file_mutated(generator: random.Random, name: str, data: bytes) -> bytes:
    match name.rpartition(".")[2]:
        case "mlmodel":
            return model_mutated(generator, data)
        case "mil":
            return text_mutated(generator, data)
        case "json":
            return json_mutated(generator, data)
        case _ if name.endswith("weight.bin"):
            return weights_mutated(generator, data, _OTHER)
        case _:
            return bytes_mutated(generator, data, _OTHER)


def _payload_mutated(generator: random.Random, data: bytes) -> tuple[bytes, str]:
    kind = generator.random()
    if kind < 0.2:
        return bytes_mutated(generator, data, _OTHER), "bytes of the payload"
    if kind < 0.3:
        return flipped(generator, data, data.rfind(b"\0") + 1), "tail of the payload"
    if kind < 0.5:
        place = payload._metadata(memoryview(data))[1]
        tail = json_mutated(generator, data[place:][::-1])[::-1]
        return data[:place] + tail, "metadata of the payload"
    files, how = _tree_mutated(
        generator, {name: bytes(content) for name, content in payload.unpack(data).items()}
    )
    try:
        return payload.pack(files), f"{how} in the payload"
    except PayloadError:  # nothing is left
        return data[:-1], "payload cut"
