"""``python -m mutations``: damages samples and opens them, in processes that may die of it."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mutations.corpus import load, save
from mutations.mutant import mutant
from mutations.work import Plan, Tally

CHUNK = 1000  # mutants that one process opens


def search(samples: Path, first: int, count: int, plan: Plan) -> Tally:
    """Opens the mutants of ``count`` seeds, one after the other."""
    tally, seed, end = Tally(), first, first + count
    with tempfile.TemporaryDirectory() as directory:
        current = Path(directory, "current")
        while seed < end:
            many = min(CHUNK, end - seed)
            current.unlink(missing_ok=True)
            found, code, noise = _process(samples, current, seed, many, plan)
            for each in found:
                tally.add(each)
            seed += many
            if code:
                if not current.exists():
                    raise RuntimeError(f"the process opened no mutant: {noise[-2000:]}")
                died, _, door = current.read_text().strip().partition(" ")
                what = f"the process ended with {code}: {noise[-600:]}"
                tally.findings.append({"seed": int(died), "door": door, "what": what})
                seed = int(died) + 1
    return tally


def search_on_all_cores(samples: Path, first: int, count: int, plan: Plan) -> Tally:
    """Shows how far it is, and findings at once."""
    seeds = range(first, first + count)
    parts = [seeds[start : start + CHUNK] for start in range(0, count, CHUNK)]
    whole, done = Tally(), 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda part: search(samples, part[0], len(part), plan), parts)
        for part, tally in zip(parts, found, strict=True):
            whole.add(vars(tally))
            done += len(part)
            print(f"{done} mutants, {len(whole.findings)} findings", flush=True)
            _show(tally.findings)
    return whole


def _show(findings: Sequence[dict[str, Any]]) -> None:
    for finding in findings:
        where = ", ".join(finding[key] for key in ("door", "sample", "how") if key in finding)
        print(f"seed {finding['seed']} at {where}:\n  {finding['what']}\n", flush=True)


def _process(
    samples: Path, current: Path, first: int, count: int, plan: Plan
) -> tuple[list[dict[str, Any]], int, str]:
    """What one process told of each mutant, its exit code, and what it complained of."""
    command = [sys.executable, "-m", "mutations.work", str(samples), str(current)]
    command += [str(first), str(count), json.dumps(vars(plan))]
    paths = (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", ""))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    return [json.loads(line) for line in done.stdout.splitlines()], done.returncode, done.stderr


def main() -> int:
    parser = argparse.ArgumentParser(prog="mutations", description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--samples", type=Path, default=Path("build/mutations/samples"))
    parser.add_argument("--keep", type=Path, help="write the mutant of --first here, and stop")
    parser.add_argument("--without", nargs="*", default=[], help="doors that stay shut")
    options = parser.parse_args()
    start = time.monotonic()
    if not options.samples.exists():
        options.samples.parent.mkdir(parents=True, exist_ok=True)
        save(options.samples, full=True)
    if options.keep is not None:
        from mutations.doors import write

        made = mutant(load(options.samples), options.first)
        print(f"{made.sample.name}, {made.how}: {write(made, options.keep)}")
        return 0
    plan = Plan(**dict.fromkeys(options.without, 0))
    tally = search_on_all_cores(options.samples, options.first, options.count, plan)
    report(tally, time.monotonic() - start)
    return 1 if tally.findings else 0


def report(tally: Tally, seconds: float) -> None:
    doors: dict[str, Counter[str]] = {}
    for key, count in tally.outcomes.items():
        door, outcome = key.split()
        doors.setdefault(door, Counter())[outcome] += count
    for door, outcomes in doors.items():
        listed = ", ".join(f"{name} {count}" for name, count in outcomes.most_common())
        print(f"{door}: {sum(outcomes.values())} mutants, {listed}")
    print(
        f"slowest {tally.slowest:.2f} s of processor time, most memory beyond twice the size "
        f"{tally.largest >> 20} MiB, {seconds:.0f} s in all"
    )


if __name__ == "__main__":
    sys.exit(main())
