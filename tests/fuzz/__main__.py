"""``python -m fuzz``: draws, lowers, runs and judges until the time is up.

Each round is a process of its own, so that even an abort in native code is a finding: what the
process was working on is in a file.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
import warnings
from pathlib import Path

ROUND = 12  # batches per process
BATCH = 24  # programs lowered together
FOUND = 3  # the exit code of a round with findings; 1 would also be that of an exception


def work(number: int, current: Path) -> int:
    """One round; the exit code of its process."""
    from fuzz.run import Tally, run
    from fuzz.strategies import batch

    tally, half, drawn = Tally(), number % 2 == 1, 0
    for one in range(ROUND):
        programs = batch(number * ROUND + one, half, BATCH)
        drawn += BATCH
        current.write_text("\n\n".join(map(str, programs)))
        seen = len(tally.findings)
        run(programs, half, tally)
        for finding in tally.findings[seen:]:
            print(f"\n{finding}", flush=True)
    print(
        f"round {number}: {tally.programs} programs in {'fp16' if half else 'fp32'}, "
        f"{drawn - tally.programs} drawn in vain, {len(tally.delegated)} ops delegated, "
        f"{len(tally.findings)} findings",
        flush=True,
    )
    for (op, reason), count in tally.refusals.most_common():
        print(f"  refused {op} x{count}: {reason}", flush=True)
    return FOUND if tally.findings else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--first", type=int, default=None, help="first round (default: the clock)")
    parser.add_argument("--round", type=int, help="repeat one round and stop")
    options = parser.parse_args()
    directory = Path("build/fuzz")
    directory.mkdir(parents=True, exist_ok=True)
    if options.round is not None:
        warnings.simplefilter("ignore")
        return work(options.round, directory / f"round-{options.round}.py")
    end, failed = time.monotonic() + 60 * options.minutes, []
    number = int(time.time()) if options.first is None else options.first
    while time.monotonic() < end:
        command = [sys.executable, "-m", "fuzz", "--round", str(number)]
        code = subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode
        if code not in (0, FOUND):
            print(
                f"\nround {number} ended with {code} during build/fuzz/round-{number}.py",
                flush=True,
            )
        if code:
            failed.append(number)
        number += 1
    print(f"rounds with findings: {failed or 'none'}; repeat one with --round NUMBER")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
