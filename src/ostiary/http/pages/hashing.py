"""Passwords are hashed by turns: few at once, so that verdicts keep their processor, and all others their memory.

Strangers share one turn and a bounded queue, of which one network never has more than half. Whoever is known (by a
browser in which they signed in before, by a session, or by a link) has the other turn too, so no flood holds them up.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ostiary.core.problem import Problem
from ostiary.services import passwords

AT_ONCE: Final = 2
STRANGERS_AT_ONCE: Final = 1
MOST_STRANGERS: Final = 12
"""Strangers that hold a turn or wait for one."""
MOST_OF_A_NETWORK: Final = MOST_STRANGERS // 2
THREADS: Final = MOST_STRANGERS + 8
"""Threads for pages that hash, apart from all others: whoever waits for a turn holds up nothing else."""
PATIENCE: Final = 3
"""Seconds after which somebody who waits for a turn is told to come again."""

_TURNS: Final = threading.BoundedSemaphore(AT_ONCE)
_STRANGERS: Final = threading.BoundedSemaphore(STRANGERS_AT_ONCE)
_QUEUE: Final[Counter[str]] = Counter()
"""How many strangers each network has here."""
_LOCK: Final = threading.Lock()


def hash_password(password: str, stranger: str | None = None) -> str:
    """As `passwords.hash_password`, by turns; `stranger` is the network of somebody who is not known. Raises unavailable."""
    with _turn(stranger):
        return passwords.hash_password(password)


def verify_password(kept: str | None, password: str, stranger: str | None = None) -> bool:
    """As `passwords.verify_password`, likewise."""
    passwords.nobodys_hash()  # made beforehand: the first unknown email would take twice as long
    with _turn(stranger):
        return passwords.verify_password(kept, password)


@contextmanager
def _turn(stranger: str | None) -> Iterator[None]:
    if stranger is None:
        with _held(_TURNS):
            yield
    else:
        with _queued(stranger), _held(_STRANGERS), _held(_TURNS):
            yield


@contextmanager
def _queued(network: str) -> Iterator[None]:
    with _LOCK:
        if _QUEUE.total() >= MOST_STRANGERS or _QUEUE[network] >= MOST_OF_A_NETWORK:
            raise _busy()
        _QUEUE[network] += 1
    try:
        yield
    finally:
        with _LOCK:
            _QUEUE[network] -= 1
            if not _QUEUE[network]:
                del _QUEUE[network]


@contextmanager
def _held(turns: threading.BoundedSemaphore) -> Iterator[None]:
    if not turns.acquire(timeout=PATIENCE):
        raise _busy()
    try:
        yield
    finally:
        turns.release()


def _busy() -> Problem:
    return Problem("unavailable", "Too many people sign in just now. Try again.", reason="passwords busy")
