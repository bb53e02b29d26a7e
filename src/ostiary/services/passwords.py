"""Argon2id hashes of people's passwords. Machine secrets have 226 random bits and need no slow hash.

A hash takes tens of milliseconds and 19 MiB. So it is never computed inside a transaction, and `ostiary serve` limits
how many run at the same time (`console.password_queue`).
"""

import unicodedata
from functools import cache

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

LONGEST = 1_024
"""Most characters that are hashed. Every valid password is shorter (`check.MAX_PASSWORD`), in every Unicode form.

Unicode normalization takes quadratic time in the number of combining marks, so longer text could block for seconds.
"""
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, type=Type.ID)


def hash_password(password: str) -> str:
    """Return the encoded Argon2id hash (19 MiB, two passes). Takes tens of milliseconds."""
    return _HASHER.hash(_normalized(password))


def verify_password(kept: str | None, password: str) -> bool:
    """Return whether the password matches the hash.

    Without a hash or for a text that is too long, the result is false and takes the same time.
    """
    try:
        matches = _HASHER.verify(kept or dummy_hash(), _normalized(password[:LONGEST]))
    except (InvalidHashError, VerificationError):
        return False
    return matches and kept is not None and len(password) <= LONGEST


def is_outdated(kept: str) -> bool:
    """Return whether the hash was made with parameters other than the current ones."""
    return _HASHER.check_needs_rehash(kept)


@cache
def dummy_hash() -> str:
    """Return a hash of the same cost that no sign-in matches, for accounts without a password."""
    return hash_password("nobody has this one")


def _normalized(password: str) -> str:
    """Return the password in Unicode normal form C, because keyboards encode one letter in several ways."""
    return unicodedata.normalize("NFC", password)
