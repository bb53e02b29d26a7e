"""Helpers for all benchmarks: the machine's description, CPU pinning, wrk, and ratios with their spread."""

import os
import platform
import re
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = CORES[0], CORES[-1]
CONNECTIONS = 16
UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}
"""The time units in wrk's output, in milliseconds."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The amount of work. `seconds` is the length of one measurement, `keys` the number in the large database."""

    rounds: int = 5
    seconds: int = 3
    warm_up: int = 10
    keys: int = 1_000_000
    organizations: int = 10_000
    warm: int = 10_000
    """The number of different keys in a load with more than one key."""
    cached: int = 100_000
    """The number of different keys that fill a worker's cache."""


QUICK = Plan(rounds=2, seconds=1, warm_up=1, keys=20_000, organizations=1_000, warm=2_000, cached=3_000)
"""A short plan to try the benchmarks. Its figures are not meaningful."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table: the work, its figure, the bar, and whether the bar was met (None: no bar)."""

    bar: str
    work: str
    figure: str
    wanted: str = "–"
    met: bool | None = None
    note: str = ""


def at_least(bar: str, work: str, found: Sequence[float], least: float, note: str = "") -> Row:
    """Return a row whose median must reach the bar."""
    return Row(bar, work, spread(found), f"≥ {least:g}", statistics.median(found) >= least, note)


def at_most(bar: str, work: str, found: Sequence[float], most: float, note: str = "") -> Row:
    """Return a row whose median must not exceed the bar."""
    return Row(bar, work, spread(found), f"≤ {most:g}", statistics.median(found) <= most, note)


def absent(bar: str, work: str, why: str) -> Row:
    """Return a row for a measurement that is not possible on this machine."""
    return Row(bar, work, "not measured", note=why.replace("|", "/"))


def machine() -> str:
    """Describe the machine in one line."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{model}, {len(CORES)} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


# Processes


def tree(pid: int) -> list[int]:
    """Return a process and all its descendants, which together are a server."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for each in found:  # the list grows during the loop
        found += children.get(each, [])
    return found


def pin(pid: int, core: int = SERVER_CORE) -> None:
    """Pin a server to one core: every thread of all its processes. Later threads and processes inherit it."""
    for process in tree(pid):
        for task in Path(f"/proc/{process}/task").iterdir():
            try:
                os.sched_setaffinity(int(task.name), {core})
            except ProcessLookupError:
                continue  # the thread has ended in the meantime


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a server has used, user and system, in all its processes."""
    return sum(own_cpu_seconds(process) for process in tree(pid))


def own_cpu_seconds(pid: int) -> float:
    """Return the CPU time of one process; 0 if it has ended."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def memory(pid: int) -> tuple[float, float]:
    """Return the resident and the proportional memory of a server's largest process, in MB (10⁶ bytes)."""
    found = []
    for process in tree(pid):
        text = Path(f"/proc/{process}/smaps_rollup").read_text()
        resident, share = (_number(rf"^{name}:\s+(\d+) kB", text) * 1024 / 1e6 for name in ("Rss", "Pss"))
        found.append((resident, share))
    return max(found)


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat after the name, starting with the state; None if the process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


# Load over HTTP


@dataclass(frozen=True, slots=True)
class Target:
    """A target for wrk: a server's URL and process, the request headers, or a script that makes the requests."""

    url: str
    pid: int
    headers: tuple[str, ...] = ()
    script: Path | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """The result of a load. Times are in milliseconds."""

    requests: int
    per_second: float
    per_cpu_second: float
    errors: int
    p50: float
    p99: float


def wrk(target: Target, seconds: int, connections: int = CONNECTIONS) -> Load:
    """Run wrk against a server, from the other core."""
    program = shutil.which("wrk")
    if program is None:
        raise FileNotFoundError("wrk is not installed")
    command = [
        "taskset",
        "-c",
        str(LOAD_CORE),
        program,
        "--latency",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
    ]
    for header in target.headers:
        command += ["-H", header]
    if target.script is not None:
        command += ["-s", str(target.script)]
    before = cpu_seconds(target.pid)
    out = subprocess.run(
        [*command, target.url], capture_output=True, text=True, check=True, timeout=seconds + 30
    ).stdout
    used = cpu_seconds(target.pid) - before
    requests = int(_number(r"(\d+) requests in", out))
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    lost = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", out)
    errors = (int(refused[1]) if refused else 0) + (sum(map(int, lost.groups())) if lost else 0)
    assert requests > 0, out
    assert used > 0, "the server used no processor time: the wrong process was looked at"
    return Load(
        requests,
        _number(r"Requests/sec:\s+([\d.]+)", out),
        requests / used,
        errors,
        _milliseconds("50%", out),
        _milliseconds("99%", out),
    )


def sound(load: Load) -> Load:
    """Return the load. Raise if it contains error responses, because they are not the work to measure."""
    assert load.errors == 0, f"{load.errors} of {load.requests} requests failed"
    return load


def keys_script(path: Path, keys: Sequence[str]) -> Path:
    """Write a wrk script to `path` that sends each of these keys in turn. Return the path."""
    names = path.with_suffix(".keys")
    names.write_text("\n".join(keys) + "\n")
    path.write_text(
        "local requests, turn = {}, 0\n"
        "function init()\n"
        f"  for key in io.lines('{names}') do\n"
        "    requests[#requests + 1] = wrk.format(nil, nil, {['X-API-Key'] = key, ['Host'] = 'localhost'})\n"
        "  end\n"
        "end\n"
        "function request()\n"
        "  turn = turn % #requests + 1\n"
        "  return requests[turn]\n"
        "end\n"
    )
    return path


def body_script(path: Path, body: str, content_type: str) -> Path:
    """Write a wrk script to `path` that posts this body. Return the path."""
    path.write_text(
        f"wrk.method = 'POST'\nwrk.body = [[{body}]]\nwrk.headers['Content-Type'] = '{content_type}'\n"
    )
    return path


def _milliseconds(share: str, text: str) -> float:
    found = re.search(rf"^\s+{share}\s+([\d.]+)(us|ms|s|m)$", text, re.M)
    assert found is not None, text
    return float(found[1]) * UNITS[found[2]]


def _number(pattern: str, text: str) -> float:
    """Return the first match as a number. Raise if there is none."""
    found = re.search(pattern, text, re.M)
    assert found is not None, text
    return float(found[1])


# Figures


def rate(work: Callable[[], object], seconds: float = 1.0) -> float:
    """Call `work` repeatedly in this thread. Return the calls per second."""
    done, begun = 0, time.perf_counter()
    while (passed := time.perf_counter() - begun) < seconds:
        work()
        done += 1
    return done / passed


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Format the median with the minimum and maximum."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def percentile(values: Sequence[float], share: float) -> float:
    """Return the percentile: this share of the values does not exceed it."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
