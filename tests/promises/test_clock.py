"""A node with a wrong clock does not damage shared data: it deletes no rows and dates no signing key.

The tests use real services. The clock of one is wrong by 400 days, from its start or while it runs.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import sqlalchemy as sa

from ostiary.data_directory import DATABASE_FILE
from ostiary.storage import engines, retention, tables
from tests import servers
from tests.cast import SEED
from tests.conftest import PROVE, unavailable
from tests.machines import FORM, REVOKE, TOKEN, basic
from tests.moved_clock import MovedClock, moved_clock
from tests.promises.line import Line, prove
from tests.promises.test_p8_assertions import KeyFile
from tests.promises.test_p12_postgresql_service import MASTER_KEY
from tests.servers import Ostiary, UnavailableError

pytestmark = [pytest.mark.promise("clock"), pytest.mark.full]

AHEAD = 400 * 24 * 3600
WRONG_SECONDS = 10.0 if PROVE else 2.5
"""How long the service runs with the wrong clock. The periodic tasks start in its first second."""
OF_EACH = 50 if PROVE else 3
NOT_BELIEVED = b"clock not believed"
BELIEVED = b"clock believed again"
FIGURES: dict[str, object] = {}


@pytest.fixture
def clock(tmp_path: Path) -> MovedClock:
    try:
        return moved_clock(tmp_path)
    except UnavailableError as error:
        unavailable(error)
        raise


@dataclass
class Shared:
    """The data in the database while a clock is wrong, and the expected verdicts."""

    server: Ostiary
    secret: dict[str, str] = field(default_factory=dict)
    dead: list[str] = field(default_factory=list)
    """Revoked access tokens."""
    sessions: list[str] = field(default_factory=list)
    used: list[dict[str, str]] = field(default_factory=list)
    """Token requests whose assertion was already used."""
    keys: Any = None
    """The published signing keys."""

    def make(self) -> None:
        with Line(self.server.port, self.server.key) as line:
            account = {"display_name": "Robo", "roles": [{"role": "developer"}]}
            made = line.made("/v1/service-accounts", account | {"credential": {"kind": "client_secret"}})
            client = made["service_account"]["client_id"], made["secret"]
            self.secret = {"authorization": basic(*client)}
            file = {"kind": "key_file", "algorithm": "EdDSA"}
            address = f"/v1/service-accounts/{made['service_account']['id']}/credentials"
            key_file = line.made(address, file)["secret"]
            for number in range(OF_EACH):
                token = self.issued(line)
                revoked = line.send("POST", REVOKE, urlencode({"token": token}).encode(), self.form)
                assert revoked.status == 200, revoked.body
                self.dead.append(token)
                form = KeyFile(key_file, key_file["token_uri"]).form("grant", number)
                assert self.traded(line, form) == 200
                self.used.append(form)
                login = KeyFile(key_file, "").login(number)
                self.sessions.append(line.made("/v1/sessions", {"token": login})["token"])
            self.keys = self.published(line)

    @property
    def form(self) -> dict[str, str]:
        return self.secret | {"content-type": FORM}

    def issued(self, line: Line) -> str:
        """Return a new access token."""
        form = urlencode({"grant_type": "client_credentials"}).encode()
        answer = line.send("POST", TOKEN, form, self.form)
        assert answer.status == 200, answer.body
        return str(answer.json()["access_token"])

    @staticmethod
    def traded(line: Line, form: dict[str, str]) -> int:
        return line.send("POST", TOKEN, urlencode(form).encode(), {"content-type": FORM}).status

    @staticmethod
    def published(line: Line) -> Any:
        return line.ask("GET", "/.well-known/jwks.json").json()

    def check(self, server: Ostiary) -> None:
        """Check that the data is unchanged and that the service works."""
        with Line(server.port, server.key) as line:
            assert {line.verify(token) for token in self.dead} == {"revoked"}
            assert {line.verify(token) for token in self.sessions} == {"valid"}
            assert {self.traded(line, form) for form in self.used} == {400}
            assert self.published(line) == self.keys
            assert line.verify(self.issued(line)) == "valid"
            assert line.ask("GET", "/readyz").json() == {"status": "ready"}


def count(url: str, *of: sa.Table) -> dict[str, int]:
    """Return the number of rows of each table."""
    database = engines.connect(url)
    try:
        with database.reader.begin() as connection:
            statements = {table.name: sa.select(sa.func.count()).select_from(table) for table in of}
            return {name: connection.execute(each).scalar_one() for name, each in statements.items()}
    finally:
        database.dispose()


def rows(url: str) -> dict[str, int]:
    """Return the number of rows of each table whose old rows are deleted."""
    return count(url, *{rule.table for rule in retention.RULES})


def remembers_the_time(url: str) -> bool:
    return count(url, tables.heartbeat) == {"heartbeat": 1}


def fewer(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    return {name: before[name] - after[name] for name in before if after[name] < before[name]}


def logged(server: Ostiary, text: bytes) -> Callable[[], bool]:
    return lambda: text in server.log.read_bytes()


def run_wrongly(server: Ostiary) -> None:
    """Wait while the service runs with its wrong clock, after the periodic tasks have started."""
    servers.wait_until("a look at the clock", logged(server, NOT_BELIEVED))
    threading.Event().wait(WRONG_SECONDS)


@pytest.fixture(scope="module", autouse=True)
def page() -> Iterator[None]:
    yield
    if PROVE and len(FIGURES) > 4:
        prove("clock", "a wrong clock destroys nothing that nodes share", SEED, FIGURES)


def test_a_node_that_is_400_days_ahead_beside_a_healthy_one(
    clock: MovedClock, postgres_url: str, tmp_path: Path
) -> None:
    """P1, P8, P14 break: ten seconds of a node with a wrong clock make revoked tokens valid on all nodes."""
    environment = {
        "OSTIARY_DATABASE_URL": postgres_url,
        "OSTIARY_MASTER_KEY": MASTER_KEY,
        "OSTIARY_ISSUER": "http://127.0.0.1:8080",
    }
    with ExitStack() as stack:
        healthy = stack.enter_context(servers.ostiary(tmp_path / "healthy", None, None, **environment))
        shared = Shared(healthy)
        shared.make()
        before = rows(postgres_url)
        clock.move(AHEAD)
        moved = environment | clock.environment
        with servers.ostiary(tmp_path / "wrong", healthy.first, None, **moved) as wrong:
            run_wrongly(wrong)
            answer = wrong.call("GET", "/readyz")
            assert answer.status_code == 503
            assert any(reason.startswith("the clock is +") for reason in answer.json()["reasons"])
            shared.check(healthy)
        lost = fewer(before, rows(postgres_url))
        assert lost == {}
        # A node may still know from memory what the database has lost.
        fresh = stack.enter_context(servers.ostiary(tmp_path / "fresh", healthy.first, None, **environment))
        shared.check(fresh)
    FIGURES.update(
        {
            "seconds with a clock 400 days ahead": WRONG_SECONDS,
            "PostgreSQL, beside a healthy node: rows lost": sum(lost.values()),
            "revoked tokens that were accepted after": 0,
            "sessions that were refused after": 0,
            "used assertions that were accepted after": 0,
            "of each": OF_EACH,
            "signing keys that came or went": 0,
        }
    )


@pytest.mark.parametrize("how", ["restarted", "running"])
def test_sqlite_with_a_clock_that_is_400_days_ahead_for_a_while(
    clock: MovedClock, tmp_path: Path, how: str
) -> None:
    """P1, P8, P14 break: after a service ran with a wrong clock, it accepts used assertions."""
    data = tmp_path / "data"
    url = engines.sqlite_url(data / DATABASE_FILE)
    with servers.ostiary(data, None, None, **clock.environment) as server:
        shared = Shared(server)
        shared.make()
        servers.wait_until("a first look at the clock", lambda: remembers_the_time(url))
        before = rows(url)
        if how == "running":
            clock.move(AHEAD)
            run_wrongly(server)
            assert fewer(before, rows(url)) == {}
            clock.move(0)
            servers.wait_until("the clock to be believed", logged(server, BELIEVED))
            shared.check(server)
    if how == "restarted":
        clock.move(AHEAD)
        with servers.ostiary(data, server.first, server.port, **clock.environment) as server:
            run_wrongly(server)
        assert fewer(before, rows(url)) == {}
        clock.move(0)
    with servers.ostiary(data, server.first, server.port, **clock.environment) as server:
        shared.check(server)
        lost = fewer(before, rows(url))
    assert lost == {}
    FIGURES[f"SQLite, {how}: rows lost"] = sum(lost.values())


def test_a_service_that_began_with_a_clock_ahead_issues_tokens_once_it_is_right(
    clock: MovedClock, tmp_path: Path
) -> None:
    """P14 breaks: keys with a date in the future stop the issuance of tokens until an operator intervenes."""
    data = tmp_path / "data"
    clock.move(AHEAD)
    with servers.ostiary(data, None, None, **clock.environment) as server:
        made = server.call("GET", "/.well-known/jwks.json").json()
    clock.move(0)
    with servers.ostiary(data, server.first, server.port, **clock.environment) as server:
        shared = Shared(server)
        shared.make()
        # These keys may already be replaced. Their signatures stay valid.
        kids = {each["kid"] for each in shared.keys["keys"]}
        assert {each["kid"] for each in made["keys"]} <= kids
        with Line(server.port, server.key) as line:
            assert line.verify(shared.issued(line)) == "valid"
    FIGURES["services that issued no token after keys from the future"] = 0
