"""The tokens and sessions that are kept in memory, found by the SHA-256 of their text. No I/O, no lock.

What is kept of one never changes; what it came from is judged on every use. It is dropped when it is revoked by itself.
"""

from hashlib import sha256
from typing import Final

from ostiary.core.model import Token

MAX_TOKENS: Final = 20_000


def fingerprint(text: bytes) -> bytes:
    """What a token is found by: 32 bytes, so that no token has to be kept as it is sent."""
    return sha256(text).digest()


class KeptTokens:
    """At most `capacity` of them; the one that was kept first makes room."""

    def __init__(self, capacity: int = MAX_TOKENS) -> None:
        self._capacity = capacity
        self._tokens: dict[bytes, Token] = {}
        self._by_id: dict[str, dict[bytes, None]] = {}
        self.get = self._tokens.get
        """The token of a fingerprint, or None. Asked for every request: the dict's own method."""

    def keep(self, found: bytes, token: Token) -> None:
        self._remove(found)
        while len(self._tokens) >= self._capacity:
            self._remove(next(iter(self._tokens)))
        self._tokens[found] = token
        for each in _ids(token):
            self._by_id.setdefault(each, {})[found] = None

    def drop(self, token_id: str) -> None:
        """Forget the token or session of this id, and what was exchanged for it."""
        for found in tuple(self._by_id.get(token_id, ())):
            self._remove(found)

    def drop_signed(self) -> None:
        """Forget access tokens, which a key signed; sessions stay."""
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
            of_one = self._by_id[each]
            of_one.pop(found, None)
            if not of_one:
                del self._by_id[each]


def _ids(token: Token) -> tuple[str, ...]:
    return (token.id,) if token.exchanged_from is None else (token.id, token.exchanged_from)
