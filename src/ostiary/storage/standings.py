"""The standings that are kept in memory, found by handle, and dropped by what they belong to. No I/O, no lock.

A hundred thousand of them must not fill the machine: whatever can be one object is. A standing and all that it is
made of never change, so that two may share their parts.
"""

from dataclasses import replace
from typing import Final

from ostiary.core.model import Standing

Handle = str | tuple[bytes, ...]
"""What a secret is looked up by: the access id in it, or, of an imported one, its digests by each pepper.

The origin of a token is looked up by its id, be it a credential's or a session's.
"""

ORIGINS: Final = ("cred_", "ses_")

MAX_DROPPED: Final = 20_000
SHARED: Final = ("organization", "principal", "grants", "networks", "scopes", "resources")
"""What is often the same for many keys of one organization."""


class Index:
    """Handles by what they belong to. One that is alone there stands for itself: a collection takes 200 bytes."""

    def __init__(self) -> None:
        # The dict is an ordered set, which is smaller than a set, too.
        self._found: dict[str, Handle | dict[Handle, None]] = {}

    def add(self, key: str, handle: Handle) -> None:
        found = self._found.get(key)
        if found is None:
            self._found[key] = handle
        elif isinstance(found, dict):
            found[handle] = None
        elif found != handle:
            self._found[key] = {found: None, handle: None}

    def discard(self, key: str, handle: Handle) -> None:
        found = self._found.get(key)
        if isinstance(found, dict):
            found.pop(handle, None)
            if not found:
                del self._found[key]
        elif found == handle:
            del self._found[key]

    def of(self, key: str) -> tuple[Handle, ...]:
        """All of them, the latest last."""
        found = self._found.get(key)
        if found is None:
            return ()
        return tuple(found) if isinstance(found, dict) else (found,)

    def latest(self, key: str) -> Handle | None:
        found = self._found.get(key)
        return next(reversed(found)) if isinstance(found, dict) else found

    def clear(self) -> None:
        self._found.clear()

    def __len__(self) -> int:
        return len(self._found)


class Standings:
    """At most `capacity` standings; the one that was kept first makes room."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._standings: dict[Handle, Standing] = {}
        self._by_credential = Index()
        self._by_organization = Index()
        self._dropped: dict[Handle, None] = {}
        self.get = self._standings.get
        """The standing of a handle, or None. Asked for every request: the dict's own method."""

    def keep(self, handle: Handle, standing: Standing) -> Standing:
        """Keep it; the same standing, as it is kept."""
        self._remove(handle)
        self._dropped.pop(handle, None)
        while len(self._standings) >= self._capacity:
            self._remove(next(iter(self._standings)))
        if handle == standing.access_id:
            handle = standing.access_id  # the same text, and one object less
        latest = self._by_organization.latest(standing.organization.id)
        if latest is not None:
            standing = _sharing(standing, self._standings[latest])
        self._standings[handle] = standing
        self._by_credential.add(standing.credential_id, handle)
        self._by_organization.add(standing.organization.id, handle)
        return standing

    def drop_credential(self, credential_id: str) -> None:
        for handle in self._by_credential.of(credential_id):
            self._remove(handle)

    def drop_organization(self, organization_id: str) -> None:
        for handle in self._by_organization.of(organization_id):
            self._remove(handle)

    def drop_client(self, client_id: str) -> None:
        """What this client has. Rare, so there is no index for it."""
        for handle in [each for each, kept in self._standings.items() if kept.client_id == client_id]:
            self._remove(handle)

    def clear(self) -> None:
        for handle in tuple(self._standings):
            self._remove(handle)

    def had(self, handle: Handle) -> bool:
        """Whether there was a standing here that was dropped, lately: a change makes no handle unknown."""
        return handle in self._dropped

    def __len__(self) -> int:
        return len(self._standings)

    def _remove(self, handle: Handle) -> None:
        standing = self._standings.pop(handle, None)
        if standing is not None:
            while len(self._dropped) >= MAX_DROPPED:
                del self._dropped[next(iter(self._dropped))]
            self._dropped[handle] = None
            self._by_credential.discard(standing.credential_id, handle)
            self._by_organization.discard(standing.organization.id, handle)


def _sharing(standing: Standing, other: Standing) -> Standing:
    """The same standing, made of the other one's parts where those are equal."""
    equal = {name: part for name in SHARED if (part := getattr(other, name)) == getattr(standing, name)}
    return replace(standing, **equal)
