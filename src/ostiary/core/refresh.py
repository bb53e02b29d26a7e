"""Refresh tokens: one family for each session, counted by generation.

A token is made from its family's seed and its number, by a key that is not in the database. So the successor of one
can be given again, and an old one is told from a forgery, though no token is stored.
"""

from hashlib import blake2b
from typing import Final, NamedTuple

from ostiary.core import secret
from ostiary.core.instant import SECOND
from ostiary.core.secret import REFRESH, Secret

FAMILY_BYTES: Final = 12
SEED_BYTES: Final = 32
GRACE: Final = 10 * SECOND
"""How long after a rotation the token before it gets the same successor again: an answer may have been lost."""
_FAMILY_LENGTH: Final = 2 * FAMILY_BYTES
_PREFIXES: Final = (REFRESH.encode(),)
_PERSON: Final = b"ostiary-refresh"


class Claimed(NamedTuple):
    """What a refresh token says of itself."""

    family: str
    """24 hexadecimal digits."""
    number: int


def token(pepper: bytes, seed: bytes, family: str, number: int) -> Secret:
    """The token of this number, from 1. The same facts make the same token."""
    public = f"{family}{number:08x}"
    random = blake2b(seed + public.encode(), digest_size=48, key=pepper, person=_PERSON).digest()
    return secret.assemble(REFRESH, public, random).secret


def claimed(text: bytes) -> Claimed | None:
    """What a text claims that has the form of a refresh token, else None. Nothing is proven."""
    public = secret.parse(text, _PREFIXES)
    if public is None:
        return None
    return Claimed(public[:_FAMILY_LENGTH], int(public[_FAMILY_LENGTH:], 16))
