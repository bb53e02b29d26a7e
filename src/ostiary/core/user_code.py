"""The code that a person types to connect a device (RFC 8628 §6.1): eight consonants, `WDJB-MJHT`.

34 bits are few, so a code is valid for half an hour and guesses are limited. Only a keyed digest of it is stored.
"""

from hashlib import blake2b
from typing import Final

LETTERS: Final = "BCDFGHJKLMNPQRSTVWXZ"
LENGTH: Final = 8
ENTROPY: Final = 16
"""Bytes that `make` takes (modulo bias below 2⁻⁹³)."""
LONGEST: Final = 32
"""The longest input that is read, separators included."""

_PERSON: Final = b"ostiary-usercode"
_SEPARATORS: Final = str.maketrans("", "", "-‐‑–—. \t")


def make(entropy: bytes) -> str:
    """Return a code made from random bytes, without its hyphen."""
    number, letters = int.from_bytes(entropy), ""
    for _ in range(LENGTH):
        number, rest = divmod(number, len(LETTERS))
        letters += LETTERS[rest]
    return letters


def read(text: str) -> str | None:
    """Return the code that a person typed, in any case and with any separators. None if it is not a code."""
    if len(text) > LONGEST or not text.translate(_SEPARATORS).isascii():
        return None  # `upper` turns some non-ASCII characters into ASCII letters
    code = text.translate(_SEPARATORS).upper()
    return code if len(code) == LENGTH and set(code) <= set(LETTERS) else None


def formatted(code: str) -> str:
    """Return the code as people read it: `WDJB-MJHT`."""
    return f"{code[:4]}-{code[4:]}"


def digest(code: str, pepper: bytes) -> bytes:
    """Return the 32-byte digest that is stored for a code. It differs from the digest of a secret with the same text."""
    return blake2b(code.encode(), digest_size=32, key=pepper, person=_PERSON).digest()
