"""The standings in memory: found by handle, dropped by credential, organization or client. No I/O, no lock.

Up to a hundred thousand standings must fit in memory, so equal parts are shared objects. That is safe because a
standing and its parts are immutable.
"""

from dataclasses import replace
from typing import Final

from ostiary.core.model import Standing

Handle = str | tuple[bytes, ...]
"""The look-up key of a secret: its access id or, for an imported key, its digests with each pepper.

The origin of a token is looked up by its id, of a credential or a session.
"""

ORIGINS: Final = ("cred_", "ses_")

MAX_DROPPED: Final = 20_000
SHARED: Final = ("organization", "principal", "grants", "networks", "scopes", "resources")
"""The parts of a standing that are often equal for many keys of one organization."""


class Index:
    """Handles by what they belong to. A single handle is stored directly, because a collection takes 200 bytes."""

    def __init__(self) -> None:
        # The dict serves as an ordered set. It is also smaller than a set.
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
        """Return all handles, the latest last."""
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
    """At most `capacity` standings. When full, the oldest entry is removed."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._standings: dict[Handle, Standing] = {}
        self._by_credential = Index()
        self._by_organization = Index()
        self._dropped: dict[Handle, None] = {}
        self.get = self._standings.get
        """Returns the standing of a handle, or None. The dict's own method, for speed: every request calls it."""

    def keep(self, handle: Handle, standing: Standing) -> Standing:
        """Store a standing. Return the stored object, which may share parts with others."""
        self._remove(handle)
        self._dropped.pop(handle, None)
        while len(self._standings) >= self._capacity:
            self._remove(next(iter(self._standings)))
        if handle == standing.access_id:
            handle = standing.access_id  # equal text; saves one object
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
        """Drop the standings of a client's sessions. This is rare, so there is no index for it."""
        for handle in [each for each, kept in self._standings.items() if kept.client_id == client_id]:
            self._remove(handle)

    def clear(self) -> None:
        for handle in tuple(self._standings):
            self._remove(handle)

    def had(self, handle: Handle) -> bool:
        """Return whether a standing of this handle was dropped recently. A change does not make the handle unknown."""
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
    """Return the standing with its parts replaced by equal parts of the other one."""
    equal = {name: part for name in SHARED if (part := getattr(other, name)) == getattr(standing, name)}
    return replace(standing, **equal)
