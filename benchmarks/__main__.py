"""Run the benchmarks and write one table: `python -m benchmarks [--quick] [NAME …]`.

Without names, all benchmarks run and the results are saved in `benchmarks/results/latest.md`. The table is also saved
in `docs/speed.md`.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from benchmarks import beside, cold, create, growth, issue, profile, start, verify
from benchmarks.measure import QUICK, Plan, Row, absent, machine
from ostiary.storage.engines import sqlite_module
from tests.servers import UnavailableError

BENCHES: Final[dict[str, Callable[[Path, Plan], list[Row]]]] = {
    "verify": verify.run,
    "issue": issue.run,
    "cold": cold.run,
    "growth": growth.run,
    "create": create.run,
    "start": start.run,
    "beside": beside.run,
}
PROFILE: Final = "profile"
ALL: Final = (*BENCHES, PROFILE)
MISSING: Final = (FileNotFoundError, UnavailableError, subprocess.TimeoutExpired)
"""Errors that are no fault of a benchmark: a program is not installed, or does not end in time."""
MOST_SECONDS: Final = 15 * 60
"""The time limit for all benchmarks. The rest is skipped."""
RESULTS: Final = Path(__file__).parent / "results"
PAGE: Final = Path(__file__).parents[1] / "docs" / "speed.md"
HEADING: Final = "## The last run"
"""The last section of the page, which is replaced by each run."""


class TooLongError(Exception):
    """The benchmarks reached their time limit."""


def table(rows: list[Row], begun: datetime) -> str:
    """Return the time, the machine and the table of results, as Markdown."""
    lines = [
        f"{begun:%Y-%m-%d %H:%M} UTC · {machine()} · SQLite {sqlite_module.sqlite_version}",
        "",
        "| bar | work | figure | wanted | met | note |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        met = {True: "yes", False: "**no**", None: "–"}[row.met]
        lines.append(f"| {row.bar} | {row.work} | {row.figure} | {row.wanted} | {met} | {row.note} |")
    return "\n".join(lines) + "\n"


def keep(found: str, report: list[str]) -> None:
    """Save the results, and their table in `docs/speed.md`."""
    RESULTS.mkdir(exist_ok=True)
    text = "\n".join(["# Figures of one run", "", found, *report]).rstrip() + "\n"
    (RESULTS / "latest.md").write_text(text, "utf-8")
    above, _, _ = PAGE.read_text("utf-8").partition(HEADING)
    PAGE.write_text(f"{above}{HEADING}\n\n{found}", "utf-8")


def measure(names: list[str], plan: Plan) -> tuple[list[Row], list[str], bool]:
    """Run the benchmarks. Return the rows, the profile report, and whether all benchmarks were completed."""
    rows: list[Row] = []
    report: list[str] = []
    whole = True
    with tempfile.TemporaryDirectory(prefix="ostiary-bench-") as directory:
        for name in names:
            begun = time.monotonic()
            print(f"measuring {name} …", end=" ", file=sys.stderr, flush=True)
            try:
                if name == PROFILE:
                    report = profile.report(Path(directory), plan)
                else:
                    rows += BENCHES[name](Path(directory), plan)
            except MISSING as error:
                rows.append(absent(name, "all of it", str(error).splitlines()[0]))
            except TooLongError:
                rows.append(absent(name, "what was left", f"stopped after {MOST_SECONDS // 60} minutes"))
                return rows, report, False
            except Exception as error:
                # The other benchmarks still run.
                rows.append(absent(name, "all of it", f"failed: {type(error).__name__}"))
                print(f"failed: {error!r}", file=sys.stderr)
                whole = False
            print(f"{time.monotonic() - begun:.0f} s", file=sys.stderr)
    return rows, report, whole


def _leave(number: int, _frame: object) -> None:
    if number == signal.SIGALRM:
        raise TooLongError
    raise SystemExit(128 + number)  # so that every `with` block stops its server


def main() -> int:
    reader = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure against the bars.")
    reader.add_argument(
        "--quick", action="store_true", help="few, short rounds, to try the benchmarks themselves"
    )
    reader.add_argument("name", nargs="*", help=f"only these: {' '.join(ALL)}")
    given = reader.parse_args()
    if unknown := set(given.name) - set(ALL):
        reader.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(ALL)}")
    for each in (signal.SIGTERM, signal.SIGALRM):
        signal.signal(each, _leave)
    signal.alarm(MOST_SECONDS)
    begun = datetime.now(UTC)
    rows, report, whole = measure(given.name or list(ALL), QUICK if given.quick else Plan())
    found = table(rows, begun)
    print("\n".join([found, *report]))
    if not given.name and not given.quick:
        keep(found, report)
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
