"""What the engine costs in a C++ program: to start, and per call.

    python benchmarks/cpp.py

Builds the driver of the tests with the machine's compiler. *Start* is the first load of a method in
a new process less the second load of the same program, which is what OpenVINO's compilation and the
reading take. *Call* is Module::execute in C++, *OpenVINO alone* the run of the same compiled model.
"""

from __future__ import annotations

import re
import sys
import tempfile
from functools import partial
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from measure import machine, side_by_side
from runtime import FLOAT32, SMALL, coreml, lowered

from cpp_programs import SOURCE, build, run
from executorch_coreml import Model

PROGRAMS = {name: made for name, made in SMALL.items() if "MB" not in name}  # those are copies
STARTS = 15
CALLS = 20_000


def openvino(path: Path) -> float:
    """Microseconds of OpenVINO's own run."""
    model = Model(path)
    request = model._compiled.model.create_infer_request()
    request.infer()
    return side_by_side({"openvino": partial(request.infer, share_outputs=True)})["openvino"] * 1e3


def main() -> None:
    print(machine(), end="\n\n")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        made = build(SOURCE / "tests" / "cpp", directory / "made", "-DCMAKE_BUILD_TYPE=Release")
        driver = made / "shared" / "driver"
        print("| program | start | of it CPU time | OpenVINO alone | call | beyond OpenVINO |")
        print("|---|---|---|---|---|---|")
        for title, (module, inputs) in PROGRAMS.items():
            path = directory / "model.pte"
            path.write_bytes(lowered(module, inputs, coreml(FLOAT32)))
            words = " ; ".join(f"f32 {','.join(map(str, x.shape))} 1" for x in inputs)
            script = f"module a {path}\nload a forward\nmodule b {path}\nload b forward\n"
            starts, cpu = [], []
            for _ in range(STARTS):
                log = run(driver, script).log
                first, second = re.findall(r"took (\d+) us, (\d+) ms of CPU", log)
                starts.append((int(first[0]) - int(second[0])) / 1e3)
                cpu.append(int(first[1]) - (int(second[1]) - int(first[1])))
            timed = run(driver, f"module a {path}\ntime {CALLS} a forward {words}\n").of("time")
            call, alone = float(timed[0].split()[1]), openvino(path)
            print(
                f"| {title} | {min(starts):.0f} ms (median {median(starts):.0f}) "
                f"| {min(cpu):.0f} ms | {alone:.1f} µs | {call:.1f} µs | **{call - alone:.1f}** |",
                flush=True,
            )


if __name__ == "__main__":
    main()
