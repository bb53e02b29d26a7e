"""Every request of a connection is checked: no other protocol reaches the service behind.

The service of these tests accepts every offer to change the protocol, so it would show a tunnel.
"""

import contextlib
import socket

import pytest

from tests.proxies import frames, stage
from tests.proxies.stage import CLIENT, Door, request
from tests.servers import PATIENCE

pytestmark = [pytest.mark.full, pytest.mark.promise("P15")]

MARK = "admin-of-all"
SETTINGS = "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"
OFFERS = {
    "h2c": ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", SETTINGS),
    "h2c, its settings not named": ("Connection: Upgrade", "Upgrade: h2c", SETTINGS),
    "h2c, not named": ("Upgrade: h2c", SETTINGS),
    "h2c, in two lines": ("Connection: HTTP2-Settings", "Connection: upgrade", "upgrade: H2C", SETTINGS),
    "h2c, kept alive": ("Connection: keep-alive, Upgrade, HTTP2-Settings", "Upgrade: h2c", SETTINGS),
    "h2c, with a body": ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", SETTINGS, "Content-Length: 0"),
    "h2c, second": ("Connection: Upgrade, HTTP2-Settings", "Upgrade: foo, h2c", SETTINGS),
    "h2c, two fields": ("Connection: Upgrade", "Upgrade: foo", "Upgrade: h2c", SETTINGS),
    "WebSocket": (
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    ),
    "WebSocket, not named": ("Upgrade: websocket",),
    "TLS": ("Connection: Upgrade", "Upgrade: TLS/1.0"),
    "anything": ("Connection: Upgrade", "Upgrade: foo"),
    "Upgrade with an underscore": ("Connection: Upgrade", "Upgrade_: h2c", "HTTP2_Settings: AAMAAABk"),
}  # fmt: skip
UNJUDGED = (
    f"DELETE /v1/secrets HTTP/1.1\r\nHost: agents.test\r\nX-Auth-Subject: {MARK}\r\nConnection: close\r\n\r\n"
)


def converse(port: int, *parts: bytes) -> bytes:
    """Send each part after the response to the one before. Returns everything received until the connection ends."""
    received = b""
    with (
        socket.create_connection(("127.0.0.1", port), PATIENCE, (CLIENT, 0)) as connection,
        contextlib.suppress(ConnectionError),
    ):
        for part in parts:
            connection.sendall(part)
            received += connection.recv(65536)
        while more := connection.recv(65536):
            received += more
    return received


@pytest.mark.parametrize("case", OFFERS)
def test_no_tunnel_opens_behind_a_judged_request(door: Door, robo: tuple[str, str], case: str) -> None:
    """P15 breaks: after one admitted request a client speaks another protocol with the service, unchecked."""
    before = len(door.service.seen)
    head = request("/v1/agents", robo[1], "GET", *OFFERS[case])
    received = converse(door.port, head, UNJUDGED.encode())
    seen = door.service.seen[before:]
    assert not received.startswith(b"HTTP/1.1 101")
    assert {message.target for message in seen} <= {"/v1/agents"}
    for message in seen:
        assert not message.values("upgrade")
        assert not message.values("http2-settings")
        assert "upgrade" not in ",".join(message.values("connection")).lower()
    _, after = door.ask("/v1/agents/next", robo[1])
    assert [message.target for message in after] == ["/v1/agents/next"]


def speak_http2(door: Door, port: int) -> list[stage.Message]:
    """Send a request with identity fields in its trailers. Returns what the service behind received."""
    key = door.key(door.account("Robo speaks HTTP/2"), scopes=["write:agents"])
    before = len(door.service.seen)
    raw = frames.request("POST", "/v1/agents", key, b"body", [("x-auth-subject", MARK), ("x-api-key", MARK)])
    assert frames.exchange(port, raw)
    return door.service.seen[before:]


def test_trailers_of_http2_are_no_identity(door: Door) -> None:
    """P15 breaks: an HTTP/2 client can set its own identity in trailers."""
    seen = speak_http2(door, door.port)
    assert len(seen) == (door.name == "envoy")  # the others do not speak HTTP/2 without TLS
    for message in seen:
        assert message.body == b"body"
        assert MARK.encode() not in message.raw


@pytest.mark.parametrize("door", ["haproxy"], indirect=True)
def test_haproxy_serves_no_http2_on_any_bind(door: Door) -> None:
    """P15 breaks: a `bind` that accepts HTTP/2, as one with TLS does, lets trailers through."""
    with stage.proxy(
        "haproxy",
        door.ostiary.port,
        door.service.port,
        lambda text: text.replace("bind 127.0.0.1:9080", "bind 127.0.0.1:9080 proto h2"),
    ) as port:
        assert speak_http2(door, port) == []
