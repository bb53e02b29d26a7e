"""Periodic tasks, which run every second or less often, in each worker and in the tasks process.

A worker reads changes and writes its usage counts. The tasks process runs the tasks of the node, which are needed once
for all workers: it deletes old rows, rotates signing keys, and checkpoints SQLite's write-ahead log.
"""

import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from ostiary.config import Settings
from ostiary.core.problem import Problem
from ostiary.logs import where
from ostiary.node import signing_keys
from ostiary.node.clock_watch import ClockWatch
from ostiary.node.installation import REMEDIES, low_disk, open_installation, remember_forms, troubles
from ostiary.node.metrics import Metrics
from ostiary.services import audit
from ostiary.services.callers import SYSTEM_CALLER
from ostiary.services.execute import execute
from ostiary.storage import retention
from ostiary.storage.fact_cache import FactCache
from ostiary.storage.store import Store
from ostiary.storage.usage_buffer import UsageBuffer

ROUND_SECONDS: Final = 1.0
WRITE_EVERY: Final = 10
WATCH_EVERY: Final = 10
NOTE_EVERY: Final = 60
DELETE_EVERY: Final = 3600
DELETE_SECONDS: Final = 1.0
"""The longest time that one round spends on deleting, because the other tasks wait for it."""
ROTATE_EVERY: Final = 60
TELL_EVERY: Final = 60
"""Rounds between two log lines about the same trouble."""
LOW_EVERY: Final = 3600
"""Rounds between two log lines about little free disk space."""
BATCH: Final = 500
"""The number of usage counts in one transaction. On SQLite a transaction blocks all other writers."""


@dataclass(frozen=True, slots=True)
class Task:
    """A task that runs in the first round, then every `every` rounds, and also at the end if `at_end` is true."""

    name: str
    do: Callable[[], object]
    every: int = 1
    at_end: bool = False


def tasks_of_worker(
    store: Store, facts: FactCache, counts: UsageBuffer, metrics: Metrics
) -> tuple[Task, ...]:
    return (
        Task("read changes", facts.sync),
        Task("write counts", lambda: write_counts(store, counts), WRITE_EVERY, at_end=True),
        Task("publish metrics", metrics.flush, at_end=True),
    )


def tasks_of_node(store: Store, settings: Settings, watch: ClockWatch) -> tuple[Task, ...]:
    deletion = Deletion(store, watch)

    def rotate() -> None:
        if watch.believed() is not None:
            signing_keys.rotate_due(store, settings)

    return (
        Task("checkpoint", store.checkpoint),
        Task("restore the reserve", store.reserve.restore),
        Task("complete the start", _once(lambda: complete_start(store, settings))),
        Task("log troubles", TroubleLog(store).tell),
        Task("watch the clock", watch.believed, WATCH_EVERY),
        Task("note the time", watch.note, NOTE_EVERY),
        Task("start to delete old rows", deletion.begin, DELETE_EVERY),
        Task("delete old rows", deletion.go_on),
        Task("rotate signing keys", rotate, ROTATE_EVERY),
    )


class Deletion:
    """Deletes old rows (`storage.retention`) in small transactions, over several rounds if needed.

    Other writers have their turn between two transactions. A deletion that takes longer than an hour continues.
    """

    def __init__(self, store: Store, watch: ClockWatch) -> None:
        self._store = store
        self._watch = watch
        self._left: list[retention.Rule] = []

    def begin(self) -> None:
        self._left = self._left or list(retention.RULES)

    def go_on(self) -> None:
        """Delete for at most DELETE_SECONDS. If the clock is not trusted, nothing is deleted until the next hour."""
        now = self._watch.believed() if self._left else None
        if now is None:
            self._left = []
        until = time.monotonic() + DELETE_SECONDS
        while self._left and now is not None and time.monotonic() < until:
            # If this fails, the next round continues with the other rules. This rule is tried again in an hour.
            rule = self._left.pop(0)
            if self._store.write_on((), retention.delete_some, rule, now) == retention.AT_ONCE:
                self._left.append(rule)


class PeriodicTasks:
    """A thread that runs its tasks every second until it is stopped, and then runs the tasks with `at_end`."""

    def __init__(self, tasks: tuple[Task, ...]) -> None:
        self._tasks = tasks
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._rounds, name="tasks", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=10)
        for task in self._tasks:
            if task.at_end:
                _try(task)

    def do(self, name: str) -> None:
        """Run one task now, in the calling thread. Its errors are raised."""
        next(task for task in self._tasks if task.name == name).do()

    def _rounds(self) -> None:
        number = 0
        while not self._stop.wait(ROUND_SECONDS):
            for task in self._tasks:
                if number % task.every == 0:
                    _try(task)
            number += 1


def run(settings: Settings, ready: Callable[[], object]) -> int:
    """Run the tasks process until SIGTERM. Return its exit code."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    opened = open_installation(settings, serving=True)
    rounds = PeriodicTasks(tasks_of_node(opened.store, settings, ClockWatch(opened.store)))
    rounds.start()
    ready()
    signal.sigwait([signal.SIGTERM])
    rounds.stop()
    opened.close()
    return 0


def complete_start(store: Store, settings: Settings) -> None:
    """Do the writes of a start. On a full disk `serve` starts without them."""
    remember_forms(store)
    signing_keys.ensure(store, settings)


class TroubleLog:
    """Logs what the operator must do about the database and its disk: at once, and then once a minute.

    A warning about little free space is logged once an hour.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rounds: dict[str, int] = {}
        """Rounds until a trouble is logged again."""

    def tell(self) -> None:
        found = {each: REMEDIES[each] for each in troubles(self._store)}
        low = low_disk(self._store.reserve)
        if low and "full" not in found:
            self._log("low", low, LOW_EVERY)
        for name, remedy in found.items():
            self._log(name, remedy)
        self._rounds = {name: left - 1 for name, left in self._rounds.items() if left > 1}

    def _log(self, name: str, detail: str, every: int = TELL_EVERY) -> None:
        if name not in self._rounds:
            self._rounds[name] = every
            log = structlog.get_logger()
            (log.warning if name == "low" else log.error)("database in trouble", detail=detail)


def _once(do: Callable[[], None]) -> Callable[[], None]:
    """Return a function that calls `do` until one call has succeeded."""
    done = False

    def attempt() -> None:
        nonlocal done
        if not done:
            do()
            done = True

    return attempt


def write_counts(store: Store, counts: UsageBuffer) -> None:
    """Write the usage counts to the database in batches. Counts that cannot be written return to the buffer.

    Counts are written at least once: if the response to a commit is lost, they are written twice.
    """
    waiting = list(counts.take().items())
    while waiting:
        part, waiting = dict(waiting[:BATCH]), waiting[BATCH:]
        try:
            execute(store, SYSTEM_CALLER, audit.write_counts, part, organizations=())
        except BaseException:
            counts.give_back(part | dict(waiting))
            raise


def _try(task: Task) -> None:
    try:
        task.do()
    except Problem as problem:
        structlog.get_logger().warning(
            "periodic task failed", detail=task.name, reason=problem.reason or problem.code
        )
    except Exception as error:  # a failed task is tried again, so the thread must go on
        structlog.get_logger().error(
            "periodic task failed", detail=task.name, error=type(error).__name__, where=where(error)
        )
