"""Refresh tokens. Each session has one family; a rotation increments the number of the family's current token.

A token is derived from the family's seed and its number, with a key that is not in the database. No token is stored.
Still, the same successor can be issued again, and an old token can be told from a forged one.
"""

from hashlib import blake2b
from typing import Final, NamedTuple

from ostiary.core import secret
from ostiary.core.instant import SECOND
from ostiary.core.secret import REFRESH, Secret

FAMILY_BYTES: Final = 12
SEED_BYTES: Final = 32
GRACE: Final = 10 * SECOND
"""For this long after a rotation the previous token gets the same successor again, because the response may be lost.
"""
_FAMILY_LENGTH: Final = 2 * FAMILY_BYTES
_PREFIXES: Final = (REFRESH.encode(),)
_PERSON: Final = b"ostiary-refresh"


class RefreshClaims(NamedTuple):
    """The unverified parts of a refresh token."""

    family: str
    """24 hexadecimal digits."""
    number: int


def token(pepper: bytes, seed: bytes, family: str, number: int) -> Secret:
    """Return the family's token with this number (from 1). Deterministic: the same arguments give the same token."""
    public = f"{family}{number:08x}"
    random = blake2b(seed + public.encode(), digest_size=48, key=pepper, person=_PERSON).digest()
    return secret.assemble(REFRESH, public, random).secret


def read_claims(text: bytes) -> RefreshClaims | None:
    """Return family and number if the text has the form of a refresh token, else None. This proves nothing."""
    public = secret.parse(text, _PREFIXES)
    if public is None:
        return None
    return RefreshClaims(public[:_FAMILY_LENGTH], int(public[_FAMILY_LENGTH:], 16))
