"""Hashes of people's passwords: Argon2id. Machine secrets have 226 random bits and need no slow hash.

Each takes some tens of milliseconds and 19 MiB, so it is never done inside of a transaction, and few are done at once.
"""

import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from ostiary.core.problem import Problem

AT_ONCE = 2
"""So many are hashed at a time in a process: the others' memory and the verdicts' processor are left alone."""
PATIENCE = 3
"""Seconds after which somebody who waits for a turn is told to come again."""

_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, type=Type.ID)
_TURNS = threading.BoundedSemaphore(AT_ONCE)


def hash_password(password: str) -> str:
    """The encoded hash (19 MiB, two passes), some tens of milliseconds of work. Raises unavailable."""
    with _turn():
        return _HASHER.hash(_same(password))


def verify_password(kept: str | None, password: str) -> bool:
    """Whether the hash is this password's. Without a hash it is as much work, and never. Raises unavailable."""
    nobodys = _nobodys()
    with _turn():
        try:
            right = _HASHER.verify(kept or nobodys, _same(password))
        except InvalidHashError:
            return False
        except VerificationError:
            return False
    return right and kept is not None


def is_outdated(kept: str) -> bool:
    """Whether the hash was made with other parameters than today's."""
    return _HASHER.check_needs_rehash(kept)


@cache
def _nobodys() -> str:
    """A hash of the same cost, for whoever has none."""
    return hash_password("nobody has this one")


def _same(password: str) -> str:
    """Keyboards write one letter in several ways (Unicode's normal form C)."""
    return unicodedata.normalize("NFC", password)


@contextmanager
def _turn() -> Iterator[None]:
    if not _TURNS.acquire(timeout=PATIENCE):
        raise Problem("unavailable", "Too many people sign in just now. Try again.", reason="passwords busy")
    try:
        yield
    finally:
        _TURNS.release()
