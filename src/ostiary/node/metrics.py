"""`/metrics`: Prometheus metrics of the service, summed over its processes.

Each process writes its values to its own files in the data directory. The process that serves `/metrics` reads all
files. Requests do no extra work: their existing counts are read once a second. No label names an organization or a
person.
"""

import fcntl
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import structlog
from anyio.to_thread import run_sync
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, multiprocess, values
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.mmap_dict import MmapedDict
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ostiary.core.address import Network, is_loopback_host, is_trusted_proxy
from ostiary.http.messages import Headers
from ostiary.storage.fact_cache import FactCache
from ostiary.storage.reserve import Reserve
from ostiary.storage.store import Store
from ostiary.storage.usage_buffer import UsageBuffer

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""All other methods share one label, because clients can send any word as a method."""
BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Seconds."""
SHARED: Final = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable from which the library reads the shared directory."""
_FILES: Final = {
    # Sizes in bytes, several times what all routes and outcomes need. Beyond that the library lets a file grow without
    # reserving disk space, and a full disk would kill the process.
    "counter": 256 * 1024,
    "histogram": 512 * 1024,
    "gauge_livesum": 64 * 1024,
    "gauge_livemin": 64 * 1024,
    "gauge_livemax": 64 * 1024,
}


def share(directory: Path) -> None:
    """Share metrics between processes. The first process calls this before it forks the others.

    The directory is emptied, so metrics start at 0 with each start of the service. If it cannot be created, each
    process reports only its own values.
    """
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        directory.chmod(0o700)
        for file in (*directory.glob("*.db"), *directory.glob("*.new")):
            file.unlink()
    except OSError as error:
        structlog.get_logger().warning("metrics are not shared", reason=error.strerror)
        return
    os.environ[SHARED] = str(directory)
    values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call] # the library's


def bury(pid: int) -> None:
    """Handle the end of a process: add its counters to the file of all ended processes, and drop its gauges."""
    if SHARED not in os.environ:
        return
    multiprocess.mark_process_dead(pid, os.environ[SHARED])  # type: ignore[no-untyped-call] # the library's
    directory = Path(os.environ[SHARED])
    try:
        for file in directory.glob(f"*_{pid}.new"):  # left by a process killed in `_make_room`
            file.unlink()
        # Without the lock, a reader could miss values or count them twice. The lock does not block, because the first
        # process must not wait.
        with _locked(directory, fcntl.LOCK_EX | fcntl.LOCK_NB):
            for kind in ("counter", "histogram"):
                _move(directory / f"{kind}_{pid}.db", directory / f"{kind}_ended.db")
    except Exception as error:  # its files remain, and are still read
        structlog.get_logger().warning("metrics of an ended process take room", error=type(error).__name__)


def _move(file: Path, to: Path) -> None:
    """Add the values of one file to another, and remove the first."""
    if not file.exists():
        return
    if not to.exists():
        file.rename(to)
        return
    library: Any = MmapedDict
    figures = [(key, value) for key, value, _, _ in library.read_all_values_from_file(file)]
    if not figures:
        file.unlink()
        return
    fd = os.open(to, os.O_RDWR | os.O_CLOEXEC)
    try:
        # Reserve the space for all values before writing any: see `_make_room`.
        with file.open("rb") as other:
            used = [int.from_bytes(head, sys.byteorder) for head in (os.pread(fd, 4, 0), other.read(4))]
        os.posix_fallocate(fd, 0, sum(used))
    finally:
        os.close(fd)
    sums = library(to)
    try:
        for key, value in figures:
            sums.write_value(key, sums.read_value(key)[0] + value, 0.0)
    finally:
        sums.close()
    file.unlink()


@contextmanager
def _locked(directory: Path, how: int) -> Iterator[None]:
    """Hold a lock to read the files of all processes (LOCK_SH) or to move values between them (LOCK_EX)."""
    fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, how)
        yield
    finally:
        os.close(fd)


@dataclass(frozen=True, slots=True)
class _Disk:
    """Disk metrics, read for each request: on a full disk they could not be written to a file."""

    reserve: Reserve

    def collect(self) -> Iterator[Metric]:
        free = self.reserve.free()
        if free is None:
            return
        yield GaugeMetricFamily(
            "ostiary_disk_free_bytes", "Free space on the disk of the embedded database.", value=free
        )
        yield GaugeMetricFamily(
            "ostiary_disk_reserve_missing_bytes",
            "The used part of the disk reserve; while it is not 0, the service accepts only changes that end access.",
            value=self.reserve.missing(),
        )


class Metrics:
    """The metrics of one process."""

    def __init__(self, store: Store, facts: FactCache, counts: UsageBuffer) -> None:
        self._store = store
        self._facts = facts
        self._counts = counts
        self.connections: Callable[[], int] = lambda: 0
        """Returns the number of open connections. The worker sets it when its server exists."""
        self._shared = os.environ.get(SHARED)
        if self._shared is not None:
            _make_room(Path(self._shared))
        # Shared metrics are collected from the files, not from this registry.
        self._registry = CollectorRegistry()
        self._disk = _Disk(store.reserve)
        self._flushed: dict[Counter, dict[Any, int]] = {}
        self._flushing = threading.Lock()
        self._define()

    def _define(self) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"ostiary_{name}", text, labels, registry=self._registry)

        def gauge(name: str, text: str, mode: Any, *labels: str) -> Gauge:
            return Gauge(f"ostiary_{name}", text, labels, registry=self._registry, multiprocess_mode=mode)

        self._checks = counter(
            "checks_total",
            "Checked credentials, by endpoint and outcome: valid, or the reason of the refusal.",
            "via",
            "outcome",
        )
        self._requests = counter(
            "requests_total",
            "Requests to all other endpoints, and failed requests (5xx) to the verify endpoints, by method, route "
            "template and status class.",
            "method",
            "route",
            "status",
        )
        self._durations = Histogram(
            "ostiary_request_duration_seconds",
            "Duration of these requests.",
            ("method", "route"),
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._misses = counter(
            "cache_misses_total", "Checked credentials that had to be read from the database."
        )
        self._looks = counter(
            "cache_looks_total", "Successful reads of the changes of other processes and machines."
        )
        self._errors = counter(
            "database_errors_total",
            "Database errors by reason, including those after which a retry succeeded.",
            "reason",
        )
        self._standings = gauge("cache_standings", "Credentials in the memory cache.", "livesum")
        self._looked_at = gauge(
            "cache_last_look_timestamp_seconds",
            "When the process that is furthest behind last read the changes.",
            "livemin",
        )
        self._waiting = gauge(
            "counts_waiting", "Distinct uses and refusals that wait to be written.", "livesum"
        )
        self._open = gauge("connections", "Open connections.", "livesum")
        gauge("workers", "Processes that serve requests.", "livesum").set(1)
        gauge("start_time_seconds", "When the oldest serving process started.", "livemin").set(self._now())
        gauge("build_info", "Always 1; the label is the running version.", "livemax", "version").labels(
            version("ostiary")
        ).set(1)

        self._registry.register(self._disk)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request to another endpoint than the verify endpoints, or a 5xx of those. `route` is a template."""
        method = method if method in METHODS else "other"
        self._requests.labels(method, route, f"{status // 100}xx").inc()
        self._durations.labels(method, route).observe(seconds)

    def flush(self) -> None:
        """Publish the counts since the last call. Called once a second."""
        with self._flushing:
            self._add(self._checks, self._counts.totals())
            self._add(self._errors, {(name,): n for name, n in tuple(self._store.errors.items())})
            self._add(self._misses, {(): self._facts.misses})
            self._add(self._looks, {(): self._facts.looks})
            self._standings.set(len(self._facts))
            age = self._facts.age()
            self._looked_at.set(0 if age == float("inf") else self._now() - age)
            self._waiting.set(self._counts.waiting())
            self._open.set(self.connections())

    def _add(self, counter: Counter, totals: Mapping[Any, int]) -> None:
        before = self._flushed.setdefault(counter, {})
        for labels, total in totals.items():
            more = total - before.get(labels, 0)
            if more > 0:
                (counter.labels(*labels) if labels else counter).inc(more)
                before[labels] = total

    def _now(self) -> float:
        return self._store.clock() / 1_000_000

    def told(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics of all processes in the format of an Accept header, and the content type."""
        try:
            encode, kind = choose_encoder(accept)
        except TypeError:  # the Accept header has a version that is not a number
            encode, kind = choose_encoder("")
        if self._shared is None:
            return encode(self._registry), kind
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry, self._shared)  # type: ignore[no-untyped-call] # the library's
        registry.register(self._disk)
        with _locked(Path(self._shared), fcntl.LOCK_SH):
            return encode(registry), kind


def _make_room(directory: Path) -> None:
    """Reserve disk space for this process's files: writing to a mapped page without space kills the process."""
    try:
        for name, size in _FILES.items():
            path = directory / f"{name}_{os.getpid()}.db"
            if path.exists():
                continue  # left by an ended process with the same id; keep its counts
            new = path.with_suffix(".new")
            fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                os.posix_fallocate(fd, 0, size)
                # Other processes read all files with this suffix, and an empty file is not valid.
                new.rename(path)
            finally:
                os.close(fd)
                new.unlink(missing_ok=True)
    except OSError as error:
        structlog.get_logger().warning("metrics of this process are not kept", reason=error.strerror)
        values.ValueClass = values.MutexValue


_PROXY_HEADERS: Final = frozenset(
    {
        b"forwarded",
        b"via",
        b"x-real-ip",
        b"client-ip",
        b"true-client-ip",
        b"cf-connecting-ip",
        b"x-envoy-external-address",
    }
)
"""Headers by which a proxy says that it forwards a request, besides those that begin with `x-forwarded-`."""


def handler(metrics: Metrics, readers: tuple[Network, ...], public_url: str) -> Any:
    """Return the handler of `/metrics`. Clients outside the `readers` networks get 404."""

    public_host = urlsplit(public_url).hostname

    async def answer(request: Request) -> Response:
        peer = request.client.host if request.client else None
        if not is_trusted_proxy(peer, readers) or _was_forwarded(request.scope["headers"]):
            raise HTTPException(404)
        if _is_rebound(peer, request.headers.get("host", ""), public_host):
            raise HTTPException(404)
        content, kind = await run_sync(metrics.told, request.headers.get("accept", ""))
        return Response(content, headers={"content-type": kind, "cache-control": "no-store"})

    return answer


def _was_forwarded(headers: Headers) -> bool:
    """Whether a proxy forwarded the request. In that case the proxy's own address gives no access."""
    names = {name.lower().replace(b"_", b"-") for name, _ in headers}
    return not names.isdisjoint(_PROXY_HEADERS) or any(name.startswith(b"x-forwarded-") for name in names)


def _is_rebound(peer: str | None, host: str, public_host: str | None) -> bool:
    """Whether the Host header of a local request names another host (DNS rebinding in a browser on this machine)."""
    if peer is None or not is_loopback_host(peer):
        return False
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return True
    return not is_loopback_host(name) and name != public_host
