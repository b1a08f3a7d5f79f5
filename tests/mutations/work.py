"""One process that opens mutants, one after the other, and says what went wrong.

What it is at is in a file, so that whoever started it knows which mutant ended it: by a crash, by a
signal after :data:`SECONDS` of processor time, or by the limit of memory.
"""

from __future__ import annotations

import json
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from executorch_coreml.errors import CoreMLError, MissingKernel
from mutations import doors
from mutations.corpus import Sample, load
from mutations.mutant import Mutant, mutant

SECONDS = 10
WALL = 900  # seconds until what waits for ever is ended: the machine may be busy with other work
ADDRESSES = 6 << 30  # bytes of address space that a process may add to what it has at the start
CONSTANT = 64 << 20
"""Bytes that reading may take besides twice the size of the model. Compiling by OpenVINO and
running make code, too: :data:`COMPILED` bytes."""
COMPILED = 256 << 20

PLACES = ("function ", "feature ", "value ", "input ", "output ", "op ", "state ")
"""Words of a message that say where, followed by a name."""

_PEAK = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


@dataclass
class Plan:
    """Which of the mutants that can go through a door do, and how long each may take."""

    extract: float = 0.5
    model: float = 0.2
    run: float = 0.03
    delegate: float = 0.1
    seconds: int = SECONDS


@dataclass
class Tally:
    """What a process has seen."""

    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[dict[str, Any]] = field(default_factory=list)
    slowest: float = 0.0
    largest: int = 0

    def add(self, other: dict[str, Any]) -> None:
        self.outcomes.update(other["outcomes"])
        self.findings += other["findings"]
        self.slowest = max(self.slowest, other["slowest"])
        self.largest = max(self.largest, other["largest"])


def _memory(name: str) -> int:
    """A line of the kernel's account of this process, in bytes."""
    text = _STATUS.read_text()
    return int(text[text.index(name) + len(name) + 1 :].split(None, 1)[0]) << 10


class Worker:
    """Opens mutants.

    Args:
        samples: What the seeds damage.
        current: Where to write which seed and door are on.
    """

    def __init__(self, samples: list[Sample], current: Path, plan: Plan):
        self.samples = samples
        self.plan = plan
        self.tally = Tally()
        self._current = current.open("wb", buffering=0)

    def open(self, seed: int, directory: Path) -> None:
        self._is_at(seed, "mutation")
        made = mutant(self.samples, seed)
        path = doors.write(made, directory)
        generator = random.Random(-1 - seed)
        refused = self._through("inspect", doors.inspect, path, seed, made)
        form = made.sample.form
        if form in ("payload", "pte") and generator.random() < self.plan.extract:
            self._through("extract", doors.extract, path, seed, made)
        # A model that is refused is refused by the same reader behind this door: a few will do.
        share = self.plan.model * (0.1 if refused else 1)
        if generator.random() < share:
            self._through("model", doors.model, path, seed, made)
        if generator.random() < self.plan.run:
            self._through("run", doors.run, path, seed, made)
        if made.sound and generator.random() < self.plan.delegate:
            self._through("delegate", doors.delegate, path, seed, made)

    def _is_at(self, seed: int, door: str) -> None:
        self._current.seek(0)
        self._current.write(f"{seed} {door}".ljust(40).encode())

    def _through(
        self, name: str, door: Callable[[Path], None], path: Path, seed: int, made: Mutant
    ) -> bool:
        """Whether the door was shut; whatever is wrong with how is a finding."""
        self._is_at(seed, name)
        signal.setitimer(signal.ITIMER_PROF, self.plan.seconds)
        signal.alarm(WALL)
        _PEAK.write_text("5")  # the peak is what is in use now
        before, start = _memory("VmRSS:"), time.process_time()
        outcome, wrong = "passed", []
        try:
            door(path)
        except CoreMLError as error:
            outcome, wrong = type(error).__name__, _unplaced(error, path)
        except Exception as error:
            outcome = "untyped"
            where = "".join(traceback.format_exception(error)[-3:])
            wrong = [f"{type(error).__name__}: {str(error)[:300]}\n{where}"]
        spent, peak = time.process_time() - start, _memory("VmHWM:") - before
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        beyond = peak - 2 * made.size
        limit = CONSTANT if name in ("inspect", "extract") else COMPILED
        if beyond > limit:
            wrong.append(f"{peak} bytes of memory for a model of {made.size} bytes, {outcome}")
        if spent > self.plan.seconds / 2:
            wrong.append(f"{spent:.1f} s, {outcome}")
        self.tally.outcomes[f"{name} {outcome}"] += 1
        self.tally.slowest = max(self.tally.slowest, spent)
        self.tally.largest = max(self.tally.largest, beyond)
        if wrong:
            self.tally.findings.append(
                {"seed": seed, "door": name, "sample": made.sample.name, "how": made.how}
                | {"what": "; ".join(wrong)}
            )
        return outcome != "passed"


def _unplaced(error: CoreMLError, path: Path) -> list[str]:
    """The message, if it does not say where or does not end."""
    text = str(error)
    places = (str(path.parent), "delegate payload", "inputs [", *PLACES)
    named = isinstance(error, MissingKernel) or any(place in text for place in places)
    if error.location is None and not named:
        return [f"says not where: {type(error).__name__}: {text[:300]}"]
    return [f"a message of {len(text)} characters: {text[:200]}"] if len(text) > 20_000 else []


def main() -> None:
    """Arguments: samples, current, first seed, how many, plan. Prints the tally of each mutant as
    a line of JSON."""
    samples, current, first, count, plan = sys.argv[1:]
    warnings.simplefilter("ignore")
    loaded, chosen = load(Path(samples)), json.loads(plan)
    doors.warm(loaded, [name for name, share in (vars(Plan()) | chosen).items() if share])
    worker = Worker(loaded, Path(current), Plan(**chosen))
    used = _memory("VmSize:")
    resource.setrlimit(resource.RLIMIT_AS, (used + ADDRESSES, used + ADDRESSES))
    with tempfile.TemporaryDirectory() as directory:
        for seed in range(int(first), int(first) + int(count)):
            worker.open(seed, Path(directory, "mutant"))
            print(json.dumps(vars(worker.tally)), flush=True)
            worker.tally = Tally()


if __name__ == "__main__":
    main()
