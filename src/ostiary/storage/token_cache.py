"""Tokens and sessions in memory, found by the SHA-256 of their text. No I/O, no lock.

The cached facts of a token never change; its origin is judged on every use. An entry is dropped when the token itself
is revoked.
"""

from hashlib import sha256
from typing import Final

from ostiary.core.model import Token

MAX_TOKENS: Final = 20_000


def fingerprint(text: bytes) -> bytes:
    """Return the look-up key of a token: 32 bytes. The token itself is not stored."""
    return sha256(text).digest()


class KeptTokens:
    """At most `capacity` tokens. When full, the oldest entry is removed."""

    def __init__(self, capacity: int = MAX_TOKENS) -> None:
        self._capacity = capacity
        self._tokens: dict[bytes, Token] = {}
        self._by_id: dict[str, dict[bytes, None]] = {}
        self.get = self._tokens.get
        """Returns the token of a fingerprint, or None. The dict's own method, for speed: every request calls it."""

    def keep(self, found: bytes, token: Token) -> None:
        self._remove(found)
        while len(self._tokens) >= self._capacity:
            self._remove(next(iter(self._tokens)))
        self._tokens[found] = token
        for each in _ids(token):
            self._by_id.setdefault(each, {})[found] = None

    def drop(self, token_id: str) -> None:
        """Drop the token or session with this id, and tokens that were exchanged for it."""
        for found in tuple(self._by_id.get(token_id, ())):
            self._remove(found)

    def drop_signed(self) -> None:
        """Drop access tokens, which are signed by a key. Sessions stay."""
        for found in [each for each, token in self._tokens.items() if token.kind == "access_token"]:
            self._remove(found)

    def clear(self) -> None:
        self._tokens.clear()
        self._by_id.clear()

    def __len__(self) -> int:
        return len(self._tokens)

    def _remove(self, found: bytes) -> None:
        token = self._tokens.pop(found, None)
        if token is None:
            return
        for each in _ids(token):
            fingerprints = self._by_id[each]
            fingerprints.pop(found, None)
            if not fingerprints:
                del self._by_id[each]


def _ids(token: Token) -> tuple[str, ...]:
    return (token.id,) if token.exchanged_from is None else (token.id, token.exchanged_from)
