"""One connection, byte for byte: the seam to uvicorn's protocol class, over a real socket."""

import contextlib
import socket

import httpx2
import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ostiary.http.protocol import MAX_HEAD, GuardedProtocol
from tests.servers import Ostiary

full = pytest.mark.full


def send(service: Ostiary, raw: bytes) -> bytes:
    """Send bytes, half-close nothing, and read until the service closes or has answered."""
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


def test_the_seam_is_where_it_was() -> None:
    """P20 breaks: uvicorn moved what our protocol class stands on."""
    for name in (
        "connection_made",
        "connection_lost",
        "data_received",
        "on_message_begin",
        "on_header",
        "on_headers_complete",
        "on_message_complete",
    ):
        assert callable(getattr(HttpToolsProtocol, name))
        assert name in vars(GuardedProtocol)


@full
@pytest.mark.promise("P16")
def test_trailers_are_no_header_fields(service: Ostiary) -> None:
    """P16 breaks: a field after the body forges an address or brings a credential."""
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
    """P20 breaks: one connection fills the memory with a request that never begins."""
    raw = b"GET /healthz HTTP/1.1\r\nHost: a\r\n" + flood * (64 * MAX_HEAD // len(flood))
    answer = send(service, raw)
    assert answer == b"" or answer.startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 "))
    assert httpx2.get(f"{service.url}/healthz").status_code == 200


@full
def test_requests_that_arrive_together_are_all_answered(service: Ostiary) -> None:
    """P20 breaks: the limit of a head counts the requests that follow it."""
    one = b"GET /v1/capabilities HTTP/1.1\r\nHost: a\r\nX-API-Key: " + service.key.encode() + b"\r\n\r\n"
    last = one.replace(b"Host: a\r\n", b"Host: a\r\nConnection: close\r\n")
    answer = send(service, one * 400 + last)
    assert answer.count(b"HTTP/1.1 200 OK") == 401
