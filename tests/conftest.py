"""Fixtures that every room shares, and what to do where a component cannot be had on this machine."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ostiary.storage import engines
from ostiary.storage.engines import Engines
from tests import servers
from tests.cast import Front, House, migrated, move_in
from tests.servers import Ostiary, Postgres, UnavailableError

PROVE = os.environ.get("OSTIARY_PROVE") == "1"
"""`make prove`: the promises in full instead of in small."""

_names = itertools.count()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--promise", help="only tests that guard this promise, such as P3")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted = config.getoption("--promise")
    for item in items:
        if "[postgresql" in item.name or "-postgresql" in item.name:
            item.add_marker("full")
    if wanted:
        kept = [
            item for item in items if any(wanted in marker.args for marker in item.iter_markers("promise"))
        ]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept


def unavailable(error: UnavailableError) -> None:
    """A component is missing: named and skipped on somebody's machine, a failure in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(str(error))
    pytest.skip(str(error))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    try:
        with servers.postgres() as server:
            database = engines.connect(server.url("postgres"))
            _sql(server, "CREATE DATABASE template_ostiary")
            database.dispose()
            template = migrated(engines.connect(server.url("template_ostiary")))
            template.dispose()
            yield server
    except UnavailableError as error:
        unavailable(error)


def _sql(server: Postgres, statement: str) -> None:
    import psycopg

    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(statement.encode())


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """A fresh, migrated database."""
    name = f"test_{next(_names)}"
    _sql(postgres, f"CREATE DATABASE {name} TEMPLATE template_ostiary")
    yield postgres.url(name)
    _sql(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engines]:
    """An empty, migrated database of each engine: whatever uses it must pass on both (P12)."""
    if request.param == "sqlite":
        found = migrated(engines.connect(engines.sqlite_url(tmp_path / "ostiary.db")))
    else:
        found = engines.connect(request.getfixturevalue("postgres_url"))
    yield found
    found.dispose()


@pytest.fixture
def house(database: Engines, tmp_path: Path) -> House:
    """The cast on each engine."""
    return move_in(database, tmp_path)


@pytest.fixture
def sqlite_house(tmp_path: Path) -> Iterator[House]:
    """The cast on SQLite, for tests whose subject is not the database."""
    database = migrated(engines.connect(engines.sqlite_url(tmp_path / "ostiary.db")))
    yield move_in(database, tmp_path)
    database.dispose()


@pytest.fixture
def front(sqlite_house: House, tmp_path: Path) -> Iterator[Front]:
    """The application over the cast, in this process; loopback is a trusted proxy."""
    found = Front(sqlite_house, tmp_path, trusted_proxies="127.0.0.1, ::1")
    yield found
    found.close()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ostiary]:
    """A real `ostiary serve` that tests share: they make their own accounts and keys."""
    data = tmp_path_factory.mktemp("service") / "data"
    with servers.ostiary(
        data,
        OSTIARY_TRUSTED_PROXIES="127.0.0.1",
        OSTIARY_DEFAULT_MAX_CREDENTIALS_PER_ORGANIZATION="none",
        OSTIARY_DEFAULT_RATE_LIMIT="none",
    ) as found:
        yield found
