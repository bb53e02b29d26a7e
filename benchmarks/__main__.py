"""Run the benchmarks and write one table: `python -m benchmarks [verify|create|start …]`."""

import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import create, start, verify
from benchmarks.measure import Row, machine
from ostiary.storage.engines import sqlite_module

ALL = {"verify": verify.run, "create": create.run, "start": start.run}
RESULTS = Path(__file__).parent / "results"


def table(rows: list[Row]) -> str:
    lines = [
        "# Figures of one run",
        "",
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC · {machine()} · SQLite {sqlite_module.sqlite_version}",
        "",
        "Ratios are taken in one run, pairs interleaved, the server on one core and the load on another: median "
        "(least–greatest). A missed bar is a fact, not a failure.",
        "",
        "| bar | work | figure | wanted | met | note |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        met = {True: "yes", False: "**no**", None: "–"}[row.met]
        lines.append(f"| {row.bar} | {row.work} | {row.figure} | {row.wanted} | {met} | {row.note} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    wanted = sys.argv[1:] or list(ALL)
    rows: list[Row] = []
    for name in wanted:
        print(f"measuring {name} …", file=sys.stderr)
        with tempfile.TemporaryDirectory(prefix="ostiary-bench-") as scratch:
            try:
                rows += ALL[name](Path(scratch))
            except FileNotFoundError as error:
                rows.append(Row(name, "not measured", "–", "–", None, str(error)))
    text = table(rows)
    print(text)
    if wanted == list(ALL):
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "latest.md").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
