"""What may be lost: the cache of facts.

Facts are cached, never verdicts. All workers of one `serve` map one small file; whoever commits a change
changes the number in it before it answers, and a worker that sees another number than its own reads the
`changes` table before it judges. So a revocation acknowledged anywhere on the node holds everywhere on it.
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
from ostiary.core.url import comparable
from ostiary.storage import (
    access_rules,
    changes,
    directory,
    generations,
    imports,
    origins,
    patience,
    roles,
    sessions,
    signing_keys,
    tokens,
)
from ostiary.storage.kept_tokens import KeptTokens
from ostiary.storage.mapped import map_file, map_memory
from ostiary.storage.standings import ORIGINS, Handle, Standings
from ostiary.storage.store import Store

MAX_STANDINGS: Final = 100_000
MAX_ABSENT: Final = 10_000
"""Handles that nobody has; whoever asks chooses them, so they have a bound of their own."""
FLIGHTS: Final = 64
SESSION: Final = secret.SESSION.encode()
MAX_AWAY: Final = 3600.0
"""Seconds without a successful look at `changes` after which everything cached is forgotten."""


class ChangeNumber:
    """A number in a file that all processes of a node map: reading it costs some tens of nanoseconds."""

    def __init__(self, path: Path, private: bool = False) -> None:
        """OSError where the file cannot be had. `private`: the number is this process's own, as in `Permits`."""
        self._fd, self._map = map_memory(path.parent, 8) if private else map_file(path, 8)
        self._view = memoryview(self._map).cast("Q")

    def read(self) -> int:
        return self._view[0]

    def renew(self) -> None:
        """Make it another number than any that was there before.

        Without a lock, for which one would wait between a commit and its answer. Who reads it asks only whether it is
        the one that they saw before they last looked, and 64 random bits are not. Of two processes that write at once
        the last one stays: who looked between the two writes looks once more. It is one store of eight aligned bytes,
        so nobody reads half of it.
        """
        self._view[0] = secrets.randbits(64)

    def close(self) -> None:
        self._view.release()
        self._map.close()
        os.close(self._fd)


class Absent(Enum):
    """Known not to exist, as opposed to not known here."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT


@dataclass(slots=True)
class _Installed:
    """What belongs to the installation, read whole and dropped whole."""

    catalogue: Catalogue
    rules: dict[str, AccessRule]
    import_prefixes: tuple[bytes, ...]
    audiences: Mapping[str, str]
    """The audiences as access rules spell them, by that spelling and by the comparable one."""
    keys: KeySet


def _spellings(rules: Iterable[AccessRule]) -> dict[str, str]:
    # Where rules spell one audience differently, the first spelling in order stands for all others but theirs.
    found = sorted({rule.audience for rule in rules if rule.audience is not None}, reverse=True)
    return {comparable(each): each for each in found} | {each: each for each in found}


class Facts:
    """The cache of one process. `current`, `standing`, `projects` and `rule` do no I/O; `load_*`, `sync`
    and `catch_up` do.

    `max_staleness` is how long, in seconds, cached facts are believed without a successful look at the
    database; 0 looks before every verdict.
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
        # Requests for one handle wait for one read of it. Few locks, chosen by the handle, are enough.
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
        """Credentials that had to be read from the database, since the start."""
        self.looks = 0
        """Looks at what changed that succeeded, since the start."""

    # What the hot path asks, without I/O

    def current(self) -> bool:
        """Whether what is cached may be judged now, without a look at the database first."""
        return (
            self._number.read() == self._seen
            and self._monotonic() - self._synced_at < self._max_staleness
            and self._installed is not None
        )

    def standing(self, handle: Handle) -> Standing | Absent | None:
        """What is known of a handle: its standing, that nobody has it, or nothing (None)."""
        return self._standings.get(handle) or self._absent.get(handle)

    def had_standing(self, handle: Handle) -> bool:
        """Whether a standing that was kept has been dropped, by a change or for want of room."""
        return self._standings.had(handle)

    def knows(self, handle: Handle) -> bool:
        """Whether it is known, or was known before a change, what this handle is of, or that nobody has it."""
        return self.standing(handle) is not None or self.had_standing(handle)

    def token(self, found: bytes) -> Token | None:
        """The token or session of this fingerprint, if it is known here. What it came from is still to be judged."""
        return self._tokens.get(found)

    def projects(self, organization_id: str) -> dict[str, str] | None:
        """Ids and codes of an organization's projects, each with the id it means; None: not known here."""
        return self._projects.get(organization_id)

    def rule(self, name: str) -> AccessRule | None:
        """The access rule of this name, None if there is none. Only to be asked while `current`."""
        installed = self._installed
        return None if installed is None else installed.rules.get(name)

    def audience(self, resource: str) -> str | None:
        """The audience that a resource names (RFC 8707 §2), in the spelling of its access rule or of the issuer.

        None if there is no such audience. Only to be asked while `current`.
        """
        installed, issuer = self._installed, self._store.installation.issuer
        wanted = comparable(resource)
        if wanted == comparable(issuer):
            return issuer
        known = {} if installed is None else installed.audiences
        return known.get(resource) or known.get(wanted)

    def is_imported(self, text: bytes) -> bool:
        """Whether the text begins like keys of another system. Only to be asked while `current`."""
        installed = self._installed
        return installed is not None and text.startswith(installed.import_prefixes)

    def keys(self) -> KeySet | None:
        """The signing keys; None before the first look. Only to be asked while `current`."""
        installed = self._installed
        return None if installed is None else installed.keys

    def catalogue(self) -> Catalogue | None:
        """Every scope and role there is; None before the first look. Only to be asked while `current`."""
        installed = self._installed
        return None if installed is None else installed.catalogue

    # What a thread may ask, with I/O

    def catch_up(self) -> None:
        """Make what is cached current, by one look that all who wait share. Raises what that look raised."""
        looks = self._looks
        self._store.engines.reads.check()
        with patience.held(self._syncing):
            if self.current():
                return
            if self._looks != looks and self._failed is not None:
                raise self._failed  # somebody looked while this one waited, in vain
            try:
                self._look()
                self._failed = None
            except Problem as error:
                self._failed = error
                raise
            finally:
                self._looks += 1

    def sync(self) -> None:
        """Look at what changed and forget what became stale. Raises Problem when the database does not answer."""
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
            # Read after the changes were, so it is at least as new; put in place together with their effect.
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
                self._absent.clear()  # what nobody had may have been imported
            for kind, subject in fresh:
                self._drop(kind, subject)
            # What this look found may be found again by the next one, and is applied once.
            self._applied = {seq for seq, _, _ in found}
            self._horizon = horizon
            self._installed = installed
        if found:
            self._last = max(self._last, found[-1][0])
        # The number from before the reads: what came later is seen at the next look.
        self._seen = number
        self._synced_at = self._monotonic()
        self.looks += 1

    def load_standing(self, handle: Handle) -> Standing | None:
        """The standing from the cache or the database, None if nobody has this handle.

        Kept, either way, unless something changed meanwhile.
        """
        found = self.standing(handle)
        if found is None:
            flight = self._flights[hash(handle) % FLIGHTS]
            first = flight.acquire(blocking=False)
            if not first:
                # Somebody reads it. Only what was kept may be used here: the rest is good for their request alone,
                # which may have begun before a change that this one must see.
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
            found = origins.find_origin(self._store, handle, names)
        elif isinstance(handle, str):
            found = origins.find_standing(self._store, handle, names)
        else:
            found = origins.find_standing_by_digest(self._store, handle, names)
        with self._lock:
            if number == self._number.read() == self._seen and epoch == self._epoch:
                if found is None:
                    self._keep_absent(handle)
                else:
                    found = self._standings.keep(handle, found)
        return found or ABSENT

    def load_token(self, text: bytes, found: bytes) -> Token | None:
        """The token that a text is, once it was proven; None for what is none. Kept likewise."""
        number, epoch = self._number.read(), self._epoch
        token = self._prove_session(text) if text.startswith(SESSION) else self._prove_token(text)
        if token is not None:
            with self._lock:
                if number == self._number.read() == self._seen and epoch == self._epoch:
                    self._tokens.keep(found, token)
        return token

    def may_be_token(self, text: bytes) -> bool:
        """Whether it is worth to prove a text: a session by its form, a token by the key that it names. No I/O."""
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
        kept = None if access_id is None else sessions.find_kept(self._store, access_id, installation.issuer)
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
        """Seconds since the last look at what changed that succeeded; infinite before the first."""
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
            self._standings.drop_credential(subject)  # a session may be an origin itself
        elif kind == "client":
            self._standings.drop_client(subject)
        elif kind != "import":  # of keys that are new: no standing was made from them
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
