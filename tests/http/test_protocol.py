"""One connection, byte for byte, over a real socket: the integration with uvicorn's protocol class."""

import asyncio
import contextlib
import socket
from typing import Any

import httpx2
import pytest
import uvicorn
from uvicorn.server import ServerState

from ostiary.http import protocol
from ostiary.http.protocol import MAX_HEAD, GuardedProtocol
from tests.servers import Ostiary

full = pytest.mark.full


def send(service: Ostiary, raw: bytes) -> bytes:
    """Send bytes without half-closing. Read until the service closes the connection or has responded."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as sock:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(raw)
        parts = []
        try:
            while part := sock.recv(65536):
                parts.append(part)
        except ConnectionResetError:
            pass
        return b"".join(parts)


@full
@pytest.mark.promise("P16")
def test_trailers_are_no_header_fields(service: Ostiary) -> None:
    """P16 breaks: a trailer forges an address or brings a credential."""
    key = service.call("POST", "/v1/api-keys", {"allowed_ips": ["10.9.9.9"]}).json()["secret"]
    head = (
        f"POST /v1/verify HTTP/1.1\r\nHost: a\r\nX-API-Key: {key}\r\nX-Forwarded-For: 203.0.113.66\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    )
    body = '{"credential":"x"}'
    chunks = f"{len(body):x}\r\n{body}\r\n0\r\nX-Forwarded-For: 10.9.9.9\r\n\r\n"
    assert send(service, (head + chunks).encode()).startswith(b"HTTP/1.1 403 ")
    unsigned = head.replace(f"X-API-Key: {key}\r\n", "")
    carried = f"{len(body):x}\r\n{body}\r\n0\r\nX-API-Key: {service.key}\r\n\r\n"
    assert send(service, (unsigned + carried).encode()).startswith(b"HTTP/1.1 401 ")


@full
@pytest.mark.promise("P20")
@pytest.mark.parametrize(
    "flood", [b"a:b\r\n", b"x-long: " + b"y" * 1000, b"y"], ids=["fields", "long", "one"]
)
def test_a_head_without_end_is_cut_off(service: Ostiary, flood: bytes) -> None:
    """P20 breaks: one connection fills the memory with a head that never ends."""
    raw = b"GET /healthz HTTP/1.1\r\nHost: a\r\n" + flood * (64 * MAX_HEAD // len(flood))
    answer = send(service, raw)
    assert answer == b"" or answer.startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 "))
    assert httpx2.get(f"{service.url}/healthz").status_code == 200


@pytest.mark.promise("P20")
@pytest.mark.parametrize(
    "sent", [b"", b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"G"], ids=["nothing", "half", "letter"]
)
def test_a_head_that_does_not_come_is_not_waited_for(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """B1 breaks: a slow client keeps a connection without a time limit, or gets no
    reason when it is closed.
    """
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.5)

    async def nobody(scope: object, receive: object, send: object) -> None:
        raise AssertionError("a request that never came was answered")

    async def connect() -> bytes:
        config = uvicorn.Config(nobody, interface="asgi3", lifespan="off", log_config=None)
        config.load()
        state = ServerState()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: GuardedProtocol(config, state, {}), "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(sent)
            try:
                return await asyncio.wait_for(reader.read(), 20)
            finally:
                writer.close()

    answer = asyncio.run(connect())
    if not sent:
        assert answer == b""
        return
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"request-timeout"' in answer
    assert b"connection: close" in answer
    assert b"cache-control: no-store" in answer


GET = b"GET /v1/agents HTTP/1.1\r\nHost: a\r\n\r\n"
FRAMING = {
    "CL and TE": b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "TE and CL": b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "two CL": b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "two CL that differ": b"Content-Length: 2\r\nContent-Length: 40\r\n\r\n{}",
    "a list of CL": b"Content-Length: 2, 2\r\n\r\n{}",
    "CL with a sign": b"Content-Length: +2\r\n\r\n{}",
    "CL below nothing": b"Content-Length: -1\r\n\r\n{}",
    "CL in hexadecimal": b"Content-Length: 0x2\r\n\r\n{}",
    "CL too large to count": b"Content-Length: 99999999999999999999\r\n\r\n{}",
    "another TE": b"Transfer-Encoding: gzip\r\n\r\n{}",
    "two TE": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "TE with a tab": b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "chunk size of no form": b"Transfer-Encoding: chunked\r\n\r\nx\r\n{}\r\n0\r\n\r\n",
    "bare LF": b"Content-Length: 2\n\n{}",
    "bare LF in a field": b"X: a\nX-API-Key: b\r\nContent-Length: 2\r\n\r\n{}",
    "bare CR in a field": b"X: a\rb\r\nContent-Length: 2\r\n\r\n{}",
    "NUL in a field": b"X: a\x00b\r\nContent-Length: 2\r\n\r\n{}",
    "space before the colon": b"Content-Length : 2\r\n\r\n{}",
    "folded field": b"X: a\r\n b\r\nContent-Length: 2\r\n\r\n{}",
    "no name": b": a\r\nContent-Length: 2\r\n\r\n{}",
}


@full
@pytest.mark.promise("P20")
@pytest.mark.parametrize("what", FRAMING)
def test_a_message_whose_end_is_disputed_is_refused(service: Ostiary, what: str) -> None:
    """B1 breaks: two servers split the same bytes into different requests, and a smuggled one passes."""
    raw = b"POST /v1/verify HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n" + FRAMING[what]
    answer = send(service, raw + GET)
    assert answer.count(b"HTTP/1.1 ") == 1, answer
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 413 ")), answer
    assert b"connection: close" in answer.lower()


@full
def test_requests_that_arrive_together_are_all_answered(service: Ostiary) -> None:
    """P20 breaks: the size limit of a head counts the requests that follow it."""
    one = b"GET /v1/capabilities HTTP/1.1\r\nHost: a\r\nX-API-Key: " + service.key.encode() + b"\r\n\r\n"
    last = one.replace(b"Host: a\r\n", b"Host: a\r\nConnection: close\r\n")
    answer = send(service, one * 400 + last)
    assert answer.count(b"HTTP/1.1 200 OK") == 401


def talk(raw: bytes, cut: int | None = None) -> bytes:
    """Return what a connection sends for these bytes, in one or two parts, if the application always responds
    200.
    """

    async def well(scope: object, receive: object, send: Any) -> None:
        headers = [(b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def connect() -> bytes:
        config = uvicorn.Config(well, interface="asgi3", lifespan="off", log_config=None)
        config.load()
        state = ServerState()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: GuardedProtocol(config, state, {}), "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            for part in (raw[:cut], raw[cut:]) if cut else (raw,):
                writer.write(part)
                await asyncio.sleep(0)
            try:
                return await asyncio.wait_for(reader.read(), 20)
            finally:
                writer.close()

    return asyncio.run(connect())


HOST = b"\r\nHost: a\r\n"
LAX = {
    "two spaces before the target": b"GET  / HTTP/1.1" + HOST + b"\r\n",
    "two spaces after the target": b"GET /  HTTP/1.1" + HOST + b"\r\n",
    "a space at the beginning": b" GET / HTTP/1.1" + HOST + b"\r\n",
    "a space at the end": b"GET / HTTP/1.1 " + HOST + b"\r\n",
    "tabs": b"GET\t/\tHTTP/1.1" + HOST + b"\r\n",
    "HTTP/2.0": b"GET / HTTP/2.0" + HOST + b"\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2" + HOST + b"\r\n",
    "HTTP/0.9": b"GET / HTTP/0.9" + HOST + b"\r\n",
    "no version": b"GET /" + HOST + b"\r\n",
    "lower case": b"GET / http/1.1" + HOST + b"\r\n",
    "another protocol": b"GET / RTSP/1.0" + HOST + b"\r\n",
    "bare CR": b"GET / HTTP/1.1\rHost: a\r\n\r\n",
    "bare LF before it": b"\nGET / HTTP/1.1" + HOST + b"\r\n",
    "many empty lines": b"\r\n\r\nGET / HTTP/1.1" + HOST + b"\r\n",
    "space before the colon": b"GET / HTTP/1.1" + HOST + b"X : a\r\n\r\n",
    "folded field": b"GET / HTTP/1.1" + HOST + b"X: a\r\n b\r\n\r\n",
    "another coding": b"GET / HTTP/1.1" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "an empty coding": b"GET / HTTP/1.1" + HOST + b"Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
}
PLAIN = b"GET / HTTP/1.1" + HOST + b"\r\n"
BEFORE = {
    "first": b"",
    "after another request": PLAIN,
    "after a body": b"POST / HTTP/1.1" + HOST + b"Content-Length: 6\r\n\r\na\r\n\r\nb",
    "after chunks": b"POST / HTTP/1.1"
    + HOST
    + b"Transfer-Encoding: chunked\r\n\r\n6\r\na\r\n\r\nb\r\n0\r\nX: y\r\n\r\n",
}


@pytest.mark.promise("P20")
@pytest.mark.parametrize("place", BEFORE)
@pytest.mark.parametrize("what", LAX)
def test_a_lax_request_line_is_refused_wherever_it_stands(
    what: str, place: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """B1 breaks: two servers read a request differently, or the operator cannot see why it was refused."""
    answers = talk(BEFORE[place] + LAX[what]).split(b"HTTP/1.1 ")[1:]
    assert [answer[:4] for answer in answers] == [b"200 "] * bool(BEFORE[place]) + [b"400 "]
    assert b"connection: close" in answers[-1]
    assert b"application/problem+json" in answers[-1]
    assert b'"code":"invalid-request"' in answers[-1]
    told = capsys.readouterr()
    assert "turned away" in told.out + told.err + caplog.text


BROKEN = {
    "line": b"GET  / HTTP/1.1" + HOST + b"\r\n",
    "head": b"GET / HTTP/1.1" + HOST + b"X : a\r\n\r\n",
    "framing": b"POST / HTTP/1.1" + HOST + b"Transfer-Encoding: gzip\r\n\r\n",
    "body": b"POST / HTTP/1.1" + HOST + b"Transfer-Encoding: chunked\r\n\r\nx\r\n",
}


@pytest.mark.promise("P20")
@pytest.mark.parametrize("what", BROKEN)
def test_requests_before_a_malformed_one_are_answered(what: str) -> None:
    """P20 breaks: a request gets no response because a malformed one follows it."""
    before = b"".join(BEFORE.values())
    for raw in (before + BROKEN[what] + PLAIN, PLAIN + BROKEN[what] + PLAIN):
        answers = talk(raw).split(b"HTTP/1.1 ")[1:]
        goods, last = answers[:-1], answers[-1]
        assert [answer[:4] for answer in goods] == [b"200 "] * (3 if raw.startswith(before) else 1)
        assert last.startswith(b"400 ")
        assert b"connection: close" in last


@full
@pytest.mark.promise("P20")
@pytest.mark.parametrize("path", ["/v1/verify", "/v1/service-accounts"])
def test_a_change_before_a_malformed_request_is_answered(service: Ostiary, path: str) -> None:
    """P20 breaks: a change gets no response because a malformed request follows it."""
    body = b'{"credential":"x"}' if path == "/v1/verify" else b'{"display_name":"Pipelined"}'
    head = (
        f"POST {path} HTTP/1.1\r\nHost: a\r\nX-API-Key: {service.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    answers = send(service, head.encode() + body + BROKEN["line"]).split(b"HTTP/1.1 ")[1:]
    assert [answer[:4] for answer in answers] == [b"200 " if path == "/v1/verify" else b"201 ", b"400 "]


@pytest.mark.promise("P20")
def test_where_the_network_cuts_changes_nothing() -> None:
    """B1 breaks: how the bytes arrive decides whether a request is refused or a lax request line passes."""
    last = PLAIN.replace(b"Host: a\r\n", b"Host: a\r\nConnection: close\r\n")
    good = b"\r\n".join((*BEFORE.values(), last))  # an empty line between two requests is allowed
    lax = BEFORE["after a body"] + LAX["two spaces before the target"]
    for cut in range(1, len(good)):
        assert talk(good, cut).count(b"HTTP/1.1 200 OK") == 4, cut
    for cut in range(1, len(lax)):
        assert talk(lax, cut).split(b"HTTP/1.1 ")[-1].startswith(b"400 "), cut


def test_an_old_client_needs_no_host() -> None:
    """B1 breaks: HAProxy's plain `option httpchk` marks every node down."""
    assert talk(b"OPTIONS / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 OK")
