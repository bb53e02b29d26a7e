"""Hashes of people's passwords: Argon2id. Machine secrets have 226 random bits and need no slow hash.

Each takes some tens of milliseconds and 19 MiB: never inside of a transaction, and in `serve` by turns
(`http.pages.hashing`).
"""

import unicodedata
from functools import cache

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

LONGEST = 1_024
"""Characters that are looked at. A password has fewer, however its letters are written (`check.MAX_PASSWORD`), and to
put marks in order takes their number's square: a form full of them would hold the process for seconds."""
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, type=Type.ID)


def hash_password(password: str) -> str:
    """The encoded hash (19 MiB, two passes), some tens of milliseconds of work."""
    return _HASHER.hash(_same(password))


def verify_password(kept: str | None, password: str) -> bool:
    """Whether the hash is this password's. Without a hash, or for a text too long, it is as much work, and never."""
    try:
        right = _HASHER.verify(kept or nobodys_hash(), _same(password[:LONGEST]))
    except (InvalidHashError, VerificationError):
        return False
    return right and kept is not None and len(password) <= LONGEST


def is_outdated(kept: str) -> bool:
    """Whether the hash was made with other parameters than today's."""
    return _HASHER.check_needs_rehash(kept)


@cache
def nobodys_hash() -> str:
    """A hash of the same cost, for whoever has none."""
    return hash_password("nobody has this one")


def _same(password: str) -> str:
    """Keyboards write one letter in several ways (Unicode's normal form C)."""
    return unicodedata.normalize("NFC", password)
