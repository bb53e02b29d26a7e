"""P1: every request that begins after the response to a revocation refuses the revoked, deactivated or expired credential.

The tests use a real `ostiary serve` with two workers, over keep-alive connections to both.
"""

import itertools
import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ostiary.config import Settings
from ostiary.core.permission import API_SCOPES, FIRST_CATALOGUE
from ostiary.node.installation import OpenInstallation, open_installation
from ostiary.services import credentials, service_accounts
from ostiary.services.callers import SYSTEM_CALLER
from ostiary.storage import directory as directory_rows
from tests import servers
from tests.cast import SEED, Answer
from tests.conftest import PROVE
from tests.promises.line import Line, lines_to_each, prove
from tests.servers import Ostiary

pytestmark = [pytest.mark.promise("P1"), pytest.mark.full]

ROUNDS, ASKED = (1_000, 100) if PROVE else (20, 10)
CONNECTIONS = 4
"""Half of the connections go to each worker."""
UNLIMITED = {
    "OSTIARY_DEFAULT_MAX_CREDENTIALS_PER_ORGANIZATION": "none",
    "OSTIARY_DEFAULT_MAX_CREDENTIALS_PER_SERVICE_ACCOUNT": "none",
    "OSTIARY_DEFAULT_RATE_LIMIT": "none",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ostiary]:
    data = tmp_path_factory.mktemp("p1") / "data"
    with servers.ostiary(data, first=None, port=None, OSTIARY_WORKERS="2", **UNLIMITED) as found:
        yield found


def to_both(server: Ostiary, stack: ExitStack) -> list[Line]:
    """Connections to both workers, in turn."""
    one, other = lines_to_each(server, stack, CONNECTIONS // 2).values()
    return [line for pair in zip(one, other, strict=True) for line in pair]


@dataclass(frozen=True, slots=True)
class Made:
    account: str
    credential: str
    secret: str


def make(line: Line, name: str, **credential: Any) -> Made:
    """Robo with one key."""
    made = line.made(
        "/v1/service-accounts",
        {
            "display_name": name,
            "username": name,
            "roles": [{"role": "developer"}],
            "credential": {"kind": "api_key", **credential},
        },
    )
    return Made(made["service_account"]["id"], made["credential"]["id"], made["secret"])


# Every endpoint that judges a credential: whether the response accepts it.
ACCEPTS: dict[str, Callable[[Line, str], bool]] = {
    "verify": lambda line, secret: line.verify(secret) == "valid",
    "authorize": lambda line, secret: _judged(line.ask("GET", "/v1/authorize/-/agents", key=secret)),
    "authorize-nginx": lambda line, secret: _judged(line.ask("GET", "/v1/authorize-nginx/-", key=secret)),
    "capabilities": lambda line, secret: _judged(line.ask("GET", "/v1/capabilities", key=secret)),
    "management": lambda line, secret: _judged(line.ask("GET", "/v1/service-accounts?limit=1", key=secret)),
}


def _judged(reply: Answer) -> bool:
    assert reply.status in (200, 401), reply.body
    return reply.status == 200


# Changes that end a credential, and those that restore it.
ENDS: dict[str, Callable[[Made], tuple[str, str]]] = {
    "revoke": lambda made: ("POST", f"/v1/credentials/{made.credential}/revoke"),
    "deactivate": lambda made: ("POST", f"/v1/credentials/{made.credential}/deactivate"),
    "disable account": lambda made: ("POST", f"/v1/service-accounts/{made.account}/disable"),
    "delete account": lambda made: ("DELETE", f"/v1/service-accounts/{made.account}"),
}


def accepted_after(lines: list[Line], secret: str, times: int, accepts: Counter[str]) -> None:
    """Send this number of requests, over all connections and endpoints in turn. Returns how many were accepted."""
    ways = itertools.cycle(ACCEPTS.items())
    for line, (name, accept) in zip(itertools.islice(itertools.cycle(lines), times), ways, strict=False):
        accepts[name] += accept(line, secret)


def test_what_was_ended_is_accepted_by_no_request_begun_after_the_answer(server: Ostiary) -> None:
    """P1 breaks: a credential is accepted after the response to its revocation."""
    rng = random.Random(SEED)
    accepts: Counter[str] = Counter()
    ended: Counter[str] = Counter()
    current: list[Made] = []
    refused: set[str] = set()
    stop = threading.Event()
    background: Counter[str] = Counter()
    with ExitStack() as stack:
        lines = to_both(server, stack)

        def read() -> None:
            """Send the current credentials continuously. Those that ended before the request began must be refused."""
            with Line(server.port, server.key) as line:
                while not stop.is_set():
                    for made in current[-2:]:
                        over = made.secret in refused
                        accepted = line.verify(made.secret) == "valid"
                        background["late accepts" if over and accepted else "asked"] += 1

        readers = [threading.Thread(target=read) for _ in range(2)]
        for reader in readers:
            reader.start()
            stack.callback(reader.join)
        stack.callback(stop.set)
        for number in range(ROUNDS):
            how = rng.choice(list(ENDS))
            made = make(lines[0], f"robo-{number}")
            for name, accept in ACCEPTS.items():
                assert accept(rng.choice(lines), made.secret), f"{name} refuses a good credential"
            current[:] = [*current[-1:], made]
            reply = rng.choice(lines).ask(*ENDS[how](made))
            assert reply.status in (200, 204), reply.body
            refused.add(made.secret)
            ended[how] += 1
            accepted_after(lines, made.secret, ASKED, accepts)
    asked = ROUNDS * ASKED
    print(
        f"seed {SEED}: {ROUNDS} ended ({dict(ended)}), {asked} requests after, {background['asked']} beside"
    )
    assert accepts.total() == 0, dict(accepts)
    assert background["late accepts"] == 0
    assert background["asked"] > 0
    if PROVE:
        prove(
            "P1",
            "a revoked, deactivated or expired credential is refused",
            SEED,
            {f"ended by {how}": count for how, count in sorted(ended.items())}
            | {
                "requests begun after the answer": asked,
                "of them accepted": accepts.total(),
                "connections": CONNECTIONS,
                "requests of readers beside": background["asked"],
                "of those begun after the answer and accepted": background["late accepts"],
                "worker processes": len(server.workers()),
            },
        )


def test_what_was_brought_back_is_accepted_by_the_next_request(server: Ostiary) -> None:
    """P1 breaks: the service caches a verdict instead of facts, and the verdict outlives the facts."""
    with Line(server.port, server.key) as line:
        made = make(line, "back-and-forth")
        for _ in range(ROUNDS // 10):
            for verb, code in (("deactivate", "deactivated"), ("activate", "valid")):
                assert line.ask("POST", f"/v1/credentials/{made.credential}/{verb}").status == 200
                assert line.verify(made.secret) == code
            for verb, code in (("disable", "disabled"), ("enable", "valid")):
                assert line.ask("POST", f"/v1/service-accounts/{made.account}/{verb}").status == 200
                assert line.verify(made.secret) == code


def test_an_expired_credential_is_refused_from_its_instant_on(server: Ostiary) -> None:
    """P1 breaks: a cached credential outlives its expiry."""
    accepts: Counter[str] = Counter()
    with ExitStack() as stack:
        lines = to_both(server, stack)
        expires = datetime.now(UTC) + timedelta(seconds=1)
        made = make(lines[0], "short-lived", expires_at=expires.isoformat())
        assert lines[0].verify(made.secret) == "valid"
        servers.wait_until("the expiry", lambda: datetime.now(UTC) >= expires)
        accepted_after(lines, made.secret, ASKED, accepts)
        assert accepts.total() == 0, dict(accepts)
        assert lines[0].verify(made.secret) == "expired"


@pytest.fixture
def neighbour(server: Ostiary) -> Iterator[OpenInstallation]:
    """This process as a second one on the same data directory. It writes through `Store`."""
    before = os.umask(0o077)
    os.umask(before)
    opened = open_installation(Settings.model_validate({"data": server.data}))
    yield opened
    opened.close()
    os.umask(before)


@pytest.mark.parametrize("how", ["credential", "account"])
def test_another_process_of_the_node_ends_a_credential(
    server: Ostiary, neighbour: OpenInstallation, how: str
) -> None:
    """P1, R5 break: the server does not see a change by another process on the same data."""
    operator = neighbour.store.read(directory_rows.find_operator)
    assert operator is not None
    alice = replace(
        SYSTEM_CALLER,
        organization_id=operator.id,
        scopes=API_SCOPES | frozenset(FIRST_CATALOGUE),
    )
    accepts: Counter[str] = Counter()
    with ExitStack() as stack:
        lines = to_both(server, stack)
        for number in range(ROUNDS):
            made = make(lines[0], f"neighbour-{how}-{number}")
            assert lines[0].verify(made.secret) == "valid"
            if how == "credential":
                neighbour.store.write(credentials.revoke, alice, made.credential)
            else:
                neighbour.store.write(service_accounts.set_disabled, alice, made.account, True)
            accepted_after(lines, made.secret, len(ACCEPTS), accepts)
    print(f"{ROUNDS} ended by another process, {ROUNDS * len(ACCEPTS)} requests after")
    assert accepts.total() == 0, dict(accepts)
