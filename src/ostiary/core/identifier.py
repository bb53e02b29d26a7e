"""Identifiers: a prefix for the type and a ULID, so that ids of one type sort by creation time."""

from typing import Literal

Prefix = Literal[
    "org", "prj", "usr", "inv", "role", "sa", "cred", "app", "gra", "ses", "tok", "key", "rb", "evt", "req"
]  # fmt: skip

ENTROPY = 10
"""Random bytes in an id: 80 bits, next to 48 bits of milliseconds."""

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_LENGTH = 26


def make(prefix: Prefix, instant: int, entropy: bytes) -> str:
    """Return an id such as `sa_01kavq…` from an instant (microseconds) and `ENTROPY` random bytes."""
    if len(entropy) != ENTROPY:
        raise ValueError(f"an id takes {ENTROPY} random bytes")
    number = (instant // 1000) << 80 | int.from_bytes(entropy)
    digits = []
    for _ in range(_LENGTH):
        number, rest = number >> 5, number & 31
        digits.append(_ALPHABET[rest])
    return f"{prefix}_{''.join(reversed(digits))}"
