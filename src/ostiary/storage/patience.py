"""Limits how long requests wait for the database, and refuses requests at once while it hangs.

A database that hangs gives no error: its packets are dropped, or its processes are stopped while the kernel still
acknowledges. So this process measures its waits itself. Each wait has a limit, and all waits of one request together
have a limit. After a wait without a response, other requests are refused at once until the database responds.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from ostiary.core.problem import Problem

WAIT: Final = 2.0
"""Seconds for a lock, a turn, or a connection of the pool."""
STATEMENT: Final = 2.5
"""Seconds after which the server cancels a statement. A server that runs always responds within this time."""
SILENCE: Final = 3.0
"""Seconds without a response to a statement or a new connection, after which the server counts as hanging."""
REQUEST: Final = 4.0
"""Seconds that one request waits for the database in all."""
COMMAND: Final = 60.0
"""Seconds for a statement or a new connection of a local command, such as an import. No request waits for it."""
PAUSE: Final = 1.0
"""Seconds before a database that hung is tried again."""


class ServerSilentError(Exception):
    """The server did not respond in time. It may or may not have executed the statement."""

    hangs = False
    """Whether the server had enough time, and not only the rest of a request's time."""


@dataclass(slots=True)
class _Budget:
    left: float
    outer: "_Budget | None"


_budget: ContextVar[_Budget | None] = ContextVar("budget", default=None)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Limit all waits in this context together to these seconds, or to the rest of an outer context if that is less.

    Only waiting counts, not the work of this process.
    """
    token = _budget.set(_Budget(left(seconds), _budget.get()))
    try:
        yield
    finally:
        _budget.reset(token)


def left(most: float) -> float:
    """Return the seconds that a wait may take now, at most `most`."""
    budget = _budget.get()
    return most if budget is None else max(0.0, min(most, budget.left))


@contextmanager
def waiting(most: float) -> Iterator[float]:
    """Yield the seconds that the wait in this context may take, and charge the time that it took."""
    budget = _budget.get()
    if budget is None:
        yield most
        return
    begun = time.monotonic()
    try:
        yield left(most)
    finally:
        taken = time.monotonic() - begun
        while budget is not None:
            budget.left -= taken
            budget = budget.outer


@contextmanager
def held(lock: threading.Lock) -> Iterator[None]:
    """Hold a lock whose other holders may wait for the database. Raises unavailable if it is not free in time."""
    with waiting(SILENCE) as most:
        free = lock.acquire(timeout=most)
    if not free:
        raise unavailable("another thread waits for the database")
    try:
        yield
    finally:
        lock.release()


class Gate:
    """A circuit breaker for one direction, reading or writing.

    It shuts when the database hangs. After a pause it lets one caller through and refuses the others. The result of
    that caller opens the gate or keeps it shut.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shut_until = 0.0
        """A time of the monotonic clock; 0 while the gate is open."""

    def check(self) -> None:
        """Raise unavailable while the gate is shut. Does not count as the caller that is let through."""
        if time.monotonic() < self._shut_until:
            raise unavailable("the database hung a moment ago")

    def enter(self) -> None:
        """Raise unavailable while the gate is shut. Otherwise the caller must report its result by `shut` or `open`."""
        if not self._shut_until:
            return
        with self._lock:
            self.check()
            if self._shut_until:
                # Shut for the others until this caller reports or has had enough time.
                self._shut_until = time.monotonic() + SILENCE + PAUSE

    def shut(self) -> None:
        with self._lock:
            self._shut_until = time.monotonic() + PAUSE

    def open(self) -> None:
        if self._shut_until:
            with self._lock:
                self._shut_until = 0.0


def unavailable(reason: str) -> Problem:
    """Return the problem of a request for which the database was not asked."""
    return Problem(
        "unavailable", "The database does not respond; nothing was done. Try again.", reason=reason
    )
