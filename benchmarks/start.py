"""S10: the start of `ostiary serve` and of `ostiary --help`, compared with `python -c pass` in the same run.

Python's compiled files exist before the measurement, as after an installation with pip.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import Plan, Row, at_most, spread
from tests import servers


def seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def run(scratch: Path, plan: Plan) -> list[Row]:
    data = scratch / "start"
    first = servers.initialise(data)
    port = servers.free_port()
    compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(scratch / "compiled")}
    with servers.ostiary(data, first, port, **compiled):
        pass  # writes the compiled files
    ready, helped, nothing = [], [], []
    for _ in range(plan.rounds):
        begun = time.perf_counter()
        with servers.ostiary(data, first, port, **compiled):
            ready.append(time.perf_counter() - begun)
        helped.append(
            seconds(
                lambda: subprocess.run(
                    [*servers.OSTIARY, "--help"], stdout=subprocess.DEVNULL, env=os.environ | compiled
                )
            )
        )
        nothing.append(seconds(lambda: subprocess.run([sys.executable, "-c", "pass"])))
    note = f"python -c pass: {spread(nothing)} s"
    return [
        at_most("S10", "ostiary serve to ready, s", ready, 1.0, note),
        at_most("S10", "ostiary --help, s", helped, 0.25, note),
    ]
