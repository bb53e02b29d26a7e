"""The code that a person types to connect a device (RFC 8628 §6.1): eight letters that make no words, `WDJB-MJHT`.

34 bits are few, so a code is good for half an hour, and guesses are limited. Only a keyed digest of it is stored.
"""

from hashlib import blake2b
from typing import Final

LETTERS: Final = "BCDFGHJKLMNPQRSTVWXZ"
LENGTH: Final = 8
ENTROPY: Final = 16
"""Bytes that `make` takes: the bias of the modulus is below 2⁻⁹³."""
LONGEST: Final = 32
"""Characters that are looked at, with all that people put between the letters."""

_PERSON: Final = b"ostiary-usercode"
_BETWEEN: Final = str.maketrans("", "", "-‐‑–—. \t")


def make(entropy: bytes) -> str:
    """A code from random bytes, without its hyphen."""
    number, letters = int.from_bytes(entropy), ""
    for _ in range(LENGTH):
        number, rest = divmod(number, len(LETTERS))
        letters += LETTERS[rest]
    return letters


def read(text: str) -> str | None:
    """The code that somebody typed, in whatever case and with whatever between its letters; None if it is none."""
    if len(text) > LONGEST or not text.translate(_BETWEEN).isascii():
        return None  # `upper` makes letters of ours out of some that are not ASCII
    code = text.translate(_BETWEEN).upper()
    return code if len(code) == LENGTH and set(code) <= set(LETTERS) else None


def shown(code: str) -> str:
    """As people read it: `WDJB-MJHT`."""
    return f"{code[:4]}-{code[4:]}"


def digest(code: str, pepper: bytes) -> bytes:
    """What is stored of a code, 32 bytes. Another thing than the digest of a secret with the same text."""
    return blake2b(code.encode(), digest_size=32, key=pepper, person=_PERSON).digest()
