"""Hashes of people's passwords: Argon2id. Machine secrets have 226 random bits and need no slow hash."""

from argon2 import PasswordHasher, Type

_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, type=Type.ID)


def hash_password(password: str) -> str:
    """The encoded hash (19 MiB, two passes), some tens of milliseconds of work."""
    return _HASHER.hash(password)
