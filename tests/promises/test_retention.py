"""Old rows are deleted, however many there are, and no concurrent write is refused; on both databases."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa

from ostiary.core.instant import DAY
from ostiary.data_directory import DATABASE_FILE
from ostiary.storage import engines, tables
from tests import servers
from tests.cast import SEED
from tests.conftest import PROVE
from tests.promises.line import Line, prove
from tests.promises.test_p12_postgresql_service import MASTER_KEY
from tests.servers import Ostiary

pytestmark = [pytest.mark.promise("retention"), pytest.mark.full]

OLD = int(os.environ.get("OSTIARY_PROVE_ROWS", "2500000" if PROVE else "5000"))
PATIENCE = 1_200 if PROVE else 60
"""Seconds in which all of them must be gone."""
WRITERS = 3
UNLIMITED = {
    "OSTIARY_DEFAULT_MAX_CREDENTIALS_PER_ORGANIZATION": "none",
    "OSTIARY_DEFAULT_MAX_CREDENTIALS_PER_SERVICE_ACCOUNT": "none",
    "OSTIARY_DEFAULT_DELETION_DELAY": "0",
    "OSTIARY_DEFAULT_RATE_LIMIT": "none",
}
SHARES = {tables.used_assertions: 2, tables.changes: 2, tables.revoked_tokens: 1}
"""Of every five old rows, the number in this table."""
DIGEST = {"sqlite": "randomblob(32)", "postgresql": "sha256(number::text::bytea)"}
NUMBERS = {
    "sqlite": "WITH RECURSIVE n(number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM n WHERE number < {0})"
    " SELECT {1} FROM n",
    "postgresql": "SELECT {1} FROM generate_series(1, {0}) AS number",
}
FIGURES: dict[str, object] = {"old rows in each database": OLD}


@pytest.fixture(scope="module", autouse=True)
def page() -> Iterator[None]:
    yield
    if PROVE and len(FIGURES) > 8:
        prove("retention", "however much is old, it is deleted", SEED, FIGURES)


def fill(url: str, organization: str) -> None:
    """Insert expired rows, in an order unlike that of the index."""
    database = engines.connect(url)
    old = time.time_ns() // 1_000 - 100 * DAY
    values = {
        tables.used_assertions: ("digest, expires_at", f"{DIGEST[database.name]}, {old} + number"),
        tables.changes: ("kind, id, at", f"'credential', 'cred_' || number, {old} + number"),
        tables.revoked_tokens: (
            "id, organization_id, expires_at, revoked_at",
            f"'tok_' || number, '{organization}', {old} + number, {old}",
        ),
    }
    try:
        with database.writer.begin() as connection:
            if database.name == "postgresql":
                connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            for table, share in SHARES.items():
                columns, selected = values[table]
                numbers = NUMBERS[database.name].format(OLD * share // 5, selected)
                connection.exec_driver_sql(f"INSERT INTO {table.name} ({columns}) {numbers}")
    finally:
        database.dispose()


def with_old_rows(url: str) -> list[str]:
    """Return the tables that still have some. Changes are left out, because the writers keep adding new ones."""
    database = engines.connect(url)
    before = time.time_ns() // 1_000 - 10 * DAY
    old = [tables.used_assertions.c.expires_at, tables.changes.c.at, tables.revoked_tokens.c.expires_at]
    try:
        with database.reader.begin() as connection:
            return [
                str(since.table)
                for since in old
                if connection.execute(sa.select(since).where(since < before).limit(1)).first()
            ]
    finally:
        database.dispose()


class Writer(threading.Thread):
    """Creates, deactivates and deletes keys over HTTP until it is stopped, and counts the responses."""

    def __init__(self, server: Ostiary, account: str, stop: threading.Event) -> None:
        super().__init__()
        self._server, self._address, self._over = server, f"/v1/service-accounts/{account}/credentials", stop
        self.done = 0
        self.longest = 0.0
        self.refused: list[str] = []

    def run(self) -> None:
        with Line(self._server.port, self._server.key) as line:
            while not self._over.is_set():
                made = self._ask(line, "POST", self._address, {"kind": "api_key"})
                if made is not None:
                    address = f"/v1/credentials/{made['credential']['id']}"
                    self._ask(line, "POST", f"{address}/deactivate")
                    self._ask(line, "DELETE", address)

    def _ask(
        self, line: Line, method: str, path: str, body: object = None
    ) -> dict[str, dict[str, str]] | None:
        begun = time.monotonic()
        answer = line.ask(method, path, body)
        self.longest = max(self.longest, time.monotonic() - begun)
        if answer.status not in (200, 201, 204):
            self.refused.append(f"{method} {path}: {answer.status}")
            return None
        self.done += 1
        found: dict[str, dict[str, str]] | None = answer.json() if answer.status == 201 else None
        return found


@pytest.mark.parametrize("name", ["sqlite", "postgresql"])
def test_what_is_old_goes_while_writers_write(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """P20 breaks: too many old rows are never deleted, or writers are refused during the deletion."""
    data = tmp_path / "data"
    environment = dict(UNLIMITED)
    url = engines.sqlite_url(data / DATABASE_FILE)
    if name == "postgresql":
        url = request.getfixturevalue("postgres_url")
        environment |= {"OSTIARY_DATABASE_URL": url, "OSTIARY_MASTER_KEY": MASTER_KEY}
    first = servers.initialise(data, **environment)
    fill(url, first["organization"]["id"])
    stop = threading.Event()
    with ExitStack() as stack:
        server = stack.enter_context(servers.ostiary(data, first, None, **environment))
        begun = time.monotonic()
        with Line(server.port, server.key) as line:
            made = line.made("/v1/service-accounts", {"display_name": "Robo"})
        writers = [Writer(server, made["service_account"]["id"], stop) for _ in range(WRITERS)]
        for writer in writers:
            writer.start()
            stack.callback(writer.join)
        stack.callback(stop.set)
        while with_old_rows(url):
            assert time.monotonic() - begun < PATIENCE, with_old_rows(url)
            assert all(writer.is_alive() for writer in writers)
            threading.Event().wait(0.5)
        took = time.monotonic() - begun
        stop.set()
        for writer in writers:
            writer.join()
        assert b"periodic task failed" not in server.log.read_bytes()
    refused = [each for writer in writers for each in writer.refused]
    assert refused == []
    FIGURES.update(
        {
            f"{name}: seconds until they were gone": round(took),
            f"{name}: writes meanwhile": sum(writer.done for writer in writers),
            f"{name}: of them refused": len(refused),
            f"{name}: longest answer to a write": f"{max(each.longest for each in writers):.2f} s",
        }
    )
