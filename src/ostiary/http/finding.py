"""How the hot path finds facts: in memory only, or in the database too."""

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


class InDatabase:
    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def standing(self, handle: Handle) -> Standing | None:
        return self._facts.load_standing(handle)

    def token(self, text: bytes, found: bytes) -> Token | None:
        return self._facts.load_token(text, found)

    def projects(self, organization_id: str) -> dict[str, str]:
        return self._facts.load_projects(organization_id)
