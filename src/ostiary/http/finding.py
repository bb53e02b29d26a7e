"""How the hot path finds facts: in memory only, or in the database too."""

from collections.abc import Sequence
from typing import Protocol

from ostiary.core.model import Standing, Token
from ostiary.storage.standings import Handle
from ostiary.storage.volatile import ABSENT, Facts


class Cold(Exception):  # noqa: N818 - not an error: a fact is not in memory
    pass


class Find(Protocol):
    """How facts are found: in memory only, or in the database too."""

    def standing(self, handle: Handle) -> Standing | None: ...
    def token(self, text: bytes, found: bytes) -> Token | None: ...
    def projects(self, organization_id: str) -> dict[str, str]: ...
    def key_files(self, issuer: str) -> Sequence[str]: ...


class InMemory:
    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def standing(self, handle: Handle) -> Standing | None:
        found = self._facts.standing(handle)
        if found is None:
            raise Cold
        return None if found is ABSENT else found

    def token(self, text: bytes, found: bytes) -> Token | None:
        token = self._facts.token(found)
        if token is None:
            raise Cold
        return token

    def projects(self, organization_id: str) -> dict[str, str]:
        found = self._facts.projects(organization_id)
        if found is None:
            raise Cold
        return found

    def key_files(self, issuer: str) -> Sequence[str]:
        raise Cold  # a new key file drops nothing that is kept, so none of this is


class InDatabase:
    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def standing(self, handle: Handle) -> Standing | None:
        return self._facts.load_standing(handle)

    def token(self, text: bytes, found: bytes) -> Token | None:
        return self._facts.load_token(text, found)

    def projects(self, organization_id: str) -> dict[str, str]:
        return self._facts.load_projects(organization_id)

    def key_files(self, issuer: str) -> Sequence[str]:
        return self._facts.load_key_files(issuer)
