"""What is done beside the requests: looking for changes, writing counts, forgetting old changes."""

import threading
from collections.abc import Callable
from typing import Final

import structlog

from ostiary.core.problem import Problem
from ostiary.http.metrics import Metrics
from ostiary.logs import where
from ostiary.services import audit
from ostiary.services.callers import SYSTEM_CALLER
from ostiary.storage import answers, changes, usage
from ostiary.storage.store import Store
from ostiary.storage.volatile import Counts, Facts

LOOK_SECONDS: Final = 1.0
WRITE_EVERY: Final = 10
PRUNE_EVERY: Final = 3600
BATCH: Final = 500
"""Occasions in one transaction: on SQLite it holds the one writing connection."""


class Duties:
    """A thread that does its rounds every second until it is stopped, and then writes what is left."""

    def __init__(self, store: Store, facts: Facts, counts: Counts, metrics: Metrics) -> None:
        self._store = store
        self._facts = facts
        self._counts = counts
        self.metrics = metrics
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._rounds, name="duties", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=10)
        self._try("write counts", self.write_counts)
        self._try("publish metrics", self.metrics.flush)

    def write_counts(self) -> None:
        """Write what was counted, some hundred at a time; what cannot be written is counted again.

        At least once: if the answer to a commit is lost, the same uses are written twice.
        """
        waiting = list(self._counts.take().items())
        while waiting:
            part, waiting = dict(waiting[:BATCH]), waiting[BATCH:]
            try:
                self._store.write_on((), audit.write_counts, SYSTEM_CALLER, part)
            except BaseException:
                self._counts.give_back(part | dict(waiting))
                raise

    def _rounds(self) -> None:
        number = 0
        while not self._stop.wait(LOOK_SECONDS):
            number += 1
            self._try("look for changes", self._facts.sync)
            self._try("publish metrics", self.metrics.flush)
            if number % WRITE_EVERY == 0:
                self._try("write counts", self.write_counts)
            if number % PRUNE_EVERY == 1:
                self._try("forget old changes", lambda: self._store.write_on((), changes.prune))
                self._try("forget old answers", lambda: self._store.write_on((), answers.prune))
                self._try("forget old usage", lambda: self._store.write_on((), usage.prune))

    def _try(self, what: str, duty: Callable[[], None]) -> None:
        try:
            duty()
        except Problem as problem:
            structlog.get_logger().warning("duty failed", detail=what, reason=problem.reason or problem.code)
        except Exception as error:  # a duty that fails is tried again; the thread must live
            structlog.get_logger().error(
                "duty failed", detail=what, error=type(error).__name__, where=where(error)
            )
