"""An installation's database: opened, made, recovered, brought up to date; and whether it is ready."""

import contextlib
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from sqlalchemy.exc import DBAPIError

from ostiary import data_directory
from ostiary.config import ConfigurationError, Settings, Wrong, os_reason
from ostiary.core.installation import Installation
from ostiary.core.instant import Instant
from ostiary.core.keyring import Keyring, derive
from ostiary.core.problem import Problem
from ostiary.core.secret import prefix_of
from ostiary.core.signing import PURPOSES
from ostiary.data_directory import (
    CHANGES_FILE,
    DATABASE_FILE,
    FAILURES_FILE,
    METRICS_DIRECTORY,
    USES_FILE,
    init_line,
    master_keys,
    prepare_data,
)
from ostiary.http.clock_watch import disagreement
from ostiary.services import credentials, installation
from ostiary.services.callers import SYSTEM_CALLER
from ostiary.services.installation import Beginning as Beginning  # what `cli` is shown
from ostiary.services.passwords import hash_password
from ostiary.storage import directory, engines, imports, migrations
from ostiary.storage.engines import Engines
from ostiary.storage.permits import Permits
from ostiary.storage.store import Clock, Entropy, Store
from ostiary.storage.volatile import ChangeNumber, Facts

Mapped = TypeVar("Mapped")


class NotReachableError(Exception):
    """The database does not answer: exit 3."""


def wall_clock() -> Instant:
    return time.time_ns() // 1000


@dataclass(frozen=True, slots=True)
class Opened:
    """An initialised database, ready for `Store`."""

    settings: Settings
    store: Store
    number: ChangeNumber
    uses: Permits
    failures: Permits

    def close(self) -> None:
        self.store.engines.dispose()
        self.number.close()
        self.uses.close()
        self.failures.close()


def hold(settings: Settings) -> int:
    """Take the data directory for this service: a lock that all its processes keep by having been forked."""
    return data_directory.hold(settings.data)


def metrics_directory(settings: Settings) -> Path:
    """Where the processes of the service share their figures."""
    return settings.data / METRICS_DIRECTORY


def connect(settings: Settings, checkpoints: bool = True, serving: bool = False) -> Engines:
    """The engines of the configured database; files of the embedded one are made for their owner only.

    Local commands wait longer for it than what is `serving`: no request stands behind them.
    """
    if settings.database_url is not None:
        return engines.connect(settings.database_url.get_secret_value(), patient=not serving)
    os.umask(0o077)
    return engines.connect(engines.sqlite_url(settings.data / DATABASE_FILE), checkpoints)


def open_installation(
    settings: Settings,
    clock: Clock = wall_clock,
    entropy: Entropy = secrets.token_bytes,
    checkpoints: bool = True,
    serving: bool = False,
) -> Opened:
    """Open an initialised installation. ConfigurationError or NotReachableError say why it cannot start.

    Without `checkpoints` another process must do them (`engines.checkpoint`). `serving`: see `connect`.
    """
    prepare_data(settings, create=settings.database_url is not None)
    path = settings.data / DATABASE_FILE
    if settings.database_url is None and not path.exists():
        raise ConfigurationError(
            Wrong("OSTIARY_DATA", str(settings.data), f"is not initialised; run `{init_line(settings.data)}`")
        )
    keyring = derive(master_keys(settings, create=False))
    database = connect(settings, checkpoints, serving)
    try:
        facts = _check_schema(settings, database, keyring)
        prefix = prefix_of(settings.key_prefix)
        known = [name.removeprefix("key_prefix:") for name in facts if name.startswith("key_prefix:")]
        if prefix not in known:
            _check_prefix(settings, prefix, Store(database, Installation(keyring), clock, entropy))
    except (DBAPIError, Problem) as error:
        database.dispose()
        raise not_reachable(settings, error) from None
    except BaseException:
        database.dispose()
        raise
    installed = Installation(
        keyring,
        (prefix, *sorted(set(known) - {prefix})),
        facts.get("channel_host", "localhost"),
        settings.public_url.rstrip("/"),
        settings.policy(),
    )
    with contextlib.ExitStack() as undo:
        undo.callback(database.dispose)
        number = _mapped(settings, CHANGES_FILE, ChangeNumber)
        undo.callback(number.close)
        uses = _mapped(settings, USES_FILE, partial(Permits, key=keyring.permits))
        undo.callback(uses.close)
        failures = _mapped(settings, FAILURES_FILE, partial(Permits, key=keyring.permits))
        undo.pop_all()
    store = Store(database, installed, clock, entropy, number.renew)
    return Opened(settings, store, number, uses, failures)


def _mapped(settings: Settings, name: str, opened: Callable[[Path], Mapped]) -> Mapped:
    """A file of the data directory that all processes map. ConfigurationError where it cannot be had."""
    path = settings.data / name
    try:
        return opened(path)
    except OSError as error:
        raise ConfigurationError(
            Wrong("OSTIARY_DATA", str(path), f"cannot be made or opened: {os_reason(error)}")
        ) from None


def remember(opened: Opened) -> Opened:
    """Write down the key prefix and the peppers in use before anything is made with them."""
    opened.store.write_on((), installation.remember_forms, SYSTEM_CALLER)
    return opened


def initialise(settings: Settings, name: str, email: str, password: str) -> Beginning:
    """Make everything that an installation begins with. Raises ConfigurationError, NotReachableError, Problem."""
    prepare_data(settings, create=True)
    keyring = derive(master_keys(settings, create=True))
    number = _mapped(settings, CHANGES_FILE, ChangeNumber)
    database = connect(settings)
    try:
        # A schema that is there is left as it is: bringing it up to date is `migrate`'s to do.
        if migrations.version(database) is None:
            migrations.upgrade(database)
        host = urlsplit(settings.public_url).hostname or "localhost"
        issuer = settings.public_url.rstrip("/")
        installed = Installation(keyring, (prefix_of(settings.key_prefix),), host, issuer, settings.policy())
        store = Store(database, installed, wall_clock, secrets.token_bytes, number.renew)
        return store.write_on((), installation.begin, SYSTEM_CALLER, name, email, hash_password(password))
    except DBAPIError as error:
        raise not_reachable(settings, error) from None
    finally:
        database.dispose()
        number.close()


def recover(settings: Settings, password: str) -> Beginning:
    """A new password and operator key for whoever owns the data directory."""
    opened = remember(open_installation(settings))
    try:
        return opened.store.write_on((), installation.recover, SYSTEM_CALLER, hash_password(password))
    finally:
        opened.close()


def withdraw(settings: Settings, beginning: Beginning) -> None:
    """Revoke the operator key, because nobody has it."""
    opened = remember(open_installation(settings))
    try:
        caller = opened.store.read(installation.custodian, SYSTEM_CALLER, None)
        opened.store.write(credentials.revoke, caller, beginning.key_id)
    finally:
        opened.close()


def migrate(settings: Settings) -> tuple[str | None, str]:
    """Bring the schema up to date; the version before and after."""
    prepare_data(settings, create=False)
    database = connect(settings)
    try:
        before = migrations.version(database)
        migrations.upgrade(database)
        return before, migrations.head()
    except DBAPIError as error:
        raise not_reachable(settings, error) from None
    finally:
        database.dispose()


def not_reachable(settings: Settings, error: DBAPIError | Problem) -> NotReachableError:
    """The cause of a database error where it is known, without anything of its text."""
    return NotReachableError(
        engines.advice(error)
        or (
            "The database does not answer. Check OSTIARY_DATABASE_URL and that it runs."
            if settings.database_url
            else f"{settings.data / DATABASE_FILE} cannot be read as a database."
        )
    )


def _check_prefix(settings: Settings, prefix: str, store: Store) -> None:
    """Raise if keys of ours could not be told from imported ones by how they begin."""
    if any(each.startswith(prefix) or prefix.startswith(each) for each in store.read(imports.prefixes)):
        raise ConfigurationError(
            Wrong("OSTIARY_KEY_PREFIX", settings.key_prefix, "is how imported keys begin; choose another")
        )


def _check_schema(settings: Settings, database: Engines, keyring: Keyring) -> dict[str, str]:
    where = "OSTIARY_DATABASE_URL" if settings.database_url else "OSTIARY_DATA"
    found, needed = migrations.version(database), migrations.head()
    if found is None:
        raise ConfigurationError(
            Wrong(where, "database", f"is not initialised; run `{init_line(settings.data)}`")
        )
    if found != needed:
        raise ConfigurationError(
            Wrong(
                where,
                "database",
                f"has schema {found}, and this version needs {needed}; run `ostiary migrate`",
            )
        )
    store = Store(database, Installation(keyring), wall_clock, secrets.token_bytes)
    facts = store.read(directory.installation_facts)
    peppers = {name.removeprefix("pepper:") for name in facts if name.startswith("pepper:")}
    if not facts:
        raise ConfigurationError(
            Wrong(where, "database", f"is not initialised; run `{init_line(settings.data)}`")
        )
    if not peppers & keyring.peppers.keys():
        raise ConfigurationError(
            Wrong("OSTIARY_MASTER_KEY", "database", "is not the key that this database was made with")
        )
    return facts


def not_ready(opened: Opened, facts: Facts) -> list[str]:
    """Why the service should get no requests now; empty if it should."""
    reasons = []
    try:
        facts.sync()
        if opened.store.read(directory.find_operator) is None:
            reasons.append("not initialised")
        reasons += filter(None, [disagreement(opened.store)])
        keys, now = facts.keys(), opened.store.clock()
        reasons += [
            f"no signing key for {purpose} can be used"
            for purpose in PURPOSES
            if keys is None or keys.signer(purpose, now) is None
        ]
    except (Problem, DBAPIError):
        reasons.append("the database does not answer")
    return reasons
