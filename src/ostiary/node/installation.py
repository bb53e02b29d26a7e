"""Opens, initialises, migrates and recovers an installation's database, and checks whether it is ready."""

import contextlib
import errno
import os
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlsplit

from sqlalchemy.exc import DBAPIError

from ostiary import data_directory
from ostiary.config import ConfigurationError, InvalidSetting, Settings, os_reason
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
    RESERVE_FILE,
    TROUBLES_FILE,
    USES_FILE,
    init_line,
    master_keys,
    prepare_data,
)
from ostiary.node.clock_watch import disagreement
from ostiary.ratelimit.mapped_store import MappedRateLimitStore
from ostiary.services import credentials, installation
from ostiary.services.callers import SYSTEM_CALLER
from ostiary.services.execute import execute
from ostiary.services.installation import (
    InitialAdmin as InitialAdmin,
)  # for cli, which must not import services
from ostiary.services.passwords import hash_password
from ostiary.storage import directory, engines, failures, imports, migrations
from ostiary.storage.engines import Engines
from ostiary.storage.fact_cache import ChangeNumber, FactCache
from ostiary.storage.reserve import LOW, Reserve
from ostiary.storage.store import Clock, Entropy, Store
from ostiary.storage.troubles import Trouble, Troubles

Found = TypeVar("Found")

MIB = 1024 * 1024
REMEDIES: Final[Mapping[Trouble, str]] = {
    "full": "the disk of the database is full: make room",
    "damaged": "the database is damaged: stop the service, run `ostiary doctor`, and restore a backup",
    "failing": "the disk of the database fails: look at the log of the system, and run `ostiary doctor`",
}
"""The advice to the operator for each trouble."""


class DatabaseNotReachableError(Exception):
    """The database cannot be reached or used. Commands exit with 3."""


def wall_clock() -> Instant:
    return time.time_ns() // 1000


@dataclass(frozen=True, slots=True)
class OpenInstallation:
    """An initialised database, ready for `Store`."""

    settings: Settings
    store: Store
    number: ChangeNumber
    uses: MappedRateLimitStore
    failures: MappedRateLimitStore
    private: bool = False
    """Whether the disk had no room for the shared files. Then only one process may serve."""

    def close(self) -> None:
        self.store.engines.dispose()
        self.store.troubles.close()
        self.number.close()
        self.uses.close()
        self.failures.close()


def hold(settings: Settings) -> int:
    """Lock the data directory for this service. Forked processes inherit the lock. Return its file descriptor."""
    return _with_room(reserve_of(settings), lambda: data_directory.lock(settings.data))


def reserve_of(settings: Settings) -> Reserve:
    """Return the disk reserve of the embedded database."""
    if settings.database_url is not None:
        return Reserve()
    return Reserve(settings.data / RESERVE_FILE, settings.disk_reserve * MIB)


def keep_reserve(reserve: Reserve) -> None:
    """Make the disk reserve before the service starts, or remove it if the setting is 0."""
    with contextlib.suppress(OSError):  # `not_ready` and `doctor` say what is missing
        reserve.restore()


def metrics_directory(settings: Settings) -> Path:
    """Return the directory in which the processes share their metrics."""
    return settings.data / METRICS_DIRECTORY


def connect(settings: Settings, checkpoints: bool = True, serving: bool = False) -> Engines:
    """Return the engines of the configured database. Files of the embedded database are readable by their owner only.

    Local commands wait longer for the database than a service (`serving`), because no request waits for them.
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
    alone: bool = False,
) -> OpenInstallation:
    """Open an initialised installation. Raise ConfigurationError or DatabaseNotReachableError with the reason if it fails.

    Without `checkpoints` another process must do them (`engines.checkpoint`). `serving`: see `connect`. `alone`: if the
    disk has no room for the shared files, this process works without them, and `OpenInstallation.private` is true.
    """
    prepare_data(settings, create=settings.database_url is not None)
    path = settings.data / DATABASE_FILE
    if settings.database_url is None and not path.exists():
        raise ConfigurationError(
            InvalidSetting(
                "OSTIARY_DATA", str(settings.data), f"is not initialised; run `{init_line(settings.data)}`"
            )
        )
    keyring = derive(master_keys(settings, create=False))
    database = connect(settings, checkpoints, serving)
    reserve = reserve_of(settings)
    try:
        facts = _with_room(reserve, lambda: _check_schema(settings, database, keyring))
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
    private = False
    try:
        mapped = _with_room(reserve, lambda: _map(settings, keyring.permits))
    except OSError as error:
        if not (alone and error.errno == errno.ENOSPC):
            database.dispose()
            raise _not_mapped(error) from None
        private = True
        mapped = _map(settings, keyring.permits, private)
    number, uses, failures, troubles = mapped
    store = Store(database, installed, clock, entropy, number.renew, reserve=reserve, troubles=troubles)
    return OpenInstallation(settings, store, number, uses, failures, private)


def _map(
    settings: Settings, key: bytes, private: bool = False
) -> tuple[ChangeNumber, MappedRateLimitStore, MappedRateLimitStore, Troubles]:
    """Map the files that all processes of the node share. The OSError of a failure names the file."""
    data = settings.data
    with contextlib.ExitStack() as undo:
        number = ChangeNumber(data / CHANGES_FILE, private)
        undo.callback(number.close)
        uses = MappedRateLimitStore(data / USES_FILE, key, private=private)
        undo.callback(uses.close)
        failures = MappedRateLimitStore(data / FAILURES_FILE, key, private=private)
        undo.callback(failures.close)
        troubles = Troubles(None if private else data / TROUBLES_FILE)
        undo.pop_all()
    return number, uses, failures, troubles


def _not_mapped(error: OSError) -> ConfigurationError:
    return ConfigurationError(
        InvalidSetting(
            "OSTIARY_DATA", str(error.filename), f"cannot be created or opened: {os_reason(error)}"
        )
    )


def _with_room(reserve: Reserve, attempt: Callable[[], Found]) -> Found:
    """Call `attempt`. If it fails because the disk is full, take space from the reserve and call it again."""
    while True:
        try:
            return attempt()
        except (DBAPIError, Problem, ConfigurationError, OSError):
            if not (reserve.is_out_of_room() and reserve.give_up()):
                raise


def not_reachable(settings: Settings, error: DBAPIError | Problem) -> DatabaseNotReachableError:
    """Return the error that says why the database cannot be used, and what to do."""
    cause = error.__cause__ if isinstance(error, Problem) else error
    met = failures.trouble(cause) if isinstance(cause, DBAPIError) else None
    if reserve_of(settings).is_out_of_room():
        met = "full"
    if met is not None:
        return DatabaseNotReachableError(f"The database cannot be used: {REMEDIES[met]}.")
    known = failures.advice(error)
    if known is not None:
        return DatabaseNotReachableError(known)
    if settings.database_url is not None:
        return DatabaseNotReachableError(
            "The database does not answer. Check OSTIARY_DATABASE_URL and that it runs."
        )
    return DatabaseNotReachableError(f"{settings.data / DATABASE_FILE} cannot be read as a database.")


def remember(opened: OpenInstallation) -> OpenInstallation:
    """Store the key prefix and the ids of the peppers in use, before any credential is created with them."""
    remember_forms(opened.store)
    return opened


def remember_forms(store: Store) -> None:
    execute(store, SYSTEM_CALLER, installation.store_prefixes_and_peppers, organizations=())


def initialise(settings: Settings, name: str, email: str, password: str) -> InitialAdmin:
    """Initialise the installation and create its first admin.

    Raise ConfigurationError, DatabaseNotReachableError or Problem.
    """
    prepare_data(settings, create=True)
    keyring = derive(master_keys(settings, create=True))
    try:
        number = ChangeNumber(settings.data / CHANGES_FILE)
    except OSError as error:
        raise _not_mapped(error) from None
    database = connect(settings)
    try:
        # An existing schema is not changed here. `migrate` upgrades it.
        if migrations.version(database) is None:
            migrations.upgrade(database)
        host = urlsplit(settings.public_url).hostname or "localhost"
        issuer = settings.public_url.rstrip("/")
        installed = Installation(keyring, (prefix_of(settings.key_prefix),), host, issuer, settings.policy())
        store = Store(database, installed, wall_clock, secrets.token_bytes, number.renew)
        hashed = hash_password(password)
        return execute(store, SYSTEM_CALLER, installation.begin, name, email, hashed, organizations=())
    except DBAPIError as error:
        raise not_reachable(settings, error) from None
    finally:
        database.dispose()
        number.close()


def recover(settings: Settings, password: str) -> InitialAdmin:
    """Set a new password and create a new operator key, for the owner of the data directory."""
    opened = remember(open_installation(settings))
    try:
        hashed = hash_password(password)
        return execute(opened.store, SYSTEM_CALLER, installation.recover, hashed, organizations=())
    finally:
        opened.close()


def withdraw(settings: Settings, beginning: InitialAdmin) -> None:
    """Revoke the operator key that could not be printed."""
    opened = remember(open_installation(settings))
    try:
        caller = opened.store.read(installation.local_operator, SYSTEM_CALLER, None)
        execute(opened.store, caller, credentials.revoke, beginning.key_id)
    finally:
        opened.close()


def migrate(settings: Settings) -> tuple[str | None, str]:
    """Upgrade the schema. Return the version before and after."""
    prepare_data(settings, create=False)
    database = connect(settings)
    try:
        before = migrations.version(database)
        migrations.upgrade(database)
        return before, migrations.HEAD
    except DBAPIError as error:
        raise not_reachable(settings, error) from None
    finally:
        database.dispose()


def _check_prefix(settings: Settings, prefix: str, store: Store) -> None:
    """Raise ConfigurationError if a prefix of imported keys conflicts with the configured prefix."""
    if any(each.startswith(prefix) or prefix.startswith(each) for each in store.read(imports.prefixes)):
        raise ConfigurationError(
            InvalidSetting(
                "OSTIARY_KEY_PREFIX",
                settings.key_prefix,
                "conflicts with the prefix of imported keys; choose another",
            )
        )


def _check_schema(settings: Settings, database: Engines, keyring: Keyring) -> dict[str, str]:
    where = "OSTIARY_DATABASE_URL" if settings.database_url else "OSTIARY_DATA"
    found, needed = migrations.version(database), migrations.HEAD
    if found is None:
        raise ConfigurationError(
            InvalidSetting(where, "database", f"is not initialised; run `{init_line(settings.data)}`")
        )
    if found != needed:
        raise ConfigurationError(
            InvalidSetting(
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
            InvalidSetting(where, "database", f"is not initialised; run `{init_line(settings.data)}`")
        )
    if not peppers & keyring.peppers.keys():
        raise ConfigurationError(
            InvalidSetting(
                "OSTIARY_MASTER_KEY", "database", "is not the key that this database was made with"
            )
        )
    return facts


def not_ready(opened: OpenInstallation, facts: FactCache) -> list[str]:
    """Return the reasons why the service is not ready for requests; empty if it is ready."""
    reasons = []
    store = opened.store
    try:
        facts.sync()
        if store.read(directory.find_operator) is None:
            reasons.append("not initialised")
        reasons += filter(None, [disagreement(store)])
        keys, now = facts.keys(), store.clock()
        reasons += [
            f"no signing key for {purpose} can be used"
            for purpose in PURPOSES
            if keys is None or keys.signer(purpose, now) is None
        ]
    except (Problem, DBAPIError):
        reasons.append("the database does not answer")
    return reasons + [REMEDIES[each] for each in troubles(store)]


def troubles(store: Store) -> list[Trouble]:
    """Return the troubles that the operator has to end now. A full local disk counts only until there is room again."""
    found = list(store.troubles.current(store.clock()))
    reserve = store.reserve
    if reserve.path is not None:
        found = [each for each in found if each != "full"]
        if not reserve.has_room():
            found.insert(0, "full")
    return found


def low_disk(reserve: Reserve) -> str:
    """Return a warning for the operator if little disk space is free; else an empty string."""
    free = reserve.free()
    if free is None or free >= LOW:
        return ""
    return f"{free // MIB} MiB are free on the disk of the database: make room"


def faults(opened: OpenInstallation) -> list[str]:
    """Check the whole database, which may take minutes. Return the faults, each with advice for the operator."""
    try:
        return [f"{each}; {REMEDIES['damaged']}" for each in failures.faults(opened.store.engines.reader)]
    except DBAPIError as error:
        met = failures.trouble(error)
        return [f"the check was ended by {failures.reason(error, met)}; {REMEDIES[met or 'failing']}"]
