"""S8: creating a credential in process, against the engine's bare commit of two rows."""

import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks.measure import ROUNDS, Row, spread
from ostiary.core.permission import Policy
from ostiary.services import credentials
from ostiary.services.minting import CredentialSpec
from ostiary.storage import engines
from ostiary.storage.engines import Engines
from tests import servers
from tests.cast import migrated, move_in

SECONDS = 1.0


def rate(work: Callable[[], object]) -> float:
    """How often a second the work is done."""
    done, begun = 0, time.perf_counter()
    while (passed := time.perf_counter() - begun) < SECONDS:
        work()
        done += 1
    return done / passed


def bare(database: Engines) -> Callable[[], None]:
    """Two rows in one commit through the bare driver, on a table of their own."""
    raw = database.writer.raw_connection()
    cursor = raw.cursor()
    cursor.execute("CREATE TABLE bare (a BIGINT, b TEXT)")
    raw.commit()
    mark = "?" if database.name == "sqlite" else "%s"
    begin = "BEGIN IMMEDIATE" if database.name == "sqlite" else "BEGIN"
    numbers = itertools.count()

    def work() -> None:
        if database.name == "sqlite":
            cursor.execute(begin)
        for _ in range(2):
            cursor.execute(f"INSERT INTO bare VALUES ({mark}, {mark})", (next(numbers), "x" * 60))
        if database.name == "sqlite":
            cursor.execute("COMMIT")
        else:
            raw.commit()

    return work


def measure(database: Engines, scratch: Path, wanted: float) -> Row:
    house = move_in(database, scratch)
    unlimited = Policy(max_credentials_per_organization=None, max_credentials_per_service_account=None)
    house.store = replace(house.store, installation=replace(house.store.installation, policy=unlimited))
    # The bare connection is another than the writer's one: on SQLite both take their turn.
    apart = engines.connect(database.writer.url.render_as_string(hide_password=False))
    commit = bare(apart)
    found = []
    rates = []
    for _ in range(ROUNDS):
        ours = rate(lambda: house.store.write(credentials.create_direct, house.alice, CredentialSpec()))
        rates.append(ours)
        found.append(ours / rate(commit))
    apart.dispose()
    return Row(
        "S8",
        f"create a credential on {database.name}, of the bare commit of two rows",
        spread(found),
        f"≥ {wanted:.2f}",
        statistics.median(found) >= wanted,
        f"{statistics.median(rates):,.0f} credentials/s",
    )


def run(scratch: Path) -> list[Row]:
    lite = migrated(engines.connect(engines.sqlite_url(scratch / "create.db")))
    rows = [measure(lite, scratch, 0.05)]
    lite.dispose()
    with servers.postgres() as server:
        large = migrated(engines.connect(server.url("postgres")))
        rows.append(measure(large, scratch, 0.10))
        large.dispose()
    return rows
