"""The fast path, byte for byte: it responds exactly as the application does, or not at all."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from ostiary.http import fastpath, protocol
from ostiary.http.fastpath import LEANS_ON, FastPathProtocol, seam_holds
from ostiary.http.protocol import GuardedProtocol
from tests.cast import Front

pytestmark = pytest.mark.promise("P20")


def test_the_seam_is_where_it_was() -> None:
    """P20 breaks: uvicorn changed what our protocol class relies on. Review its
    protocol, then raise UVICORN.
    """
    assert seam_holds(), f"uvicorn is {uvicorn.__version__}, not {fastpath.UVICORN}"
    for name in LEANS_ON:
        assert callable(vars(HttpToolsProtocol)[name])
    begins = HttpToolsProtocol.on_message_begin.__code__.co_names
    for name in ("url", "headers", "expect_100_continue"):
        assert name in begins
    for name in ("cycle", "flow", "client", "parser", "connections", "server_state"):
        assert name in HttpToolsProtocol.__init__.__code__.co_names


@dataclass(slots=True)
class Wire(asyncio.Transport):
    """The client's end of a connection without a socket."""

    written: list[bytes] = field(default_factory=list)
    closed: bool = False
    aborted: bool = False
    reading: bool = True

    def get_extra_info(self, name: str, default: object = None) -> object:
        return ("192.0.2.1", 40000) if name == "peername" else default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self.closed:
            self.written.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


@dataclass(slots=True)
class Line:
    """One connection to the application of a Front."""

    front: Front
    state: ServerState = field(default_factory=ServerState)

    def talk(
        self,
        *parts: bytes,
        before: Callable[[GuardedProtocol], None] = lambda _: None,
        answered: Callable[[GuardedProtocol], Awaitable[None]] | None = None,
        after: Callable[[GuardedProtocol], None] = lambda _: None,
    ) -> Wire:
        """Send these parts one after the other, and wait until every request has its response."""

        async def connect() -> Wire:
            config = uvicorn.Config(
                self.front.door, interface="asgi3", lifespan="off", log_config=None, proxy_headers=False
            )
            config.load()
            wire = Wire()
            connection = GuardedProtocol(config, self.state, {})
            connection.connection_made(wire)
            before(connection)
            for part in parts:
                connection.data_received(part)
                await asyncio.sleep(0)
            await _settled(self.state, connection)
            if answered is not None:
                await answered(connection)
            after(connection)
            connection.connection_lost(None)
            return wire

        return asyncio.run(connect())


async def _settled(state: ServerState, connection: GuardedProtocol) -> None:
    while state.tasks or connection.pipeline:
        await asyncio.gather(*state.tasks)
        await asyncio.sleep(0)


@pytest.fixture
def line(front: Front) -> Line:
    return Line(front)


@pytest.fixture
def through_the_application(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Disable the fast path, as with another version of uvicorn."""

    def change() -> None:
        monkeypatch.setattr(fastpath, "UVICORN", "0")

    return change


def request(method: str, target: str, body: bytes = b"", **fields: str) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost:8080"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def _requests(key: str) -> dict[str, bytes]:
    """Requests for every kind of response of the verification endpoints, and requests that no endpoint
    accepts.
    """
    asked = json.dumps({"credential": key}).encode()
    return {
        "admitted": request("GET", "/v1/authorize/-", X_API_Key=key),
        "admitted by nginx": request("GET", "/v1/authorize-nginx/-", X_API_Key=key),
        "another method": request("PUT", "/v1/authorize/-/x", X_API_Key=key),
        "head": request("HEAD", "/v1/authorize/-", X_API_Key=key),
        "missing": request("GET", "/v1/authorize/-"),
        "malformed": request("GET", "/v1/authorize/-", X_API_Key="ak-x"),
        "conflict": request("GET", "/v1/authorize/-", X_API_Key=key, API_Key="other"),
        "verified": request("POST", "/v1/verify", asked, X_API_Key=key),
        "refused": request("POST", "/v1/verify", b'{"credential":"x"}', X_API_Key=key),
        "member twice": request("POST", "/v1/verify", b'{"credential":"x","credential":"y"}', X_API_Key=key),
        "no JSON": request("POST", "/v1/verify", b"{", X_API_Key=key),
        "wrong method": request("GET", "/v1/verify", X_API_Key=key),
        "capabilities": request("GET", "/v1/capabilities", X_API_Key=key),
        "key in the query": request("GET", "/v1/capabilities?api_key=x", X_API_Key=key),
        "fragment": request("GET", "/v1/authorize/-#x", X_API_Key=key),
        "absolute form": request("GET", "http://localhost:8080/v1/authorize/-", X_API_Key=key),
        "bad encoding": request("GET", "/v1/authorize/-/%zz", X_API_Key=key),
        "long target": request("GET", "/v1/authorize/-/" + "a" * 9000, X_API_Key=key),
        "two hosts": request("GET", "/v1/authorize/-", X_API_Key=key, host="b"),
        "many fields": request(
            "GET", "/v1/authorize/-", b"", X_API_Key=key, **{f"x{n}": "" for n in range(120)}
        ),
        "large field": request("GET", "/v1/authorize/-", X_API_Key=key, x="y" * 17_000),
        "content encoding": request("POST", "/v1/verify", asked, X_API_Key=key, Content_Encoding="gzip"),
        "large body": request("POST", "/v1/verify", b'"' + b"x" * 70_000 + b'"', X_API_Key=key),
        "HTTP/1.0": request("GET", "/v1/authorize/-", X_API_Key=key).replace(b"HTTP/1.1", b"HTTP/1.0"),
        "close": request("GET", "/v1/authorize/-", X_API_Key=key, Connection="close"),
        "upgrade": request("GET", "/v1/authorize/-", X_API_Key=key, Connection="upgrade", Upgrade="h2c"),
        "expect": request("POST", "/v1/verify", asked, X_API_Key=key, Expect="100-continue"),
    }


NAMES = list(_requests(""))


@pytest.mark.parametrize("what", NAMES)
def test_both_adapters_answer_alike(
    line: Line, what: str, through_the_application: Callable[[], None]
) -> None:
    """B1 breaks: the fast path and the application accept, or return, different things."""
    raw = _requests(line.front.house.alice_key)[what]
    line.talk(_requests(line.front.house.alice_key)["admitted"])  # after this request the key is cached
    here = line.talk(raw)
    through_the_application()
    there = line.talk(raw)
    assert _told(here) == _told(there)
    assert here.closed == there.closed
    assert b"".join(here.written).startswith(b"HTTP/1.1 ")


def _told(wire: Wire) -> list[bytes]:
    """Head and body, with sorted headers, without the rate limit's state: it decreases with each request."""
    told = re.sub(rb'(;r=|"remaining":)[0-9]+', rb"\1", b"".join(wire.written))
    head, _, body = told.partition(b"\r\n\r\n")
    first, *fields = head.split(b"\r\n")
    return [first, *sorted(fields), body]


def test_what_is_known_is_answered_with_one_write_and_no_task(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S1 breaks: cached verifications go through the application."""
    raw = _requests(line.front.house.alice_key)
    line.talk(raw["admitted"])

    def never(*_: object) -> Awaitable[None]:
        raise AssertionError("the application was asked")

    monkeypatch.setattr(FastPathProtocol, "_start_asgi_task", never)
    for what in ("admitted", "admitted by nginx", "verified", "malformed", "capabilities", "refused"):
        assert len(line.talk(raw[what]).written) == 1, what


def test_answers_come_in_the_order_of_the_requests(line: Line) -> None:
    """P20 breaks: a response from memory overtakes one that needs the database, and
    reaches the wrong client.
    """
    key = line.front.house.alice_key
    hot = request("GET", "/v1/authorize/-", X_API_Key=key)
    cold = request("GET", "/v1/service-accounts", X_API_Key=key)
    wrong = request("GET", "/v1/authorize/-", X_API_Key="ak-x")
    line.talk(hot)
    wire = line.talk(hot + cold + hot + wrong + cold + hot)
    answers = b"".join(wire.written).split(b"HTTP/1.1 ")[1:]
    assert [each[:3] for each in answers] == [b"200", b"200", b"200", b"401", b"200", b"200"]
    assert [b"x-auth-subject" in each for each in answers] == [True, False, True, False, False, True]


@pytest.mark.parametrize("cut", [1, 30, 60, -20, -1])
def test_a_request_in_pieces_is_one_request(line: Line, cut: int) -> None:
    """B1 breaks: the response depends on how the network splits the request."""
    key = line.front.house.alice_key
    raw = request("POST", "/v1/verify", json.dumps({"credential": key}).encode(), X_API_Key=key)
    whole = _told(line.talk(raw))
    assert whole[0] == b"HTTP/1.1 200 OK"
    assert _told(line.talk(raw[:cut], raw[cut:])) == whole


def test_a_chunked_body_and_its_trailers(line: Line) -> None:
    """P16 breaks: a trailer brings a credential to the fast path."""
    key = line.front.house.alice_key
    head = request(
        "POST", "/v1/verify", X_API_Key=key, Content_Type="application/json", Transfer_Encoding="chunked"
    )
    body = json.dumps({"credential": key}).encode()
    good = head + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"
    assert b'"valid":true' in b"".join(line.talk(good).written)
    unsigned = good.replace(b"X-API-Key: " + key.encode() + b"\r\n", b"")
    carried = unsigned[:-2] + b"X-API-Key: " + key.encode() + b"\r\n\r\n"
    assert b"".join(line.talk(carried).written).startswith(b"HTTP/1.1 401 ")


def test_who_does_not_read_is_not_written_to(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """P20 breaks: a client that sends requests and never reads fills the memory with responses."""
    hot = request("GET", "/v1/authorize/-", X_API_Key=line.front.house.alice_key)
    line.talk(hot)

    def never(*_: object) -> None:
        raise AssertionError("it was written to")

    def full(connection: GuardedProtocol) -> None:
        connection.pause_writing()
        monkeypatch.setattr(connection, "_write", never)
        connection.loop.call_later(0, connection.resume_writing)

    wire = line.talk(hot * 50, before=full)
    assert b"".join(wire.written).count(b"HTTP/1.1 200 OK") == 50


def test_who_reads_nothing_is_cut_off(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """P20 breaks: a client that never reads occupies a connection forever."""
    monkeypatch.setattr(protocol, "WRITE_SECONDS", -1.0)

    def stuck(connection: GuardedProtocol) -> None:
        connection.pause_writing()
        connection._look()

    assert line.talk(before=stuck).closed


def overdue(connection: GuardedProtocol) -> None:
    """Advance the time until the client is overdue."""
    assert connection._due is not None, "nothing is ever due"
    connection._due = 0.0
    connection._look()


@pytest.mark.parametrize("rest", [(), (b"x",), (b"x", b"x")])
def test_a_body_that_nobody_reads_has_its_time(line: Line, rest: tuple[bytes, ...]) -> None:
    """P20 breaks: a client that gets its response before sending the body occupies a connection forever."""
    head = request("POST", "/v1/authorize/-", Content_Length="100")

    async def say(connection: GuardedProtocol) -> None:
        for part in rest:
            connection.data_received(part)

    wire = line.talk(head, answered=say, after=overdue)
    assert wire.closed
    assert b"".join(wire.written).count(b"HTTP/1.1 ") == 1


def test_what_was_closed_and_does_not_go_is_cut_off(line: Line) -> None:
    """P20 breaks: a closing connection keeps its descriptor and buffers because the client does not read."""

    def look_again(connection: GuardedProtocol) -> None:
        connection.transport.close()
        connection._look()

    assert line.talk(request("GET", "/v1/authorize/-"), after=look_again).aborted


def test_after_an_upgrade_nothing_is_read(line: Line) -> None:
    """P20 breaks: a request sent after an upgrade request waits forever for its response."""
    upgrade = request("GET", "/v1/authorize/-", Connection="upgrade", Upgrade="h2c")
    wire = line.talk(upgrade + request("GET", "/v1/authorize/-"))
    assert wire.closed
    assert b"connection: close" in b"".join(wire.written)


def test_a_connection_too_many_is_told_so(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """P20 breaks: connections use all descriptors, and none is left for the database."""
    monkeypatch.setattr(GuardedProtocol, "max_connections", 0)
    wire = line.talk()
    assert wire.closed
    assert b"".join(wire.written).startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1" in wire.written[0]


def test_a_fault_of_the_hot_path_is_met_and_told_by_the_application(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P20 breaks: an internal error ends the connection without a response."""
    hot = request("GET", "/v1/authorize/-", X_API_Key=line.front.house.alice_key)
    line.talk(hot)

    def fails(*_: object) -> bytes:
        raise RuntimeError("a fault")

    monkeypatch.setattr(line.front.door._hot, "answer", fails)
    assert b"".join(line.talk(hot).written).startswith(b"HTTP/1.1 500 ")
