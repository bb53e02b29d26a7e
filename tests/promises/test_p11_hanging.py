"""P11: the database may hang. Its packets are dropped, or its processes are stopped, and no error reports it.

Clients keep sending requests to two workers. Every response must come within 5 seconds, cached credentials must still be
verified, and all other requests must get 503. When the database is back, acknowledged changes must be there, no change
may have happened twice, and no restart may be needed.
"""

import itertools
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psycopg
import pytest

from ostiary.data_directory import DATABASE_FILE
from ostiary.storage.engines import sqlite_module
from tests import servers
from tests.cast import SEED, Answer
from tests.conftest import PROVE, unavailable
from tests.hanging import Network, frozen
from tests.machines import CLIENT_CREDENTIALS, FORM, TOKEN, basic
from tests.promises.line import Line, lines_to_each, prove
from tests.promises.test_p12_postgresql_service import MASTER_KEY
from tests.servers import Ostiary, Postgres, UnavailableError, wait_until

pytestmark = [pytest.mark.promise("P11"), pytest.mark.promise("P3"), pytest.mark.full]

BOUND = 5.0
STALENESS = 15.0
HANGS = 30.0 if PROVE else 0.0
"""The minimum number of seconds for which the database hangs."""
ENOUGH = 10
"""Responses of each kind before the database hangs, and after it is back."""
PACE = 0.01
RESERVE = 4
"""Keys reserved for requests while the database hangs."""
MAY_BE_STALE = ("verify cached", "authorize cached")
WRITES = ("token", "create", "revoke")
ENVIRONMENT = {
    "OSTIARY_WORKERS": "2",
    "OSTIARY_MAX_STALENESS": f"{STALENESS:.0f}s",
    "OSTIARY_DEFAULT_RATE_LIMIT": "none",
    "OSTIARY_DEFAULT_MAX_CREDENTIALS_PER_ORGANIZATION": "none",
    "OSTIARY_DEFAULT_MAX_CREDENTIALS_PER_SERVICE_ACCOUNT": "none",
}


@dataclass(slots=True)
class Told:
    """A response: the worker, the kind of request, when it began, and how long it took."""

    worker: int
    kind: str
    at: float
    seconds: float
    status: int

    @property
    def answered(self) -> float:
        return self.at + self.seconds


@dataclass(slots=True)
class Key:
    name: str
    id: str = ""
    secret: str = ""


@dataclass(slots=True)
class Work:
    """What the clients share: keys that were never verified, keys to revoke, and the results."""

    account: str
    client: tuple[str, str]
    cached: str
    fresh: deque[Key] = field(default_factory=deque)
    known: deque[Key] = field(default_factory=deque)
    created: list[Key] = field(default_factory=list)
    revoked: list[Key] = field(default_factory=list)
    reserve: int = RESERVE
    tokens: int = 0
    numbers: Iterator[int] = field(default_factory=itertools.count)


Program = Callable[[Line], Answer | None]
"""Sends one request. Returns None if there is nothing to request now."""


def create(work: Work) -> Program:
    """Create keys. A request without success is sent again with the same idempotency key."""
    asked: list[Key] = []

    def ask(line: Line) -> Answer:
        key = asked.pop() if asked else Key(f"key {next(work.numbers)}")
        body = {"kind": "api_key", "name": key.name}
        answer = line.ask(
            "POST",
            f"/v1/service-accounts/{work.account}/credentials",
            body,
            repeat=key.name.replace(" ", "-"),
        )
        if answer.status == 201:
            made = answer.json()
            key.id, key.secret = made["credential"]["id"], made["secret"]
            work.created.append(key)
            work.fresh.append(key)
        else:
            asked.append(key)
        return answer

    return ask


def verify_cold(work: Work) -> Program:
    def ask(line: Line) -> Answer | None:
        key = taken(work, work.fresh)
        if key is None:
            return None
        answer = line.ask("POST", "/v1/verify", {"credential": key.secret})
        if answer.status == 200:
            assert answer.json()["code"] == "valid"
            work.known.append(key)
        else:
            work.fresh.append(key)
        return answer

    return ask


def revoke(work: Work) -> Program:
    def ask(line: Line) -> Answer | None:
        key = taken(work, work.known)
        if key is None:
            return None
        answer = line.ask("POST", f"/v1/credentials/{key.id}/revoke")
        (work.revoked if answer.status == 200 else work.known).append(key)
        return answer

    return ask


def token(work: Work) -> Program:
    content = urlencode({"grant_type": CLIENT_CREDENTIALS}).encode()
    fields = {"authorization": basic(*work.client), "content-type": FORM}

    def ask(line: Line) -> Answer:
        answer = line.send("POST", TOKEN, content, fields)
        work.tokens += answer.status == 200
        return answer

    return ask


def plain(method: str, path: str, body: Any = None, cached: bool = False) -> Callable[[Work], Program]:
    return lambda work: lambda line: line.ask(method, path, body, key=work.cached if cached else None)


def verify_cached(work: Work) -> Program:
    return lambda line: line.ask("POST", "/v1/verify", {"credential": work.cached})


KINDS: dict[str, Callable[[Work], Program]] = {
    "verify cached": verify_cached,
    "authorize cached": plain("GET", "/v1/authorize/-", cached=True),
    "verify cold": verify_cold,
    "token": token,
    "create": create,
    "revoke": revoke,
    "list": plain("GET", "/v1/service-accounts"),
    "readyz": plain("GET", "/readyz"),
}


NEEDY = tuple(kind for kind in KINDS if kind not in MAY_BE_STALE)


def taken(work: Work, keys: deque[Key]) -> Key | None:
    """Return the next key, unless only the reserve for the time without new keys is left."""
    try:
        return keys.popleft() if len(keys) > work.reserve else None
    except IndexError:  # the client of the other worker was faster
        return None


class Programs:
    """One client of each kind for each worker. Each sends one request after the other until the end."""

    def __init__(self, lines: dict[int, list[Line]], work: Work) -> None:
        self.told: list[Told] = []
        self.failed: list[str] = []
        self._ended = False
        self._go = threading.Event()
        self._go.set()
        self._idle = threading.Semaphore(0)
        self._workers = tuple(lines)
        self._threads = [
            threading.Thread(target=self._run, args=(worker, kind, make(work), line), daemon=True)
            for worker, each in lines.items()
            for (kind, make), line in zip(KINDS.items(), each, strict=True)
        ]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._ended = True
        self._go.set()
        for thread in self._threads:
            thread.join()

    @contextmanager
    def still(self) -> Iterator[None]:
        """Pause all clients."""
        self._go.clear()
        for _ in self._threads:
            assert self._idle.acquire(timeout=servers.PATIENCE), self.failed
        try:
            yield
        finally:
            self._go.set()

    def wait_for(self, statuses: tuple[int, ...], number: int, kinds: tuple[str, ...] = tuple(KINDS)) -> None:
        """Wait until each worker has sent this number of further responses with such a status to each of these kinds."""
        begun = len(self.told)

        def there() -> bool:
            found = Counter((each.worker, each.kind) for each in self.told[begun:] if each.status in statuses)
            wanted = itertools.product(self._workers, kinds)
            return bool(self.failed) or all(found[each] >= number for each in wanted)

        wait_until(f"{number} times {statuses}", there)
        assert self.failed == []

    def _run(self, worker: int, kind: str, ask: Program, line: Line) -> None:
        try:
            while not self._ended:
                begun = time.monotonic()
                answer = ask(line)
                if answer is not None:
                    told = Told(worker, kind, begun, time.monotonic() - begun, answer.status)
                    self._note(told, answer)
                threading.Event().wait(PACE)
                if not self._go.is_set():
                    self._idle.release()
                    self._go.wait()
        except Exception as error:  # the waiting client's assertion says so
            self.failed.append(f"{kind}: {error!r}")

    def _note(self, told: Told, answer: Answer) -> None:
        self.told.append(told)
        if told.status not in (200, 201, 503):
            self.failed.append(f"{told.kind}: {told.status} {answer.body[:200]!r}")
        if told.status == 503 and told.kind != "readyz" and "retry-after" not in answer.headers:
            self.failed.append(f"{told.kind}: no Retry-After")


@pytest.fixture
def database() -> Iterator[Postgres]:
    """A separate PostgreSQL server, because the test stops it."""
    try:
        with servers.postgres() as server:
            with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
                connection.execute("CREATE DATABASE ostiary")
            yield server
    except UnavailableError as error:
        unavailable(error)


def begun(line: Line) -> Work:
    """Robo with a client secret, and a key that both workers have cached."""
    roles = [{"role": "developer"}]
    account = line.made("/v1/service-accounts", {"display_name": "Robo", "roles": roles})["service_account"]
    address = f"/v1/service-accounts/{account['id']}/credentials"
    word = line.made(address, {"kind": "client_secret"})
    cached = line.made(address, {"kind": "api_key"})["secret"]
    return Work(account["id"], (account["client_id"], word["secret"]), cached)


def hung(
    programs: Programs,
    lines: dict[int, list[Line]],
    work: Work,
    hang: AbstractContextManager[None],
    quiet: bool,
    needy: tuple[str, ...] = NEEDY,
) -> tuple[float, float]:
    """Let the database hang, under load or while idle, and come back. Returns the start and end.

    Requests of the kinds in `needy` must be refused in between.
    """
    programs.wait_for((200, 201), ENOUGH)
    with ExitStack() as stack:
        if quiet:
            # Each verdict waits for changes that were just made. Let the workers read them first.
            with programs.still():
                for each in lines.values():
                    assert each[0].verify(work.cached) == "valid"
                began = time.monotonic()
                stack.enter_context(hang)
        else:
            began = time.monotonic()
            stack.enter_context(hang)
        work.reserve = 0
        programs.wait_for((503,), 3, needy)
        threading.Event().wait(max(0.0, HANGS - (time.monotonic() - began)))
        ended = time.monotonic()
    work.reserve = RESERVE
    programs.wait_for((200, 201), ENOUGH)
    return began, ended


def counted(server: Postgres, statement: str) -> dict[str, int]:
    with psycopg.connect(server.url("ostiary")) as connection:
        return dict(connection.execute(statement.encode()).fetchall())


def test_the_database_may_hang(database: Postgres, tmp_path: Path) -> None:
    """P11 breaks: when a database hangs, requests wait, responses are wrong, or the service needs a restart."""
    figures: dict[str, object] = {}
    with ExitStack() as stack:
        network = stack.enter_context(Network(database.port))
        url = f"postgresql://postgres:{database.password}@127.0.0.1:{network.port}/ostiary"
        server = stack.enter_context(
            servers.ostiary(
                tmp_path / "data",
                None,
                None,
                OSTIARY_DATABASE_URL=url,
                OSTIARY_MASTER_KEY=MASTER_KEY,
                **ENVIRONMENT,
            )
        )
        lines = lines_to_each(server, stack, len(KINDS))
        work = begun(next(iter(lines.values()))[0])
        workers = server.workers()
        hangs: dict[str, tuple[Callable[[], AbstractContextManager[None]], bool]] = {
            "partitioned while idle": (network.cut, True),
            "frozen under load": (lambda: frozen(database), False),
        }
        if PROVE:
            hangs |= {
                "partitioned under load": (network.cut, False),
                "frozen while idle": (lambda: frozen(database), True),
                "deaf under load": (lambda: network.cut("there"), False),
                "deaf while idle": (lambda: network.cut("there"), True),
                "mute under load": (lambda: network.cut("back"), False),
                "mute while idle": (lambda: network.cut("back"), True),
            }
        programs = Programs(lines, work)
        try:
            for name, (hang, quiet) in hangs.items():
                began, ended = hung(programs, lines, work, hang(), quiet)
                figures |= told_of(programs.told, name, began, ended, quiet)
        finally:
            programs.end()
        assert programs.failed == []
        assert server.workers() == workers, "a worker was started again"
        wrong = lost(server, work)
    late = sum(each.seconds > BOUND for each in programs.told)
    twice = counted(
        database,
        "SELECT name, count(*) FROM credentials WHERE name LIKE 'key %' GROUP BY 1 HAVING count(*) > 1",
    )
    events = counted(database, "SELECT action, count(*) FROM audit_events GROUP BY 1")
    figures |= {
        "answers": len(programs.told),
        "of them after more than 5 s": late,
        "the slowest answer": f"{max(each.seconds for each in programs.told):.1f} s",
        "keys and revocations acknowledged": len(work.created) + len(work.revoked),
        "of them lost": len(wrong),
        "keys made twice": len(twice),
        "tokens issued": work.tokens,
        "of them in the audit log": min(work.tokens, events["token.issued"]),
        "workers started again": 0,
    }
    print(f"seed {SEED}: {figures}")
    assert wrong == []
    assert twice == {}
    assert events["credential.created"] >= len(work.created)
    assert events["token.issued"] >= work.tokens
    if PROVE:
        assert late == 0
        prove("P11", "the database may hang", SEED, figures)


@contextmanager
def locked(data: Path) -> Iterator[None]:
    """Hold a write transaction on the SQLite file, as another program."""
    with closing(sqlite_module.connect(data / DATABASE_FILE, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


def test_the_embedded_database_may_be_locked(tmp_path: Path) -> None:
    """P11 breaks: when a program locks the SQLite file, requests wait, or the service needs a restart afterwards."""
    with ExitStack() as stack:
        server = stack.enter_context(servers.ostiary(tmp_path / "data", None, None, **ENVIRONMENT))
        lines = lines_to_each(server, stack, len(KINDS))
        work = begun(next(iter(lines.values()))[0])
        programs = Programs(lines, work)
        try:
            began, ended = hung(programs, lines, work, locked(server.data), False, WRITES)
        finally:
            programs.end()
        assert programs.failed == []
        meanwhile = [each for each in programs.told if began < each.at < each.answered < ended]
        assert {each.status for each in meanwhile if each.kind not in WRITES} == {200}
        wrong = lost(server, work)
    late = sum(each.seconds > BOUND for each in programs.told)
    figures: dict[str, object] = {
        "seconds locked": round(ended - began),
        "writes asked for meanwhile": sum(each.kind in WRITES for each in meanwhile),
        "other answers meanwhile, all of success": sum(each.kind not in WRITES for each in meanwhile),
        "answers after more than 5 s": late,
        "the slowest answer": f"{max(each.seconds for each in programs.told):.1f} s",
        "keys and revocations acknowledged": len(work.created) + len(work.revoked),
        "of them lost": len(wrong),
    }
    print(f"seed {SEED}: {figures}")
    assert wrong == []
    if PROVE:
        assert late == 0
        prove("P11-locked", "the embedded database may be locked by another program", SEED, figures)


def lost(server: Ostiary, work: Work) -> list[str]:
    """Return the keys whose verdict differs from the acknowledged state."""
    revoked = {key.id for key in work.revoked}
    with Line(server.port, server.key) as line:
        return [
            key.name
            for key in work.created
            if line.verify(key.secret) != ("revoked" if key.id in revoked else "valid")
        ]


def told_of(told: list[Told], name: str, began: float, ended: float, quiet: bool) -> dict[str, object]:
    """Return the responses of the time in which the database hung."""
    meanwhile = [each for each in told if began <= each.at < ended]
    stale = [each for each in meanwhile if each.kind in MAY_BE_STALE]
    fresh_enough = [each for each in stale if each.at < began + STALENESS - 2]
    too_old = [each for each in stale if began + STALENESS + 1 < each.at < each.answered < ended]
    if quiet:
        assert {each.status for each in fresh_enough} == {200}, f"{name}: what is cached was refused"
    assert {each.status for each in too_old} <= {503}, f"{name}: what is too old was believed"
    slowest = max(each.seconds for each in told if each.answered > began and each.at < ended)
    found = Counter(each.status == 503 for each in meanwhile)
    return {
        f"{name}: answers, of them 503": f"{sum(found.values()):,}, {found[True]:,}",
        f"{name}: cached answers in the first {STALENESS - 2:.0f} s, of them accepted": (
            f"{len(fresh_enough):,}, {sum(each.status == 200 for each in fresh_enough):,}"
        ),
        f"{name}: the slowest answer": f"{slowest:.1f} s",
    }
