"""The shipped nginx configuration in front of a real service, with keys that the CLI made.

P15: forward-auth judges the request that the upstream will serve; identity headers come from us or not at all.
"""

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from tests import servers
from tests.conftest import unavailable
from tests.servers import Ostiary, UnavailableError, accepts, free_port, wait_until

pytestmark = [pytest.mark.full, pytest.mark.promise("P15")]

EXAMPLES = Path(__file__).parents[2] / "examples"


@dataclass(frozen=True, slots=True)
class Door:
    """nginx in front of the example service, asking an Ostiary that believes what nginx forwards."""

    ostiary: Ostiary
    port: int

    def get(self, path: str, key: str | None = None, method: str = "GET", **headers: str) -> httpx2.Response:
        sent = {} if key is None else {"x-api-key": key}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx2.request(method, f"http://127.0.0.1:{self.port}{path}", headers=sent)

    def send(self, raw: bytes) -> bytes:
        """A request byte for byte; the whole answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as sock:
            sock.sendall(raw)
            parts = []
            while part := sock.recv(65536):
                parts.append(part)
        return b"".join(parts)

    def account(self, name: str, role: str = "developer") -> str:
        made = self.ostiary.command("service-account", "create", "--name", name, "--role", role, "--json")
        return str(json.loads(made.stdout)["service_account"]["id"])

    def key(self, account: str, *options: str) -> str:
        made = self.ostiary.command("api-key", "generate", "--service-account", account, *options)
        return made.stdout.strip()


@contextlib.contextmanager
def example_service() -> Iterator[int]:
    port = free_port()
    process = subprocess.Popen([sys.executable, EXAMPLES / "service.py", str(port)])
    try:
        wait_until("the example service", lambda: accepts(port), process)
        yield port
    finally:
        process.terminate()
        process.wait(10)


@contextlib.contextmanager
def example_nginx(ostiary_port: int, service_port: int) -> Iterator[int]:
    """The shipped files as they are, but for the ports."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        raise UnavailableError(
            "nginx is not installed (root on Debian or Ubuntu: apt-get install nginx-light)"
        )
    home = Path(tempfile.mkdtemp(prefix="ostiary-nginx-"))
    home.chmod(0o755)
    port = free_port()
    try:
        text = (EXAMPLES / "nginx.conf").read_text()
        for ours, theirs in (("8080", ostiary_port), ("9080", port), ("9000", service_port)):
            text = text.replace(f"127.0.0.1:{ours}", f"127.0.0.1:{theirs}")
        (home / "nginx.conf").write_text(text)
        shutil.copy(EXAMPLES / "ostiary-nginx.conf", home)
        arguments = [program, "-p", str(home), "-c", str(home / "nginx.conf"), "-g", "daemon off;"]
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(arguments, stdout=log, stderr=log)
        try:
            wait_until("nginx", lambda: accepts(port), process)
            yield port
        finally:
            process.terminate()
            process.wait(10)
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def door(service: Ostiary) -> Iterator[Door]:
    try:
        with example_service() as service_port, example_nginx(service.port, service_port) as port:
            service.command("access-rule", "put", "agents", str(EXAMPLES / "access-rule.json"))
            yield Door(service, port)
    except UnavailableError as error:
        unavailable(error)


@pytest.fixture(scope="module")
def robo(door: Door) -> tuple[str, str]:
    """An account that may do everything the rule knows, and its key."""
    account = door.account("Robo")
    return account, door.key(account)


def test_a_key_is_let_in_until_it_is_revoked(door: Door) -> None:
    """P1, P15 break: the first request after a revocation is let in, or a good one is not."""
    robo = door.account("Robo at the door")
    key = door.key(robo, "--scope", "read:agents")

    assert door.get("/v1/agents").status_code == 401
    let_in = door.get("/v1/agents", key)
    assert let_in.status_code == 200
    assert let_in.json()["caller"]["x-auth-subject"] == robo
    assert let_in.json()["caller"]["x-auth-scopes"] == "read:agents"

    wrong_scope = door.get("/v1/agents", key, method="POST")
    assert wrong_scope.status_code == 403
    assert wrong_scope.headers["x-auth-error"] == "insufficient_scope"

    elsewhere = door.get("/v1/agents", door.key(robo, "--ip", "203.0.113.0/24"))
    assert elsewhere.status_code == 403
    assert elsewhere.headers["x-auth-error"] == "ip_not_allowed"

    found = json.loads(door.ostiary.command("credential", "list", "--service-account", robo, "--json").stdout)
    credential = next(each["id"] for each in found if each["last6"] == key[-6:])
    door.ostiary.command("credential", "revoke", credential)
    refused = door.get("/v1/agents", key)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == 'Bearer error="invalid_token"'


def test_the_clients_address_is_what_nginx_saw(door: Door) -> None:
    """P16 breaks: an allow-list is talked around with a header."""
    robo = door.account("Robo elsewhere")
    here, there = door.key(robo, "--ip", "127.0.0.1"), door.key(robo, "--ip", "203.0.113.7")
    assert door.get("/v1/agents", here).status_code == 200
    assert door.get("/v1/agents", there).status_code == 403
    for name in ("x_forwarded_for", "x_real_ip", "forwarded", "true_client_ip"):
        assert door.get("/v1/agents", there, **{name: "203.0.113.7"}).status_code == 403
        assert door.get("/v1/agents", here, **{name: "203.0.113.7"}).status_code == 200


SPELLINGS = ["X-Auth-Subject", "x-auth-subject", "X-AUTH-SUBJECT", "X_Auth_Subject", "x-auth_subject"]
NAMES = ["Subject", "Kind", "Organization", "Credential", "Scopes", "Assertion", "Error"]


@pytest.mark.parametrize("spelling", [*SPELLINGS, *(f"X-Auth-{name}" for name in NAMES)])
def test_identity_comes_from_ostiary_or_not_at_all(door: Door, robo: tuple[str, str], spelling: str) -> None:
    """P15 breaks: a client tells the service behind who it is."""
    account, key = robo
    raw = (
        f"GET /v1/agents HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {key}\r\n"
        f"{spelling}: admin\r\n{spelling}: admin\r\nConnection: close\r\n\r\n"
    )
    answer = door.send(raw.encode())
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"admin" not in answer
    assert account.encode() in answer


def test_the_key_stays_at_the_door(door: Door, robo: tuple[str, str]) -> None:
    """P17 breaks: the service behind sees the caller's credential."""
    key = robo[1]
    seen: list[bytes] = []
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        example_nginx(door.ostiary.port, listening.getsockname()[1]) as port,
    ):
        for line in (f"X-API-Key: {key}", f"API-Key: {key}", f"Authorization: ApiKey {key}"):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                client.sendall(f"GET /v1/agents HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n".encode())
                upstream, _ = listening.accept()
                with upstream:
                    upstream.settimeout(10)
                    seen.append(upstream.recv(65536))
                    upstream.sendall(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
                assert client.recv(65536).startswith(b"HTTP/1.1 204")
    assert len(seen) == 3
    assert all(each.startswith(b"GET /v1/agents") and key.encode() not in each for each in seen)


PATHS = [
    "/v1/agents/../secrets",
    "/v1/agents/%2e%2e/secrets",
    "/v1/agents/.%2e/secrets",
    "/v1/agents/./x",
    "/v1//agents",
    "//v1/agents",
    "/v1/agents/a%2fb",
    "/v1/agents/a%2Fb",
    "/v1/agents/a%5cb",
    "/v1/agents/a%00",
    "/v1/agents/a;b=c",
    "/v1/agents/%3bx",
    "/v1/agents/%252e%252e/x",
    "/v1/agents/a\\b",
    "/v1/agents/x%0d%0aX-Auth-Subject:%20admin",
    "/v1/agents/%zz",
    "/v1/secrets",
    "/V1/agents",
    "/v1/agents/a/b",
    "/v1/agents/",
    "/",
]


@pytest.mark.parametrize("path", PATHS)
def test_what_no_line_of_the_rule_fits_is_not_served(door: Door, robo: tuple[str, str], path: str) -> None:
    """P15 breaks: a path that two servers read differently reaches the service behind."""
    answer = door.send(
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {robo[1]}\r\nConnection: close\r\n\r\n".encode()
    )
    assert answer.split(b" ", 2)[1] in (b"400", b"403"), answer[:80]
    assert b'"caller"' not in answer


def test_an_encoded_letter_is_the_letter(door: Door) -> None:
    """P15 breaks: a path is judged by its spelling, and the service behind reads another."""
    key = door.key(door.account("Robo spells"), "--scope", "read:agents")
    assert door.get("/v1/%61gents", key).status_code == 200
    assert door.get("/v1/%61gents", key, method="POST").status_code == 403


def test_without_an_answer_nothing_passes(door: Door, tmp_path: Path) -> None:
    """P15 breaks: the service behind is reached while Ostiary is down."""
    with example_service() as service_port, example_nginx(free_port(), service_port) as port:
        answer = httpx2.get(f"http://127.0.0.1:{port}/v1/agents", headers={"x-api-key": "ak-x"})
        assert answer.status_code == 500
        assert "caller" not in answer.text


def test_a_proxy_that_is_not_trusted_describes_nothing(door: Door, tmp_path: Path) -> None:
    """P16 breaks: anybody may say which request is judged."""
    with servers.ostiary(tmp_path / "data") as stranger:
        stranger.command("access-rule", "put", "agents", str(EXAMPLES / "access-rule.json"))
        with example_service() as service_port, example_nginx(stranger.port, service_port) as port:
            answer = httpx2.get(f"http://127.0.0.1:{port}/v1/agents", headers={"x-api-key": stranger.key})
            assert answer.status_code == 403
            assert answer.headers["x-auth-error"] == "invalid_request"
