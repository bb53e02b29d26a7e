"""The cache of facts, which may be lost at any time.

Facts are cached, verdicts never. All workers of one `serve` map one small file with a number. A process that commits a
change sets a new number before it responds. A worker that sees another number than its own reads the `changes` table
before it judges. So a revocation that was acknowledged anywhere on the node is in force everywhere on it.
"""

import os
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Final

from ostiary.core import access_token, jws, secret
from ostiary.core.access_rule import AccessRule, read_rule
from ostiary.core.jws import InvalidTokenError
from ostiary.core.model import Standing, Token
from ostiary.core.permission import Catalogue
from ostiary.core.problem import Problem
from ostiary.core.signing import KeySet
from ostiary.core.url import normalized_audience
from ostiary.storage import (
    access_rules,
    changes,
    directory,
    generations,
    imports,
    patience,
    roles,
    sessions,
    signing_keys,
    standing_queries,
    tokens,
)
from ostiary.storage.mapped import map_file, map_memory
from ostiary.storage.standing_cache import ORIGINS, Handle, Standings
from ostiary.storage.store import Store
from ostiary.storage.token_cache import KeptTokens

MAX_STANDINGS: Final = 100_000
MAX_ABSENT: Final = 10_000
"""Cached handles that do not exist. Callers can make up any number of them, so they have a limit of their own."""
FLIGHTS: Final = 64
SESSION: Final = secret.SESSION.encode()
MAX_AWAY: Final = 3600.0
"""Seconds without a successful read of `changes`, after which the whole cache is dropped."""


class ChangeNumber:
    """A number in a file that all processes of a node map. Reading it takes some tens of nanoseconds."""

    def __init__(self, path: Path, private: bool = False) -> None:
        """Open or create the file. Raises OSError. `private`: the number is not shared with other processes, as in
        `MappedRateLimitStore`."""
        self._fd, self._map = map_memory(path.parent, 8) if private else map_file(path, 8)
        self._view = memoryview(self._map).cast("Q")

    def read(self) -> int:
        return self._view[0]

    def renew(self) -> None:
        """Set a number that was never there before.

        There is no lock, because a commit would have to wait for it before its response. A reader only compares the
        number with the one before its last read of `changes`, and 64 random bits differ. If two processes write at
        once, one number remains; a reader that saw the other one reads `changes` once more. The number is one aligned
        store of eight bytes, so no reader sees half of it.
        """
        self._view[0] = secrets.randbits(64)

    def close(self) -> None:
        self._view.release()
        self._map.close()
        os.close(self._fd)


class Absent(Enum):
    """Known not to exist, as opposed to not cached."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT


@dataclass(slots=True)
class _Installed:
    """Facts about the installation, read and dropped as a whole."""

    catalogue: Catalogue
    rules: dict[str, AccessRule]
    import_prefixes: tuple[bytes, ...]
    audiences: Mapping[str, str]
    """The audiences in the spelling of the access rules, by that spelling and by the comparable one."""
    keys: KeySet


def _spellings(rules: Iterable[AccessRule]) -> dict[str, str]:
    # If rules spell one audience differently, each spelling maps to itself, and any other to the first in order.
    found = sorted({rule.audience for rule in rules if rule.audience is not None}, reverse=True)
    return {normalized_audience(each): each for each in found} | {each: each for each in found}


class FactCache:
    """The cache of one process. `load_*`, `sync` and `catch_up` do I/O; `current`, `standing`, `projects` and `rule`
    do not.

    `max_staleness` is how long, in seconds, cached facts are used without a successful read of `changes`. With 0,
    `changes` is read before every verdict.
    """

    def __init__(
        self,
        store: Store,
        number: ChangeNumber,
        monotonic: Callable[[], float],
        max_staleness: float,
        capacity: int = MAX_STANDINGS,
    ) -> None:
        self._store = store
        self._number = number
        self._monotonic = monotonic
        self._max_staleness = max_staleness
        self._capacity = capacity
        self._lock = threading.Lock()
        self._syncing = threading.Lock()
        # Requests for the same handle share one read. A few locks, chosen by the handle's hash, are enough.
        self._flights = tuple(threading.Lock() for _ in range(FLIGHTS))
        self._standings = Standings(capacity)
        self._tokens = KeptTokens()
        self._absent: dict[Handle, Absent] = {}
        self._projects: dict[str, dict[str, str]] = {}
        self._installed: _Installed | None = None
        self._seen = -1
        self._last = -1
        self._horizon = 0
        self._applied: set[int] = set()
        self._epoch = 0
        self._synced_at = float("-inf")
        self._looks = 0
        self._failed: Problem | None = None
        self.misses = 0
        """Look-ups that had to read the database, since the start."""
        self.looks = 0
        """Successful reads of `changes`, since the start."""

    # Without I/O, for the fast path

    def current(self) -> bool:
        """Return whether cached facts may be used now without reading `changes` first."""
        return (
            self._number.read() == self._seen
            and self._monotonic() - self._synced_at < self._max_staleness
            and self._installed is not None
        )

    def standing(self, handle: Handle) -> Standing | Absent | None:
        """Return the standing of a handle, ABSENT if it is known not to exist, or None if it is not cached."""
        return self._standings.get(handle) or self._absent.get(handle)

    def had_standing(self, handle: Handle) -> bool:
        """Return whether a cached standing of this handle was dropped, because of a change or for lack of room."""
        return self._standings.had(handle)

    def knows(self, handle: Handle) -> bool:
        """Whether it is known, or was known before a change, what this handle is of, or that nobody has it."""
        return self.standing(handle) is not None or self.had_standing(handle)

    def token(self, found: bytes) -> Token | None:
        """Return the cached token or session with this fingerprint, or None. Its origin still has to be judged."""
        return self._tokens.get(found)

    def projects(self, organization_id: str) -> dict[str, str] | None:
        """Return the project id for each id and code of an organization's projects. None if it is not cached."""
        return self._projects.get(organization_id)

    def rule(self, name: str) -> AccessRule | None:
        """Return the access rule with this name, or None. Call it only while `current`."""
        installed = self._installed
        return None if installed is None else installed.rules.get(name)

    def audience(self, resource: str) -> str | None:
        """Return the audience that a resource names (RFC 8707 §2), in the spelling of its access rule or of the
        issuer.

        None if there is no such audience. Call it only while `current`.
        """
        installed, issuer = self._installed, self._store.installation.issuer
        wanted = normalized_audience(resource)
        if wanted == normalized_audience(issuer):
            return issuer
        known = {} if installed is None else installed.audiences
        return known.get(resource) or known.get(wanted)

    def is_imported(self, text: bytes) -> bool:
        """Return whether the text begins with a registered prefix of imported keys. Call it only while `current`."""
        installed = self._installed
        return installed is not None and text.startswith(installed.import_prefixes)

    def keys(self) -> KeySet | None:
        """Return the signing keys; None before the first read. Call it only while `current`."""
        installed = self._installed
        return None if installed is None else installed.keys

    def catalogue(self) -> Catalogue | None:
        """Return all scopes and roles; None before the first read. Call it only while `current`."""
        installed = self._installed
        return None if installed is None else installed.catalogue

    # With I/O, for threads

    def catch_up(self) -> None:
        """Bring the cache up to date. Concurrent callers share one read. Raises what that read raised."""
        looks = self._looks
        self._store.engines.reads.check()
        with patience.held(self._syncing):
            if self.current():
                return
            if self._looks != looks and self._failed is not None:
                raise self._failed  # another thread tried while this one waited, and failed
            try:
                self._look()
                self._failed = None
            except Problem as error:
                self._failed = error
                raise
            finally:
                self._looks += 1

    def sync(self) -> None:
        """Read `changes` and drop stale facts. Raises Problem if the database does not respond."""
        self._store.engines.reads.check()
        with patience.held(self._syncing):
            self._look()

    def _look(self) -> None:
        number = self._number.read()
        if self._last < 0 or self._monotonic() - self._synced_at > MAX_AWAY:
            self._forget_everything()
            self._last, self._horizon = self._store.read(changes.begin)
        found, horizon = self._store.read(changes.since, self._last, self._horizon)
        fresh = [(kind, subject) for seq, kind, subject in found if seq not in self._applied]
        installed = self._installed
        if installed is None or any(kind == "installation" for kind, _ in fresh):
            # Read after the changes, so it is at least as new. It is put in place together with their effect.
            documents = self._store.read(access_rules.list_all)
            rules = {name: read_rule(name, document) for name, document in documents.items()}
            prefixes = self._store.read(imports.prefixes)
            installed = _Installed(
                Catalogue(self._store.read(roles.scopes_of_catalogue)),
                rules,
                tuple(prefix.encode() for prefix in prefixes),
                _spellings(rules.values()),
                self._store.read(signing_keys.key_set),
            )
        with self._lock:
            if fresh:
                self._epoch += 1
                self._absent.clear()  # an absent handle may have been imported
            for kind, subject in fresh:
                self._drop(kind, subject)
            # The next read may return the same changes again. Each is applied once.
            self._applied = {seq for seq, _, _ in found}
            self._horizon = horizon
            self._installed = installed
        if found:
            self._last = max(self._last, found[-1][0])
        # The number from before the reads: later changes are seen at the next read.
        self._seen = number
        self._synced_at = self._monotonic()
        self.looks += 1

    def load_standing(self, handle: Handle) -> Standing | None:
        """Return the standing from the cache or the database, or None if the handle does not exist.

        The result is cached unless something changed meanwhile.
        """
        found = self.standing(handle)
        if found is None:
            flight = self._flights[hash(handle) % FLIGHTS]
            first = flight.acquire(blocking=False)
            if not first:
                # Another thread reads it. Only a cached result may be used here: an uncached one is valid for the other
                # request only, which may have begun before a change that this one must see.
                with patience.held(flight):
                    pass
            try:
                found = self.standing(handle) or self._read_standing(handle)
            finally:
                if first:
                    flight.release()
        return None if found is ABSENT else found

    def _read_standing(self, handle: Handle) -> Standing | Absent:
        with self._lock:
            self.misses += 1
        number, epoch, installed = self._number.read(), self._epoch, self._installed
        names = installed.catalogue if installed else Catalogue(self._store.read(roles.scopes_of_catalogue))
        if isinstance(handle, str) and handle.startswith(ORIGINS):
            found = standing_queries.find_origin(self._store, handle, names)
        elif isinstance(handle, str):
            found = standing_queries.find_standing(self._store, handle, names)
        else:
            found = standing_queries.find_standing_by_digest(self._store, handle, names)
        with self._lock:
            if number == self._number.read() == self._seen and epoch == self._epoch:
                if found is None:
                    self._keep_absent(handle)
                else:
                    found = self._standings.keep(handle, found)
        return found or ABSENT

    def load_token(self, text: bytes, found: bytes) -> Token | None:
        """Verify a token or session and return it; None if it is not valid. Cached under the same condition."""
        number, epoch = self._number.read(), self._epoch
        token = self._prove_session(text) if text.startswith(SESSION) else self._prove_token(text)
        if token is not None:
            with self._lock:
                if number == self._number.read() == self._seen and epoch == self._epoch:
                    self._tokens.keep(found, token)
        return token

    def may_be_token(self, text: bytes) -> bool:
        """Return whether it is worth verifying a text: a session by its form, a token if it names a known key. No I/O."""
        if text.startswith(SESSION):
            return secret.parse(text, (SESSION,)) is not None
        keys = self.keys()
        try:
            key_id = jws.read(text).key_id
        except InvalidTokenError:
            return False
        return keys is not None and key_id is not None and keys.find(key_id, self._store.clock()) is not None

    def _prove_token(self, text: bytes) -> Token | None:
        keys = self.keys()
        if keys is None:
            return None
        try:
            token = access_token.read(text, keys.find, self._store.installation.issuer, self._store.clock())
        except InvalidTokenError:
            return None
        revoked = tokens.is_revoked(self._store, token.id, token.exchanged_from)
        return replace(token, revoked=True) if revoked else token

    def _prove_session(self, text: bytes) -> Token | None:
        installation = self._store.installation
        access_id = secret.parse(text, (SESSION,))
        kept = (
            None
            if access_id is None
            else sessions.find_by_access_id(self._store, access_id, installation.issuer)
        )
        pepper = None if kept is None else installation.keyring.peppers.get(kept.pepper_id)
        if kept is None or pepper is None or not secret.matches(kept.digest, secret.digest(text, pepper)):
            return None
        return kept.token

    def load_key_files(self, issuer: str) -> list[str]:
        """Return the access ids of the account's usable key files. The result is not cached."""
        return self._store.read(generations.usable_key_files, issuer)

    def load_projects(self, organization_id: str) -> dict[str, str]:
        known = self._projects.get(organization_id)
        if known is not None:
            return known
        number, epoch = self._number.read(), self._epoch
        known = self._store.read(directory.project_names, organization_id)
        with self._lock:
            if number == self._number.read() == self._seen and epoch == self._epoch:
                if len(self._projects) >= self._capacity:
                    self._projects.clear()
                self._projects[organization_id] = known
        return known

    def age(self) -> float:
        """Return the seconds since the last successful read of `changes`; infinite before the first."""
        return self._monotonic() - self._synced_at

    def __len__(self) -> int:
        return len(self._standings)

    # Under the lock

    def _keep_absent(self, handle: Handle) -> None:
        while len(self._absent) >= min(MAX_ABSENT, self._capacity):
            del self._absent[next(iter(self._absent))]
        self._absent[handle] = ABSENT

    def _drop(self, kind: str, subject: str) -> None:
        if kind == "credential":
            self._standings.drop_credential(subject)
        elif kind == "organization":
            self._projects.pop(subject, None)
            self._standings.drop_organization(subject)
        elif kind in ("token", "session"):
            self._tokens.drop(subject)
            self._standings.drop_credential(subject)  # a session may itself be an origin
        elif kind == "client":
            self._standings.drop_client(subject)
        elif kind != "import":  # imported keys are new, so no standing depends on them
            self._standings.clear()
            self._tokens.drop_signed()  # the key may have been revoked

    def _forget_everything(self) -> None:
        with self._lock:
            self._epoch += 1
            self._standings.clear()
            self._tokens.clear()
            self._absent.clear()
            self._projects.clear()
            self._applied.clear()
            self._installed = None
