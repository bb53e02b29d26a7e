"""P8: an assertion works once, however many requests present it concurrently, over all processes and nodes.

Both databases are tested. Each assertion is sent over a hundred connections, which hold back their last byte until all
are ready.
"""

import json
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from time import time
from typing import Any
from urllib.parse import urlencode

import pytest

from ostiary.core import jws
from tests import servers
from tests.cast import SEED
from tests.conftest import PROVE
from tests.machines import BY_ASSERTION, CLIENT_CREDENTIALS, FORM, JWT_BEARER, TOKEN
from tests.mutants import good
from tests.promises.line import Line, prove
from tests.promises.test_p12_postgresql_service import MASTER_KEY
from tests.servers import PATIENCE, Ostiary

pytestmark = [pytest.mark.promise("P8"), pytest.mark.full]

TOKENS = 200 if PROVE else 20
AT_ONCE = 100
UNLIMITED = {"OSTIARY_DEFAULT_RATE_LIMIT": "none", "OSTIARY_WORKERS": "2"}


@pytest.fixture(params=["sqlite", "postgresql"])
def nodes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[Ostiary]]:
    """One service with two processes. On PostgreSQL, two services with one issuer."""
    with ExitStack() as stack:
        if request.param == "sqlite":
            yield [stack.enter_context(servers.ostiary(tmp_path / "one", None, None, **UNLIMITED))]
            return
        environment = UNLIMITED | {
            "OSTIARY_DATABASE_URL": request.getfixturevalue("postgres_url"),
            "OSTIARY_MASTER_KEY": MASTER_KEY,
            "OSTIARY_ISSUER": "http://127.0.0.1:8080",
        }
        one = stack.enter_context(servers.ostiary(tmp_path / "one", None, None, **environment))
        two = stack.enter_context(servers.ostiary(tmp_path / "two", one.first, None, **environment))
        yield [one, two]


@dataclass(frozen=True, slots=True)
class KeyFile:
    members: dict[str, str]
    audience: str

    def form(self, endpoint: str, number: int) -> dict[str, str]:
        """A new assertion, in the form of a token request."""
        name = self.members["client_email" if endpoint == "grant" else "client_id"]
        now = int(time())
        claims = {
            "iss": name,
            "sub": name,
            "aud": self.audience,
            "iat": now,
            "exp": now + 300,
            "jti": f"{number}",
        }
        text = self._signed(claims)
        if endpoint == "grant":
            return {"grant_type": JWT_BEARER, "assertion": text}
        return {
            "grant_type": CLIENT_CREDENTIALS,
            "client_assertion_type": BY_ASSERTION,
            "client_assertion": text,
        }

    def login(self, number: int) -> str:
        """A JWT that begins a session."""
        return self._signed({"sub": self.members["key_id"], "iat": int(time()), "jti": f"login {number}"})

    def _signed(self, claims: dict[str, object]) -> str:
        key = jws.private_key("EdDSA", self.members["private_key"].encode())
        return good(key, claims, {"alg": "EdDSA", "typ": "JWT", "kid": self.members["key_id"]})


def at_once(sockets: list[socket.socket], form: dict[str, str]) -> list[tuple[int, Any]]:
    """Return status and body of the responses to one request that all connections send."""
    body = urlencode(form).encode()
    head = f"POST {TOKEN} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM}\r\nContent-Length: {len(body)}\r\n\r\n"
    whole = head.encode() + body
    for sock in sockets:
        sock.sendall(whole[:-1])
    for sock in sockets:
        sock.sendall(whole[-1:])
    answers = []
    for sock in sockets:
        response = HTTPResponse(sock)
        response.begin()
        answers.append((response.status, json.loads(response.read())))
        response.close()
    return answers


def test_one_of_all_who_show_an_assertion_at_once_wins(
    nodes: list[Ostiary], request: pytest.FixtureRequest
) -> None:
    """P8 breaks: an assertion is exchanged twice."""
    server = nodes[0]
    statuses: Counter[int] = Counter()
    winners: Counter[int] = Counter()
    with ExitStack() as stack:
        line = stack.enter_context(Line(server.port, server.key))
        made = line.made(
            "/v1/service-accounts",
            {
                "display_name": "Robo",
                "roles": [{"role": "developer"}],
                "credential": {"kind": "key_file", "algorithm": "EdDSA"},
            },
        )
        file = KeyFile(made["secret"], made["secret"]["token_uri"])
        sockets = [
            stack.enter_context(
                socket.create_connection(("127.0.0.1", nodes[number % len(nodes)].port), timeout=PATIENCE)
            )
            for number in range(AT_ONCE)
        ]
        for number in range(TOKENS):
            endpoint = ("grant", "client")[number % 2]
            answers = at_once(sockets, file.form(endpoint, number))
            statuses.update(status for status, _ in answers)
            won = [body["access_token"] for status, body in answers if status == 200]
            winners[len(won)] += 1
            lost = {(status, body["error"]) for status, body in answers if status != 200}
            assert lost <= {(400, "invalid_grant") if endpoint == "grant" else (401, "invalid_client")}, lost
            for text in won:
                assert line.verify(text) == "valid"
    print(
        f"{TOKENS} assertions, {AT_ONCE} at once, {len(nodes)} nodes: {dict(statuses)}; winners {dict(winners)}"
    )
    assert winners == {1: TOKENS}
    assert not [status for status in statuses if status >= 500]
    database = request.node.callspec.params["nodes"]
    FIGURES.update(
        {
            f"assertions, {database}": TOKENS,
            f"requests, {database}": AT_ONCE * TOKENS,
            f"winners, {database}": statuses[200],
            f"nodes of two processes, {database}": len(nodes),
            f"answers in the 500s, {database}": 0,
        }
    )


FIGURES: dict[str, object] = {}


@pytest.fixture(scope="module", autouse=True)
def proof() -> Iterator[None]:
    yield
    if PROVE:
        prove("P8", "an assertion is used once", SEED, FIGURES)
