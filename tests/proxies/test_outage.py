"""While Ostiary is down, hangs, or is replaced by another server, no request passes. And the cost of a success response.

The proxies call a server whose response depends on the credential.
"""

import contextlib
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import pytest

from tests.conftest import unavailable
from tests.proxies import stage
from tests.proxies.stage import PROXIES, Message, Player
from tests.servers import UnavailableError, free_port

pytestmark = [pytest.mark.full, pytest.mark.promise("P15")]

NOBODY = b"Content-Length: 0\r\n\r\n"
SOMEBODY = b"".join(
    b"X-Auth-%s: some_body\r\n" % name
    for name in (b"Subject", b"Kind", b"Organization", b"Credential", b"Scopes", b"Assertion")
)
ANSWERS = {
    "server error": b"HTTP/1.1 500 Internal Server Error\r\n" + SOMEBODY + NOBODY,
    "unavailable": b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n" + SOMEBODY + NOBODY,
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "created": b"HTTP/1.1 201 Created\r\n" + NOBODY,
    "partial": b"HTTP/1.1 206 Partial Content\r\n" + NOBODY,
    "nobody": b"HTTP/1.1 200 OK\r\n" + NOBODY,
    "an empty subject": b"HTTP/1.1 200 OK\r\nX-Auth-Subject:\r\n" + NOBODY,
    "elsewhere": b"HTTP/1.1 302 Found\r\nLocation: /v1/authorize/-\r\n" + SOMEBODY + NOBODY,
    "not modified": b"HTTP/1.1 304 Not Modified\r\n" + SOMEBODY + b"\r\n",
    "garbage": b"\x00\xff\x16\x03\x01 200 OK X-Auth-Subject: some_body\r\n\r\n",
    "words": b"200 OK\r\n\r\n",
    "another protocol": b"ICY 200 OK\r\n" + SOMEBODY + NOBODY,
    "a status of four digits": b"HTTP/1.1 2000 OK\r\n" + SOMEBODY + NOBODY,
    "half a head": b"HTTP/1.1 200 OK\r\n" + SOMEBODY,
    "half a line": b"HTTP/1.1 200 O",
    "nothing": b"",
    "a head without end": b"HTTP/1.1 200 OK\r\n" + SOMEBODY + b"X: " + b"y" * 200_000,
    "missing": b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\nX-Auth-Error: missing\r\n" + NOBODY,
    "refused": b"HTTP/1.1 403 Forbidden\r\nX-Auth-Error: no_match\r\n" + NOBODY,
}
HANGS = "hangs"


class When(NamedTuple):
    """The response to the client, as docs/proxies.md says."""

    down: int
    hangs: int


WHEN = {"nginx": When(500, 500), "caddy": When(502, 504), "haproxy": When(503, 503), "envoy": When(503, 503)}
GOOD = b"HTTP/1.1 200 OK\r\n" + SOMEBODY + NOBODY
LIMITED = b"X-Auth-Error: rate_limited\r\nRetry-After: 7\r\n" + NOBODY


def play(message: Message, connection: socket.socket) -> bool:
    """Respond as the credential says, in the place of Ostiary."""
    case = message.value("x-api-key")
    if case == HANGS:
        with contextlib.suppress(OSError):
            connection.recv(1)  # until the proxy closes the connection
        return False
    if case == "limited":
        nginx = message.target.startswith("/v1/authorize-nginx/")
        first = b"HTTP/1.1 403 Forbidden\r\n" if nginx else b"HTTP/1.1 429 Too Many Requests\r\n"
        connection.sendall(first + LIMITED)
        return True
    connection.sendall(ANSWERS.get(case, GOOD))
    return case not in ANSWERS and message.value("connection").lower() != "close"


@dataclass(frozen=True, slots=True)
class Scene:
    name: str
    port: int
    ostiary: Player
    service: Player


@pytest.fixture(scope="module", params=list(PROXIES))
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    """A proxy that calls the impostor."""
    try:
        with (
            stage.player(play) as ostiary,
            stage.player(stage.serve) as service,
            stage.proxy(request.param, ostiary.port, service.port) as port,
        ):
            yield Scene(request.param, port, ostiary, service)
    except UnavailableError as error:
        unavailable(error)


def test_a_good_answer_is_what_lets_a_request_in(scene: Scene) -> None:
    """P15 breaks unseen: the proxy never accepts any response of the impostor."""
    answer = stage.exchange(scene.port, stage.request("/v1/agents", "good"))
    assert answer.status == 200
    assert scene.service.seen[-1].value("x-auth-subject") == "some_body"


def test_without_a_good_answer_nothing_passes(scene: Scene) -> None:
    """P15 breaks: a request reaches the service behind without a success response of Ostiary."""
    before = len(scene.service.seen)
    cases = [*ANSWERS, HANGS, *ANSWERS]

    def ask(case: str) -> Message:
        method = "GET" if len(case) % 2 else "POST"
        return stage.exchange(scene.port, stage.request("/v1/agents", case, method, "Content-Length: 0"))

    with ThreadPoolExecutor(8) as together:
        answers = dict(zip(cases, together.map(ask, cases), strict=True))
    assert len(scene.service.seen) == before
    for case, answer in answers.items():
        assert b"served" not in answer.raw
        # Envoy forwards the status. The other proxies report an error of their own.
        assert answer.status >= 400 or (scene.name == "envoy" and answer.status not in {0, 200}), (
            case,
            answer,
        )
    assert answers["missing"].status == 401
    assert answers["missing"].value("www-authenticate") == "Bearer"
    assert answers["refused"].status == 403
    assert answers["refused"].value("x-auth-error") == "no_match"
    assert answers[HANGS].status == WHEN[scene.name].hangs


def test_a_client_is_told_that_it_asks_too_often(scene: Scene) -> None:
    """P10 breaks: a client over its limit gets 403, or no Retry-After."""
    before = len(scene.service.seen)
    answer = stage.exchange(scene.port, stage.request("/v1/agents", "limited"))
    assert answer.status == 429, answer.raw
    assert answer.value("retry-after") == "7"
    assert answer.value("x-auth-error") == "rate_limited"
    assert len(scene.service.seen) == before


def test_connections_to_ostiary_are_kept(scene: Scene) -> None:
    """The bar of speed breaks: each request opens a new connection to Ostiary."""
    before = scene.ostiary.connections
    for _ in range(20):
        assert stage.exchange(scene.port, stage.request("/v1/agents", "good")).status == 200
    assert scene.ostiary.connections - before <= 4


@pytest.mark.parametrize("name", PROXIES)
def test_a_stopped_ostiary_lets_nobody_in(name: str) -> None:
    """P15 breaks: requests reach the service behind while Ostiary is down."""
    try:
        with stage.player(stage.serve) as service, stage.proxy(name, free_port(), service.port) as port:
            for method in ("GET", "POST"):
                answer = stage.exchange(
                    port, stage.request("/v1/agents", "ak-x", method, "Content-Length: 0")
                )
                assert answer.status == WHEN[name].down
            assert service.seen == []
    except UnavailableError as error:
        unavailable(error)
