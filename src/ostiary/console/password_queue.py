"""Limits how many passwords are hashed at once, so that verification keeps its processor and the process its memory.

Unknown visitors share one turn and a bounded queue, of which one network has at most half. Known visitors (by a browser
in which they signed in before, a session or a link) may also use the second turn, so a flood does not block them.
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
"""Unknown visitors that hold a turn or wait for one."""
MOST_OF_A_NETWORK: Final = MOST_STRANGERS // 2
THREADS: Final = MOST_STRANGERS + 8
"""Threads for pages that hash passwords. They are separate, so waiting for a turn blocks no other request."""
PATIENCE: Final = 3
"""Seconds to wait for a turn, after which the visitor is asked to try again."""

_TURNS: Final = threading.BoundedSemaphore(AT_ONCE)
_STRANGERS: Final = threading.BoundedSemaphore(STRANGERS_AT_ONCE)
_QUEUE: Final[Counter[str]] = Counter()
"""The number of unknown visitors from each network."""
_LOCK: Final = threading.Lock()


def hash_password(password: str, stranger: str | None = None) -> str:
    """Hash in turn. `stranger` is the network of an unknown visitor, None for a known one. Raises unavailable."""
    with _turn(stranger):
        return passwords.hash_password(password)


def verify_password(kept: str | None, password: str, stranger: str | None = None) -> bool:
    """Verify in turn. `stranger` and errors are as in `hash_password`."""
    passwords.dummy_hash()  # made beforehand: the first unknown email would take twice as long
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
    return Problem(
        "unavailable", "Too many people are signing in right now. Try again.", reason="passwords busy"
    )
