"""S8: creates credentials in process, compared with a bare commit of two rows, and with eight clients at once."""

import itertools
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.measure import Plan, Row, absent, at_least, at_most, percentile, rate
from ostiary.core.permission import Caller, Policy
from ostiary.core.problem import Problem
from ostiary.services import credentials, members, organizations
from ostiary.services.callers import SYSTEM_CALLER
from ostiary.services.credentials import Created
from ostiary.services.issuance import CredentialSpec
from ostiary.storage import engines
from ostiary.storage.engines import Engines
from ostiary.storage.store import Store, Tx
from tests import servers
from tests.cast import House, caller, migrated, move_in

CLIENTS = 8
UNLIMITED = Policy(max_credentials_per_organization=None, max_credentials_per_service_account=None)


@contextmanager
def bare(database: Engines) -> Iterator[Callable[[], None]]:
    """Yield a function that commits two rows with the bare driver, in a separate table."""
    raw = database.writer.raw_connection()
    cursor = raw.cursor()
    cursor.execute("CREATE TABLE bare (a BIGINT, b TEXT)")
    raw.commit()
    mark = "?" if database.name == "sqlite" else "%s"
    numbers = itertools.count()

    def work() -> None:
        if database.name == "sqlite":
            cursor.execute("BEGIN IMMEDIATE")
        for _ in range(2):
            cursor.execute(f"INSERT INTO bare VALUES ({mark}, {mark})", (next(numbers), "x" * 60))
        if database.name == "sqlite":
            cursor.execute("COMMIT")
        else:
            raw.commit()

    try:
        yield work
    finally:
        raw.close()


def alone(database: Engines, house: House, plan: Plan, wanted: float) -> Row:
    # The bare connection is separate from the writer's. On SQLite the two take turns.
    apart = engines.connect(database.writer.url.render_as_string(hide_password=False))
    found: list[float] = []
    rates: list[float] = []
    with bare(apart) as commit:
        for _ in range(plan.rounds):
            ours = rate(lambda: house.store.write(credentials.create_direct, house.alice, CredentialSpec()))
            rates.append(ours)
            found.append(ours / rate(commit))
    apart.dispose()
    work = f"create a credential on {database.name}, of the bare commit of two rows"
    return at_least("S8", work, found, wanted, f"{statistics.median(rates):,.0f} credentials/s")


def together(database: Engines, store: Store, plan: Plan) -> list[Row]:
    """Measure eight clients, each in its own organization, on one store."""
    bosses = [_boss(store, f"client-{number}") for number in range(CLIENTS)]
    attempts, refused, lock = itertools.count(), itertools.count(), threading.Lock()
    took: list[float] = []

    def counted(tx: Tx, boss: Caller, spec: CredentialSpec) -> Created:
        with lock:
            next(attempts)
        return credentials.create_direct(tx, boss, spec)

    def client(boss: Caller) -> list[float]:
        mine = []
        until = time.perf_counter() + plan.seconds
        while (begun := time.perf_counter()) < until:
            try:
                store.write(counted, boss, CredentialSpec())
            except Problem:
                with lock:
                    next(refused)
                continue
            mine.append((time.perf_counter() - begun) * 1000)
        return mine

    p99s = []
    made = 0
    for _ in range(plan.rounds):
        with ThreadPoolExecutor(CLIENTS) as pool:
            took = [each for mine in pool.map(client, bosses) for each in mine]
        made += len(took)
        p99s.append(percentile(took, 0.99))
    retries, unavailable = next(attempts) - made, next(refused)
    work = f"{CLIENTS} clients in {CLIENTS} organizations on {database.name}"
    note = f"{made / plan.rounds / plan.seconds:,.0f} credentials/s"
    return [
        at_most("S8", f"{work}, p99 in ms", p99s, 200, note),
        Row("S8", f"{work}, retries", str(retries), "0", retries == 0),
        Row("S8", f"{work}, answers that the database is busy", str(unavailable), "0", unavailable == 0),
    ]


def _boss(store: Store, slug: str) -> Caller:
    """Create an organization and return its admin."""
    organization = store.write_on((), organizations.insert, SYSTEM_CALLER, slug, slug, operator=False)
    user = store.write_on(
        (), members.insert, SYSTEM_CALLER, organization.id, f"boss@{slug}.test", None, [members.ADMIN]
    )
    return caller(organization, user, f"boss@{slug}.test", "organization-admin")


def measure(database: Engines, scratch: Path, plan: Plan, wanted: float) -> list[Row]:
    house = move_in(database, scratch)
    store = replace(house.store, installation=replace(house.store.installation, policy=UNLIMITED))
    return [
        alone(database, replace(house, store=store), plan, wanted),
        *together(database, store, plan),
    ]


def run(scratch: Path, plan: Plan) -> list[Row]:
    lite = migrated(engines.connect(engines.sqlite_url(scratch / "create.db")))
    try:
        rows = measure(lite, scratch, plan, 0.05)
    finally:
        lite.dispose()
    try:
        with servers.postgres() as server:
            large = migrated(engines.connect(server.url("postgres")))
            try:
                rows += measure(large, scratch, plan, 0.10)
            finally:
                large.dispose()
    except servers.UnavailableError as error:
        rows.append(absent("S8", "create a credential on postgresql", str(error)))
    return rows
