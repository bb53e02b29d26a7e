"""A minimal HTTP/2 client with prior knowledge, for one request with body and trailers: RFC 9113 §4, RFC 7541 §6.2.2."""

import contextlib
import socket
from collections.abc import Sequence

from tests.proxies.stage import CLIENT
from tests.servers import PATIENCE

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY = 0, 1, 3, 4, 7
END_STREAM, END_HEADERS = 1, 4

Lines = Sequence[tuple[str, str]]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def block(lines: Lines) -> bytes:
    """Encode fields as HPACK literals without indexing. No name or value may be longer than 126 bytes."""
    packed = b""
    for line in lines:
        name, value = (each.encode("latin-1") for each in line)
        assert max(len(name), len(value)) < 127
        packed += bytes([0, len(name)]) + name + bytes([len(value)]) + value
    return packed


def request(method: str, target: str, key: str, body: bytes, trailers: Lines) -> bytes:
    """Return all bytes that a client sends, from the preface on."""
    pseudo = [(":method", method), (":scheme", "http"), (":path", target), (":authority", "agents.test")]
    return (
        PREFACE
        + frame(SETTINGS, 0, 0)
        + frame(HEADERS, END_HEADERS, 1, block([*pseudo, ("x-api-key", key)]))
        + frame(DATA, 0, 1, body)
        + frame(HEADERS, END_HEADERS | END_STREAM, 1, block(trailers))
    )


def exchange(port: int, raw: bytes) -> bytes:
    """Send the bytes of `request`. Returns everything received until the stream or the connection ends."""
    received = b""
    with (
        socket.create_connection(("127.0.0.1", port), PATIENCE, (CLIENT, 0)) as connection,
        contextlib.suppress(ConnectionError),
    ):
        connection.sendall(raw)
        while not _over(received) and (part := connection.recv(65536)):
            received += part
    return received


def _over(received: bytes) -> bool:
    """Return whether the stream has ended. False for data that is not HTTP/2."""
    if received.startswith(b"HTTP/1"):
        return False
    while len(received) >= 9 and len(received) >= 9 + (size := int.from_bytes(received[:3])):
        kind, flags = received[3], received[4]
        if kind in (RST_STREAM, GOAWAY) or (kind in (DATA, HEADERS) and flags & END_STREAM):
            return True
        received = received[9 + size :]
    return False
