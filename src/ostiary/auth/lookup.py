"""Finds the facts about a presented credential: in the cache only, or also in the database."""

from collections.abc import Sequence
from typing import Final, Protocol

from ostiary.core.model import Standing, Token
from ostiary.storage.fact_cache import ABSENT, FactCache
from ostiary.storage.standing_cache import Handle


class CacheMiss(Exception):  # noqa: N818 - not an error: the database has to be asked
    """A fact is not in the cache. The caller handles the request again, in a thread, with `CacheOrDatabase`."""


class Lookup(Protocol):
    """Finds facts. `Authenticator` provides lookups over a cache that it has brought up to date."""

    @property
    def reads(self) -> bool:
        """Whether the lookup may read the database, and therefore block."""

    def standing(self, handle: Handle) -> Standing | None: ...
    def token(self, text: bytes, found: bytes) -> Token | None: ...
    def projects(self, organization_id: str) -> dict[str, str]: ...
    def key_files(self, issuer: str) -> Sequence[str]: ...


class CacheOnly:
    """For the event loop. Raises CacheMiss if a fact is not in the cache."""

    reads: Final = False

    def __init__(self, facts: FactCache) -> None:
        self._facts = facts

    def standing(self, handle: Handle) -> Standing | None:
        found = self._facts.standing(handle)
        if found is None:
            raise CacheMiss
        return None if found is ABSENT else found

    def token(self, text: bytes, found: bytes) -> Token | None:
        token = self._facts.token(found)
        if token is None:
            raise CacheMiss
        return token

    def projects(self, organization_id: str) -> dict[str, str]:
        found = self._facts.projects(organization_id)
        if found is None:
            raise CacheMiss
        return found

    def key_files(self, issuer: str) -> Sequence[str]:
        raise CacheMiss  # a new key file drops nothing from the cache, so this list is never cached


class CacheOrDatabase:
    """For a thread. Raises Problem if the database is unavailable."""

    reads: Final = True

    def __init__(self, facts: FactCache) -> None:
        self._facts = facts

    def standing(self, handle: Handle) -> Standing | None:
        return self._facts.load_standing(handle)

    def token(self, text: bytes, found: bytes) -> Token | None:
        return self._facts.load_token(text, found)

    def projects(self, organization_id: str) -> dict[str, str]:
        return self._facts.load_projects(organization_id)

    def key_files(self, issuer: str) -> Sequence[str]:
        return self._facts.load_key_files(issuer)
