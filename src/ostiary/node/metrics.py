"""`/metrics`: what Prometheus may know of the service, summed over its processes.

Each process writes its figures into files of its own in the data directory, and whichever is asked reads them all.
Requests pay for none of it: what they count anyway is read once a second. No label says whose anything is.
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
"""Any other is one label: a method may be any word that somebody thinks of."""
BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Seconds."""
SHARED: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Where the library finds the directory that the processes share."""
_FILES: Final = {
    # Bytes: several times what all routes and outcomes take. Beyond them the library lets a file grow without reserving
    # the disk, and a full one would kill the process after all.
    "counter": 256 * 1024,
    "histogram": 512 * 1024,
    "gauge_livesum": 64 * 1024,
    "gauge_livemin": 64 * 1024,
    "gauge_livemax": 64 * 1024,
}


def share(directory: Path) -> None:
    """Begin anew with figures that processes share; in the first of them, before it forks those that make some.

    The directory is emptied: figures begin at 0 with each start of the service. If it cannot be made, the
    processes share nothing, and each reports its own figures.
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
    """A process has ended: what it counted stays counted, in one file of all that ended; what it was is no more."""
    if SHARED not in os.environ:
        return
    multiprocess.mark_process_dead(pid, os.environ[SHARED])  # type: ignore[no-untyped-call] # the library's
    directory = Path(os.environ[SHARED])
    try:
        for file in directory.glob(f"*_{pid}.new"):  # killed while it made room
            file.unlink()
        # Whoever reads now would miss or double what is moved. Not waited for: the first process waits for nobody.
        with _locked(directory, fcntl.LOCK_EX | fcntl.LOCK_NB):
            for kind in ("counter", "histogram"):
                _move(directory / f"{kind}_{pid}.db", directory / f"{kind}_ended.db")
    except Exception as error:  # its figures stay where they are, and are read there
        structlog.get_logger().warning("metrics of an ended process take room", error=type(error).__name__)


def _move(file: Path, to: Path) -> None:
    """Add the figures of one file to those of another, and remove it."""
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
        # Room for all of them before any is written: see `_make_room`.
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
    """Read the files of processes (LOCK_SH), or move figures between them (LOCK_EX)."""
    fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, how)
        yield
    finally:
        os.close(fd)


@dataclass(frozen=True, slots=True)
class _Disk:
    """The figures of the disk, read for each request: a full disk has no room for a file of figures."""

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
    """The figures of one process."""

    def __init__(self, store: Store, facts: FactCache, counts: UsageBuffer) -> None:
        self._store = store
        self._facts = facts
        self._counts = counts
        self.connections: Callable[[], int] = lambda: 0
        """How many are open; the server says so once there is one."""
        self._shared = os.environ.get(SHARED)
        if self._shared is not None:
            _make_room(Path(self._shared))
        # What is shared is collected from the files, and not from this registry.
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
            "Presented credentials that were judged, by the address that they were presented at and what came of it: "
            "valid, or the reason of the refusal.",
            "via",
            "outcome",
        )
        self._requests = counter(
            "requests_total",
            "Requests to all other addresses, and to those that judge if they failed (5xx), by method, route template "
            "and class of status.",
            "method",
            "route",
            "status",
        )
        self._durations = Histogram(
            "ostiary_request_duration_seconds",
            "How long they took.",
            ("method", "route"),
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._misses = counter(
            "cache_misses_total", "Credentials that had to be read from the database to be judged."
        )
        self._looks = counter(
            "cache_looks_total", "Successful looks at what other processes and machines changed."
        )
        self._errors = counter(
            "database_errors_total",
            "Failures of the database, by reason; what succeeded when it was tried again included.",
            "reason",
        )
        self._standings = gauge("cache_standings", "Secrets whose facts are in memory.", "livesum")
        self._looked_at = gauge(
            "cache_last_look_timestamp_seconds",
            "When the process that is furthest behind last saw what was changed.",
            "livemin",
        )
        self._waiting = gauge(
            "counts_waiting", "Different uses and refusals that wait to be written.", "livesum"
        )
        self._open = gauge("connections", "Open connections.", "livesum")
        gauge("workers", "Processes that serve.", "livesum").set(1)
        gauge("start_time_seconds", "When the oldest process that serves began.", "livemin").set(self._now())
        gauge("build_info", "1, with the version that runs.", "livemax", "version").labels(
            version("ostiary")
        ).set(1)

        self._registry.register(self._disk)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that is not the hot path's, or a fault of that. `route` is a template, never a path."""
        method = method if method in METHODS else "other"
        self._requests.labels(method, route, f"{status // 100}xx").inc()
        self._durations.labels(method, route).observe(seconds)

    def flush(self) -> None:
        """Publish what was counted since the last time; once a second."""
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
        """The figures of all processes in the form that is asked for, and the name of that form."""
        try:
            encode, kind = choose_encoder(accept)
        except TypeError:  # a version that is not made of numbers
            encode, kind = choose_encoder("")
        if self._shared is None:
            return encode(self._registry), kind
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry, self._shared)  # type: ignore[no-untyped-call] # likewise
        registry.register(self._disk)
        with _locked(Path(self._shared), fcntl.LOCK_SH):
            return encode(registry), kind


def _make_room(directory: Path) -> None:
    """Reserve the disk for this process's files: a page that is mapped and has no room kills whoever writes to it."""
    try:
        for name, size in _FILES.items():
            path = directory / f"{name}_{os.getpid()}.db"
            if path.exists():
                continue  # of one that ended and had this number: what it counted stays
            new = path.with_suffix(".new")
            fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                os.posix_fallocate(fd, 0, size)
                # Others read whatever is named so, and an empty file is none.
                new.rename(path)
            finally:
                os.close(fd)
                new.unlink(missing_ok=True)
    except OSError as error:
        structlog.get_logger().warning("metrics of this process are not kept", reason=error.strerror)
        values.ValueClass = values.MutexValue


_OF_PROXIES: Final = frozenset(
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
"""Fields by which a proxy says that it asks for somebody else; and all that begin with `x-forwarded-`."""


def handler(metrics: Metrics, readers: tuple[Network, ...], public_url: str) -> Any:
    """The handler of `/metrics`. For everybody else there is nothing at that address."""

    public_host = urlsplit(public_url).hostname

    async def answer(request: Request) -> Response:
        peer = request.client.host if request.client else None
        if not is_trusted_proxy(peer, readers) or _was_passed_on(request.scope["headers"]):
            raise HTTPException(404)
        if _is_rebound(peer, request.headers.get("host", ""), public_host):
            raise HTTPException(404)
        content, kind = await run_sync(metrics.told, request.headers.get("accept", ""))
        return Response(content, headers={"content-type": kind, "cache-control": "no-store"})

    return answer


def _was_passed_on(headers: Headers) -> bool:
    """Whether a proxy says that it asks for somebody else: then its own address opens nothing."""
    names = {name.lower().replace(b"_", b"-") for name, _ in headers}
    return not names.isdisjoint(_OF_PROXIES) or any(name.startswith(b"x-forwarded-") for name in names)


def _is_rebound(peer: str | None, host: str, public_host: str | None) -> bool:
    """Whether a browser on this machine asks for a page whose name was made to mean this machine."""
    if peer is None or not is_loopback_host(peer):
        return False
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return True
    return not is_loopback_host(name) and name != public_host
