"""Creates, rotates and revokes signing keys for `serve`, its tasks and `ostiary keys`.

Key pairs are generated here, outside of transactions, because that takes time.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import timedelta

import structlog

from ostiary.config import Settings
from ostiary.core.permission import Caller
from ostiary.core.problem import Problem
from ostiary.core.signing import PURPOSES, Purpose, SigningKey, SigningKeyPair, algorithm_for, generate
from ostiary.node.clock_watch import disagreement
from ostiary.node.installation import OpenInstallation, open_installation, remember
from ostiary.services import installation, signing_keys
from ostiary.services.callers import SYSTEM_CALLER
from ostiary.services.execute import execute
from ostiary.storage.store import Store


def ensure(store: Store, settings: Settings) -> None:
    """Create the missing signing keys, one for each purpose, with the configured algorithm.

    A node whose clock differs from the database's creates none, because all nodes would see wrong dates.
    """
    caller = custodian(store)
    algorithms = {purpose: algorithm_for(purpose, settings.signing_algorithm) for purpose in PURPOSES}
    wanted = store.read(signing_keys.missing, caller, algorithms)
    why = disagreement(store) if wanted else None
    if why is not None:
        structlog.get_logger().warning("no signing keys made", reason=why)
    elif wanted:
        execute(store, caller, signing_keys.ensure, pairs(settings, wanted))


def rotate_due(store: Store, settings: Settings) -> None:
    """Publish a successor for each key that is too old. It starts to sign a little later."""
    caller = custodian(store)
    lifetime = settings.signing_key_lifetime // timedelta(microseconds=1)
    wanted = store.read(signing_keys.due, caller, lifetime)
    if wanted:
        execute(store, caller, signing_keys.rotate_due, pairs(settings, wanted), lifetime)


def pairs(settings: Settings, purposes: Collection[Purpose]) -> dict[Purpose, SigningKeyPair]:
    """Generate a new key pair for each purpose."""
    return {purpose: generate(algorithm_for(purpose, settings.signing_algorithm)) for purpose in purposes}


def custodian(store: Store) -> Caller:
    """Return the caller for the owner of the data directory, in the operator's organization."""
    return store.read(installation.local_operator, SYSTEM_CALLER, None)


class Keys:
    """The signing keys of an installation that a local command opened."""

    def __init__(self, opened: OpenInstallation) -> None:
        self._settings, self._store = opened.settings, opened.store
        self._caller = custodian(opened.store)

    def list_all(self) -> list[tuple[SigningKey, str]]:
        """Return every key with the name of its state, newest first."""
        now = self._store.clock()
        return [
            (key, key.state(now))
            for key in reversed(self._store.read(signing_keys.list_all, self._caller).keys)
        ]

    def find(self, kid: str) -> SigningKey | None:
        return next((key for key, _ in self.list_all() if key.kid == kid), None)

    def rotate(self, purposes: Collection[Purpose], at_once: bool) -> tuple[SigningKey, ...]:
        """Replace the key of each purpose. Raise unavailable if the clock differs from the database's."""
        why = disagreement(self._store)
        if why is not None:
            raise Problem(
                "unavailable", f"No key was created: {why}. Correct the clock of this machine.", reason=why
            )
        return execute(
            self._store, self._caller, signing_keys.rotate, pairs(self._settings, purposes), at_once=at_once
        )

    def revoke(self, key: SigningKey) -> SigningKey | None:
        """Revoke a key. Return its replacement, or None if no replacement was needed."""
        made = pairs(self._settings, [key.purpose])[key.purpose]
        return execute(self._store, self._caller, signing_keys.revoke, key.kid, made)


@contextmanager
def opened_keys(settings: Settings) -> Iterator[Keys]:
    """Open the installation to manage its keys. Raise ConfigurationError, DatabaseNotReachableError or Problem."""
    opened = remember(open_installation(settings))
    try:
        yield Keys(opened)
    finally:
        opened.close()
