"""Fixtures that all tests share, and the rule for components that are missing on this machine."""

import itertools
import os
import random
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from ostiary.services import passwords
from ostiary.storage import engines
from ostiary.storage.engines import Engines
from tests import servers
from tests.as_it_was import LivedIn
from tests.cast import Front, House, migrated, move_in
from tests.servers import Ostiary, Postgres, UnavailableError

PROVE = os.environ.get("OSTIARY_PROVE") == "1"
"""`make prove` sets it: the promise tests run in full instead of in small."""

# Keep compiled modules whatever the environment says. The tests start hundreds of processes, and compiling the
# imports would take most of the time of each command.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

_names = itertools.count()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--promise", help="only tests that guard this promise, such as P3")
    parser.addoption(
        "--shuffle", type=int, metavar="SEED", help="run files, and the tests of each, in random order"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted = config.getoption("--promise")
    for item in items:
        if "[postgresql" in item.name or "-postgresql" in item.name:
            item.add_marker("full")

    def runs(item: pytest.Item) -> bool:
        if item.get_closest_marker("prove") and not PROVE:
            return False
        return not wanted or any(wanted in marker.args for marker in item.iter_markers("promise"))

    kept = [item for item in items if runs(item)]
    if len(kept) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if not runs(item)])
        items[:] = kept
    if (seed := config.getoption("--shuffle")) is not None:
        items[:] = _shuffled(items, random.Random(seed))


def _shuffled(items: list[pytest.Item], order: random.Random) -> list[pytest.Item]:
    """Shuffle the files, and the tests within each file."""
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    found = list(files.values())
    order.shuffle(found)
    for tests in found:
        order.shuffle(tests)
    return [item for tests in found for item in tests]


def unavailable(error: UnavailableError) -> None:
    """Report a missing component: a skip on a developer's machine, a failure in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(str(error))
    pytest.skip(str(error))


# Each test gets a copy of a database that was migrated and filled once. Copying takes a tenth of the time.


@dataclass(frozen=True, slots=True)
class Templates:
    """Two SQLite files: a migrated empty one, and one with the cast."""

    empty: Path
    lived_in: Path
    house: House
    """The cast. Use it only to make copies."""


FULL = passwords._HASHER
"""The password hasher in production."""


@pytest.fixture(scope="session", autouse=True)
def _passwords() -> Iterator[None]:
    """Make password hashing cheap in this process, because hundreds of tests sign in. Services use the full cost."""
    with pytest.MonkeyPatch.context() as patch:
        if not PROVE:
            patch.setattr(passwords, "_HASHER", PasswordHasher(time_cost=1, memory_cost=16, parallelism=1))
        yield


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Templates:
    data = tmp_path_factory.mktemp("templates")
    empty, lived_in = data / "empty.db", data / "lived-in.db"
    migrated(engines.connect(engines.sqlite_url(empty))).dispose()
    shutil.copyfile(empty, lived_in)
    house = move_in(engines.connect(engines.sqlite_url(lived_in)), data)
    house.close()
    return Templates(empty, lived_in, house)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    try:
        with servers.postgres() as server:
            _sql(server, "CREATE DATABASE template_ostiary")
            migrated(engines.connect(server.url("template_ostiary"))).dispose()
            yield server
    except UnavailableError as error:
        unavailable(error)


@pytest.fixture(scope="session")
def lived_in(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> LivedIn:
    """A PostgreSQL database with the cast. It is reset for each test."""
    return LivedIn(postgres, tmp_path_factory.mktemp("lived-in"))


def _sql(server: Postgres, statement: str) -> None:
    import psycopg

    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(statement.encode())


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """A new, migrated database."""
    name = f"test_{next(_names)}"
    _sql(postgres, f"CREATE DATABASE {name} TEMPLATE template_ostiary")
    yield postgres.url(name)
    _sql(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engines]:
    """An empty, migrated database on each engine. A test that uses it must pass on both (P12)."""
    if request.param == "sqlite":
        path = shutil.copyfile(request.getfixturevalue("templates").empty, tmp_path / "ostiary.db")
        found = engines.connect(engines.sqlite_url(path))
    else:
        found = engines.connect(request.getfixturevalue("postgres_url"))
    yield found
    found.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def house(request: pytest.FixtureRequest) -> House:
    """The cast on each engine. A test that uses it must pass on both (P12)."""
    found: House = request.getfixturevalue(f"{request.param}_house")
    return found


@pytest.fixture
def sqlite_house(templates: Templates, tmp_path: Path) -> Iterator[House]:
    """The cast on SQLite, for tests that do not depend on the database."""
    path = shutil.copyfile(templates.lived_in, tmp_path / "ostiary.db")
    found = templates.house.copied(engines.connect(engines.sqlite_url(path)), tmp_path)
    yield found
    found.close()


@pytest.fixture
def postgresql_house(lived_in: LivedIn, tmp_path: Path) -> Iterator[House]:
    """The cast on PostgreSQL, for tests of PostgreSQL."""
    found = lived_in.house.copied(engines.connect(lived_in.as_it_was()), tmp_path)
    yield found
    found.close()


@pytest.fixture
def front(sqlite_house: House, tmp_path: Path) -> Iterator[Front]:
    """The application with the cast, in this process. Loopback is a trusted proxy."""
    found = Front(sqlite_house, tmp_path, trusted_proxies="127.0.0.1, ::1")
    yield found
    found.close()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ostiary]:
    """A real `ostiary serve`, shared by tests that create their own accounts and keys."""
    data = tmp_path_factory.mktemp("service") / "data"
    with servers.ostiary(
        data,
        OSTIARY_TRUSTED_PROXIES="127.0.0.1",
        OSTIARY_DEFAULT_MAX_CREDENTIALS_PER_ORGANIZATION="none",
        OSTIARY_DEFAULT_RATE_LIMIT="none",
    ) as found:
        yield found
