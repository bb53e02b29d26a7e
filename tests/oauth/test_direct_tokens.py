"""The token endpoint on uvicorn's parser: it responds after the record is written, with the application's response."""

import asyncio
import re
from urllib.parse import urlencode

import pytest

from ostiary.core.event import SYSTEM, Event
from ostiary.http import fastpath
from ostiary.http.protocol import GuardedProtocol
from ostiary.storage.journal import Entry
from tests.cast import Front
from tests.http.test_fastpath import Line, Wire, request
from tests.services.questions import events

pytestmark = pytest.mark.promise("P5")

VARIABLE = re.compile(rb'x-request-id: [^\r]*\r\n|ratelimit: [^\r]*\r\n|"access_token":"[^"]*"')


@pytest.fixture
def asked(front: Front) -> dict[str, bytes]:
    """Return valid and invalid requests of a client as bytes. Their facts are in memory."""
    house = front.house
    house.sign()
    robo = house.account()
    good = {
        "grant_type": "client_credentials",
        "client_id": robo.account.client_id,
        "client_secret": house.key(robo, kind="client_secret").secret.reveal(),
    }
    found = {
        "good": good,
        "unknown scope": good | {"scope": "read:audit"},
        "unknown target": good | {"resource": "https://nowhere.test"},
        "no grant": {**good, "grant_type": ""},
        "wrong client": good | {"client_id": "ostiary-sa-x"},
        "no client": {"grant_type": "client_credentials"},
    }
    answer = front.ask("POST", "/oauth/token", good)
    assert answer.status == 200, answer.body
    return {name: form(front, fields) for name, fields in found.items()}


def form(front: Front, fields: dict[str, str]) -> bytes:
    body = urlencode(fields).encode()
    head = request("POST", "/oauth/token", Content_Length=str(len(body)), Connection="keep-alive")
    return head[:-2] + b"Content-Type: application/x-www-form-urlencoded\r\n\r\n" + body


def plain(answer: bytes) -> tuple[bytes, frozenset[bytes], bytes]:
    """Return first line, headers in any order, and body, without the parts that differ each time."""
    head, _, body = VARIABLE.sub(b"", answer).partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    return first, frozenset(line.lower() for line in lines if not line.startswith(b"date")), body


def test_it_answers_as_the_application_does(
    front: Front, asked: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """P5 breaks: the response from memory differs from the application's response."""
    line = Line(front)
    direct_answers = {name: b"".join(talk(line, sent).written) for name, sent in asked.items()}
    monkeypatch.setattr(fastpath, "UVICORN", "0")
    for name, sent in asked.items():
        assert plain(direct_answers[name]) == plain(b"".join(talk(line, sent).written)), name
    assert direct_answers["good"].startswith(b"HTTP/1.1 200 ")
    assert {answer[9:12] for answer in direct_answers.values()} == {b"200", b"400", b"401"}
    # Scripts of other sites may read each of them (Fetch §3.2).
    assert all(b"\r\naccess-control-allow-origin: *\r\n" in answer for answer in direct_answers.values())
    assert b"x-request-id: req_" in direct_answers["good"]


def talk(line: Line, *parts: bytes) -> Wire:
    """Send the parts, and wait for responses that wait for their record."""

    async def recorded(_connection: GuardedProtocol) -> None:
        await settled(line)

    return line.talk(*parts, answered=recorded)


async def settled(line: Line) -> None:
    """Wait until all records are written and the event loop is notified."""
    while True:
        last = Entry(line.front.house.acme.id, Event("signing_key.revoked", SYSTEM))
        await asyncio.to_thread(line.front.journal.record_now, last)
        for _ in range(10):
            await asyncio.sleep(0)
        if not line.state.tasks:
            return
        await asyncio.gather(*line.state.tasks)


def test_what_comes_behind_it_is_answered_behind_it(front: Front, asked: dict[str, bytes]) -> None:
    """P20 breaks: a later response overtakes one that waits for its record, and is taken for it."""
    verify = request("GET", "/v1/authorize/-", X_API_Key=front.house.alice_key)
    front.ask("GET", "/v1/authorize/-", key=front.house.alice_key)
    written = b"".join(talk(Line(front), asked["good"] + verify + asked["no client"]).written)
    statuses = re.findall(rb"HTTP/1\.1 (\d{3}) ", written)
    assert statuses == [b"200", b"200", b"401"]
    assert written.index(b"access_token") < written.index(b"x-auth-subject")


def test_who_leaves_meanwhile_breaks_nothing(front: Front, asked: dict[str, bytes]) -> None:
    """P20 breaks: a client that disconnects before its response leaves the connection or the record unfinished."""
    before = len([each for each in events(front.house) if each.action == "token.issued"])
    line = Line(front)

    async def gone(connection: GuardedProtocol) -> None:
        connection.connection_lost(ConnectionResetError())
        await settled(line)

    wire = line.talk(asked["good"], answered=gone)
    assert b"access_token" not in b"".join(wire.written)
    after = len([each for each in events(front.house) if each.action == "token.issued"])
    assert after == before + 1


def test_a_service_that_stops_answers_what_it_has_begun(front: Front, asked: dict[str, bytes]) -> None:
    """P3 breaks: a token is recorded as issued, but the service stops without sending it to the client."""
    line = Line(front)

    async def stops(connection: GuardedProtocol) -> None:
        connection.shutdown()
        await settled(line)

    wire = line.talk(asked["good"], answered=stops)
    assert b"access_token" in b"".join(wire.written)
    assert wire.closed
