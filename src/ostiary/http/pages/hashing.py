"""Passwords are hashed by turns: few at once, so that verdicts keep their processor, and all others their memory."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ostiary.core.problem import Problem
from ostiary.services import passwords

AT_ONCE: Final = 2
PATIENCE: Final = 3
"""Seconds after which somebody who waits for a turn is told to come again."""

_TURNS: Final = threading.BoundedSemaphore(AT_ONCE)


def hash_password(password: str) -> str:
    """As `passwords.hash_password`, by turns. Raises unavailable."""
    with _turn():
        return passwords.hash_password(password)


def verify_password(kept: str | None, password: str) -> bool:
    """As `passwords.verify_password`, likewise."""
    passwords.nobodys_hash()  # made beforehand: the first unknown email would take twice as long
    with _turn():
        return passwords.verify_password(kept, password)


@contextmanager
def _turn() -> Iterator[None]:
    if not _TURNS.acquire(timeout=PATIENCE):
        raise Problem("unavailable", "Too many people sign in just now. Try again.", reason="passwords busy")
    try:
        yield
    finally:
        _TURNS.release()
