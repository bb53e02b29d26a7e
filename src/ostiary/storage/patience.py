"""How long anything waits for the database, and how everybody else is spared that wait.

A database that hangs gives no error: its packets are dropped, or its processes stand still while the kernel
acknowledges for them. So this process measures the waits itself. A single wait has a limit, all waits of one request
have a limit together, and after a wait that was in vain the others are refused at once until the database answers.
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
"""Seconds that a server gives to a statement before it refuses it. A server that runs answers within them."""
SILENCE: Final = 3.0
"""Seconds without any answer of a server, to a statement or to a new connection: it hangs."""
REQUEST: Final = 4.0
"""Seconds that one request waits for the database in all."""
COMMAND: Final = 60.0
"""Seconds for a statement or a new connection of a local command, such as an import: nobody queues behind it."""
PAUSE: Final = 1.0
"""Seconds before a database that hung is asked again."""


@dataclass(slots=True)
class _Budget:
    left: float
    outer: "_Budget | None"


_budget: ContextVar[_Budget | None] = ContextVar("budget", default=None)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Let all waits in this context take that long together, or what an outer context has left if that is less.

    Only waiting counts: work of this process does not.
    """
    token = _budget.set(_Budget(left(seconds), _budget.get()))
    try:
        yield
    finally:
        _budget.reset(token)


def left(most: float) -> float:
    """Seconds that a wait may take now, where it may take `most` at all."""
    budget = _budget.get()
    return most if budget is None else max(0.0, min(most, budget.left))


@contextmanager
def waiting(most: float) -> Iterator[float]:
    """The seconds that the wait in this context may take. What it takes is spent."""
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
    """Hold a lock whose other holders may wait for the database. Problem (unavailable) where it is not free in time."""
    with waiting(SILENCE) as most:
        free = lock.acquire(timeout=most)
    if not free:
        raise unavailable("another thread waits for the database")
    try:
        yield
    finally:
        lock.release()


class Gate:
    """Refuses at once what would wait in vain: a circuit breaker for one direction, reading or writing.

    It shuts when the database hangs. After a pause one caller is let through to try, while the others are refused;
    what that one finds opens the gate or keeps it shut.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shut_until = 0.0
        """On the monotonic clock; 0 while it is open."""

    def check(self) -> None:
        """Raise Problem (unavailable) while nobody is let through. Lets nobody through by itself."""
        if time.monotonic() < self._shut_until:
            raise unavailable("the database hung a moment ago")

    def enter(self) -> None:
        """Raise likewise; otherwise the caller asks, and says what it found by `shut` or `open`."""
        if not self._shut_until:
            return
        with self._lock:
            self.check()
            if self._shut_until:
                # Long enough for this one to find out, and not for ever if it never says.
                self._shut_until = time.monotonic() + SILENCE + PAUSE

    def shut(self) -> None:
        with self._lock:
            self._shut_until = time.monotonic() + PAUSE

    def open(self) -> None:
        if self._shut_until:
            with self._lock:
                self._shut_until = 0.0


def unavailable(reason: str) -> Problem:
    """The answer where the database was not asked."""
    return Problem("unavailable", "The database does not answer; nothing was done. Try again.", reason=reason)
