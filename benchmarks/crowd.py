"""Fills a database with many keys. The services create one; the others are copies with their own ids and secrets.

The bare driver inserts the rows, one table per transaction: a million rows in seconds. Each row copies all columns of
the first one as the database stores them.
"""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.measure import Plan
from ostiary.config import Settings
from ostiary.core import identifier, secret
from ostiary.core.instant import SECOND
from ostiary.node.installation import open_installation
from ostiary.services import credentials, organizations, service_accounts
from ostiary.services.callers import SYSTEM_CALLER
from ostiary.services.issuance import CredentialSpec
from ostiary.services.roles import RoleSpec
from ostiary.services.service_accounts import AccountSpec
from ostiary.storage.engines import Engines
from ostiary.storage.store import Store
from tests import servers
from tests.cast import SEED, caller

PAST = 3600 * SECOND
"""The age of the oldest copied row."""
Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Crowd:
    """Keys in a file, one per line, all of the same length."""

    path: Path
    number: int

    def draw(self, number: int, seed: int) -> list[str]:
        """Return `number` different keys, or all. The same seed returns the same keys."""
        chosen = random.Random(seed).sample(range(self.number), min(number, self.number))
        found = []
        with self.path.open("rb") as file:
            width = len(file.readline())
            for each in chosen:
                file.seek(each * width)
                found.append(file.read(width - 1).decode())
        return found


@dataclass(frozen=True, slots=True)
class Town:
    """An initialised data directory with many keys. `first` is the output of `init`."""

    data: Path
    first: Values
    crowd: Crowd


@cache
def town(scratch: Path, plan: Plan, keys: int) -> Town:
    """Create a data directory with `keys` keys, once per run."""
    data = scratch / f"town-{keys}"
    first = servers.initialise(data)
    opened = open_installation(Settings.model_validate({"data": data}))
    try:
        crowd = settle(opened.store, scratch / f"town-{keys}.keys", keys, plan.organizations)
    finally:
        opened.close()
    return Town(data, first, crowd)


def settle(store: Store, path: Path, keys: int, homes: int) -> Crowd:
    """Insert `homes` organizations with one service account each, and `keys` keys of these accounts."""
    organization = store.write_on(
        (), organizations.insert, SYSTEM_CALLER, "Customer", "customer", operator=False
    )
    boss = caller(organization, "usr_0", "boss@customer.test", "organization-admin")
    spec = AccountSpec(display_name="Robo", roles=(RoleSpec("developer"),))
    account = store.write(service_accounts.create, boss, spec).account.id
    credential = store.write(credentials.create, boss, account, CredentialSpec()).listed.credential.id

    raw = store.engines.writer.raw_connection()
    try:
        cursor = raw.cursor()
        if store.engines.name == "sqlite":
            for pragma in ("synchronous = OFF", "foreign_keys = OFF", "cache_size = -1000000"):
                cursor.execute(f"PRAGMA {pragma}")
        else:
            cursor.execute("SET statement_timeout = 0")
            cursor.execute("SET session_replication_role = replica")  # turns off foreign key checks

        def first(table: str, column: str, value: str) -> Values:
            mark = "?" if store.engines.name == "sqlite" else "%s"
            cursor.execute(f"SELECT * FROM {table} WHERE {column} = {mark}", (value,))
            row = cursor.fetchone()
            assert row is not None
            return dict(zip((each[0] for each in cursor.description), row, strict=True))

        tenants = list(_tenants(store, homes))
        home, owner = (
            first("organizations", "id", organization.id),
            first("service_accounts", "id", account),
        )
        binding = first("role_bindings", "principal_id", account)
        key, generation = (
            first("credentials", "id", credential),
            first("generations", "credential_id", credential),
        )
        raw.commit()
        new = _ids(store)
        _insert(store.engines, cursor, "organizations", (
            home | {"id": tenant, "slug": tenant.replace("_", "-")} for tenant, _ in tenants
        ))  # fmt: skip
        _insert(store.engines, cursor, "service_accounts", (
            owner | {"id": robo, "organization_id": tenant} for tenant, robo in tenants
        ))  # fmt: skip
        _insert(store.engines, cursor, "role_bindings", (
            binding | {"id": next(new["rb"]), "organization_id": tenant, "principal_id": robo}
            for tenant, robo in tenants
        ))  # fmt: skip
        with path.open("w") as file:
            made = list(_secrets(store, keys, file))
        names = [next(new["cred"]) for _ in range(keys)]
        _insert(store.engines, cursor, "credentials", (
            key | {"id": name, "organization_id": tenants[i % homes][0], "owner_id": tenants[i % homes][1]}
            for i, name in enumerate(names)
        ))  # fmt: skip
        _insert(store.engines, cursor, "generations", (
            generation | {"credential_id": name, "access_id": access_id, "last6": last6, "digest": digest}
            for name, (access_id, last6, digest) in zip(names, made, strict=True)
        ))  # fmt: skip
        if store.engines.name == "sqlite":
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        else:
            cursor.execute("ANALYZE")
            raw.commit()
        cursor.close()
    finally:
        raw.invalidate()  # it must not be reused with these settings
    return Crowd(path, keys)


def _tenants(store: Store, number: int) -> Iterator[tuple[str, str]]:
    """Yield the ids of new organizations, each with the id of its service account."""
    new = _ids(store)
    for _ in range(number):
        yield next(new["org"]), next(new["sa"])


def _ids(store: Store) -> dict[str, Iterator[str]]:
    """Return iterators of new ids for each prefix. Their times are a millisecond apart."""
    begun, entropy = store.clock() - PAST, random.Random(SEED)
    prefixes: tuple[identifier.Prefix, ...] = ("org", "sa", "rb", "cred")

    def ids(prefix: identifier.Prefix) -> Iterator[str]:
        for number in count():
            yield identifier.make(prefix, begun + number * 1000, entropy.randbytes(identifier.ENTROPY))

    return {prefix: ids(prefix) for prefix in prefixes}


def _secrets(store: Store, number: int, file: Any) -> Iterator[tuple[str, str, bytes]]:
    """Write new secrets to the file. Yield the access id, last six characters and digest of each."""
    keyring, entropy = store.installation.keyring, random.Random(SEED)
    pepper, prefix = keyring.peppers[keyring.newest], store.installation.key_prefixes[0]
    for _ in range(number):
        minted = secret.create(prefix, entropy.randbytes(secret.SECRET_ENTROPY))
        text = minted.secret.reveal()
        file.write(text + "\n")
        yield minted.access_id, minted.last6, secret.digest(text.encode(), pepper)


def _insert(database: Engines, cursor: Any, table: str, rows: Iterable[Values]) -> None:
    """Insert all rows in one transaction. All rows have the same columns in the same order."""
    pending = iter(rows)
    first = next(pending)
    columns = ", ".join(first)

    def values() -> Iterator[tuple[Any, ...]]:
        yield tuple(first.values())
        for row in pending:
            yield tuple(row.values())

    if database.name == "sqlite":
        cursor.execute("BEGIN IMMEDIATE")
        marks = ", ".join("?" * len(first))
        cursor.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", values())
        cursor.execute("COMMIT")
    else:
        with cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
            for row in values():
                copy.write_row(row)
        cursor.connection.commit()
