"""What every benchmark needs: the machine in words, processes pinned to a core, wrk, ratios with their spread."""

import os
import platform
import re
import shutil
import statistics
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROUNDS = 5
SERVER_CORE, LOAD_CORE = 0, (os.cpu_count() or 2) - 1


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: what was measured, the figure, the bar, and whether it was met."""

    bar: str
    work: str
    figure: str
    wanted: str
    met: bool | None
    note: str = ""


def machine() -> str:
    """The machine in one line."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{model}, {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}"


def pin(pid: int, core: int) -> None:
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {core})


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Load:
    per_second: float
    per_cpu_second: float
    errors: int


def wrk(
    url: str, pid: int, headers: Sequence[str] = (), script: Path | None = None, seconds: int = 3
) -> Load:
    """Load a URL from the other core; requests per second, and per processor second of the server."""
    program = shutil.which("wrk")
    if program is None:
        raise FileNotFoundError("wrk is not installed")
    command = ["taskset", "-c", str(LOAD_CORE), program, "-t1", "-c16", f"-d{seconds}s"]
    for header in headers:
        command += ["-H", header]
    if script is not None:
        command += ["-s", str(script)]
    before = cpu_seconds(pid)
    out = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    used = cpu_seconds(pid) - before
    requests = _printed(r"(\d+) requests in", out)
    errors = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    per_second = _printed(r"Requests/sec:\s+([\d.]+)", out)
    return Load(per_second, requests / used, int(errors[1]) if errors else 0)


def _printed(pattern: str, text: str) -> float:
    """A number that wrk always prints."""
    found = re.search(pattern, text)
    assert found is not None, text
    return float(found[1])


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median, with the least and the greatest."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def ratios(first: Callable[[], float], second: Callable[[], float], rounds: int = ROUNDS) -> list[float]:
    """first / second in interleaved pairs."""
    return [first() / second() for _ in range(rounds)]
