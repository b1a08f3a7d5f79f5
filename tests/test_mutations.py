"""A fixed slice of ``make mutate``: damaged models of every form, through every door."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mutations.__main__ import search
from mutations.corpus import load, save
from mutations.mutant import mutant
from mutations.work import Plan


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mutations") / "samples"
    save(path, full=False)
    return path


def test_slice(samples: Path) -> None:
    tally = search(samples, 0, 400, Plan(model=0.25, delegate=0))  # importing torch takes longer
    assert not tally.findings, "\n".join(map(str, tally.findings))
    passed = {key.split()[0] for key in tally.outcomes if key.endswith("passed")}
    assert passed >= {"inspect", "extract", "model"}
    refused = sum(n for key, n in tally.outcomes.items() if not key.endswith("passed"))
    assert refused > 200


def test_samples_are_sound(samples: Path, tmp_path: Path) -> None:
    """What the doors say of an undamaged sample: nothing."""
    from mutations import doors
    from mutations.mutant import Mutant

    for sample in load(samples):
        path = doors.write(Mutant(sample, sample.files, "not at all"), tmp_path / "sound")
        doors.inspect(path)
        doors.model(path)
        if sample.form == "pte":
            doors.extract(path)


def test_a_seed_is_a_mutant(samples: Path) -> None:
    loaded = load(samples)
    for seed in range(50):
        assert mutant(loaded, seed) == mutant(loaded, seed)


# Seed -> what `etcoreml inspect` is made to do at it, and what is said of that.
FAULTS = {
    1: ("import os; os.abort()", "the process ended with -6"),
    3: ("while True: pass", "the process ended with -27"),
    4: ("len(b'x' * (100 << 20))", "bytes of memory for a model of"),
    6: ("{}['gone']", "KeyError"),
}


def test_what_is_wrong_is_found(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that fails at some mutants: each is named, and the search goes on behind it."""
    (tmp_path / "sitecustomize.py").write_text(
        "import pathlib, sys\n"
        "import mutations.doors as doors\n"
        f"faults = { ({seed: code for seed, (code, _) in FAULTS.items()})!r}\n"
        "def inspect(path, before=doors.inspect):\n"
        "    current = pathlib.Path(sys.argv[2])\n"
        "    seed = int(current.read_text().split()[0]) if current.exists() else None\n"
        "    exec(faults[seed]) if seed in faults else before(path)\n"
        "doors.inspect = inspect\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{Path(__file__).parent}")
    plan = Plan(extract=0, model=0, run=0, delegate=0, seconds=2)
    tally = search(samples, 0, 8, plan)
    found = {finding["seed"]: finding for finding in tally.findings}
    assert list(found) == list(FAULTS)
    for seed, (_, message) in FAULTS.items():
        assert message in found[seed]["what"]
        assert found[seed]["door"] == "inspect"
    assert sum(tally.outcomes.values()) == 6
